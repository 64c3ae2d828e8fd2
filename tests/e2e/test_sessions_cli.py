"""The session commands as their user has them: the program, gateway, runner, real Claude Code."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import pytest

import servers
from claude_run import Client
from claude_run.session_events import ClaudeDeltaEvent, CompleteEvent, SessionErrorEvent
from programs import claude_run, running
from servers import say, scenario, use

pytestmark = pytest.mark.e2e

WRITE = use("Write", file_path="{{cwd}}/a.txt", content="hello\n")
SLOW = scenario(say("word " * 400, chunk_size=5, delay_ms=50))


@pytest.fixture(scope="module")
def gateway(
    runner: servers.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[servers.Server]:
    """A gateway on a store of its own."""
    with servers.running_gateway(runner.url, tmp_path_factory.mktemp("gateway")) as server:
        yield server


def name() -> str:
    return f"cli-{uuid4()}"


def test_a_session_is_started_shown_sent_to_and_read_again(gateway: servers.Server) -> None:
    """Words, tools, receipt, as of a run; each command takes the session's id."""
    session, url = name(), gateway.url
    first = claude_run(
        "start", scenario(WRITE, say("All done.")), "--session-id", session, CLAUDE_RUN_URL=url
    )
    assert (first.returncode, first.stderr) == (0, "")
    words, _, receipt = first.stdout.partition("\n\n")
    assert words == "  ▸ Write a.txt\nAll done."
    assert " tokens in, " in receipt
    assert receipt.endswith(f"1 file changed:\n  + a.txt\nsession {session}\n")

    second = claude_run("send", session, scenario(say("Again.")), CLAUDE_RUN_URL=url)
    assert second.returncode == 0
    assert second.stdout.startswith("Again.\n")
    assert "All done." not in second.stdout

    again = claude_run("tail", session, CLAUDE_RUN_URL=url)
    assert again.returncode == 0
    assert again.stdout.count("> Play this.") == 2
    assert again.stdout.index("All done.") < again.stdout.index("Again.")

    shown = claude_run("show", session, CLAUDE_RUN_URL=url).stdout
    assert f"session     {session}\nstatus      completed\nturns       2\n" in shown
    listed = claude_run("sessions", CLAUDE_RUN_URL=url).stdout
    assert f"{session}  completed   2 turns" in listed
    over = claude_run("cancel", session, CLAUDE_RUN_URL=url)
    assert (over.returncode, over.stdout) == (0, f"{session} was over: completed.\n")


def test_json_is_one_line_for_each_event_of_the_log(gateway: servers.Server) -> None:
    """Started, and read from the middle; status, record and list are objects."""
    session, url = name(), gateway.url
    done = claude_run(
        "start", scenario(say("Yes.")), "--session-id", session, "--json", CLAUDE_RUN_URL=url
    )
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {tuple(event) for event in events} == {("event", "id", "data")}
    assert (events[0]["event"], events[-1]["event"]) == ("connected", "complete")
    rest = claude_run("tail", session, "--after", "2", "--json", CLAUDE_RUN_URL=url)
    assert [json.loads(line) for line in rest.stdout.splitlines()] == events[2:]
    shown = json.loads(claude_run("show", session, "--json", CLAUDE_RUN_URL=url).stdout)
    assert (shown["sessionId"], shown["status"]) == (session, "completed")
    listed = claude_run("sessions", "--limit", "1", "--json", CLAUDE_RUN_URL=url).stdout
    assert json.loads(listed)["sessionId"] == session
    assert json.loads(claude_run("status", "--json", CLAUDE_RUN_URL=url).stdout)["status"]


def test_ctrl_c_leaves_a_session_that_goes_on_and_cancel_stops_it(
    gateway: servers.Server,
) -> None:
    """130 and how to go on; `tail` is there again; `cancel` ends that with CANCELLED."""
    session, url = name(), gateway.url
    with running("start", SLOW, "--session-id", session, CLAUDE_RUN_URL=url) as program:
        program.until("word word")
        status, seconds = program.end(signal.SIGINT)
        assert status == 130
        assert seconds < 5
        program.until(f"`claude-run cancel {session}` stops it.")
    assert "Traceback" not in program.text
    assert "processing" in claude_run("show", session, CLAUDE_RUN_URL=url).stdout
    with running("tail", session, CLAUDE_RUN_URL=url) as program:
        program.until("word word")
        stopped = claude_run("cancel", session, CLAUDE_RUN_URL=url)
        assert stopped.stdout == f"{session} is being stopped.\n"
        assert program.process.wait(20) == 1
        program.until("(CANCELLED)")
    assert "cancelled" in claude_run("show", session, CLAUDE_RUN_URL=url).stdout


def test_a_turn_that_fails_is_status_1(gateway: servers.Server) -> None:
    """With the reason and what to do."""
    prompt = scenario(WRITE, say("x"))
    done = claude_run("start", prompt, "--max-turns", "1", CLAUDE_RUN_URL=gateway.url)
    assert done.returncode == 1
    assert "(MAX_TURNS)\n  Allow more with --max-turns.\n" in done.stderr


