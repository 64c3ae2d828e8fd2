"""What the gateway does for its callers, without a word of HTTP."""

import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from claude_run.client import Client
from claude_run.errors import ClaudeRunError, Code, StoppedError
from claude_run.identity import Caller
from claude_run.wire import Changes
from gateway.forwarding import ANTHROPIC_KEY, Forwarder
from gateway.health import Health
from gateway.limits import Limits
from gateway.metrics import Metrics
from gateway.quota import Quota, Wanted
from gateway.requests import MessageRequest, StartRequest, to_run_options
from gateway.runner import Runner
from gateway.sessions import blobs
from gateway.sessions.driver import Driver, Turn
from gateway.sessions.live import Feeds
from gateway.sessions.reader import LogReader
from gateway.sessions.record import LEASE, Session, Status, key_of
from gateway.sessions.registry import Claim, Registry
from gateway.settings import Settings
from gateway.store import Store
from gateway.vault import Vault

DRAIN_SECONDS = 7.0
# A thread for the turn and one for its stream; 5 sessions are the default, more a choice.
MAX_DRIVERS = 200


@dataclass(slots=True, kw_only=True)
class Gateway:
    """One for each process; everything in it is safe under threads."""

    settings: Settings
    store: Store
    vault: Vault
    client: Client
    limits: Limits
    metrics: Metrics
    quota: Quota
    registry: Registry
    forwarder: Forwarder
    runner: Runner
    health: Health
    clock: Callable[[], datetime]
    feeds: Feeds = field(default_factory=Feeds)
    _drivers: dict[str, tuple[Driver, threading.Thread]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _draining: bool = False
    _closing: threading.Event = field(default_factory=threading.Event)

    # --- sessions ----------------------------------------------------------------------------

    def start(self, caller: Caller, request: StartRequest) -> LogReader:
        """Begin a session and drive it here; the reader shows it from its first event."""
        self._check_room()
        now = self.clock()
        session_id = request.session_id or str(uuid4())
        key = key_of(caller.sub, session_id)
        options = self._run_options(request, session=None)
        session = Session(
            key=key,
            owner=caller.sub,
            session_id=session_id,
            status=Status.PROCESSING,
            turn=1,
            fence=1,
            lease_until=now + LEASE,
            created_at=now,
            last_activity_at=now,
            repository=request.public_repository(),
            options=request.kept_options(),
        )
        claim = self.registry.start(session, self._wanted(options, request.own_key))
        return self._drive(claim, request.prompt, options)

    def message(self, caller: Caller, session_id: str, request: MessageRequest) -> LogReader:
        """Begin a session's next turn here; the reader shows that turn."""
        self._check_room()
        session = self.find(caller, session_id)
        if not session.over:
            session.next_turn({}, self.clock())  # raises CONFLICT, before anything is read
        options = self._run_options(request, session=session)
        claim = self.registry.next_turn(
            session.key,
            request.kept_options(session.options),
            self._wanted(options, request.own_key),
        )
        return self._drive(claim, request.prompt, options)

    def read(self, caller: Caller, session_id: str, *, after: int) -> LogReader:
        """A reader of a session's events above a number."""
        session = self.find(caller, session_id)
        return self._reader(session.key, after)

    def find(self, caller: Caller, session_id: str) -> Session:
        """The caller's session; NOT_FOUND, also where it is another's."""
        return self.registry.find(key_of(caller.sub, session_id))

    def cancel(self, caller: Caller, session_id: str) -> Session:
        """Stop a session wherever it is driven; one that is over stays as it is."""
        key = key_of(caller.sub, session_id)
        session = self.registry.cancel(key)
        if (feed := self.feeds.find(key)) is not None:
            feed.cancel()
        return session

    # --- driving -----------------------------------------------------------------------------

    def _run_options(
        self, request: StartRequest | MessageRequest, *, session: Session | None
    ) -> dict[str, Any]:
        """The options of the runner's client: the request's, the vault's key, earlier turns."""
        resume: dict[str, Any] | None = None
        changes: Any = None
        if session is not None and session.runner_session is not None:
            parts = [
                part
                for value in blobs.read(self.store, f"{session.path}/transcript")
                for part in value
            ]
            if parts:
                resume = {"sessionId": session.runner_session, "transcript": parts}
            if session.changes_version is not None:
                stored = blobs.read(
                    self.store, f"{session.path}/changes", prefix=session.changes_version
                )
                changes = next(stored, None)
        options = to_run_options(
            request,
            earlier=session.options if session else {},
            repository=session.repository if session else None,
            resume=resume,
            changes=changes,
        )
        if "anthropic_api_key" not in options and (key := self.vault.get(ANTHROPIC_KEY)):
            options["anthropic_api_key"] = key
        return options

    def _wanted(self, options: Mapping[str, Any], own_key: bool) -> Wanted:
        return Wanted(cost_usd=options.get("max_budget_usd"), own_key=own_key)

    def _check_room(self) -> None:
        with self._lock:
            full = len(self._drivers) >= MAX_DRIVERS
        if self._draining or full:
            raise StoppedError(
                "This instance takes no further session.",
                code=Code.UNAVAILABLE,
                headers={"Retry-After": "5"},
            )

    def _drive(self, claim: Claim, prompt: str, options: dict[str, Any]) -> LogReader:
        if claim.reservation.budget_usd is not None:
            options["max_budget_usd"] = claim.reservation.budget_usd
        driver = Driver(
            turn=Turn(claim=claim, prompt=prompt, options=options, changes=_changes(options)),
            registry=self.registry,
            store=self.store,
            client=self.client,
            feeds=self.feeds,
            metrics=self.metrics,
            clock=self.clock,
        )
        key = claim.session.key
        thread = threading.Thread(
            # What the request was: its logs and its trace go on in the turn that it began.
            target=copy_context().run,
            args=(self._run, key, driver),
            name=f"driver-{key}",
            daemon=True,
        )
        with self._lock:
            if self._draining:  # and `drain` may have looked for those that it stops
                driver.stop(_shutting_down())
            self._drivers[key] = driver, thread
            thread.start()
        return self._reader(key, claim.last_event_id)

    def _run(self, key: str, driver: Driver) -> None:
        try:
            driver.run()
        finally:
            with self._lock:
                if self._drivers.get(key, (None,))[0] is driver:
                    del self._drivers[key]

    def _reader(self, key: str, after: int) -> LogReader:
        return LogReader(
            key=key,
            registry=self.registry,
            store=self.store,
            feeds=self.feeds,
            closing=self._closing,
            after=after,
        )

    # --- the end -----------------------------------------------------------------------------

    def drain(self) -> None:
        """End what is driven here, storing its last events; on SIGTERM."""
        self._draining = True
        # Sessions that are driven elsewhere are read elsewhere from now on.
        self._closing.set()
        with self._lock:
            running = list(self._drivers.values())
        for driver, _ in running:
            driver.stop(_shutting_down())
        self.forwarder.drain()
        deadline = self.clock() + timedelta(seconds=DRAIN_SECONDS)
        for _, thread in running:
            thread.join(max(0.0, (deadline - self.clock()).total_seconds()))
        self.metrics.close()


def _shutting_down() -> ClaudeRunError:
    return StoppedError(
        "The gateway is shutting down. Send a message to go on.", code=Code.SHUTDOWN
    )


def _changes(options: Mapping[str, Any]) -> Changes | None:
    value = options.get("changes")
    return Changes.model_validate(value) if value is not None else None
