"""The GitHub App as it is known here: who it is, where it is installed, which repositories.

One document. The set-up writes it when GitHub has created the App; deliveries keep it true.
They come in any order, some twice and some days late, so every step may be done again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from claude_run.errors import CallerError, Code
from gateway.deployment import COLLECTION
from gateway.store import Put, Store, Transaction

PATH = f"{COLLECTION.name}/github"

# All in one document of less than a megabyte: so many repositories are known by name, at up to
# 165 bytes each, and of the others only how many they are.
MAX_REPOSITORIES = 4_000
# An App that is not public is installed by its owner alone; an enterprise has some more.
MAX_INSTALLATIONS = 100
# GitHub never gives an installation's number again: a late delivery must not bring one back.
MAX_REMOVED = 100
# An owner's 39 characters, a slash and a repository's 100.
MAX_NAME = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationRecord:
    """Where the App is installed; `repositories` are names (`owner/name`) by GitHub's number.

    `beyond`: how many more there are that are not kept by name. `is_whole`: all were told once,
    not only changes.
    """

    id: int
    account: str
    repositories: Mapping[str, str] = field(default_factory=dict)
    beyond: int = 0
    is_suspended: bool = False
    is_whole: bool = True

    @property
    def repository_count(self) -> int:
        """How many repositories it reaches."""
        return 0 if self.is_suspended else len(self.repositories) + self.beyond

    def to_data(self) -> dict[str, Any]:
        """As it stands in the document."""
        return {
            "account": self.account,
            "repositories": dict(self.repositories),
            "beyond": self.beyond,
            "suspended": self.is_suspended,
            "whole": self.is_whole,
        }

    @classmethod
    def from_data(cls, key: str, data: Mapping[str, Any]) -> Self:
        """What `to_data` gave."""
        return cls(
            id=int(key),
            account=data["account"],
            repositories=data["repositories"],
            beyond=data["beyond"],
            is_suspended=data["suspended"],
            is_whole=data["whole"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationRef:
    """The installation that a delivery is from, and the App it says it is of.

    `slug`: empty where it does not say.
    """

    app_id: str
    slug: str
    id: int
    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRecord:
    """The App. `installations` stand by their number, as text.

    `owner`: whose App it is; of one that somebody brought along, who installed it first. `url`:
    its page on GitHub, empty for one that was brought along. `key_digest` and
    `secret_digest`: of its private key and of its webhook secret, by which they are found in the
    vault while another App's are there as well. `removed`: installations that were.
    """

    app_id: str
    slug: str
    owner: str
    set_up_at: datetime
    url: str = ""
    is_organisation: bool = False
    key_digest: str = ""
    secret_digest: str = ""
    installations: Mapping[str, InstallationRecord] = field(default_factory=dict)
    removed: tuple[int, ...] = ()

    @property
    def repository_count(self) -> int:
        """How many repositories it reaches, by all installations."""
        return sum(one.repository_count for one in self.installations.values())

    @property
    def installation_id(self) -> int | None:
        """The oldest installation that works, None without one."""
        working = [one.id for one in self.installations.values() if not one.is_suspended]
        return min(working, default=None)

    def known(self, ref: InstallationRef) -> InstallationRecord:
        """What is known of an installation: nothing yet, if it is new."""
        found = self.installations.get(str(ref.id))
        return found or InstallationRecord(id=ref.id, account=ref.account, is_whole=False)

    def with_installation(self, installation: InstallationRecord) -> "AppRecord":
        """With this one in place of what was known of it, and within the bounds."""
        key = str(installation.id)
        others = {other: one for other, one in self.installations.items() if other != key}
        if len(others) >= MAX_INSTALLATIONS:
            return self
        room = MAX_REPOSITORIES - sum(len(one.repositories) for one in others.values())
        return replace(self, installations={**others, key: _bounded(installation, room)})

    def without_installation(self, number: int) -> "AppRecord":
        """Without this one, for good."""
        left = {key: one for key, one in self.installations.items() if one.id != number}
        return replace(self, installations=left, removed=(*self.removed, number)[-MAX_REMOVED:])

    def to_data(self) -> dict[str, Any]:
        """The document."""
        return {
            "appId": self.app_id,
            "slug": self.slug,
            "owner": self.owner,
            "setUpAt": self.set_up_at,
            "url": self.url,
            "organisation": self.is_organisation,
            "keyDigest": self.key_digest,
            "secretDigest": self.secret_digest,
            "installations": {key: one.to_data() for key, one in self.installations.items()},
            "removed": list(self.removed),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The App of a document."""
        return cls(
            app_id=data["appId"],
            slug=data["slug"],
            owner=data["owner"],
            set_up_at=data["setUpAt"],
            url=data["url"],
            is_organisation=data["organisation"],
            key_digest=data["keyDigest"],
            secret_digest=data.get("secretDigest", ""),
            installations={
                key: InstallationRecord.from_data(key, one)
                for key, one in data["installations"].items()
            },
            removed=tuple(data["removed"]),
        )


