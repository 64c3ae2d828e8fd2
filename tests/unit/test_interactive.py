"""`client.interactive` against a server on loopback that plays a session's log, and cuts.

Each story is told with both clients: `follow` is one of them.
"""

import asyncio
import gc
import json
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_run import AsyncClient, Client
from claude_run.endpoint import Timeouts
from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from claude_run.interactive import LOOK_SECONDS, Interactive, moment
from claude_run.interactive_async import AsyncInteractive
from claude_run.resumption import MAX_FRUITLESS_ATTEMPTS
from claude_run.session_events import CompleteEvent, SessionErrorEvent, SessionEvent
from doubles.recording_server import Asked, RecordingServer, recording_server
from doubles.session_gateway import (
    Cut,
    End,
    HangUp,
    Hold,
    Say,
    SessionGateway,
    Step,
    frame,
    turn_log,
)
from thoroughness import examples

SECRET = "sk-ant-planted-0123456789"
SOON = 5.0
QUICK = Timeouts(connect=2.0, read=2.0)
PATIENT = Timeouts(connect=2.0, read=60.0)

FIRST = turn_log(1, 1, "Hel", "lo\u2028", "日本")
SECOND = turn_log(2, 100, "Again")

Waits = list[float]


class Sync:
    """The client for threads, with waits written down in place of waited for."""

    def __init__(self, url: str, waits: Waits, timeouts: Timeouts = QUICK) -> None:
        self._url, self._waits, self._timeouts = url, waits, timeouts

    def client(self) -> Client:
        client = Client(self._url, timeouts=self._timeouts)
        client.interactive = Interactive(
            client._transport, pause=lambda _event, seconds: self._waits.append(seconds)
        )
        return client

    def start(self, prompt: str = "Hi", *sent: str, **options: Any) -> list[SessionEvent]:  # noqa: ANN401
        with self.client() as client:
            session = client.interactive.start(prompt, **options)
            events = list(session.stream())
            for following in sent:
                session.send(following)
                events += session.stream()
            return events

    def get(self, session_id: str, after: int | None = None) -> list[SessionEvent]:
        with self.client() as client:
            return list(client.interactive.get(session_id).stream(after=after))

    def send(self, session_id: str, prompt: str, **options: Any) -> list[SessionEvent]:  # noqa: ANN401
        with self.client() as client:
            session = client.interactive.get(session_id)
            session.send(prompt, **options)
            return list(session.stream())

    def cancel(self, session_id: str) -> None:
        with self.client() as client:
            client.interactive.get(session_id).cancel()

    def list(self, limit: int | None = None) -> list[str]:
        with self.client() as client:
            return [one.session_id for one in client.interactive.list(limit=limit)]


class Async(Sync):
    """The client for asyncio."""

    def aclient(self) -> AsyncClient:
        client = AsyncClient(self._url, timeouts=self._timeouts)

        async def pause(seconds: float) -> None:
            self._waits.append(seconds)

        client.interactive = AsyncInteractive(client._transport, pause=pause)
        return client

    def start(self, prompt: str = "Hi", *sent: str, **options: Any) -> list[SessionEvent]:  # noqa: ANN401
        async def main() -> list[SessionEvent]:
            async with self.aclient() as client:
                session = await client.interactive.start(prompt, **options)
                events = [event async for event in session.stream()]
                for following in sent:
                    await session.send(following)
                    events += [event async for event in session.stream()]
                return events

        return asyncio.run(main())

    def get(self, session_id: str, after: int | None = None) -> list[SessionEvent]:
        async def main() -> list[SessionEvent]:
            async with self.aclient() as client:
                session = await client.interactive.get(session_id)
                return [event async for event in session.stream(after=after)]

        return asyncio.run(main())

    def send(self, session_id: str, prompt: str, **options: Any) -> list[SessionEvent]:  # noqa: ANN401
        async def main() -> list[SessionEvent]:
            async with self.aclient() as client:
                session = await client.interactive.get(session_id)
                await session.send(prompt, **options)
                return [event async for event in session.stream()]

        return asyncio.run(main())

    def cancel(self, session_id: str) -> None:
        async def main() -> None:
            async with self.aclient() as client:
                await (await client.interactive.get(session_id)).cancel()

        asyncio.run(main())

    def list(self, limit: int | None = None) -> list[str]:
        async def main() -> list[str]:
            async with self.aclient() as client:
                return [one.session_id async for one in client.interactive.list(limit=limit)]

        return asyncio.run(main())


