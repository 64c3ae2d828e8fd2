"""What breaks around a session: clients, gateways, runners and the store, as real processes."""

import os
import signal
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from conftest import MakeRunner

import servers
from doubles.claude_cli import behaviour
from doubles.recording_server import recording_server
from leftovers import left_behind
from servers import recorded, say, scenario, use
from session_calls import Caller, Event, bearer, gateway_behind_iam

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("session_faults")]

MakeGateway = Callable[..., Caller]
# One number every 40 ms.
COUNTED = 60
COUNTING = scenario(
    {"blocks": [{"type": "text", "text": "{{n}} ", "repeat": COUNTED, "delay_ms": 40}]}
)
# Begins to talk, and then a tool runs for longer than any test.
STAYING = scenario(
    {
        "blocks": [
            {"type": "text", "text": "The password is swordfish."},
            {
                "type": "tool_use",
                "name": "Bash",
                # Claude Code refuses a mere `sleep`.
                "input": {"command": "tail -f /dev/null", "timeout": 600_000},
            },
        ]
    }
)
BASH = {"options": {"allowedTools": ["Bash"]}}


class Gateways:
    """Gateways over one store; each test's caller is somebody new."""

    def __init__(self, runner: str, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.started: list[servers.Server] = []
        self._runner = runner
        self._stack = stack
        self._headers = bearer(uuid4().hex)

    def make(self, *weak: str, runner: str = "") -> Caller:
        """Start one more, with mechanisms taken out; the caller at it."""
        context = gateway_behind_iam(runner or self._runner, self.folder, weak=weak)
        self.started.append(self._stack.enter_context(context))
        return Caller(self.started[-1].url, self._headers)


@pytest.fixture
def gateways(runner: servers.Server, tmp_path: Path) -> Iterator[Gateways]:
    """A store without gateways."""
    with ExitStack() as stack:
        yield Gateways(runner.url, tmp_path, stack)


@pytest.fixture(scope="module")
def pair(
    runner: servers.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Caller, Caller]]:
    """Two gateways that no test hurts."""
    with ExitStack() as stack:
        made = Gateways(runner.url, tmp_path_factory.mktemp("pair"), stack)
        yield made.make(), made.make()


def wait_for(condition: Callable[[], object], seconds: float) -> float:
    """Wait until something holds, or fail; how long it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "it did not come to hold in time"
        time.sleep(0.05)
    return time.monotonic() - begin


def text_of(events: list[Event]) -> str:
    """What Claude said."""
    return "".join(event.data["content"] for event in events if event.name == "claude_delta")


# --- the client ------------------------------------------------------------------------------


def left_and_taken_up(caller: Caller, elsewhere: Caller) -> tuple[list[Event], list[Event]]:
    """What a client sees that leaves six times and comes back here and there; and the whole log."""
    with caller.starting(COUNTING) as stream:
        stream.until("claude_delta", 2)
    seen = list(stream.seen)
    for number in range(1, 6):
        at = (caller, elsewhere)[number % 2]
        with at.following(stream.session_id, seen[-1].id) as piece:
            piece.until("claude_delta", number)
        seen += piece.seen
    seen += elsewhere.events(stream.session_id, seen[-1].id).events
    return seen, caller.events(stream.session_id).events


def test_a_client_that_leaves_misses_nothing(pair: tuple[Caller, Caller]) -> None:
    """The run goes on; whoever comes back is told what it missed, in order, once."""
    seen, whole = left_and_taken_up(*pair)
    assert seen == whole
    assert text_of(whole) == "".join(f"{number} " for number in range(1, COUNTED + 1))
    assert whole[-1].name == "complete"


def test_a_run_would_end_with_its_reader(gateways: Gateways) -> None:
    """Where it hangs on the connection of its caller."""
    caller = gateways.make("bound-to-reader")
    with caller.starting(COUNTING) as stream:
        stream.until("claude_delta", 2)
    assert caller.events(stream.session_id).last.data["code"] == "CANCELLED"


def test_events_would_come_twice(gateways: Gateways) -> None:
    """Where a replay begins with the batch that holds the last event seen."""
    caller = gateways.make("whole-batches")
    told = caller.start(scenario(say("Hi")))
    again = caller.events(told.session_id, told.events[0].id).events
    assert told.events[0] in again


def test_many_readers_see_the_same(pair: tuple[Caller, Caller]) -> None:
    """Six beside one another, on both instances, from the beginning and from the middle."""
    caller, elsewhere = pair
    with caller.starting(COUNTING) as stream, ThreadPoolExecutor(6) as pool:
        stream.until("claude_delta", 3)
        after = [0, 1, stream.seen[-1].id] * 2
        at = [caller] * 3 + [elsewhere] * 3
        reading = [
            pool.submit(reader.events, stream.session_id, number)
            for reader, number in zip(at, after, strict=True)
        ]
        whole = stream.rest()
        for number, found in zip(after, reading, strict=True):
            assert found.result().events == [event for event in whole if event.id > number]


def cancelled_elsewhere(caller: Caller, elsewhere: Caller) -> tuple[float, str]:
    """DELETE where the session is not driven: after how long the run's end is told, and how."""
    with caller.starting(STAYING, **BASH) as stream:
        stream.until("tool_use")
        begin = time.monotonic()
        assert elsewhere.delete(stream.session_id).status == 200
        while time.monotonic() - begin < 4:
            status: str = caller.get(stream.session_id).json["status"]
            if status != "processing":
                seconds = time.monotonic() - begin
                assert stream.rest()[-1].data["code"] == "CANCELLED"
                return seconds, status
            time.sleep(0.05)
        caller.delete(stream.session_id)
        stream.rest()
        return time.monotonic() - begin, "processing"


