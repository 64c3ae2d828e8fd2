"""GitHub's deliveries, taken in: stored where they bring work, and a worker started.

What this says of a delivery is true for good: it is said after the write.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway import deployment, metrics
from gateway.github import triggers
from gateway.github.payload import (
    Asking,
    InstallationHappened,
    InstalledApp,
    InstalledRepository,
    Payload,
    Ping,
    RepositoriesChanged,
    Unused,
)
from gateway.github.trigger_settings import TriggerSettings
from gateway.github.triggers import Ignored
from gateway.metrics import Metrics
from gateway.setup.record import Apps, InstallationRef
from gateway.work import conversation, delivery, record
from gateway.work.queue import Accepted, Queue
from gateway.work.starter import Starter, try_to_start

# All that is read or written here.
COLLECTIONS = (
    delivery.COLLECTION,
    record.COLLECTION,
    conversation.COLLECTION,
    metrics.COLLECTION,
    deployment.COLLECTION,
)

# An App's name changes by hand, if ever; one that has just been set up is known this much later.
SLUG_SECONDS = 10.0

PING = "GitHub can reach us."
UNUSED = "This event starts nothing."
NOT_NEEDED = "The issue was served before."


class Status(StrEnum):
    """What became of a delivery."""

    ACCEPTED = "accepted"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What is told to GitHub, and seen by the App's owner in its list of deliveries.

    `is_counted`: in the commit of its work, with all that the queue has looked at.
    """

    status: Status
    reason: str | None = None
    is_counted: bool = False


class Intake:
    """Safe under threads."""

    def __init__(
        self,
        *,
        settings: TriggerSettings,
        queue: Queue,
        apps: Apps,
        counters: Metrics,
        starter: Starter,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._apps = apps
        self._counters = counters
        self._starter = starter
        self._clock = clock
        self._slug = _Slug(apps, monotonic)

    def take(self, payload: Payload | Unused, *, delivery: str) -> Receipt:
        """What became of it; `StoreUnavailableError`: nothing, it has to come again."""
        receipt = self._taken(payload, delivery)
        self._counters.webhook(self._clock(), is_counted=receipt.is_counted)
        return receipt

    def _taken(self, payload: Payload | Unused, delivery: str) -> Receipt:
        match payload:
            case Unused():
                return Receipt(status=Status.IGNORED, reason=UNUSED)
            case Ping():
                return Receipt(status=Status.IGNORED, reason=PING)
            case InstallationHappened():
                return self._installed(payload)
            case RepositoriesChanged():
                return self._repositories_changed(payload)
            case _:
                return self._asked(payload, delivery)

    def _asked(self, payload: Asking, delivery: str) -> Receipt:
        asked = triggers.decide(payload, self._settings, slug=self._slug.get())
        if isinstance(asked, Ignored):
            return Receipt(status=Status.IGNORED, reason=asked.reason)
        accepted = self._queue.accept(asked, delivery=delivery)
        if accepted.needs_worker:
            try_to_start(self._starter)
        match accepted:
            case Accepted.NEW:
                return Receipt(status=Status.ACCEPTED, is_counted=True)
            case Accepted.NOT_NEEDED:
                return Receipt(status=Status.IGNORED, reason=NOT_NEEDED, is_counted=True)
            case _:
                return Receipt(status=Status.DUPLICATE, is_counted=True)

    def _installed(self, payload: InstallationHappened) -> Receipt:
        ref = _ref(payload.installation)
        if payload.action == "deleted":
            self._apps.removed(ref)
        else:
            told = payload.repositories if payload.action == "created" else None
            self._apps.installed(
                ref,
                _names(told) if told is not None else None,
                is_suspended=payload.installation.suspended_at is not None,
            )
        return Receipt(status=Status.ACCEPTED)

    def _repositories_changed(self, payload: RepositoriesChanged) -> Receipt:
        self._apps.repositories_changed(
            _ref(payload.installation),
            added=_names(payload.repositories_added),
            removed=_names(payload.repositories_removed),
        )
        return Receipt(status=Status.ACCEPTED)


def _ref(installation: InstalledApp) -> InstallationRef:
    account = installation.account
    return InstallationRef(
        app_id=str(installation.app_id),
        slug=installation.app_slug,
        id=installation.id,
        account=account.login or account.slug or "",
    )


def _names(repositories: list[InstalledRepository]) -> dict[str, str]:
    return {str(one.id): one.full_name for one in repositories}


class _Slug:
    """The App's name, asked of the store every few seconds."""

    def __init__(self, apps: Apps, monotonic: Callable[[], float]) -> None:
        self._apps = apps
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._known: str | None = None

    def get(self) -> str | None:
        """The name, None where there is none."""
        now = self._monotonic()
        with self._lock:
            if now < self._until:
                return self._known
        # By each for itself: in a line, a store that is out of order would be waited for in turn.
        found = self._apps.record()
        slug = found.slug if found is not None and found.slug else None
        with self._lock:
            self._known, self._until = slug, now + SLUG_SECONDS
        return slug
