"""The services together: each started when those before it are ready, all ended at once."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from signal import SIGHUP, SIGINT, SIGTERM, Handlers, signal
from types import FrameType, TracebackType
from typing import Self

from claude_run.local.child import Child
from claude_run.local.services import Service

# To import everything on a slow machine, and to listen.
START_SECONDS = 60.0
# The runner itself takes up to 8 s to end its runs; after that it is killed.
STOP_SECONDS = 9.0

_SIGNALS = (SIGINT, SIGTERM, SIGHUP)

Handler = Callable[[int, FrameType | None], object] | int | Handlers | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A service has said where it listens."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A service has ended, by itself or because it was told to."""

    name: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signalled:
    """We are asked to end."""

    number: int


Note = Ready | Ended | Signalled


class StackError(Exception):
    """A service did not start, or ended too early; `lines` are the end of what it said."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.lines = list(lines)


class Interrupted(KeyboardInterrupt):
    """A signal, raised where `Stack.interruptible` allows it."""


class Stack:
    """The running services. Enter it in the main thread: signals are its own until it is left.

    A signal is noted, so that none comes between the start of a process and the knowledge of it,
    nor into the middle of the ending; `signalled` and `wait` tell it.
    """

    def __init__(self, services: Sequence[Service], environ: Mapping[str, str]) -> None:
        self._services = services
        self._environ = environ
        self._notes: SimpleQueue[Note] = SimpleQueue()
        self._children: dict[str, Child] = {}
        self._before: dict[int, Handler] = {}
        self._raising = False
        self.addresses: dict[str, str] = {}
        self.signalled: int | None = None

    def start(self, on_line: Callable[[str, str], None] = lambda _name, _line: None) -> None:
        """Start all. `StackError` where one does not start, `Interrupted` after a signal."""
        for service in self._services:
            self._children[service.name] = self._child(service, on_line)
            self.addresses[service.name] = self._until_ready(service.name)

    def _child(self, service: Service, on_line: Callable[[str, str], None]) -> Child:
        name = service.name
        return Child(
            ["-m", service.module, *service.arguments],
            environ=service.environ(self._environ, self.addresses),
            ready=service.ready,
            on_line=lambda line: on_line(name, line),
            on_ready=lambda address: self._notes.put(Ready(name=name, address=address)),
            on_end=lambda status: self._notes.put(Ended(name=name, status=status)),
        )

    def _until_ready(self, name: str) -> str:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                note = self._notes.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise self._error(name, f"is not ready after {START_SECONDS:g} s") from None
            match note:
                case Ready():
                    return note.address
                case Ended():
                    raise self._error(note.name, f"ended at once (exit status {note.status})")
                case Signalled():
                    raise Interrupted

    def wait(self) -> None:
        """Return after a signal; `StackError` when a service ends by itself."""
        note = self._notes.get()
        if isinstance(note, Ended):
            raise self._error(note.name, f"ended (exit status {note.status})")

    def last_lines(self, name: str) -> list[str]:
        """The end of what a service said."""
        return self._children[name].last_lines()

    def _error(self, name: str, what: str) -> StackError:
        return StackError(f"The {name} {what}.", self.last_lines(name))

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, a signal raises `Interrupted`, once."""
        self._raising = True
        try:
            if self.signalled is not None:
                raise Interrupted
            yield
        finally:
            self._raising = False

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.signalled = number
        self._notes.put(Signalled(number=number))  # a SimpleQueue may be interrupted by itself
        if self._raising:
            self._raising = False
            raise Interrupted

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        children = list(self._children.values())
        for child in children:
            child.ask_to_end()
        for child in children:
            child.end(deadline - time.monotonic())
        for number, before in self._before.items():
            signal(number, before)