Kind = type[Sync]
both = pytest.mark.parametrize("kind", [Sync, Async])


class World:
    """A gateway that is played, and what was waited."""

    def __init__(self, server: RecordingServer, gateway: SessionGateway) -> None:
        self.server, self.gateway = server, gateway
        self.waits: Waits = []

    def client(self, kind: Kind) -> Sync:
        return kind(self.server.url, self.waits)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Of every POST."""
        return [json.loads(asked.body) for asked in self.server.asked if asked.body]


Play = Callable[..., World]


@pytest.fixture
def play() -> Iterator[Play]:
    """Start gateways with a plan; they end with the test."""
    with ExitStack() as stack:

        def start(*plan: Step, begun: int = 0, **fields: Any) -> World:  # noqa: ANN401
            turns = [FIRST, SECOND]
            gateway = SessionGateway(turns=turns, plan=deque(plan), begun=begun, **fields)
            return World(stack.enter_context(recording_server(gateway)), gateway)

        yield start


def ids(events: list[SessionEvent]) -> list[int]:
    return [event.id for event in events]


def failure(work: Callable[[], object]) -> ClaudeRunError:
    with pytest.raises(ClaudeRunError) as caught:
        work()
    return caught.value


# --- a session that nothing happens to ------------------------------------------------------------


@both
def test_a_session_is_started_and_read(kind: Kind, play: Play) -> None:
    """One request; the body is the API's, under an id that the client chose."""
    world = play()
    events = world.client(kind).start(
        repository="octo/hello",
        max_turns=3,
        allowed_tools=["Read"],
        create_pr=True,
        anthropic_api_key=SECRET,
    )
    assert ids(events) == list(FIRST)
    assert isinstance(events[-1], CompleteEvent)
    assert world.gateway.asked == [("POST", 0)]
    (body,) = world.bodies
    assert len(body.pop("sessionId")) == 36
    assert body == {
        "prompt": "Hi",
        "repository": {"name": "octo/hello"},
        "anthropicApiKey": SECRET,
        "options": {"maxTurns": 3, "allowedTools": ["Read"], "createPR": True},
    }


@both
def test_a_session_goes_on(kind: Kind, play: Play) -> None:
    """`send`, and `stream` shows the next turn, of that answer."""
    world = play()
    assert ids(world.client(kind).start("Hi", "And now?")) == [*FIRST, *SECOND]
    assert world.gateway.asked == [("POST", 0), ("POST", 0)]
    assert [body["prompt"] for body in world.bodies] == ["Hi", "And now?"]


@both
@pytest.mark.parametrize("after", [None, 0, 3, max(FIRST), 100, max(SECOND)])
def test_a_session_is_read_again(kind: Kind, after: int | None, play: Play) -> None:
    """From its first event, or from behind one; a finished one from its log."""
    world = play(begun=2)
    expected = [number for number in [*FIRST, *SECOND] if number > (after or 0)]
    assert ids(world.client(kind).get("s", after)) == expected


@both
def test_a_session_of_somebody_goes_on(kind: Kind, play: Play) -> None:
    """`get` and `send`: what comes is the new turn alone."""
    world = play(begun=1)
    assert ids(world.client(kind).send("s", "More", max_turns=2)) == list(SECOND)
    assert world.bodies == [{"prompt": "More", "options": {"maxTurns": 2}}]


@both
def test_a_detached_session_is_read_from_its_log(kind: Kind, play: Play) -> None:
    """202, and then as anybody reads it."""
    world = play(Say(status=202, body={"sessionId": "s"}))
    world.gateway.begun = 0
    assert ids(world.client(kind).start(detach=True)) == list(FIRST)
    assert world.gateway.asked == [("POST", 0), ("GET", 0)]


@both
def test_an_error_is_an_event(kind: Kind, play: Play) -> None:
    """The last of the turn, and an exception for whoever wants one."""
    world = play()
    world.gateway.turns = [turn_log(1, 1, "x", error="MAX_TURNS")]
    last = world.client(kind).start()[-1]
    assert isinstance(last, SessionErrorEvent)
    assert (last.code, last.as_exception().code) == ("MAX_TURNS", Code.MAX_TURNS)