@pytest.mark.parametrize("command", [["show"], ["tail"], ["cancel"], ["send", "x"]])
def test_a_session_that_is_not_there_is_told(command: list[str], gateway: servers.Server) -> None:
    """And where to find those that are."""
    argv = [command[0], "nobodys", *command[1:]]
    done = claude_run(*argv, CLAUDE_RUN_URL=gateway.url)
    assert done.returncode == 1
    assert "(NOT_FOUND)\n  `claude-run sessions` lists yours." in done.stderr


def test_status_is_of_a_gateway_and_of_a_runner(
    gateway: servers.Server, runner: servers.Server
) -> None:
    """All that it says, or that it is there."""
    said = claude_run("status", CLAUDE_RUN_URL=gateway.url)
    assert said.returncode == 0
    assert "store       operational" in said.stdout
    assert claude_run("status", CLAUDE_RUN_URL=runner.url).stdout == "ok\n"
    wrong = claude_run("sessions", CLAUDE_RUN_URL=runner.url)
    assert wrong.returncode == 1
    assert "Is --base-url the address of a gateway?" in wrong.stderr


# --- a network that breaks ------------------------------------------------------------------------


class BreakingNetwork:
    """Passes bytes on to a server, and cuts each connection after so many bytes of its answer.

    It listens on the server's own port, at this machine's next address: the server refuses a
    request whose Host names another port.
    """

    def __init__(self, server: servers.Server, limits: list[int]) -> None:
        self._port, self._limits = int(server.url.rpartition(":")[2]), limits
        self._listener = socket.create_server(("127.0.0.2", self._port))
        self.url = f"http://127.0.0.2:{self._port}"
        self.cut = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                limit = self._limits.pop(0) if self._limits else 1 << 40
                self._threads.append(threading.Thread(target=self._pass, args=(client, limit)))
                self._threads[-1].start()

    def _pass(self, client: socket.socket, limit: int) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            there = threading.Thread(target=_copy, args=(client, server))
            there.start()
            if _copy(server, client, limit):
                self.cut += 1
            for one in (client, server):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            there.join()

    def close(self) -> None:
        """Take no more connections, and wait for those that are."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


def _copy(source: socket.socket, target: socket.socket, limit: int = 1 << 40) -> bool:
    """Until the end, or until the limit: True."""
    with suppress(OSError):
        while limit > 0 and (data := source.recv(4096)):
            target.sendall(data[:limit])
            limit -= len(data)
        source.recv(1)  # The request has arrived when there is an answer.
    return limit <= 0


def test_a_network_that_breaks_is_not_seen(gateway: servers.Server) -> None:
    """In the middle of the live stream, again and again: each event once, in order, all of them."""
    text = "".join(f"{number} " for number in range(600))
    prompt = scenario(say(text, chunk_size=6, delay_ms=5))
    network = BreakingNetwork(gateway, [700, 3_000, 900, 5_000, 1_500, 200, 2_222])
    try:
        with Client(network.url) as client:
            session = client.interactive.start(prompt)
            events = list(session.stream())
    finally:
        network.close()
    assert network.cut == 7
    with Client(gateway.url) as client:
        log = list(client.interactive.get(session.id).stream())
    assert events == log
    assert "".join(e.content for e in events if isinstance(e, ClaudeDeltaEvent)) == text
    assert isinstance(events[-1], CompleteEvent)


def test_a_start_whose_answer_is_lost_is_found(gateway: servers.Server) -> None:
    """The connection breaks before a byte of the answer came: the session is looked for."""
    network = BreakingNetwork(gateway, [0])
    try:
        with Client(network.url) as client:
            session = client.interactive.start(scenario(say("Found.")))
            assert isinstance(list(session.stream())[-1], CompleteEvent)
    finally:
        network.close()
    with Client(gateway.url) as client:
        assert client.interactive.get(session.id).status().current_turn == 1


def test_a_gateway_that_is_killed_is_awaited(runner: servers.Server, tmp_path: Path) -> None:
    """Its successor finishes the session for it: what was stored, once, and INTERRUPTED."""
    with ExitStack() as stack:
        first = stack.enter_context(servers.running_gateway(runner.url, tmp_path))
        port = int(first.url.rpartition(":")[2])

        def restart() -> None:
            again = servers.running_gateway(runner.url, tmp_path, port=port)
            stack.enter_context(again)

        with Client(first.url) as client:
            session = client.interactive.start(SLOW)
            stream = session.stream()
            events = [next(stream) for _ in range(20)]
            servers.kill_group(first.pid)
            first.process.wait()
            restarted = threading.Thread(target=restart)
            restarted.start()
            events += stream
            restarted.join()
            log = list(client.interactive.get(session.id).stream())
    assert isinstance(events[-1], SessionErrorEvent)
    assert events[-1].code == "INTERRUPTED"
    numbers = [event.id for event in events]
    assert numbers == sorted(set(numbers))
    # At most what was shown and not yet stored is in nobody's log.
    assert {event.id for event in log} <= set(numbers)
    assert len(events) - len(log) <= 256
