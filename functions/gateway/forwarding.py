"""`POST /run` through the gateway: the runner's bytes as they come, accounted for and bounded.

There is no log behind it: whoever leaves ends the run.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

import structlog
from pydantic import SecretStr

from claude_run.errors import (
    CallerError,
    ClaudeRunError,
    Code,
    StoppedError,
    UpstreamError,
    error_data,
)
from claude_run.events import ErrorEvent, parse_event
from claude_run.sse import Decoder, ServerSentEvent, encode_event
from claude_run.transport import EventStream
from claude_run.wire import RunRequest
from gateway.metrics import Metrics
from gateway.quota import LapsedError, Quota, Reservation, Wanted
from gateway.requests import STORED_KEY_UPSTREAM
from gateway.run_meter import RunMeter
from gateway.runner import Runner
from gateway.sessions.record import LEASE, Usage
from gateway.sessions.translate import Translator
from gateway.setup.claude_key import ANTHROPIC_KEY
from gateway.store import Store, StoreUnavailableError, Transaction
from gateway.vault import Vault

log = structlog.get_logger()

T = TypeVar("T")

# Functions cap a streaming answer at 10 MB.
MAX_ANSWER_BYTES = 8_000_000
RENEW_SECONDS = 8.0
# How soon it is noticed that a caller has left.
LOOK_SECONDS = 0.5
DRAIN_SECONDS = 5.0
SETTLE_ATTEMPTS = 5
SETTLE_PAUSE_SECONDS = 0.5
_DONE = encode_event(b"[DONE]", event="done")


class Seen:
    """What a run's events say that the gateway has to know; all others are passed on unread."""

    def __init__(self) -> None:
        self.done = False
        self.changes: str | None = None
        self.first_text_at: float | None = None
        self._decoder = Decoder()
        self._translator = Translator(turn=1)

    def feed(self, data: bytes) -> None:
        """Look through bytes that are passed on."""
        for event in self._decoder.feed(data):
            self._take(event)

    def _take(self, event: ServerSentEvent) -> None:
        match event.event:
            case "message":
                # Of a long stream nearly every line is a piece of text, which costs nothing here.
                if '"text_delta"' in event.data:
                    self.first_text_at = self.first_text_at or time.monotonic()
                elif '"usage"' in event.data or '"result"' in event.data:
                    self._translator.feed(parse_event(event.event, event.data))
            case "changes":
                self.changes = event.data
            case "error":
                self._translator.feed(parse_event(event.event, event.data))
            case "done":
                self.done = True

    @property
    def usage(self) -> Usage:
        """What the run has used so far."""
        return Usage.from_json(self._translator.usage)

    @property
    def tokens(self) -> int:
        """What of that counts against its tokens."""
        return self._translator.tokens_so_far

    @property
    def result(self) -> Any:  # noqa: ANN401 - Claude Code's own line
        """Claude Code's result line, None before it."""
        return self._translator.result

    @property
    def error(self) -> ErrorEvent | None:
        """The run's `error` event, if there was one."""
        return self._translator.error


