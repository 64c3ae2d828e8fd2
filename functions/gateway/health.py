"""How the gateway is: what `GET /health` tells, from real looks at store, vault and runner."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from claude_run import __version__
from gateway.checks import Checks, Outcome, status_of
from gateway.counters import Counts
from gateway.deployment import Deployment
from gateway.ledger import QuotaStatus
from gateway.metrics import read_counts
from gateway.quota import Quota
from gateway.runner import Runner
from gateway.setup.facts import AppFacts, Facts
from gateway.store import Store, ping
from gateway.timestamp import iso

PING_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is in the store of the deployment as a whole."""

    quota: QuotaStatus
    counts: Counts
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What the vault has, as far as the store says what for."""

    has_claude_key: bool
    app: AppFacts


class Health:
    """Looks, and says what it has seen; safe under threads."""

    def __init__(
        self,
        *,
        store: Store,
        facts: Facts,
        runner: Runner,
        quota: Quota,
        deployment: Deployment,
        clock: Callable[[], datetime],
        environment: str,
    ) -> None:
        self._store = store
        self._facts = facts
        self._quota = quota
        self._deployment = deployment
        self._clock = clock
        self._environment = environment
        self._checks = Checks(
            {
                "store": self._look_into_store,
                "vault": self._look_into_vault,
                "runner": runner.check,
            }
        )

    def figures(self) -> Figures:
        """Those of now; `StoreUnavailableError`."""
        return Figures(
            quota=self._quota.status(self._store, now=self._clock()),
            counts=read_counts(self._store),
            started_at=self._deployment.started_at(),
        )

    def _look_into_store(self) -> Figures:
        ping(self._store, seconds=PING_SECONDS)
        return self.figures()

    def _look_into_vault(self) -> Secrets:
        return Secrets(has_claude_key=self._facts.claude.is_stored(), app=self._facts.app())

    def body(self, *, brief: bool) -> dict[str, Any]:
        """The page's object; `brief`, for whoever shows no token: its status alone."""
        found = self._checks.look()
        status = status_of(found)
        if brief:
            return {"status": status}
        now = self._clock()
        body: dict[str, Any] = {
            "status": status,
            "timestamp": iso(now),
            "uptime": 0,
            "version": __version__,
            "environment": self._environment,
            "components": _components(found),
        }
        figures = found["store"].value
        if isinstance(figures, Figures):
            body["uptime"] = round((now - figures.started_at).total_seconds() * 1000)
            body["metrics"] = figures.counts.health_part(active=figures.quota.running)
            body["quota"] = figures.quota.to_json()
            if isinstance(secrets := found["vault"].value, Secrets):
                body["github"] = secrets.app.health(figures.counts)
        return body


def _components(found: Mapping[str, Outcome]) -> dict[str, Any]:
    secrets = found["vault"].value
    known = secrets if isinstance(secrets, Secrets) else None
    unknown = {} if known is not None else {"message": found["vault"].message}
    return {
        "durableObjects": _component(found["store"]),
        "containers": _component(found["runner"]),
        "githubApp": {
            **_configured(is_configured=known is not None and known.app.is_configured),
            **unknown,
        },
        "claudeConfig": {
            **_configured(is_configured=known is not None and known.has_claude_key),
            **unknown,
        },
        "rateLimit": _configured(is_configured=True),
    }


def _component(outcome: Outcome) -> dict[str, Any]:
    if outcome.ok:
        return {"status": "operational"}
    return {"status": "unavailable", "message": outcome.message}


def _configured(*, is_configured: bool) -> dict[str, Any]:
    return {
        "status": "configured" if is_configured else "not configured",
        "configured": is_configured,
    }
