"""Calls of the session routes, as a caller makes them: events by number, streams that are left."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from claude_run.sse import Decoder, ServerSentEvent
from servers import Server, running_gateway

READ_SECONDS = 60.0
WEAKENED = Path(__file__).parent / "doubles" / "weakened_gateway.py"
# A gateway whose callers are named by tokens that IAM has let through, and are held back by little.
BEHIND_IAM = {
    "AUTH": "iam",
    "K_SERVICE": "gateway",
    # Nobody listens there: no worker is started.
    "WORKER_JOB": "projects/p/locations/l/jobs/worker?endpoint=127.0.0.1:1",
    "MAX_CONCURRENT_SESSIONS": "50",
    "MAX_DAILY_COST_USD": "10000",
    "MAX_DAILY_TOKENS": "1000000000",
}


def gateway_behind_iam(
    runner: str, folder: Path, *, weak: Sequence[str] = (), **environ: str
) -> AbstractContextManager[Server]:
    """A gateway as on Cloud Run; `weak` names the mechanisms that are taken out of it."""
    framework = ("-m", "functions_framework")
    command = (str(WEAKENED), *weak, "--") if weak else framework
    # The port is named: mypy would have it among what stands in the environment.
    return running_gateway(
        runner, folder, target="gateway", port=0, command=command, **{**BEHIND_IAM, **environ}
    )


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a session."""

    id: int
    name: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: ServerSentEvent) -> "Event":
        """From its frame."""
        return cls(int(event.id), event.event, json.loads(event.data))


def bearer(sub: str, **claims: object) -> dict[str, str]:
    """The header with a token as Cloud Run hands it on: its signature replaced."""
    parts = ({"alg": "RS256", "kid": "x"}, {"sub": sub, **claims})
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    token = ".".join([*(text.rstrip("=") for text in texts), "SIGNATURE_REMOVED_BY_GOOGLE"])
    return {"Authorization": f"Bearer {token}"}


@dataclass(slots=True)
class Told:
    """An answer: what it said, and, where it was a stream, its events."""

    status: int
    headers: httpx2.Headers
    body: bytes
    events: list[Event] = field(default_factory=list)

    @property
    def session_id(self) -> str:
        """Of the session that was started or continued."""
        return str(self.headers["x-session-id"])

    @property
    def json(self) -> dict[str, Any]:
        """The body of an answer that is no stream."""
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def names(self) -> list[str]:
        """The names of the events."""
        return [event.name for event in self.events]

    @property
    def text(self) -> str:
        """What Claude said."""
        return "".join(event.data["content"] for event in self.of("claude_delta"))

    @property
    def last(self) -> Event:
        """The last event."""
        return self.events[-1]

    def of(self, name: str) -> list[Event]:
        """The events of a name."""
        return [event for event in self.events if event.name == name]


class Leaving:
    """A stream that is read as far as a test wants."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self.session_id = str(answer.headers.get("x-session-id", ""))
        self.seen: list[Event] = []
        self._events = self._read()

    def _read(self) -> Iterator[Event]:
        decoder = Decoder()
        for chunk in self.answer.iter_raw():
            for found in decoder.feed(chunk):
                yield Event.of(found)

    def until(self, name: str, count: int = 1) -> Event:
        """Read on until so many events of a name have come."""
        for event in self._events:
            self.seen.append(event)
            count -= event.name == name
            if count == 0:
                return event
        raise AssertionError(f"the stream ended without {name}: {self.seen[-3:]}")

    def rest(self) -> list[Event]:
        """Read to the end; all that was seen."""
        self.seen.extend(self._events)
        return self.seen


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller of one gateway."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def at(self, url: str) -> "Caller":
        """The same caller at another gateway."""
        return Caller(url, self.headers)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Told:
        """One request, its answer read to the end."""
        with self._stream(method, path, body, headers) as answer:
            read = answer.read()
        told = Told(answer.status_code, answer.headers, read)
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            told.events = [Event.of(event) for event in Decoder().feed(read)]
        return told

    def start(self, prompt: str, **fields: object) -> Told:
        """`POST /interactive/start`, to its end."""
        return self.ask("POST", "/interactive/start", {"prompt": prompt, **fields})

    def message(self, session_id: str, prompt: str, **fields: object) -> Told:
        """`POST /interactive/{id}/message`, to its end."""
        return self.ask("POST", f"/interactive/{session_id}/message", {"prompt": prompt, **fields})

    def events(self, session_id: str, after: int | str | None = None) -> Told:
        """`GET /interactive/{id}/events`, to its end."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        return self.ask("GET", f"/interactive/{session_id}/events", **headers)

    def get(self, session_id: str) -> Told:
        """`GET /interactive/{id}`."""
        return self.ask("GET", f"/interactive/{session_id}")

    def delete(self, session_id: str) -> Told:
        """`DELETE /interactive/{id}`."""
        return self.ask("DELETE", f"/interactive/{session_id}")

    @contextmanager
    def starting(self, prompt: str, **fields: object) -> Iterator[Leaving]:
        """A session that is begun and left with the block."""
        body = {"prompt": prompt, **fields}
        with self._stream("POST", "/interactive/start", body, {}) as answer:
            assert answer.status_code == 200, answer.read()
            yield Leaving(answer)

    @contextmanager
    def following(self, session_id: str, after: int = 0) -> Iterator[Leaving]:
        """A stream of events that is left with the block."""
        path, headers = f"/interactive/{session_id}/events", {"Last-Event-ID": str(after)}
        with self._stream("GET", path, None, headers) as answer:
            yield Leaving(answer)

    @contextmanager
    def _stream(
        self, method: str, path: str, body: object, headers: Mapping[str, str]
    ) -> Iterator[httpx2.Response]:
        content = None if body is None else json.dumps(body).encode()
        typed = {} if body is None else {"Content-Type": "application/json"}
        with (
            httpx2.Client(timeout=READ_SECONDS, trust_env=False) as client,
            client.stream(
                method,
                f"{self.url}{path}",
                content=content,
                headers={**self.headers, **typed, **headers},
            ) as answer,
        ):
            yield answer