def test_a_delete_is_heard_on_the_other_instance(pair: tuple[Caller, Caller]) -> None:
    """Within 2 s on an idle machine; nothing of the run is left, and a message goes on."""
    before = left_behind()
    seconds, status = cancelled_elsewhere(*pair)
    assert status == "cancelled"
    assert seconds < 4
    wait_for(lambda: not left_behind() - before, 4)


def test_a_delete_would_not_be_heard(gateways: Gateways) -> None:
    """Where the driver does not look for the flag."""
    _, status = cancelled_elsewhere(gateways.make("no-cancel-flag"), gateways.make())
    assert status == "processing"


# --- the gateway -----------------------------------------------------------------------------


def terminated(gateways: Gateways, *weak: str) -> tuple[list[Event], float, list[Event]]:
    """SIGTERM during a run: what the client saw, how long the end took, what is stored."""
    caller, elsewhere = gateways.make(*weak), gateways.make()
    process = gateways.started[0].process
    with caller.starting(STAYING, **BASH) as stream:
        stream.until("tool_use")
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        # Where nobody ends the stream, its connection breaks.
        with suppress(httpx2.RemoteProtocolError):
            stream.rest()
        process.wait(16)
        seconds = time.monotonic() - begin
    with elsewhere.following(stream.session_id) as replay:
        replay.until("tool_use")
        if elsewhere.get(stream.session_id).json["status"] != "processing":
            replay.rest()
    return stream.seen, seconds, replay.seen


def test_sigterm_stores_the_end(gateways: Gateways) -> None:
    """Last event and state within 8 s, told and stored; the run is over, and can be continued."""
    before = left_behind()
    seen, seconds, stored = terminated(gateways)
    assert seconds < 8
    assert seen[-1].data["code"] == "SHUTDOWN"
    assert stored == seen
    wait_for(lambda: not left_behind() - before, 4)
    elsewhere = Caller(gateways.started[1].url, gateways._headers)
    [session] = elsewhere.ask("GET", "/interactive").json["sessions"]
    assert session["status"] == "error"
    assert elsewhere.message(session["sessionId"], scenario(say("On."))).text == "On."


def test_sigterm_would_store_nothing(gateways: Gateways) -> None:
    """Where nobody ends what is driven."""
    seen, _, stored = terminated(gateways, "no-drain")
    assert seen[-1].name != "error"
    assert stored[-1].name != "error"


def killed(gateways: Gateways, *weak: str, talk: float = 2.5) -> tuple[Caller, list[Event], str]:
    """SIGKILL during a run: a caller elsewhere, what the client saw, the session."""
    caller, elsewhere = gateways.make("short-lease"), gateways.make("short-lease", *weak)
    mark = uuid4().hex
    with caller.starting(f"{mark} {STAYING}", **BASH) as stream:
        stream.until("tool_use")
        # Until lease and transcript have been renewed.
        time.sleep(talk)
        servers.kill_group(gateways.started[0].pid)
    return elsewhere, stream.seen, stream.session_id


def test_sigkill_is_found_out_once(gateways: Gateways, model: servers.Server) -> None:
    """The lease runs out: INTERRUPTED, once, behind a gap, the log kept; a message goes on."""
    before = left_behind()
    elsewhere, seen, session_id = killed(gateways)
    assert elsewhere.get(session_id).json["status"] == "processing"
    wait_for(lambda: not left_behind() - before, 8)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(elsewhere.events, session_id) for _ in range(8)]
        streams = [call.result().events for call in calls]
    assert all(events == streams[0] for events in streams)
    assert streams[0][: len(seen)] == seen
    *_, last, end = streams[0]
    assert [event.name for event in streams[0]].count("error") == 1
    assert end.data["code"] == "INTERRUPTED"
    assert end.id == last.id + 4096
    assert elsewhere.get(session_id).json["status"] == "error"
    mark = uuid4().hex
    told = elsewhere.message(session_id, f"{mark} {scenario(say('On.'))}")
    assert told.text == "On."
    assert told.events[0].id > end.id
    assert "The password is swordfish." in recorded(model, mark)[0]["body"]


