"""What every function has in its process: settings, store, vault, counters, workers, a clock."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.metrics import Metrics
from gateway.settings import CommonSettings
from gateway.store import Collection, Store, open_store
from gateway.vault import Vault, open_vault
from gateway.work.starter import Starter, open_starter


@dataclass(slots=True, kw_only=True)
class Instance:
    """One for each process; everything in it is safe under threads."""

    settings: CommonSettings
    store: Store
    vault: Vault
    metrics: Metrics
    starter: Starter
    clock: Callable[[], datetime]

    def drain(self) -> None:
        """Leave nothing undone; on SIGTERM."""
        self.metrics.close()
        self.starter.close()


def utc_now() -> datetime:
    """The clock of a deployment."""
    return datetime.now(UTC)


def open_instance(
    settings: CommonSettings, *, collections: Iterable[Collection], routes: Iterable[str] = ()
) -> Instance:
    """The instance of this process; `ConfigurationError` where a URL cannot be used.

    Nothing is connected yet: that happens where it is first used. `routes`: the templates of the
    paths that are counted by name.
    """
    store = open_store(settings.store_url, collections=collections, clock=utc_now)
    return Instance(
        settings=settings,
        store=store,
        vault=open_vault(settings.vault_url),
        metrics=Metrics(store, routes=routes),
        starter=open_starter(settings),
        clock=utc_now,
    )
