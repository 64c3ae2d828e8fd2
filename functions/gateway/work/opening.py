"""From settings to a worker. Nothing is connected yet: that happens where it is first used."""

from claude_run.client import Client
from gateway.github.opening import GitHubApp
from gateway.github.policy import Policy
from gateway.github.publication import Publisher
from gateway.instance import utc_now
from gateway.issues.desk import Desk
from gateway.limit_settings import MICROS
from gateway.metrics import Metrics
from gateway.opening import COLLECTIONS
from gateway.pull_requests import PullRequests
from gateway.quota import Quota
from gateway.sessions.registry import Registry
from gateway.settings import RunSettings
from gateway.store import open_store
from gateway.vault import open_vault
from gateway.work.claims import Claims
from gateway.work.detached import DetachedSteps
from gateway.work.issue import IssueSteps
from gateway.work.loop import STAY, Worker
from gateway.work.pulls import GitHubPulls
from gateway.work.record import Kind
from gateway.work.turns import Turns


def open_worker(settings: RunSettings) -> Worker:
    """The worker of this process; `ConfigurationError` where a URL cannot be used."""
    clock = utc_now
    store = open_store(settings.store_url, collections=COLLECTIONS, clock=clock)
    vault = open_vault(settings.vault_url)
    quota = Quota(settings.limits)
    claims = Claims(store=store, clock=clock)
    github = GitHubApp(settings.github, store, vault, clock)
    access, policy = github.access(), Policy(settings.policy)
    turns = Turns(
        registry=Registry(store=store, quota=quota, clock=clock),
        store=store,
        vault=vault,
        client=Client(settings.runner_url),
        metrics=Metrics(store, routes=()),
        clock=clock,
    )
    issues = IssueSteps(
        store=store,
        claims=claims,
        turns=turns,
        desk=Desk(
            access=access,
            settings=settings.issues,
            triggers=settings.triggers,
            budget_usd=settings.limits.run_micros / MICROS,
            runs=lambda: quota.status(store, now=clock()).running,
        ),
        tokens=access,
        pulls=GitHubPulls(access),
        publisher=Publisher(access=access, policy=policy),
        server_url=settings.github.server_url,
    )
    detached = DetachedSteps(
        store=store,
        turns=turns,
        pull_requests=PullRequests(
            github=github, server_url=settings.github.server_url, policy=policy
        ),
    )
    return Worker(
        claims=claims,
        steps={Kind.ISSUE: issues, Kind.SESSION: detached},
        clock=clock,
        stay=STAY,
    )