def test_sigkill_would_not_be_found_out(gateways: Gateways) -> None:
    """Where nobody finalises a session whose lease has run out."""
    elsewhere, _, session_id = killed(gateways, "no-finalising")
    time.sleep(3.5)
    assert elsewhere.get(session_id).json["status"] == "processing"


def test_numbers_could_be_given_twice(gateways: Gateways) -> None:
    """Without the gap, where the dead driver had shown events that it had not stored."""
    elsewhere, _, session_id = killed(gateways, "no-gap", talk=0.5)
    *_, last, end = elsewhere.events(session_id).events
    assert end.data["code"] == "INTERRUPTED"
    assert end.id == last.id + 1


@pytest.mark.parametrize(("weak", "end"), [((), "complete"), (("no-renewal",), "error")])
def test_a_lease_is_renewed(gateways: Gateways, weak: tuple[str, ...], end: str) -> None:
    """A run longer than its lease is nobody else's; one that is not renewed is."""
    caller, elsewhere = gateways.make("short-lease", *weak), gateways.make("short-lease")
    prompt = scenario({"blocks": [{"type": "text", "text": "x", "repeat": 12, "delay_ms": 400}]})
    with caller.starting(prompt) as stream:
        told = elsewhere.events(stream.session_id)
        assert told.last.name == end


# --- the runner ------------------------------------------------------------------------------


def test_a_runner_that_is_killed(
    gateways: Gateways, make_runner: MakeRunner, runner: servers.Server
) -> None:
    """The session ends with an error within seconds, and goes on elsewhere, remembering."""
    before = left_behind()
    victim = make_runner()
    caller, elsewhere = gateways.make(runner=victim.url), gateways.make(runner=runner.url)
    with caller.starting(STAYING, **BASH) as stream:
        stream.until("tool_use")
        os.kill(victim.pid, signal.SIGKILL)
        begin = time.monotonic()
        end = stream.rest()[-1]
        assert time.monotonic() - begin < 5
    assert (end.name, end.data["code"]) == ("error", "INTERRUPTED")
    assert caller.get(stream.session_id).json["status"] == "error"
    wait_for(lambda: all(found.startswith("/tmp/") for found in left_behind() - before), 8)
    for folder in left_behind() - before:
        # On Cloud Run the instance, and its disk in memory, is gone with the runner.
        servers.remove(Path(folder))
    assert elsewhere.message(stream.session_id, scenario(say("On."))).text == "On."


def test_a_runner_that_is_not_there(gateways: Gateways, runner: servers.Server) -> None:
    """The stream says so at once; with a runner the session goes on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    caller, elsewhere = gateways.make(runner=nobody), gateways.make(runner=runner.url)
    begin = time.monotonic()
    told = caller.start("Hi")
    assert time.monotonic() - begin < 8
    assert told.status == 200
    assert told.names == ["connected", "claude_start", "claude_end", "error"]
    assert told.last.data["code"] in ("UNAVAILABLE", "UPSTREAM_ERROR")
    assert elsewhere.message(told.session_id, scenario(say("On."))).text == "On."


def test_a_runner_that_does_not_answer(gateways: Gateways) -> None:
    """While it starts, a DELETE is heard and the lease is renewed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        caller, elsewhere = (gateways.make("short-lease", runner=address) for _ in range(2))
        with caller.starting("Hi") as stream:
            stream.until("claude_start")
            time.sleep(4)
            assert elsewhere.get(stream.session_id).json["status"] == "processing"
            begin = time.monotonic()
            elsewhere.delete(stream.session_id)
            assert stream.rest()[-1].data["code"] == "CANCELLED"
            assert time.monotonic() - begin < 4


# --- the store -------------------------------------------------------------------------------


def test_a_store_that_is_held(gateways: Gateways, runner: servers.Server) -> None:
    """503 and `Retry-After`, nothing begun; a run under way waits for it and loses nothing."""
    with recording_server() as recorder:
        running, idle = gateways.make(runner=runner.url), gateways.make(runner=recorder.url)
        idle.ask("GET", "/interactive")
        with (
            running.starting(COUNTING) as stream,
            closing(sqlite3.connect(gateways.folder / "gateway.db")) as other,
        ):
            stream.until("claude_delta", 5)
            other.execute("BEGIN IMMEDIATE")
            answer = idle.start("Hi", sessionId="never")
            other.rollback()
            whole = stream.rest()
        assert answer.status == 503
        assert answer.json["error"] == "UNAVAILABLE"
        assert int(answer.headers["retry-after"]) >= 1
        assert idle.get("never").status == 404
        assert not recorder.asked
    assert whole[-1].name == "complete"
    assert text_of(whole) == "".join(f"{number} " for number in range(1, COUNTED + 1))
    assert idle.events(stream.session_id).events == whole


