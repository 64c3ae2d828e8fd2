"""From settings to a gateway. Nothing is connected yet: that happens where it is first used."""

from collections.abc import Iterable

from claude_run.client import Client
from gateway import deployment, limits, metrics, quota
from gateway.cloud_run import CloudRunService
from gateway.deployment import Deployment
from gateway.forwarding import Forwarder
from gateway.github.opening import GitHubApp
from gateway.github.policy import Policy
from gateway.health import Health
from gateway.instance import open_instance
from gateway.limits import Limits
from gateway.pull_requests import PATIENCE_SECONDS, PullRequests
from gateway.quota import Quota
from gateway.runner import Runner
from gateway.service import Gateway
from gateway.sessions import blobs, log, record
from gateway.sessions.registry import Registry
from gateway.settings import Settings
from gateway.setup.facts import Facts
from gateway.setup.states import STATES
from gateway.store import Collection
from gateway.work import conversation, delivery
from gateway.work import record as work
from gateway.work.claims import Claims
from gateway.work.deliveries import Deliveries
from gateway.work.leaving import Detached
from gateway.work.queue import Queue
from gateway.work.sweep import Sweep

# All that is stored, for the store, for Firestore's indexes and for its TTL policies.
COLLECTIONS: tuple[Collection, ...] = (
    record.COLLECTION,
    log.COLLECTION,
    blobs.TRANSCRIPT,
    blobs.CHANGES,
    blobs.REQUESTS,
    limits.COLLECTION,
    quota.COLLECTION,
    metrics.COLLECTION,
    deployment.COLLECTION,
    STATES,
    delivery.COLLECTION,
    work.COLLECTION,
    conversation.COLLECTION,
)


def open_gateway(settings: Settings, *, routes: Iterable[str] = ()) -> Gateway:
    """The gateway of this process; `ConfigurationError` where a URL cannot be used.

    `routes`: the templates of the paths that are counted by name.
    """
    own = open_instance(settings, collections=COLLECTIONS, routes=routes)
    store, vault, counters, clock = own.store, own.vault, own.metrics, own.clock
    accounts = Quota(settings.limits)
    github = GitHubApp(settings.github, store, vault, clock, patience=PATIENCE_SECONDS)
    registry = Registry(store=store, quota=accounts, clock=clock)
    service = settings.runner_service
    facts = Facts(store=store, vault=vault, settings=settings.github, clock=clock)
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
        starter=own.starter,
        quota=accounts,
        runner=runner,
        health=Health(
            store=store,
            facts=facts,
            runner=runner,
            quota=accounts,
            deployment=Deployment(store, clock),
            clock=clock,
            environment="production" if settings.on_cloud else "local",
        ),
        registry=registry,
        detached=Detached(store=store, registry=registry),
        deliveries=Deliveries(
            store=store, queue=Queue(store=store, clock=clock), starter=own.starter
        ),
        github=github,
        pull_requests=PullRequests(
            github=github,
            server_url=settings.github.server_url,
            policy=Policy(settings.policy),
            grants=settings.caller_repositories,
        ),
        sweep=Sweep(
            claims=Claims(store=store, clock=clock),
            registry=registry,
            starter=own.starter,
            ask=github.ask_for_failed_deliveries,
        ),
        facts=facts,
        forwarder=Forwarder(
            store=store,
            vault=vault,
            quota=accounts,
            metrics=counters,
            runner=runner,
            clock=clock,
        ),
        clock=clock,
    )
