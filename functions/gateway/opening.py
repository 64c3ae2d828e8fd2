"""From settings to a gateway. Nothing is connected yet: that happens where it is first used."""

from collections.abc import Iterable
from datetime import UTC, datetime

from claude_run.client import Client
from gateway import deployment, limits, metrics, quota
from gateway.cloud_run import CloudRunService
from gateway.deployment import Deployment
from gateway.forwarding import Forwarder
from gateway.health import Health
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
from gateway.work import conversation, delivery
from gateway.work import record as work

# All that is stored, for the store, for Firestore's indexes and for its TTL policies.
COLLECTIONS: tuple[Collection, ...] = (
    record.COLLECTION,
    log.COLLECTION,
    blobs.TRANSCRIPT,
    blobs.CHANGES,
    limits.COLLECTION,
    quota.COLLECTION,
    metrics.COLLECTION,
    deployment.COLLECTION,
    delivery.COLLECTION,
    work.COLLECTION,
    conversation.COLLECTION,
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
    service = settings.runner_service
    runner = Runner(
        settings.runner_url, service=CloudRunService.parse(service) if service else None
    )
    return Gateway(
        settings=settings,
        store=store,
        vault=vault,
        client=Client(settings.runner_url),
        limits=Limits(store, settings.limits),
        metrics=counters,
        quota=accounts,
        runner=runner,
        health=Health(
            store=store,
            vault=vault,
            runner=runner,
            quota=accounts,
            deployment=Deployment(store, utc_now),
            clock=utc_now,
            environment="production" if settings.on_cloud else "local",
        ),
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
