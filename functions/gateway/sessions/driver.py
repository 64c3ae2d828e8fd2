"""Drives one turn: from the runner's stream to the session's log, its accounts and its end.

The same for `api`, where it is a thread beside the request, and for the worker, where it is the
main program. Whether anybody reads along makes no difference to it.
"""

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from claude_run import spans
from claude_run.client import Client
from claude_run.errors import ClaudeRunError, Code, StoppedError, UpstreamError
from claude_run.events import ChangesEvent, DoneEvent, RunEvent, TranscriptEvent
from claude_run.spans import Span
from claude_run.wire import Changes
from gateway.quota import LapsedError
from gateway.sessions import blobs, events
from gateway.sessions.events import SessionEvent
from gateway.sessions.joiner import Joiner
from gateway.sessions.live import Feed, Feeds
from gateway.sessions.log import Frame, batch_path
from gateway.sessions.proposing import Proposal, Propose, Proposing
from gateway.sessions.pump import Opened, Pump, Received
from gateway.sessions.record import Continuation, StaleLeaseError, Usage
from gateway.sessions.registry import CANCELLED, Claim, Registry
from gateway.sessions.translate import Translator
from gateway.sessions.writer import LogWriter
from gateway.store import AlreadyExistsError, Store, StoreUnavailableError

log = structlog.get_logger()

