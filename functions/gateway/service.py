"""What the gateway does for its callers, without a word of HTTP."""

import threading
from collections.abc import Mapping
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from claude_run.client import Client
from claude_run.errors import CallerError, ClaudeRunError, Code, StoppedError
from claude_run.identity import Caller
from gateway.forwarding import Forwarder
from gateway.github.opening import GitHubApp
from gateway.github.reach import Reach, remembered
from gateway.health import Health
from gateway.instance import Instance
from gateway.limits import Limits
from gateway.pull_requests import PullRequests
from gateway.quota import Quota, Wanted
from gateway.requests import MessageRequest, StartRequest
from gateway.runner import Runner
from gateway.sessions.continuing import begins_with, run_options
from gateway.sessions.driver import Driver, Turn
from gateway.sessions.live import Feeds
from gateway.sessions.reader import LogReader
from gateway.sessions.record import ISSUES, LEASE, Session, Status, key_of
from gateway.sessions.registry import Claim, Registry
from gateway.settings import Settings
from gateway.setup.facts import Facts
from gateway.work.deliveries import Deliveries
from gateway.work.leaving import Detached, check_detached
from gateway.work.starter import try_to_start
from gateway.work.sweep import Sweep

DRAIN_SECONDS = 7.0
# A thread for the turn and one for its stream; 5 sessions are the default, more a choice.
MAX_DRIVERS = 200


@dataclass(slots=True, kw_only=True)
class Gateway(Instance):
    """What `api` has in its process."""

    settings: Settings
    client: Client
    limits: Limits
    quota: Quota
    registry: Registry
    forwarder: Forwarder
    runner: Runner
    health: Health
    detached: Detached
    deliveries: Deliveries
    github: GitHubApp
    pull_requests: PullRequests
    sweep: Sweep
    facts: Facts
    feeds: Feeds = field(default_factory=Feeds)
    _drivers: dict[str, tuple[Driver, threading.Thread]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _draining: bool = False
    _closing: threading.Event = field(default_factory=threading.Event)

    # --- sessions ----------------------------------------------------------------------------

    def start(self, caller: Caller, request: StartRequest) -> LogReader:
        """Begin a session and drive it here; the reader shows it from its first event."""
        self._check_room()
        session = self._new_session(caller, request)
        options = self._run_options(request, session=None)
        reach = self._reach(caller, session, session.options, request)
        session = replace(session, options=remembered(session.options, reach))
        self.pull_requests.lend(reach, options)
        claim = self.registry.start(session, self._wanted(options, request.own_key))
        return self._drive(claim, request.prompt, options, reach)

    def _new_session(self, caller: Caller, request: StartRequest) -> Session:
        now = self.clock()
        session_id = request.session_id or str(uuid4())
        return Session(
            key=key_of(caller.sub, session_id),
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

    def start_detached(self, caller: Caller, request: StartRequest) -> Session:
        """Begin a session that a worker will drive."""
        self._check_room()
        session = self._new_session(caller, request)
        check_detached(request, session=None)
        reach = self._reach(caller, session, session.options, request)
        session = replace(session, options=remembered(session.options, reach))
        queued = self.detached.start(session, request)
        try_to_start(self.starter)
        return queued

    def message(self, caller: Caller, session_id: str, request: MessageRequest) -> LogReader:
        """Begin a session's next turn here; the reader shows that turn."""
        self._check_room()
        session = self._own(caller, session_id)
        if not session.over:
            session.next_turn({}, self.clock())  # raises CONFLICT, before anything is read
        options = self._run_options(request, session=session)
        kept = request.kept_options(session.options)
        reach = self._reach(caller, session, kept, request)
        self.pull_requests.lend(reach, options)
        wanted = self._wanted(options, request.own_key)
        claim = self.registry.next_turn(
            session.key, remembered(kept, reach), wanted, seen=session.turn
        )
        return self._drive(claim, request.prompt, options, reach)

    def message_detached(self, caller: Caller, session_id: str, request: MessageRequest) -> Session:
        """Begin a session's next turn, that a worker will drive."""
        self._check_room()
        session = self._own(caller, session_id)
        check_detached(request, session=session)
        kept = request.kept_options(session.options)
        reach = self._reach(caller, session, kept, request)
        queued = self.detached.message(session, request, remembered(kept, reach))
        try_to_start(self.starter)
        return queued

    def read(self, caller: Caller, session_id: str, *, after: int) -> LogReader:
        """A reader of a session's events above a number."""
        session = self.find(caller, session_id)
        return self._reader(session.key, after)

    def find(self, caller: Caller, session_id: str) -> Session:
        """The caller's session; NOT_FOUND, also where it is another's.

        Operators see those of issues too.
        """
        try:
            return self._own(caller, session_id)
        except CallerError as error:
            if error.code is not Code.NOT_FOUND or not caller.operator:
                raise
            return self.registry.find(key_of(ISSUES, session_id))

    def _own(self, caller: Caller, session_id: str) -> Session:
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
        return run_options(self.store, self.vault, request, session=session)

    def _reach(
        self,
        caller: Caller,
        session: Session,
        options: Mapping[str, Any],
        request: StartRequest | MessageRequest,
    ) -> Reach:
        return self.pull_requests.reach(caller, session.repository, options, request.github_token)

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

    def _drive(self, claim: Claim, prompt: str, options: dict[str, Any], reach: Reach) -> LogReader:
        if claim.reservation.budget_usd is not None:
            options["max_budget_usd"] = claim.reservation.budget_usd
        driver = Driver(
            turn=Turn(claim=claim, prompt=prompt, options=options, changes=begins_with(options)),
            registry=self.registry,
            store=self.store,
            client=self.client,
            feeds=self.feeds,
            metrics=self.metrics,
            clock=self.clock,
            propose=self.pull_requests.propose(reach, claim.session, prompt),
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
        self.sweep.close()
        # They take as long as what is driven here.
        workers = threading.Thread(target=self.starter.close, name="workers", daemon=True)
        workers.start()
        with self._lock:
            running = list(self._drivers.values())
        for driver, _ in running:
            driver.stop(_shutting_down())
        self.forwarder.drain()
        deadline = self.clock() + timedelta(seconds=DRAIN_SECONDS)
        for _, thread in running:
            thread.join(max(0.0, (deadline - self.clock()).total_seconds()))
        Instance.drain(self)


def _shutting_down() -> ClaudeRunError:
    return StoppedError(
        "The gateway is shutting down. Send a message to go on.", code=Code.SHUTDOWN
    )