class Apps:
    """The App of this deployment, in the store; safe under threads and instances.

    `app_id`: the App that the environment names. What is stored of another one is then past.
    """

    def __init__(
        self, store: Store, clock: Callable[[], datetime], *, app_id: str | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._app_id = app_id

    def record(self) -> AppRecord | None:
        """What is known of the App; None before anything is."""
        found = self._store.get(PATH)
        return self._ours(AppRecord.from_data(found.data) if found else None)

    def store(self, record: AppRecord, *, replaces: str | None = None) -> None:
        """A new App; the same one again keeps its installations.

        `replaces`: the one it takes the place of. CONFLICT where there is another.
        """

        def work(transaction: Transaction) -> None:
            known = _read(transaction)
            kept = record
            if known is not None and known.app_id == record.app_id:
                kept = replace(record, installations=known.installations, removed=known.removed)
            elif known is not None and known.app_id != replaces:
                raise CallerError("There is another App already.", code=Code.CONFLICT)
            transaction.write(Put(PATH, kept.to_data()))

        self._store.transact(work)

    # --- what deliveries tell ------------------------------------------------------------------

    def installed(
        self,
        ref: InstallationRef,
        repositories: Mapping[str, str] | None,
        *,
        is_suspended: bool = False,
    ) -> None:
        """It is installed there. `repositories`: names by number of all, None where nobody said.

        What is known as a whole already stays: this may be an old delivery, and all later changes
        came by themselves.
        """
        self._change(
            ref,
            lambda record: record.with_installation(
                _merged(record.known(ref), repositories, is_suspended=is_suspended)
            ),
        )

    def removed(self, ref: InstallationRef) -> None:
        """It is installed there no more."""
        self._change(ref, lambda record: record.without_installation(ref.id))

    def repositories_changed(
        self, ref: InstallationRef, *, added: Mapping[str, str], removed: Iterable[str]
    ) -> None:
        """These were added (names by number), those (numbers) removed."""
        gone = frozenset(removed)
        self._change(
            ref,
            lambda record: record.with_installation(_changed(record.known(ref), added, gone)),
        )

    # --- what GitHub tells when it is asked ----------------------------------------------------

    def seen(
        self, app_id: str, installations: Sequence[InstallationRecord], *, slug: str = ""
    ) -> None:
        """These are all that the App has, now; `slug` is its name, where that was told.

        One that somebody brought along may have been installed long ago: no delivery told of it.
        """

        def work(transaction: Transaction) -> None:
            known = self._ours(_read(transaction))
            base = known or self._brought(app_id, installations)
            if base is None or base.app_id != app_id:
                return
            changed = replace(base, slug=slug or base.slug, installations={})
            for one in installations:
                changed = changed.with_installation(one)
            if changed != known:
                transaction.write(Put(PATH, changed.to_data()))

        self._store.transact(work)

    def _change(self, ref: InstallationRef, change: Callable[[AppRecord], AppRecord]) -> None:
        """One change of the App that a delivery is from, unless it is from another one."""

        def work(transaction: Transaction) -> None:
            stored = _read(transaction)
            known = self._ours(stored) or AppRecord(
                app_id=self._app_id or ref.app_id,
                slug=ref.slug,
                owner=ref.account,
                set_up_at=self._clock(),
            )
            if ref.app_id != known.app_id or ref.id in known.removed:
                return
            changed = change(replace(known, slug=ref.slug or known.slug))
            if changed != stored:
                transaction.write(Put(PATH, changed.to_data()))

        self._store.transact(work)

    def _brought(
        self, app_id: str, installations: Sequence[InstallationRecord]
    ) -> AppRecord | None:
        """An App that the environment names; None where it is another, or installed nowhere."""
        if app_id != self._app_id or not installations:
            return None
        owner = min(installations, key=lambda one: one.id).account
        return AppRecord(app_id=app_id, slug="", owner=owner, set_up_at=self._clock())

    def _ours(self, record: AppRecord | None) -> AppRecord | None:
        if record is not None and self._app_id not in (None, record.app_id):
            return None
        return record


def _read(transaction: Transaction) -> AppRecord | None:
    found = transaction.get(PATH)
    return AppRecord.from_data(found.data) if found else None


def _merged(
    known: InstallationRecord, repositories: Mapping[str, str] | None, *, is_suspended: bool
) -> InstallationRecord:
    merged = replace(known, is_suspended=is_suspended)
    if known.is_whole or repositories is None:
        return merged
    return replace(merged, repositories={**repositories, **known.repositories}, is_whole=True)


def _changed(
    known: InstallationRecord, added: Mapping[str, str], removed: frozenset[str]
) -> InstallationRecord:
    left = {key: name for key, name in known.repositories.items() if key not in removed}
    # One that is not known by name was one of those beyond, if there are any.
    unknown = len(removed - known.repositories.keys())
    return replace(known, repositories={**left, **added}, beyond=max(0, known.beyond - unknown))


def _bounded(installation: InstallationRecord, room: int) -> InstallationRecord:
    named = [one for one in installation.repositories.items() if len(one[1]) <= MAX_NAME]
    kept = dict(named[: max(0, room)])
    more = len(installation.repositories) - len(kept)
    return replace(installation, repositories=kept, beyond=installation.beyond + more)
