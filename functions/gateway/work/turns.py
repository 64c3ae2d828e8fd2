"""A turn of a session, driven for a work item: the same driver that `api` has in a thread."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from claude_run.client import Client
from claude_run.errors import CallerError, Code
from claude_run.wire import Changes
from gateway.metrics import Metrics
from gateway.quota import Wanted
from gateway.requests import MessageRequest, StartRequest
from gateway.sessions import continuing
from gateway.sessions.driver import Driver, Ended, Turn
from gateway.sessions.events import SessionEvent
from gateway.sessions.live import Feeds
from gateway.sessions.proposing import Propose
from gateway.sessions.record import Session
from gateway.sessions.registry import Claim, Registry
from gateway.store import Store
from gateway.vault import Vault
from gateway.work import outcome
from gateway.work.hold import Hold
from gateway.work.outcome import Outcome

Watch = Callable[[Sequence[SessionEvent]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """What all turns of a worker have in common."""

    registry: Registry
    store: Store
    vault: Vault
    client: Client
    metrics: Metrics
    clock: Callable[[], datetime]
    feeds: Feeds = field(default_factory=Feeds)

    def find(self, key: str) -> Session | None:
        """The session, if there is one; one that nobody drives any more is finalised first."""
        try:
            return self.registry.find(key)
        except CallerError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            return None

    def options(
        self, request: StartRequest | MessageRequest, *, session: Session | None
    ) -> dict[str, Any]:
        """The options of the runner's client for a turn."""
        return continuing.run_options(self.store, self.vault, request, session=session)

    def wanted(self, options: Mapping[str, Any]) -> Wanted:
        """What such a turn asks of the quota."""
        return Wanted(cost_usd=options.get("max_budget_usd"))

    def drive(
        self,
        hold: Hold,
        claim: Claim,
        prompt: str,
        options: dict[str, Any],
        *,
        watch: Watch = lambda _events: None,
        propose: Propose | None = None,
    ) -> Outcome:
        """Drive it to its end, whoever brings that about."""
        if claim.reservation.budget_usd is not None:
            options["max_budget_usd"] = claim.reservation.budget_usd
        driver = Driver(
            turn=Turn(
                claim=claim,
                prompt=prompt,
                options=options,
                changes=continuing.begins_with(options),
            ),
            registry=self.registry,
            store=self.store,
            client=self.client,
            feeds=self.feeds,
            metrics=self.metrics,
            clock=self.clock,
            watch=watch,
            propose=propose,
        )
        hold.driving(driver)
        try:
            driver.run()
        finally:
            hold.driving(None)
            # This process may end any time now; what it has counted is stored first.
            self.metrics.close()
        return self._outcome(hold, claim.session, driver.ended)

    def recover(self, hold: Hold) -> Outcome:
        """The outcome of a turn whose worker went away: it is over now, if it was not."""
        return self._outcome(hold, self.registry.find(hold.item.session or ""), None)

    def _outcome(self, hold: Hold, session: Session, ended: Ended | None) -> Outcome:
        session = self.registry.abandon(session.key, turn=hold.item.facts["turn"])
        changes = self.changes(session, turn=hold.item.facts["turn"])
        changed = changes is not None and bool(changes.files)
        if ended is None:
            return outcome.of_log(self.store, hold.item, session, changed=changed)
        return outcome.of_turn(ended, hold.item, session, changed=changed)

    def changes(self, session: Session, *, turn: int) -> Changes | None:
        """What differs from the base since this turn of it; None where it has told nothing."""
        # Of an earlier turn, what is kept has been published with that one.
        if not (session.changes_version or "").startswith(f"{turn:06d}-"):
            return None
        value = continuing.kept_changes(self.store, session)
        return Changes.model_validate(value) if value is not None else None