class WholeEvents:
    """Bytes in, as they come; out what ends with an event's end, so that ours may follow."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """All that is whole by now."""
        start = max(0, len(self._rest) - 1)
        self._rest += chunk
        end = self._rest.rfind(b"\n\n", start) + 2
        if end < 2:
            return b""
        whole = bytes(self._rest[:end])
        del self._rest[:end]
        return whole


@dataclass(slots=True, kw_only=True, eq=False)
class ForwardedRun:
    """One run. Read `stream`, or ask for `whole`, once; `close` in any case."""

    upstream: EventStream
    max_tokens: int | None
    settle: Callable[["ForwardedRun"], None]
    seen: Seen = field(default_factory=Seen)
    _reason: ClaudeRunError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closing: bool = False
    _closed: threading.Event = field(default_factory=threading.Event)

    @property
    def headers(self) -> dict[str, str]:
        """The runner's headers that belong to the run."""
        given = self.upstream.headers
        names = ("X-Session-Id", "X-Instance-Id")
        return {name: given[name.lower()] for name in names if name.lower() in given}

    def stream(self) -> Iterator[bytes]:
        """The answer as the runner makes it; then `done`, whatever happened."""
        try:
            sent = 0
            for data in self._whole_events():
                sent += len(data)
                if sent > MAX_ANSWER_BYTES:
                    raise _too_large()
                yield data
        except ClaudeRunError as error:
            yield encode_event(_json(error_data(error)), event="error") + _DONE
        finally:
            self.close()

    def whole(self, request_id: str) -> tuple[int, dict[str, Any]]:
        """Status and body of the one object that `Accept: application/json` asks for."""
        failure: dict[str, object] | None = None
        status = 200
        try:
            for _ in self._whole_events():
                pass
            if (told := self.seen.error) is not None:
                failure = {"error": told.error, "code": told.code, "details": dict(told.details)}
                status = told.as_exception().http_status
        except ClaudeRunError as error:
            failure, status = error_data(error), error.http_status
        finally:
            self.close()
        body: dict[str, Any] = {
            "requestId": request_id,
            "sessionId": self.upstream.headers.get("x-session-id", ""),
            "result": self.seen.result,
            "changes": json.loads(self.seen.changes) if self.seen.changes else None,
            "error": failure,
        }
        if len(_json(body)) > MAX_ANSWER_BYTES:
            refusal = _too_large()
            body |= {"result": None, "changes": None, "error": error_data(refusal)}
            status = refusal.http_status
        return status, body

    def stop(self, reason: ClaudeRunError) -> None:
        """End the run from another thread; the first reason given is the one that is told."""
        self._reason = self._reason or reason
        self.upstream.close()

    def close(self) -> None:
        """End the run if it is not over, and settle its accounts; again is nothing."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self.upstream.close()
        try:
            self.settle(self)
        finally:
            self._closed.set()

    def wait_closed(self, seconds: float) -> bool:
        """Whether it is closed by then."""
        return self._closed.wait(seconds)

    def _whole_events(self) -> Iterator[bytes]:
        whole = WholeEvents()
        while (chunk := self._read()) is not None:
            data = whole.feed(chunk)
            if data:
                self.seen.feed(data)
                yield data
                self._check_tokens()
        if self._reason is not None:
            raise self._reason
        if not self.seen.done:
            raise UpstreamError("The stream ended before the run did.", code=Code.INTERRUPTED)

    def _read(self) -> bytes | None:
        try:
            return self.upstream.read()
        except UpstreamError:
            if self._reason is not None:
                return None
            raise

    def _check_tokens(self) -> None:
        if self.max_tokens is not None and self.seen.tokens > self.max_tokens:
            raise StoppedError(
                f"The run passed the tokens that were left for it ({self.max_tokens}).",
                code=Code.QUOTA_EXCEEDED,
            )


@dataclass(slots=True, kw_only=True)
class Forwarder:
    """Starts runs for callers, within the quota; safe under threads."""

    store: Store
    vault: Vault
    quota: Quota
    metrics: Metrics
    runner: Runner
    clock: Callable[[], datetime]
    _running: set[ForwardedRun] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _draining: bool = False

    def open(
        self, request: RunRequest, *, request_id: str, has_left: Callable[[], bool]
    ) -> ForwardedRun:
        """Reserve and start a run. Refused, by us or by the runner, it leaves no trace.

        `has_left`: whether the caller is gone, as far as its connection tells.
        """
        own_key = request.anthropic_api_key is not None
        request = self._with_credential(request)
        run_id = f"run.{uuid4().hex}"
        reservation = self._reserve(
            run_id, Wanted(cost_usd=request.max_budget_usd, own_key=own_key)
        )
        if reservation.budget_usd is not None:
            request = request.model_copy(update={"max_budget_usd": reservation.budget_usd})
        meter = RunMeter(self.metrics)
        try:
            upstream = self.runner.forward(request, request_id=request_id)
        except BaseException:
            self._settle(run_id, Usage())
            raise
        meter.begin()
        run = ForwardedRun(
            upstream=upstream,
            max_tokens=reservation.max_tokens,
            settle=lambda run: self._end(run_id, run, meter),
        )
        with self._lock:
            self._running.add(run)
            draining = self._draining
        if draining:
            run.stop(shutdown())
        threading.Thread(
            target=copy_context().run,  # its logs belong to the request
            args=(self._keep, run_id, run, has_left),
            name=run_id,
            daemon=True,
        ).start()
        return run

    def drain(self) -> None:
        """End all runs, and say so to their callers."""
        with self._lock:
            self._draining = True
            running = list(self._running)
        for run in running:
            run.stop(shutdown())
        deadline = time.monotonic() + DRAIN_SECONDS
        for run in running:
            run.wait_closed(max(0.0, deadline - time.monotonic()))

    def _with_credential(self, request: RunRequest) -> RunRequest:
        if request.anthropic_api_key is not None:
            return request
        base_url = request.anthropic_base_url
        if base_url is not None and base_url.rstrip("/") != STORED_KEY_UPSTREAM:
            raise CallerError(
                "anthropicBaseUrl: the stored key is not for this server. "
                "Send anthropicApiKey too.",
                code=Code.NO_CREDENTIAL,
                details={"field": "anthropicApiKey"},
            )
        key = self.vault.get(ANTHROPIC_KEY)
        if key is None:
            return request
        return request.model_copy(update={"anthropic_api_key": SecretStr(key)})

    # --- the accounts ------------------------------------------------------------------------

    def _reserve(self, run_id: str, wanted: Wanted) -> Reservation:
        def work(tx: Transaction) -> Reservation:
            now = self.clock()
            return self.quota.reserve(tx, run_id, wanted, until=now + LEASE, now=now)

        return self.store.transact(work)

    def _renew(self, run_id: str, used: Usage) -> None:
        def work(tx: Transaction) -> None:
            now = self.clock()
            self.quota.renew(tx, run_id, used, until=now + LEASE, now=now)

        self.store.transact(work)

    def _settle(self, run_id: str, used: Usage) -> None:
        for attempt in range(SETTLE_ATTEMPTS):
            if attempt:
                time.sleep(SETTLE_PAUSE_SECONDS)
            try:
                self.store.transact(
                    lambda tx: self.quota.settle(tx, run_id, used, now=self.clock())
                )
            except StoreUnavailableError:
                continue
            return
        # Its lease runs out, and what it reported last counts.
        log.warning("a run was not settled", run_id=run_id)

    def _keep(self, run_id: str, run: ForwardedRun, has_left: Callable[[], bool]) -> None:
        """While it runs: its lease, and whether its caller is still there."""
        renew_at = time.monotonic() + RENEW_SECONDS
        while not run.wait_closed(LOOK_SECONDS):
            if has_left():
                run.stop(StoppedError("The caller has left."))
            if time.monotonic() < renew_at:
                continue
            renew_at = time.monotonic() + RENEW_SECONDS
            try:
                self._renew(run_id, run.seen.usage)
            except LapsedError as error:
                run.stop(error)
            except StoreUnavailableError as error:
                log.warning("a lease was not renewed", run_id=run_id, reason=error.reason)

    def _end(self, run_id: str, run: ForwardedRun, meter: RunMeter) -> None:
        with self._lock:
            self._running.discard(run)
        self._settle(run_id, run.seen.usage)
        failed = not run.seen.done or run.seen.error is not None
        meter.end(first_text_at=run.seen.first_text_at, failed=failed)
        log.info("run forwarded", run_id=run_id, code=run.seen.error and run.seen.error.code)


def shutdown() -> ClaudeRunError:
    """Why a run ends when this process does."""
    return StoppedError("The gateway is shutting down.", code=Code.SHUTDOWN)


def _too_large() -> ClaudeRunError:
    return CallerError(
        f"The answer is larger than {MAX_ANSWER_BYTES} bytes. "
        "Start a session, whose stream can be taken up again, or call the runner.",
        code=Code.PAYLOAD_TOO_LARGE,
    )


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