@both
def test_a_session_is_cancelled(kind: Kind, play: Play) -> None:
    """DELETE, and nothing else."""
    world = play(begun=1)
    world.client(kind).cancel("s")
    assert world.gateway.cancelled == 1


@both
def test_sessions_are_listed_page_by_page(kind: Kind, play: Play) -> None:
    """As many as are wanted, asked for as they are needed."""

    def page(*names: str, following: str | None) -> dict[str, Any]:
        sessions = [{"sessionId": n, "status": "completed", "currentTurn": 1} for n in names]
        return {"sessions": sessions, "nextPageToken": following}

    pages = [page("a", "b", following="t&1"), page("c", following=None)]
    world = play(pages=[*pages, *pages, pages[0], pages[0], pages[0]])
    client = world.client(kind)
    assert client.list() == ["a", "b", "c"]
    assert client.list(limit=3) == ["a", "b", "c"]
    assert client.list(limit=1) == ["a"]
    assert client.list(limit=0) == []
    paths = [asked.line.split(" ")[1] for asked in world.server.asked]
    assert paths == [
        "/interactive?limit=100",
        "/interactive?limit=100&pageToken=t%261",
        "/interactive?limit=3",
        "/interactive?limit=1&pageToken=t%261",
        "/interactive?limit=1",
    ]
    assert "circle" in failure(client.list).message


def test_the_status_is_typed(play: Play) -> None:
    """What the page says, with times as times."""
    world = play(begun=1, created=datetime(2026, 11, 22, tzinfo=UTC))
    with Sync(world.server.url, []).client() as client:
        status = client.interactive.get("s").status()
    assert (status.session_id, status.status, status.current_turn) == ("s", "completed", 1)
    assert status.created_at == datetime(2026, 11, 22, tzinfo=UTC)
    assert status.over
    assert status.data["currentTurn"] == 1


# --- connections that end -------------------------------------------------------------------------

BYTES = len(b"".join(FIRST.values()))


@both
@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(
        st.integers(0, BYTES).map(lambda n: Cut(bytes=n))
        | st.integers(0, 4).map(lambda n: End(events=n)),
        max_size=5,
    )
)
def test_wherever_connections_end_the_events_are_the_log(
    kind: Kind, cuts: list[Step], play: Play
) -> None:
    """Broken anywhere, or ended by the server: each event once, in order, unseen by the reader."""
    world = play(*cuts)
    assert ids(world.client(kind).start("Hi", "More")) == [*FIRST, *SECOND]
    assert [method for method, _ in world.gateway.asked].count("POST") == 2
    before = [last for method, last in world.gateway.asked if method == "GET"]
    assert before == sorted(before)


@both
def test_a_stream_that_ends_early_is_asked_for_behind_its_last_event(
    kind: Kind, play: Play
) -> None:
    """At once, or when the server's `retry` says."""
    world = play(End(events=2), End(events=2, retry=1_500))
    assert ids(world.client(kind).start()) == list(FIRST)
    assert world.gateway.asked == [("POST", 0), ("GET", 2), ("GET", 4)]
    assert world.waits == [0.0, 1.5]


@both
def test_a_gateway_that_is_busy_is_waited_for(kind: Kind, play: Play) -> None:
    """429 and 503 for as long as they say; 500 and 502 a little."""
    world = play(
        Cut(bytes=200),
        Say(
            status=503, headers={"Retry-After": "7"}, body={"error": "UNAVAILABLE", "message": "x"}
        ),
        Say(status=429, headers={"Retry-After": "60"}),
        Say(status=500),
        Say(status=502),
        HangUp(),
    )
    assert ids(world.client(kind).start()) == list(FIRST)
    assert world.waits[1:3] == [7.0, 60.0]
    assert all(0 < wait < 30 for wait in (world.waits[0], *world.waits[3:]))


@both
def test_a_gateway_that_stays_away_is_given_up(kind: Kind, play: Play) -> None:
    """After a bounded number of attempts, with the place to go on from."""
    world = play(Cut(bytes=400), *[HangUp()] * (MAX_FRUITLESS_ATTEMPTS + 5))
    error = failure(world.client(kind).start)
    assert (type(error), error.code) == (UpstreamError, Code.INTERRUPTED)
    assert error.details["lastEventId"] == 3
    assert len(world.gateway.asked) == 1 + MAX_FRUITLESS_ATTEMPTS
    assert len(world.waits) == MAX_FRUITLESS_ATTEMPTS


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_no_reason_to_ask_again(kind: Kind, status: int, play: Play) -> None:
    """Also in the middle."""
    world = play(Cut(bytes=400), Say(status=status, body={"error": "X", "message": "No."}))
    error = failure(world.client(kind).start)
    assert (error.status, error.message) == (status, "No.")
    assert len(world.gateway.asked) == 2