RENEW_SECONDS = 8.0
# How long a checkpoint may be stored and not yet named in the record.
NAME_SECONDS = 1.0
CANCEL_LOOK_SECONDS = 0.5
# Events between the runner's stream and us; then the runner, and Claude Code behind it, wait.
QUEUED_EVENTS = 1_024
# An unreachable store is tried again until our lease must have run out.
STORE_PATIENCE_SECONDS = 25.0
STORE_PAUSE_SECONDS = 0.5


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
    clock: Callable[[], datetime]
    watch: Callable[[Sequence[SessionEvent]], None] = lambda _events: None
    propose: Propose | None = None
    ended: Ended | None = None
    _feed: Feed = field(init=False)
    _writer: LogWriter = field(init=False)
    _translator: Translator = field(init=False)
    _joiner: Joiner = field(init=False, default_factory=Joiner)
    _stop: ClaudeRunError | None = None
    _pending_transcript: list[Any] = field(default_factory=list)
    _transcript_number: int = 0
    _kept: Continuation = field(default_factory=Continuation)
    _renew_at: float = 0.0
    _changes: Changes | None = None

    def __post_init__(self) -> None:
        claim = self.turn.claim
        self._feed = self.feeds.open(claim.session.key)
        self._changes = self.turn.changes
        self._translator = Translator(turn=claim.session.turn, changes=self.turn.changes)
        self._writer = LogWriter(feed=self._feed, flush=self._flush, last_id=claim.last_event_id)

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
        received: queue.Queue[Received] = queue.Queue(QUEUED_EVENTS)
        pump = Pump(
            name=f"pump-{session.key}",
            open_stream=lambda: self.client.run(self.turn.prompt, **self.turn.options),
            received=received,
        )
        try:
            return self._follow(received, self._reason_to_stop)
        finally:
            pump.close()

    def _proposed(self, propose: Propose) -> tuple[ClaudeRunError | None, str | None]:
        """What ended it early, and the pull request's URL. That there is none ends nothing."""
        received: queue.Queue[Received] = queue.Queue(QUEUED_EVENTS)
        work = Proposing(
            propose,
            changes=self._changes,
            result=self._translator.result_text,
            put=received.put,
            stopped=self._asked_to_stop,
        )
        work.start(name=f"pull-{self.turn.claim.session.key}")
        failure = self._follow(received, self._asked_to_stop)
        told = work.proposal
        if told is None or told.url is None:
            # Whoever ended the turn has ended this with it.
            failure = failure or self._asked_to_stop()
        if told is None or (failure is not None and told.url is None):
            return failure, None
        self._add([events.status(told.message, code=told.code, pr_url=told.url)])
        return failure, told.url

    def _follow(
        self,
        received: "queue.Queue[Received]",
        reason_to_stop: Callable[[], ClaudeRunError | None],
    ) -> ClaudeRunError | None:
        """Until all is received or something ends it. Returns what it failed with."""
        self._renew_at = time.monotonic() + RENEW_SECONDS
        look_at = time.monotonic() + CANCEL_LOOK_SECONDS
        while True:
            now = time.monotonic()
            if (reason := reason_to_stop()) is not None:
                return reason
            if now >= self._renew_at:
                self._renew()
                self._renew_at = now + RENEW_SECONDS
                look_at = now + CANCEL_LOOK_SECONDS
            elif now >= look_at:
                self._look()
                look_at = now + CANCEL_LOOK_SECONDS
            self._flush_due(now)
            try:
                event = received.get(timeout=self._wait(now, min(self._renew_at, look_at)))
            except queue.Empty:
                self._add(self._joiner.flush() if self._join_due() else [])
                continue
            if isinstance(event, ClaudeRunError):
                return event
            if isinstance(event, Opened):
                self._kept = replace(self._kept, runner_session=event.session_id)
                continue
            if isinstance(event, DoneEvent):
                return self._outcome()
            if isinstance(event, Proposal):
                return None
            self._take(event)

    def _take(self, event: RunEvent) -> None:
        if isinstance(event, TranscriptEvent):
            self._pending_transcript.append(event.part.model_dump(mode="json", by_alias=True))
            return
        if isinstance(event, ChangesEvent):
            self._changes = event.changes
            self._keep_changes(event)
        translated = self._translator.feed(event)
        if translated:
            self._add(self._joiner.push(translated, time.monotonic()))

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
        self._store_transcript()
        session = self.turn.claim.session
        usage = self._usage()
        if failure is None:
            ending = events.complete(
                session_id=session.session_id,
                turns=session.turn,
                result=self._translator.result_text,
                usage=(session.usage + usage).to_json(),
                pr_url=pull,
            )
        else:
            ending = events.error(failure.message, failure.code)
        self._patiently(self._writer.store)
        frame = self._writer.reserve(ending, timestamp=self.clock())
        self._patiently(
            lambda: self.registry.end(self.turn.claim, [frame], failure, usage, self._kept)
        )
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

    # --- storing -----------------------------------------------------------------------------

    def _add(self, added: list[SessionEvent]) -> None:
        if added:
            self._writer.add(added, timestamp=self.clock(), now=time.monotonic())
            self.watch(added)

    def _flush(self, frames: list[Frame]) -> None:
        self._heed(self._patiently(lambda: self._append(frames)))

    def _append(self, frames: list[Frame]) -> bool:
        try:
            return self.registry.append(self.turn.claim, frames)
        except AlreadyExistsError as error:
            # An earlier try was stored and its answer lost: nobody else writes these numbers.
            if error.path != batch_path(self.turn.claim.session.key, frames[0].id):
                raise
            return False

    def _flush_due(self, now: float) -> None:
        due = self._writer.due(now)
        if due is not None and due <= 0:
            self._writer.store()

    def _renew(self) -> None:
        self._store_transcript()
        try:
            asked = self._patiently(
                lambda: self.registry.renew(self.turn.claim, self._usage(), self._kept)
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

    def _patiently(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `work` returns
        """Try again while the store cannot answer and our lease may still hold."""
        deadline = time.monotonic() + STORE_PATIENCE_SECONDS
        while True:
            try:
                return work()
            except StoreUnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(STORE_PAUSE_SECONDS)

    def _keep_changes(self, event: ChangesEvent) -> None:
        """The newest change set, whole under a version of its own before the record names it."""
        claim = self.turn.claim
        collection = f"{claim.session.path}/changes"
        version = f"{claim.session.turn:06d}-{self._writer.last_id:019d}"
        value = event.changes.model_dump(mode="json", by_alias=True, exclude_none=True)
        value.setdefault("base", None)
        self._patiently(
            lambda: blobs.append(self.store, collection, version, value, expire_at=claim.expire_at)
        )
        self._kept = replace(self._kept, changes_version=version)
        # Whoever takes over finds what the record names. The last one is followed by the end.
        self._renew_at = min(self._renew_at, time.monotonic() + NAME_SECONDS)

    def _store_transcript(self) -> None:
        if not self._pending_transcript:
            return
        claim = self.turn.claim
        self._transcript_number += 1
        prefix = f"{claim.session.turn:06d}-{self._transcript_number:08d}"
        parts, self._pending_transcript = self._pending_transcript, []
        collection = f"{claim.session.path}/transcript"
        self._patiently(
            lambda: blobs.append(self.store, collection, prefix, parts, expire_at=claim.expire_at)
        )

    # --- small things ------------------------------------------------------------------------

    def _usage(self) -> Usage:
        return Usage.from_json(self._translator.usage)

    def _join_due(self) -> bool:
        due = self._joiner.due(time.monotonic())
        return due is not None and due <= 0

    def _wait(self, now: float, until: float) -> float:
        waits = [until - now]
        waits += [due for due in (self._writer.due(now), self._joiner.due(now)) if due is not None]
        return max(0.001, min(waits))