# --- much, and odd ---------------------------------------------------------------------------

CHUNK = 60_000
CHUNKS = 180
LONG = scenario(
    {
        "blocks": [{"type": "text", "chunks": ["x" * (CHUNK - 8) + "{{n}} "], "repeat": CHUNKS}],
        # By its length it would be more than a run may use.
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
)


def worker_megabytes(gateway: servers.Server) -> float:
    """The resident memory of the process that answers."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in children)
    return max(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def stalled(gateways: Gateways, *weak: str) -> tuple[int, list[Event], Caller, str]:
    """10.8 MB to a reader that reads nothing until all is over: bytes and events of its stream."""
    caller = gateways.make(*weak)
    with caller.starting(LONG) as stream:
        wait_for(lambda: caller.get(stream.session_id).json["status"] == "completed", 60)
        assert worker_megabytes(gateways.started[0]) < 250
        seen = stream.rest()
        return stream.answer.num_bytes_downloaded, seen, caller, stream.session_id


def test_a_long_stream_to_a_reader_that_stalls(gateways: Gateways) -> None:
    """It ends itself before 8 MB, and the rest comes when asked for; memory stays bounded."""
    count, seen, caller, session_id = stalled(gateways)
    assert CHUNK < count < 8_000_000
    assert seen[-1].name == "claude_delta"
    rest = caller.events(session_id, seen[-1].id)
    assert len(rest.body) < 8_000_000
    text = text_of([*seen, *rest.events])
    numbers = [int(piece.strip("x")) for piece in text.split()]
    assert numbers == list(range(1, CHUNKS + 1))
    # The same text as one line of Claude Code's: cut, and it says so.
    assert rest.last.name == "complete"
    assert rest.last.data["truncated"] is True
    assert len(rest.last.data["result"]) < 64 * 1024
    assert text.startswith(rest.last.data["result"])


def test_a_long_stream_would_not_end_itself(gateways: Gateways) -> None:
    """Without its bound it is more than the platform lets pass."""
    count, *_ = stalled(gateways, "endless")
    assert count > 10_000_000


def test_a_tool_result_of_ten_megabytes_is_cut(gateways: Gateways, make_runner: MakeRunner) -> None:
    """To 64 KiB, with `truncated`; the session goes on behind it."""
    with tempfile.TemporaryDirectory(prefix="double-") as folder:
        Path(folder).chmod(0o755)
        cli = behaviour("ten-megabytes-of-a-tool", Path(folder))
        told = gateways.make(runner=make_runner(CLAUDE_CLI=str(cli)).url).start("Hi")
    [result] = told.of("tool_result")
    assert result.data["truncated"] is True
    assert len(result.data["content"]) == 64 * 1024 - 2
    assert told.last.data["result"] == "fine"
    assert max(len(frame) for frame in told.body.split(b"\n\n")) < 66_000


ODD = (
    "a\r\nevent: error\r\ndata: {}\r\n\r\nid: 99\n\nevent: complete\ndata: {}\n\n"
    "\u2028b\u2029c\x00d\ufeffe\x85f\x1b[31mg\rh"
)


def test_no_text_can_forge_an_event(pair: tuple[Caller, Caller]) -> None:
    """Whatever Claude says, is asked, or puts into a tool arrives as text, and as nothing else."""
    prompt = scenario(
        {
            "blocks": [
                {"type": "text", "text": ODD, "chunk_size": 7},
                {
                    "type": "tool_use",
                    "name": "Write",
                    "input": {"file_path": "{{cwd}}/odd", "content": ODD},
                },
            ]
        },
        use("Bash", command=r"printf 'a\r\n\r\nevent: error\ndata: {}\n\n'"),
        say(ODD),
    )
    names: dict[str, Any] = {"allowedTools": ["Bash", "Write"]}
    told = pair[0].start(f"{ODD}{prompt}", options=names)
    assert told.text == ODD * 2
    assert told.of("tool_use")[0].data["input"]["content"] == ODD
    assert "event: error" in told.of("tool_result")[1].data["content"]
    assert told.of("claude_start")[0].data["prompt"].startswith(ODD)
    assert told.names.count("complete") == 1
    assert "error" not in told.names
    assert told.last.data["result"] == ODD
    ids = [event.id for event in told.events]
    assert ids == sorted(set(ids))
    assert pair[1].events(told.session_id).events == told.events