@both
def test_nonsense_is_no_reason_to_ask_again(kind: Kind, play: Play) -> None:
    """It would be the same nonsense."""
    world = play()
    world.gateway.turns = [{1: b'event: status\nid: 1\ndata: "x"\n\n'}]
    error = failure(world.client(kind).start)
    assert (type(error), error.code) == (UpstreamError, Code.UPSTREAM_ERROR)
    assert len(world.gateway.asked) == 1


@both
def test_a_gateway_that_restarts_is_found_again(kind: Kind) -> None:
    """Its port is closed for a while; the log is stored, and goes on where it was."""
    gateway = SessionGateway(turns=[FIRST], plan=deque([Cut(bytes=500)]))
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        server = first.enter_context(recording_server(gateway))

        class Restarting(list[float]):
            def append(self, seconds: float) -> None:
                super().append(seconds)
                if len(self) == 1:
                    first.close()
                if len(self) == 2:
                    stack.enter_context(recording_server(gateway, port=server.port))

        waits = Restarting()
        assert ids(kind(server.url, waits).start()) == list(FIRST)
    assert len(waits) == 2


# --- a POST that breaks ---------------------------------------------------------------------------


@both
def test_a_start_that_nobody_answered_is_looked_for(kind: Kind, play: Play) -> None:
    """It has begun: its log is read. It is not sent a second time."""
    world = play(HangUp())
    assert ids(world.client(kind).start()) == list(FIRST)
    assert world.gateway.asked == [("POST", 0), ("GET", 0)]
    assert world.waits == [LOOK_SECONDS[0]]


@both
@pytest.mark.parametrize(
    "step", [HangUp(begins=False), *(Say(status=n, platform=True) for n in (500, 502, 504))]
)
def test_a_start_that_did_not_begin_is_an_error(kind: Kind, step: Step, play: Play) -> None:
    """It is looked for a while, and named, so that its caller can look later."""
    world = play(step)
    error = failure(world.client(kind).start)
    session_id = world.bodies[0]["sessionId"]
    assert isinstance(error, UpstreamError)
    assert error.details == {"sessionId": session_id}
    assert session_id in error.message
    assert world.waits == list(LOOK_SECONDS)
    assert len(world.bodies) == 1


@both
def test_a_message_that_nobody_answered_is_looked_for(kind: Kind, play: Play) -> None:
    """Its turn counts: then it has begun, and what comes is that turn alone."""
    world = play(HangUp(), begun=1)
    assert ids(world.client(kind).send("s", "More")) == list(SECOND)
    # Nothing of the session was read here before, so the turn is found in its whole log.
    assert world.gateway.asked == [("POST", 0), ("GET", 0)]

    lost = play(HangUp(begins=False), begun=1)
    assert failure(lambda: lost.client(kind).send("s", "More")).code is Code.INTERRUPTED
    assert len(lost.bodies) == 1


@both
def test_an_id_of_ones_own_is_not_taken_for_an_older_session(kind: Kind, play: Play) -> None:
    """Where nobody answered, a session of that id counts only if it was made just now."""
    fresh = play(HangUp())
    assert ids(fresh.client(kind).start(session_id="nightly")) == list(FIRST)
    assert fresh.bodies[0]["sessionId"] == "nightly"

    server_time = datetime(2031, 1, 1, tzinfo=UTC)  # whose clock that is does not matter
    old = play(
        HangUp(begins=False),
        begun=1,
        created=server_time - timedelta(hours=1),
        clock=lambda: server_time,
    )
    error = failure(lambda: old.client(kind).start(session_id="nightly"))
    assert error.code is Code.INTERRUPTED
    made = play(HangUp(), created=server_time, clock=lambda: server_time)
    assert ids(made.client(kind).start(session_id="nightly")) == list(FIRST)


