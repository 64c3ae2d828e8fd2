"""What a worker does with a session's turn that was left to it, state by state."""

from dataclasses import dataclass
from typing import Any

import structlog

from claude_run.errors import CallerError, ClaudeRunError, Code
from claude_run.wire import parse
from gateway.github.reach import recalled
from gateway.pull_requests import PullRequests
from gateway.requests import MessageRequest, StartRequest
from gateway.sessions import blobs
from gateway.sessions.record import Session, StaleLeaseError
from gateway.store import Store
from gateway.work.hold import Hold
from gateway.work.leaving import Request
from gateway.work.outcome import Outcome
from gateway.work.record import State
from gateway.work.turns import Turns
from gateway.work.waiting import wait_for_quota

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachedSteps:
    """One for each worker; safe under threads."""

    store: Store
    turns: Turns
    pull_requests: PullRequests

    def take(self, hold: Hold) -> None:
        """On to its end, or until it is put off or interrupted."""
        if hold.item.state is State.CLAIMED:
            self._run(hold)
        elif hold.item.state is State.RUNNING:
            hold.produced(self.turns.recover(hold).to_data())
        if hold.item.state is State.PRODUCED:
            hold.published({})
        if hold.item.state is State.PUBLISHED:
            hold.finish(Outcome.from_data(hold.item.outcome).state)

    def fail(self, hold: Hold, error: ClaudeRunError) -> None:
        """Give it up; whoever follows the session sees that it ended."""
        item = hold.item
        key, turn = item.session or "", int(item.key.rpartition(".")[2])
        if self.turns.find(key) is not None:
            self.turns.registry.abandon(key, turn=turn)
        hold.finish(State.FAILED, outcome=Outcome.of_failure(error).to_data())

    def _run(self, hold: Hold) -> None:
        key, turn = hold.item.session or "", int(hold.item.key.rpartition(".")[2])
        session = self.turns.find(key)
        if session is None or session.over or session.turn != turn:
            hold.finish(State.CANCELLED)
            return
        request = self._request(session)
        options = self.turns.options(request, session=session)
        reach = recalled(session.options)
        self.pull_requests.lend(reach, options)
        try:
            claim = hold.begin(
                session=key,
                facts={"turn": turn, "before": session.usage.to_json()},
                within=lambda tx: self.turns.registry.take_up_in(
                    tx, key, self.turns.wanted(options)
                ),
            )
        except StaleLeaseError:
            hold.finish(State.CANCELLED)
            return
        except CallerError as error:
            if error.code is not Code.QUOTA_EXCEEDED:
                raise
            wait_for_quota(hold, error, now=self.turns.clock())
            return
        propose = self.pull_requests.propose(reach, claim.session, request.prompt)
        outcome = self.turns.drive(hold, claim, request.prompt, options, propose=propose)
        hold.produced(outcome.to_data())

    def _request(self, session: Session) -> Request:
        prefix = f"{session.turn:06d}"
        value: Any = next(blobs.read(self.store, f"{session.path}/requests", prefix=prefix), {})
        if session.turn == 1:
            return parse(StartRequest, value)
        return parse(MessageRequest, value)
