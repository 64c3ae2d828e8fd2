"""From settings to a gateway. Nothing is connected yet: that happens where it is first used."""

from collections.abc import Iterable
from datetime import UTC, datetime

from claude_run.client import Client
from gateway import limits, metrics, quota
from gateway.forwarding import Forwarder
from gateway.limits import Limits
from gateway.metrics import Metrics
from gateway.quota import Quota
from gateway.runner import Runner
from gateway.service import Gateway
from gateway.sessions import blobs, log, record
from gateway.sessions.registry import Registry
from gateway.settings import Settings
from gateway.store import Collection, open_store
from gateway.vault import open_vault

# All that is stored, for the store, for Firestore's indexes and for its TTL policies.
COLLECTIONS: tuple[Collection, ...] = (
    record.COLLECTION,
    log.COLLECTION,
    blobs.TRANSCRIPT,
    blobs.CHANGES,
    limits.COLLECTION,
    quota.COLLECTION,
    metrics.COLLECTION,
)


def utc_now() -> datetime:
    """The clock of a deployment."""
    return datetime.now(UTC)


def open_gateway(settings: Settings, *, routes: Iterable[str] = ()) -> Gateway:
    """The gateway of this process; `ConfigurationError` where a URL cannot be used.

    `routes`: the templates of the paths that are counted by name.
    """
    store = open_store(settings.store_url, collections=COLLECTIONS, clock=utc_now)
    vault = open_vault(settings.vault_url)
    accounts = Quota(settings.limits)
    counters = Metrics(store, routes=routes)
    runner = Runner(settings.runner_url)
    return Gateway(
        settings=settings,
        store=store,
        vault=vault,
        client=Client(settings.runner_url),
        limits=Limits(store, settings.limits),
        metrics=counters,
        quota=accounts,
        registry=Registry(store=store, quota=accounts, clock=utc_now),
        forwarder=Forwarder(
            store=store,
            vault=vault,
            quota=accounts,
            metrics=counters,
            runner=runner,
            clock=utc_now,
        ),
        clock=utc_now,
    )