@both
@pytest.mark.parametrize("status", [400, 401, 409, 429, 503, 500])
def test_a_refusal_of_a_post_stands(kind: Kind, status: int, play: Play) -> None:
    """Ours, by its request id: nothing has begun, nothing is looked for, nothing sent again."""
    world = play(Say(status=status, body={"error": "CONFLICT", "message": "No."}))
    assert failure(world.client(kind).start).status == status
    assert len(world.server.asked) == 1
    assert world.waits == []


@both
@pytest.mark.parametrize("name", ["", "start", "status", "a/b", "../x", "ä", "a" * 65, "a\n"])
def test_an_id_that_is_none_goes_nowhere(kind: Kind, name: str, play: Play) -> None:
    """It would become part of a path."""
    world = play()
    assert failure(lambda: world.client(kind).get(name)).code is Code.VALIDATION_ERROR
    if name:
        error = failure(lambda: world.client(kind).start(session_id=name))
        assert (type(error), error.details["field"]) == (CallerError, "session_id")
    assert world.server.asked == []


@both
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_turns": 0}, "max_turns"),
        ({"maxTurns": "3"}, "maxTurns"),
        ({"promt": SECRET}, "promt"),
        ({"repository": {"url": "ext::" + SECRET}}, "repository.url"),
        ({"repository": "no repository"}, "repository.name"),
        ({"anthropic_api_key": SECRET + "\n"}, "anthropic_api_key"),
    ],
)
def test_wrong_options_go_nowhere(
    kind: Kind, options: dict[str, Any], field: str, play: Play
) -> None:
    """The gateway's own rules, without the gateway; named as their caller named them."""
    world = play()
    error = failure(lambda: world.client(kind).start(**options))
    assert (type(error), error.details["field"]) == (CallerError, field)
    assert SECRET not in repr(error)
    assert world.server.asked == []


@both
def test_a_request_that_is_too_large_goes_nowhere(kind: Kind, play: Play) -> None:
    """31 MiB, as the gateway has it."""
    world = play()
    text = "\N{GRINNING FACE}" * 1_000_000  # 12 bytes each, escaped
    error = failure(lambda: world.client(kind).start(text * 3))
    assert error.code is Code.PAYLOAD_TOO_LARGE
    assert world.server.asked == []


# --- a reader who leaves --------------------------------------------------------------------------


@pytest.fixture
def held() -> Iterator[tuple[RecordingServer, threading.Event]]:
    """A session that goes on for ever, and whether its reader has gone."""
    gone, over = threading.Event(), threading.Event()

    def script(asked: Asked, send: Callable[[bytes], None]) -> None:
        def wait() -> None:
            # A socket that nobody reads takes some more before it tells.
            while not over.wait(0.02):
                try:
                    send(b"8\r\n: ping\n\n\r\n")
                except OSError:
                    gone.set()
                    raise

        gateway.plan.append(Hold(wait=wait))
        gateway(asked, send)

    gateway = SessionGateway(turns=[{1: frame(1, "status", message="x")}])
    with recording_server(script) as server:
        yield server, gone
        over.set()


def leaves_by_break(client: Client) -> None:
    for _ in client.interactive.start("Hi").stream():
        break


def leaves_unread(client: Client) -> None:
    client.interactive.start("Hi")


def leaves_a_with_block(client: Client) -> object:
    with client.interactive.start("Hi").stream() as events:
        next(events)
    return events


def leaves_a_closed_session(client: Client) -> object:
    session = client.interactive.start("Hi")
    session.close()
    return session


def leaves_for_another_place(client: Client) -> object:
    session = client.interactive.start("Hi")
    return session, session.stream(after=1)


def leaves_a_cycle(client: Client) -> None:
    events = client.interactive.start("Hi").stream()
    next(events)
    cycle: list[Any] = [events]
    cycle.append(cycle)
    del events, cycle
    gc.collect()


@pytest.mark.parametrize(
    "leave",
    [
        leaves_by_break,
        leaves_unread,
        leaves_a_with_block,
        leaves_a_closed_session,
        leaves_for_another_place,
        leaves_a_cycle,
    ],
)
def test_a_reader_who_leaves_is_gone_and_stops_nothing(
    leave: Callable[[Client], object], held: tuple[RecordingServer, threading.Event]
) -> None:
    """The connection closes; no DELETE is sent."""
    server, gone = held
    with Client(server.url, timeouts=PATIENT) as client:
        kept = leave(client)
        assert gone.wait(SOON)
        del kept
    assert [asked.line.split(" ")[0] for asked in server.asked] == ["POST"]


