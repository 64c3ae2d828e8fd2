"""The gateway's session routes over a scripted log, on connections that end as a test says."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from claude_run.sse import encode_event
from doubles.recording_server import Asked

CREATED_MS = 1_795_000_000_000


def frame(number: int, name: str, **data: object) -> bytes:
    """An event as the log has it."""
    body = json.dumps({**data, "timestamp": "2026-11-22T12:00:00.000Z"})
    return encode_event(body, event=name, id=str(number))


def turn_log(turn: int, first: int, *texts: str, error: str | None = None) -> dict[int, bytes]:
    """A turn's frames by their numbers."""
    frames: dict[int, bytes] = {}

    def add(name: str, **data: object) -> None:
        number = first + len(frames)
        frames[number] = frame(number, name, **data)

    if turn == 1:
        add("connected", message="Connected", sessionId="s")
    add("claude_start", turn=turn, prompt="Hi")
    for text in texts:
        add("claude_delta", turn=turn, content=text)
    add("claude_end", turn=turn)
    if error is None:
        add("complete", sessionId="s", turns=turn, result="".join(texts), usage={})
    else:
        add("error", message="It failed.", code=error)
    return frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The connection breaks after so many bytes of the log."""

    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The server ends the stream by itself after so many events."""

    events: int
    retry: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """An answer that is no stream: the gateway's, or that of the platform in front of it."""

    status: int
    platform: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """No answer; a POST has begun its turn all the same, or not."""

    begins: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """All that there is, and then silence until the client goes or the test lets go."""

    wait: Callable[[], object]


Step = Cut | End | Say | HangUp | Hold


@dataclass(slots=True)
class SessionGateway:
    """A script for a recording server. `plan` is what becomes of each request for events."""

    turns: list[dict[int, bytes]]
    plan: deque[Step] = field(default_factory=deque)
    begun: int = 0
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    cancelled: int = 0
    pages: list[dict[str, Any]] = field(default_factory=list)
    # Behind which event each stream was asked for, and how.
    asked: list[tuple[str, int]] = field(default_factory=list)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __call__(self, asked: Asked, send: Callable[[bytes], None]) -> None:
        method, path, _ = asked.line.split(" ")
        last = int((asked.all("last-event-id") or ["0"])[0])
        if method == "POST":
            self._post(send)
        elif path.endswith("/events"):
            self.asked.append((method, last))
            self._events(send, self.plan.popleft() if self.plan else None, last)
        elif method == "DELETE":
            self.cancelled += 1
            self._answer(send, 200, {})
        elif path.startswith("/interactive?"):
            self._answer(send, 200, self.pages.pop(0))
        elif self.begun:
            self._answer(send, 200, self.status())
        else:
            self._answer(
                send, 404, {"error": "NOT_FOUND", "message": "None such.", "timestamp": ""}
            )

    def status(self) -> dict[str, Any]:
        """As `GET /interactive/{id}`."""
        return {
            "sessionId": "s",
            "status": "completed",
            "currentTurn": self.begun,
            "createdAt": self.created.timestamp() * 1000,
        }

    def _post(self, send: Callable[[bytes], None]) -> None:
        self.asked.append(("POST", 0))
        step = self.plan.popleft() if self.plan else None
        if isinstance(step, Say) and step.status != 202:
            self._events(send, step, 0)
            return
        if not (isinstance(step, HangUp) and not step.begins):
            self.begun += 1
        before = [number for turn in self.turns[: self.begun - 1] for number in turn]
        self._events(send, step, max(before, default=0))

    def _events(self, send: Callable[[bytes], None], step: Step | None, after: int) -> None:
        if isinstance(step, HangUp):
            return
        if isinstance(step, Say):
            ours = {} if step.platform else {"X-Request-Id": "r"}
            self._answer(send, step.status, step.body, **ours, **step.headers)
            return
        log = {number: data for turn in self.turns[: self.begun] for number, data in turn.items()}
        frames = [data for number, data in log.items() if number > after]
        if not frames and step is None:
            send(b"HTTP/1.1 204 No Content\r\nX-Request-Id: r\r\n\r\n")
            return
        send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Request-Id: r\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        data = b"".join(frames)
        match step:
            case Cut(bytes=count):
                _chunk(send, data[:count])
                return
            case End(events=count, retry=retry):
                head = b"" if retry is None else b"retry: %d\n\n" % retry
                _chunk(send, head + b"".join(frames[:count]))
            case Hold(wait=wait):
                _chunk(send, data)
                wait()
                return
            case _:
                _chunk(send, data)
        send(b"0\r\n\r\n")

    def _answer(
        self, send: Callable[[bytes], None], status: int, body: dict[str, Any], **headers: str
    ) -> None:
        data = json.dumps(body).encode()
        lines = {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            "Date": format_datetime(self.clock(), usegmt=True),
        } | headers
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        send(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data)


def _chunk(send: Callable[[bytes], None], data: bytes) -> None:
    if data:
        send(b"%x\r\n%s\r\n" % (len(data), data))
