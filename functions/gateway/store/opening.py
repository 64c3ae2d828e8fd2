"""From `STORE_URL` to a store."""

import os
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from claude_run.errors import ConfigurationError
from gateway.store.interface import Store
from gateway.store.schema import Collection, Schema

# https://cloud.google.com/resource-manager/docs/creating-managing-projects, old domain-scoped
# projects included; https://cloud.google.com/firestore/docs/manage-databases.
_PROJECT = re.compile(r"([a-z0-9.-]{1,100}:)?[a-z][a-z0-9-]{2,61}[a-z0-9]")
_DATABASE = re.compile(r"\(default\)|[a-z][a-z0-9-]{2,61}[a-z0-9]")


def _utc_now() -> datetime:
    return datetime.now(UTC)


def open_store(
    url: str, *, collections: Iterable[Collection], clock: Callable[[], datetime] = _utc_now
) -> Store:
    """The store at `sqlite:///PATH` or `firestore://PROJECT/DATABASE`, or `ConfigurationError`.

    The path is absolute, as in a file URL: `sqlite:///var/lib/x.db` is `/var/lib/x.db`. Nothing is
    opened yet, so this may run before a fork.
    """
    schema = Schema(collections)
    # Not urlsplit, to which `?` and `#` in the name of a folder mean something else.
    scheme, _, rest = url.partition("://")
    match scheme:
        case "sqlite" if rest.startswith("/") and not rest.endswith("/"):
            from gateway.store.sqlite import SqliteStore

            return SqliteStore(Path(rest), schema=schema, clock=clock)
        case "firestore":
            project, _, database = rest.partition("/")
            if _PROJECT.fullmatch(project) and _DATABASE.fullmatch(database):
                from gateway.store.firestore import FirestoreStore

                # Google's own variable, which its tools set.
                emulator = os.environ.get("FIRESTORE_EMULATOR_HOST") or None
                return FirestoreStore(
                    project, database, schema=schema, clock=clock, emulator=emulator
                )
    raise ConfigurationError(
        "STORE_URL must be sqlite:///PATH or firestore://PROJECT/DATABASE.",
        details={"setting": "STORE_URL"},
    )