async def aleaves_by_break(client: AsyncClient) -> None:
    async for _ in (await client.interactive.start("Hi")).stream():
        break


async def aleaves_a_with_block(client: AsyncClient) -> object:
    async with (await client.interactive.start("Hi")).stream() as events:
        await anext(events)
    return events


async def aleaves_a_closed_session(client: AsyncClient) -> object:
    session = await client.interactive.start("Hi")
    await session.aclose()
    return session


async def aleaves_by_cancellation(client: AsyncClient) -> None:
    session = await client.interactive.start("Hi")

    async def read() -> AsyncIterator[SessionEvent]:
        async for event in session.stream():
            yield event

    async def drain() -> None:
        async for _ in read():
            pass

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(drain(), 0.3)


async def aleaves_by_aclose_of_another_task(client: AsyncClient) -> None:
    events = (await client.interactive.start("Hi")).stream()

    async def read() -> list[SessionEvent]:
        return [event async for event in events]

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.3)
    await events.aclose()
    assert ids(await asyncio.wait_for(reading, SOON)) == [1]


@pytest.mark.parametrize(
    "leave",
    [
        aleaves_by_break,
        aleaves_a_with_block,
        aleaves_a_closed_session,
        aleaves_by_cancellation,
        aleaves_by_aclose_of_another_task,
    ],
)
def test_a_task_that_leaves_is_gone_and_stops_nothing(
    leave: Callable[[AsyncClient], Awaitable[object]],
    held: tuple[RecordingServer, threading.Event],
) -> None:
    """While the event loop goes on."""
    server, gone = held

    async def main() -> None:
        async with AsyncClient(server.url, timeouts=PATIENT) as client:
            kept = await leave(client)
            assert await asyncio.to_thread(gone.wait, SOON)
            del kept

    asyncio.run(main())
    assert [asked.line.split(" ")[0] for asked in server.asked] == ["POST"]


def test_an_async_reader_may_go_elsewhere(play: Play) -> None:
    """An answer that is not read any more is closed when the log is asked for."""
    world = play()

    async def main() -> list[SessionEvent]:
        async with Async(world.server.url, []).aclient() as client:
            session = await client.interactive.start("Hi")
            return [event async for event in session.stream(after=3)]

    assert ids(asyncio.run(main())) == [number for number in FIRST if number > 3]


def test_close_ends_a_reader_in_another_thread(
    held: tuple[RecordingServer, threading.Event],
) -> None:
    """While it waits for an event, and at once."""
    server, gone = held
    with Client(server.url, timeouts=PATIENT) as client:
        events = client.interactive.start("Hi").stream()
        threading.Timer(0.3, events.close).start()
        start = time.monotonic()
        assert ids(list(events)) == [1]
        assert time.monotonic() - start < 2
        assert gone.wait(SOON)
        assert list(events) == []


def test_close_ends_a_reader_that_waits_to_ask_again(play: Play) -> None:
    """A pause of 20 seconds is not waited out."""
    world = play(Cut(bytes=500), Say(status=503, headers={"Retry-After": "100"}))
    with Client(world.server.url, timeouts=QUICK) as client:
        events = client.interactive.start("Hi").stream()
        threading.Timer(1.0, events.close).start()
        start = time.monotonic()
        assert len(list(events)) > 0
        assert time.monotonic() - start < 5


def test_a_server_that_is_not_there_is_told() -> None:
    """A start that never arrived is no session to be looked for."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        waits: Waits = []
        error = failure(Sync(url, waits).start)
    assert (error.code, waits) == (Code.UNAVAILABLE, [])


def test_nothing_shows_a_secret(play: Play) -> None:
    """Nor what was asked."""
    world = play()
    with Sync(world.server.url, []).client() as client:
        session = client.interactive.start("Hi", session_id="mine", anthropic_api_key=SECRET)
        stream = session.stream()
        shown = f"{client.interactive!r} {session!r} {stream!r} {vars(session)} {vars(stream)}"
    assert SECRET not in shown
    assert repr(session) == "Session('mine')"


def test_chance_is_spread() -> None:
    """Two clients do not come back together."""
    assert len({moment().chance for _ in range(20)}) > 10
    assert all(0 <= moment().chance < 1 for _ in range(20))
