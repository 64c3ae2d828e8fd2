"""Drives one turn: from the runner's stream to the session's log, its accounts and its end.

The same for `api`, where it is a thread beside the request, and for the worker, where it is the
main program. Whether anybody reads along makes no difference to it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from claude_run import spans
from claude_run.client import Client
from claude_run.errors import ClaudeRunError, Code, StoppedError, UpstreamError
from claude_run.events import ChangesEvent, DoneEvent, RunEvent, TranscriptEvent
from claude_run.spans import Span
from claude_run.wire import Changes
from gateway.metrics import Metrics
from gateway.quota import LapsedError
from gateway.run_meter import RunMeter
from gateway.sessions import events
from gateway.sessions.events import SessionEvent
from gateway.sessions.joiner import Joiner
from gateway.sessions.keeper import Keeper, Keeping
from gateway.sessions.live import Feed, Feeds
from gateway.sessions.log import Frame, batch_path
from gateway.sessions.patience import patiently
from gateway.sessions.proposing import Propose, Proposing
from gateway.sessions.pump import Opened, Pump, Received
from gateway.sessions.record import StaleLeaseError, Usage
from gateway.sessions.registry import CANCELLED, Claim, Registry
from gateway.sessions.skim import Said
from gateway.sessions.translate import Translator
from gateway.sessions.writer import LogWriter
from gateway.store import AlreadyExistsError, Store, StoreUnavailableError

log = structlog.get_logger()

RENEW_SECONDS = 8.0
CANCEL_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a driver needs to begin: its claim and the runner's options."""

    claim: Claim
    prompt: str
    options: Mapping[str, Any] = field(repr=False)  # keys of the caller's may be among them
    changes: Changes | None = None  # what the turn begins with


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a turn ended, beyond what its log tells; `denied` are the tools that it was refused."""

    failure: ClaudeRunError | None
    result: str
    usage: Usage
    agent_turns: int | None
    denied: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Driver:
    """One turn. `run` once, in a thread of its own; it raises nothing.

    `watch` is given, in that thread, the events just added to the log, the terminal one when it is
    stored. The turn waits for it: it may neither block nor raise. `propose` opens a pull request
    for what a turn that succeeded has changed. `ended` is there when the turn's end is stored;
    None: somebody else ends it.
    """

    turn: Turn
    registry: Registry
    store: Store
    client: Client
    feeds: Feeds
    metrics: Metrics
    clock: Callable[[], datetime]
    watch: Callable[[Sequence[SessionEvent]], None] = lambda _events: None
    propose: Propose | None = None
    ended: Ended | None = None
    _feed: Feed = field(init=False)
    _writer: LogWriter = field(init=False)
    _translator: Translator = field(init=False)
    _keeper: Keeper = field(init=False)
    _joiner: Joiner = field(init=False, default_factory=Joiner)
    _stop: ClaudeRunError | None = None
    _changes: Changes | None = None
    _renew_at: float = 0.0
    _look_at: float = 0.0

    def __post_init__(self) -> None:
        claim = self.turn.claim
        self._feed = self.feeds.open(claim.session.key)
        self._translator = Translator(turn=claim.session.turn, changes=self.turn.changes)
        self._writer = LogWriter(feed=self._feed, flush=self._flush, last_id=claim.last_event_id)
        self._keeper = Keeper(self.store, claim.session)
        self._changes = self.turn.changes

    def stop(self, error: ClaudeRunError) -> None:
        """End the turn from another thread; the first reason given is the one that is told."""
        self._stop = self._stop or error

    def run(self) -> None:
        """Drive the turn to its end."""
        session = self.turn.claim.session
        with spans.span("session.turn", session=session.key, turn=session.turn) as span:
            self._run(span)

    def _run(self, span: Span) -> None:
        session = self.turn.claim.session
        try:
            failure, pull = self._drive(), None
            self._add([*self._joiner.flush(), events.claude_end(session.turn)])
            if failure is None and self.propose is not None:
                failure, pull = self._proposed(self.propose)
            if failure is not None:
                span.fail(failure.code)
            self._conclude(failure, pull)
        except StaleLeaseError:
            span.fail(StaleLeaseError.__name__)
            log.warning("session was taken over", session=session.key)
        except Exception as error:
            span.fail(type(error).__name__)
            # Its lease runs out, and whoever looks next finalises it.
            log.exception("driver failed", session=session.key)
        finally:
            self.feeds.close(session.key, self._feed)

    # --- the turn ----------------------------------------------------------------------------

    def _drive(self) -> ClaudeRunError | None:
        session = self.turn.claim.session
        opening = [events.claude_start(session.turn, self.turn.prompt)]
        if self.turn.claim.last_event_id == 0:
            opening.insert(0, events.connected(session.session_id))
        self._add(opening)
        meter = RunMeter(self.metrics)
        failure: ClaudeRunError | None = UpstreamError("The turn broke.")
        pump = Pump(
            name=f"pump-{session.key}",
            open_stream=lambda: self.client.run(self.turn.prompt, **self.turn.options),
        )
        try:
            failure = self._follow(pump, meter)
        finally:
            pump.close()
            # Who cancels a run does not say that it failed.
            failed = failure is not None and failure.code is not Code.CANCELLED
            meter.end(first_text_at=self._joiner.first_at, failed=failed)
        return failure

    def _follow(self, pump: Pump, meter: RunMeter) -> ClaudeRunError | None:
        """Until the stream ends or something ends it. Returns what it failed with."""
        self._renew_at = time.monotonic() + RENEW_SECONDS
        self._look_at = time.monotonic() + CANCEL_LOOK_SECONDS
        while True:
            if (reason := self._reason_to_stop()) is not None:
                return reason
            for received in self._receive(pump, self._tend(time.monotonic())):
                match received:
                    case Opened(session_id=runner_session):
                        meter.begin()
                        self._keeper.opened(runner_session)
                    case ClaudeRunError() as error:
                        return error
                    case batch:
                        if self._take(batch):
                            return self._outcome()
            self._add(self._joiner.flush_due(time.monotonic()))

    def _proposed(self, propose: Propose) -> tuple[ClaudeRunError | None, str | None]:
        """What ended it early, and the pull request's URL. That there is none ends nothing."""
        work = Proposing(
            propose,
            changes=self._changes,
            result=self._translator.result_text,
            stopped=self._asked_to_stop,
        )
        work.start(name=f"pull-{self.turn.claim.session.key}")
        while not work.wait(self._tend(time.monotonic()) - time.monotonic()):
            if self._asked_to_stop() is not None:
                break
        told = work.proposal
        # Whoever ended the turn has ended this with it.
        failure = None if told is not None and told.url is not None else self._asked_to_stop()
        if told is None or failure is not None:
            return failure, None
        self._add([events.status(told.message, code=told.code, pr_url=told.url)])
        return None, told.url

    def _tend(self, now: float) -> float:
        """Keep the lease, hear who cancels, store what is due; until when that is enough."""
        if now >= self._renew_at:
            self._renew()
            self._renew_at = now + RENEW_SECONDS
            self._look_at = now + CANCEL_LOOK_SECONDS
        elif now >= self._look_at:
            self._look()
            self._look_at = now + CANCEL_LOOK_SECONDS
        self._store_due(now)
        return min(self._renew_at, self._look_at)

    def _receive(self, pump: Pump, until: float) -> list[Received]:
        now = time.monotonic()
        joining = self._joiner.due(now)
        if joining is not None:
            # More may come in these milliseconds: to be woken for each piece of a stream of
            # thousands would cost more than the pieces do.
            time.sleep(joining)
            return pump.receive(0.0)
        dues = (self._writer.due(now), self._keeper.due(now))
        return pump.receive(max(0.0, min([until - now, *(d for d in dues if d is not None)])))

    def _take(self, batch: Sequence[RunEvent | Said]) -> bool:
        """Tell what has come, and have it kept. Returns whether the run is over."""
        told: list[SessionEvent] = []
        for event in batch:
            if isinstance(event, TranscriptEvent):
                self._keeper.add(event.part, time.monotonic())
            elif isinstance(event, ChangesEvent):
                self._keeper.change(event.changes)
                self._changes = event.changes
            told += self._translator.feed(event)
        self._add(self._joiner.push(told, time.monotonic()))
        return bool(batch) and isinstance(batch[-1], DoneEvent)

    def _outcome(self) -> ClaudeRunError | None:
        told = self._translator.error
        if told is not None:
            return told.as_exception()
        if not self._translator.succeeded:
            return UpstreamError("The run ended without a result.", code=Code.AGENT_FAILED)
        return None

    def _asked_to_stop(self) -> ClaudeRunError | None:
        if self._feed.cancelled and self._stop is None:
            self._stop = StoppedError(CANCELLED, code=Code.CANCELLED)
        return self._stop

    def _reason_to_stop(self) -> ClaudeRunError | None:
        if (asked := self._asked_to_stop()) is not None:
            return asked
        limit = self.turn.claim.reservation.max_tokens
        if limit is not None and self._translator.tokens_so_far > limit:
            return StoppedError(
                f"The run passed the tokens that were left for it ({limit}).",
                code=Code.QUOTA_EXCEEDED,
            )
        return None

    def _conclude(self, failure: ClaudeRunError | None, pull: str | None) -> None:
        """The terminal event and the final state, stored together, behind all the others."""
        session, claim = self.turn.claim.session, self.turn.claim
        usage = self._usage()
        if failure is None:
            ending = events.complete(
                session_id=session.session_id,
                turns=session.turn,
                result=self._translator.result_text,
                usage=(session.usage + usage).to_json(),
                agent_turns=self._translator.agent_turns,
                pr_url=pull,
            )
        else:
            ending = events.error(failure.message, failure.code)
        self._keeper.hurry()
        self._store()
        frame = self._writer.reserve(ending, timestamp=self.clock())
        patiently(lambda: self.registry.end(claim, [frame], failure, usage, self._keeper.named))
        self.ended = Ended(
            failure=failure,
            result=self._translator.result_text,
            usage=usage,
            agent_turns=self._translator.agent_turns,
            denied=self._translator.denied,
        )
        self._writer.show(frame)
        self.watch([ending])
        log.info(
            "turn ended",
            session=session.key,
            turn=session.turn,
            code=str(failure.code) if failure else None,
        )

    # --- telling and storing -----------------------------------------------------------------

    def _add(self, added: list[SessionEvent]) -> None:
        if added:
            self._writer.add(added, timestamp=self.clock(), now=time.monotonic())
            self.watch(added)

    def _store_due(self, now: float) -> None:
        if 0.0 in (self._writer.due(now), self._keeper.due(now)):
            self._store()

    def _store(self) -> None:
        """All events that wait, with what is due to be kept."""
        self._writer.store()
        if self._keeper.due(time.monotonic()) == 0.0:  # there were no events to take it along
            self._flush([])

    def _flush(self, frames: list[Frame]) -> None:
        keeping = self._keeper.take(time.monotonic())
        self._heed(patiently(lambda: self._append(frames, keeping)))

    def _append(self, frames: list[Frame], keeping: Keeping) -> bool:
        try:
            return self.registry.append(self.turn.claim, frames, self._usage(), keeping)
        except AlreadyExistsError as error:
            # An earlier try was stored and its answer lost: nobody else writes these numbers.
            if not frames or error.path != batch_path(self.turn.claim.session.key, frames[0].id):
                raise
            return False

    def _renew(self) -> None:
        try:
            asked = patiently(
                lambda: self.registry.renew(self.turn.claim, self._usage(), self._keeper.named)
            )
        except LapsedError as error:
            self.stop(error)
        else:
            self._heed(asked)

    def _look(self) -> None:
        try:
            found = self.registry.find(self.turn.claim.session.key)
        except StoreUnavailableError:
            return
        found.held(self.turn.claim.fence)
        self._heed(found.cancel_requested)

    def _heed(self, cancel_requested: bool) -> None:
        if cancel_requested:
            self._feed.cancel()

    # --- small things ------------------------------------------------------------------------

    def _usage(self) -> Usage:
        return Usage.from_json(self._translator.usage)
