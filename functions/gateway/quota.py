"""The deployment's quota in the store: what runs in one document, the sum of each day in another.

Every step takes a transaction, reads first and then writes, so that it happens together with what
the caller writes in it: a session that starts and its reservation are one commit. All that runs
stands in one document, over all days, because slots do not end at midnight; Firestore wants about
one sustained write a second on it, and five sessions that renew every 8 s are 0.6 of that. A
deployment with many more should renew less often.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

from claude_run.errors import CallerError
from gateway.ledger import LapsedError, Ledger, QuotaStatus, utc_day
from gateway.limit_settings import LimitSettings
from gateway.reservation import NOTHING, Amount, Reservation, Wanted
from gateway.sessions.record import Usage
from gateway.store import Collection, Document, Put, Transaction

__all__ = ["COLLECTION", "LapsedError", "Quota", "QuotaStatus", "Reservation", "Wanted"]

RETENTION = timedelta(days=35)

COLLECTION = Collection(name="quota", expires=True, unindexed=("runs", "tokens", "costMicros"))

_RUNS = "quota/running"


class Documents(Protocol):
    """A store, or a transaction of one."""

    def get(self, path: str) -> Document | None:
        """The document, or None."""


class Quota:
    """The quota's steps. Each is one read and one write phase of the transaction it is given."""

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings

    def reserve(
        self, tx: Transaction, run_id: str, wanted: Wanted, *, until: datetime, now: datetime
    ) -> Reservation:
        """A slot and a share, or `CallerError` QUOTA_EXCEEDED; the lease is the run's to renew."""
        ledger, reservation = self.read(tx, now).reserve(run_id, wanted, lease_until=until)
        write(tx, ledger)
        return reservation

    def renew(
        self, tx: Transaction, run_id: str, used: Usage, *, until: datetime, now: datetime
    ) -> None:
        """Renew a run's lease, with its usage so far. `LapsedError`: it must stop."""
        write(tx, self.read(tx, now).renew(run_id, used, lease_until=until))

    def settle(self, tx: Transaction, run_id: str, used: Usage, *, now: datetime) -> None:
        """End a run that used this; again, or after it was forgotten, nothing changes."""
        write(tx, self.read(tx, now).settle(run_id, used))

    def settle_crashed(
        self, tx: Transaction, run_id: str, logged: Usage, *, now: datetime
    ) -> Usage:
        """End a run that nobody drives any more; returns what it had used.

        `logged` is what its log tells, which it writes more often than it reports here.
        """
        ledger = self.read(tx, now)
        known = ledger.runs.get(run_id)
        write(tx, ledger.settle(run_id, logged))
        return known.reporting(logged).used if known else Usage()

    def status(self, documents: Documents, *, now: datetime) -> QuotaStatus:
        """The figures of now, for `/health`; needs no transaction."""
        return self.read(documents, now).status()

    def refusal(self, documents: Documents, *, now: datetime) -> CallerError | None:
        """Why a run with our key could not begin now; None: it could. Nothing is reserved."""
        return self.read(documents, now).refusal(own_key=False)

    def read(self, documents: Documents, now: datetime) -> Ledger:
        """The quota as it is: with what has lapsed by now lapsed."""
        found = documents.get(_RUNS)
        runs = [Reservation.from_data(data) for data in found.data["runs"]] if found else []
        # Of the days before, those alone that something may still be settled on: seldom any.
        days = {utc_day(now), *(run.day for run in runs)}
        return Ledger(
            settings=self._settings,
            now=now,
            runs={run.run_id: run for run in runs},
            settled={day: _sum(documents, day) for day in sorted(days)},
        ).expire()


def write(tx: Transaction, ledger: Ledger) -> None:
    """Store what a ledger has become. Whatever else the transaction reads comes before."""
    runs = [run.to_data() for run in ledger.runs.values()]
    tx.write(Put(_RUNS, {"runs": runs, "expireAt": ledger.now + RETENTION}))
    for day in sorted(ledger.changed):
        end = datetime.combine(day, time(), UTC) + RETENTION
        tx.write(Put(_path(day), {**ledger.settled[day].to_data(), "expireAt": end}))


def _path(day: date) -> str:
    return f"quota/{day.isoformat()}"


def _sum(documents: Documents, day: date) -> Amount:
    found = documents.get(_path(day))
    return Amount.from_data(found.data) if found else NOTHING
