"""The way to GitHub in one process, made where it is first needed: its client is slow to import."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gateway.github.credentials import AppKey, app_key
from gateway.github.patience import PATIENCE_SECONDS
from gateway.github.settings import GitHubSettings
from gateway.setup.record import Apps
from gateway.store import Store
from gateway.vault import Vault

if TYPE_CHECKING:
    from gateway.github.access import GitHubAccess


class GitHubApp:
    """The App of this deployment. Safe under threads; nothing is imported or asked before use.

    `patience`: seconds that one call to GitHub may wait for a limit or an outage to end.
    """

    def __init__(
        self,
        settings: GitHubSettings,
        store: Store,
        vault: Vault,
        clock: Callable[[], datetime],
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._patience = patience
        self._settings = settings
        self._vault = vault
        self._clock = clock
        self._apps = Apps(store, clock, app_id=settings.app_id)
        self._lock = threading.Lock()
        self._access: GitHubAccess | None = None

    def key(self) -> AppKey | None:
        """The App's key as it is now; None where no App is set up."""
        return app_key(self._settings, self._vault, self._apps.record())

    def access(self) -> "GitHubAccess":
        """The way there; it asks for the key each time."""
        from gateway.github.access import GitHubAccess

        with self._lock:
            if self._access is None:
                self._access = GitHubAccess(
                    settings=self._settings,
                    key=self.key,
                    clock=self._clock,
                    patience=self._patience,
                )
            return self._access

    def check(self) -> dict[str, Any] | None:
        """What GitHub says of the App; None where none is set up."""
        if self.key() is None:
            return None
        from gateway.github.appcheck import check

        return check(self.access(), self._clock)

    def ask_for_failed_deliveries(self) -> int:
        """Have deliveries come again that GitHub could not bring. Returns how many."""
        if self.key() is None:
            return 0
        from gateway.github.redeliveries import Redeliveries

        return Redeliveries(self.access(), self._clock).ask()
