"""What is set up, as it stands in store, vault and settings: for pages, status and health."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.counters import Counts
from gateway.github.credentials import app_key
from gateway.github.settings import GitHubSettings
from gateway.metrics import read_counts
from gateway.setup.claude_key import ClaudeKey
from gateway.setup.record import AppRecord, Apps
from gateway.store import Store
from gateway.timestamp import iso
from gateway.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFacts:
    """The App. `is_brought`: the environment names it or one of its secrets.

    `is_configured`: its number and its key are there, so that GitHub can be asked.
    """

    app_id: str | None
    record: AppRecord | None
    is_brought: bool
    is_configured: bool

    @property
    def repository_count(self) -> int:
        """How many repositories it reaches."""
        return self.record.repository_count if self.record is not None else 0

    def status(self) -> dict[str, Any]:
        """The `github` of `GET /gh-status`."""
        status: dict[str, Any] = {"configured": self.is_configured}
        if self.app_id is not None:
            status["appId"] = self.app_id
            if self.record is not None:
                status["owner"] = self.record.owner
            status["repositoryCount"] = self.repository_count
        return status

    def health(self, counts: Counts) -> dict[str, Any]:
        """The `github` of `GET /health`."""
        number = self.record.installation_id if self.record is not None else None
        return {
            **({"appId": self.app_id} if self.app_id is not None else {}),
            **({"installationId": str(number)} if number is not None else {}),
            "repositoryCount": self.repository_count,
            **counts.webhook_stats(),
        }


class Facts:
    """Looks into store and vault; safe under threads."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        settings: GitHubSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._vault = vault
        self._settings = settings
        self.apps = Apps(store, clock, app_id=settings.app_id)
        self.claude = ClaudeKey(store, vault, clock)

    def app(self) -> AppFacts:
        """What is known of the App now."""
        record = self.apps.record()
        settings = self._settings
        brought = (settings.app_id, settings.private_key, settings.webhook_secret)
        return AppFacts(
            app_id=settings.app_id or (record.app_id if record is not None else None),
            record=record,
            is_brought=any(one is not None for one in brought),
            is_configured=app_key(settings, self._vault, record) is not None,
        )

    def counts(self) -> Counts:
        """The deployment's counters, deliveries among them."""
        return read_counts(self._store)

    def status(self) -> dict[str, Any]:
        """The body of `GET /gh-status`."""
        has_key = self.claude.is_stored()
        at = self.claude.stored_at() if has_key else None
        claude = {"configured": has_key, **({"setupAt": iso(at)} if at is not None else {})}
        return {"github": self.app().status(), "claude": claude}
