"""`claude-run demo` and `claude-run dev`: everything here, and nothing of it afterwards."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import httpx2
import pytest

import servers
from claude_run import Client
from claude_run.events import MessageEvent
from claude_run.local import stack as stack_module
from claude_run.local.services import Service
from claude_run.local.stack import Stack, StackError
from gateway.setup.setup_code import SETUP_CODE
from gateway.vault.files import FileVault
from programs import Program, claude_run, descendants, running, still_there
from servers import PLANTED_KEY, say, scenario

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("readme")]

SLOW = scenario(say("word " * 400, chunk_size=5, delay_ms=100))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def address(program: Program) -> str:
    """The gateway's, once `dev` is ready."""
    program.until("Ctrl-C ends everything")
    return program.text.partition("\n  gateway ")[2].partition("\n")[0]


def state_folder(program: Program) -> Path:
    """Where the gateway keeps what it stores, as it was told."""
    gateway = next(p for p, c in program.children().items() if "functions_framework" in c)
    variables = Path(f"/proc/{gateway}/environ").read_bytes().split(b"\0")
    [store] = [v.decode() for v in variables if v.startswith(b"STORE_URL=")]
    return Path(store.partition("sqlite://")[2]).parent


def test_a_demo_shows_a_run_and_leaves_nothing() -> None:
    """Which model answers, the prompt, the words, the receipt, and that it cost nothing."""
    with running("demo", PROMPT='Greet $USER; say "hi"') as program:
        program.until("Hello!")
        started = program.children()
        folder = state_folder(program)
        assert (folder / "gateway.db").exists()
        assert folder.stat().st_mode & 0o077 == 0
        assert program.process.wait(60) == 0
    assert program.text.startswith("The scripted model answers: neither ANTHROPIC_API_KEY nor ")
    assert '\n> Greet $USER; say "hi"\n' in program.text
    assert "  ▸ Write scripted-model-1.md\n" in program.text
    assert " tokens in, " in program.text
    assert "session " not in program.text  # it is gone: nobody can go on with it
    assert "1 file changed:\n  + scripted-model-1.md\nNothing was billed" in program.text
    assert "\x1b" not in program.text
    assert len(started) >= 5  # model, runner, Claude Code, the gateway and its worker
    assert still_there(started) == {}
    assert not folder.exists()


@pytest.mark.parametrize(("sig", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_stopped_leaves_nothing(sig: signal.Signals, status: int) -> None:
    """In the middle of the words, within 10 s, by Ctrl-C and by SIGTERM."""
    with running("demo", SLOW) as program:
        program.until("\n\nword word")
        started = program.children()
        folder = state_folder(program)
        ended, seconds = program.end(sig)
    assert ended == status
    assert seconds < 10
    assert "Traceback" not in program.text
    assert [command for command in started.values() if "claude" in command]
    assert still_there(started) == {}
    assert not folder.exists()


def test_a_demo_stopped_while_it_starts_leaves_nothing() -> None:
    """A signal between two starts is not lost, nor is the process that starts just then."""
    with running("demo", "x") as program:
        program.until("> x")
        time.sleep(0.1)
        started = program.children()
        status, seconds = program.end(signal.SIGINT)
    assert status == 130
    assert seconds < 10
    assert still_there(started) == {}


def test_a_demo_that_fails_says_why() -> None:
    """Status 1, the error, and nothing about a bill."""
    done = claude_run("demo", scenario({"error": {"status": 401}, "blocks": []}))
    assert done.returncode == 1
    assert "(UPSTREAM_AUTH)" in done.stderr
    assert "billed" not in done.stdout


def test_dev_stays_until_ctrl_c(tmp_path: Path) -> None:
    """It says where everything is and how to try it; it works; then all of it ends.

    But what sessions have left, which the next start finds.
    """
    port = free_port()
    with running("dev", PORT=str(port), CLAUDE_RUN_HOME=str(tmp_path / "home")) as program:
        url = address(program)
        assert url == f"http://127.0.0.1:{port}"
        assert f"curl -N {url}/run" in program.text
        with Client(url) as client, client.run("Hi") as events:
            assert [type(event).__name__ for event in events][-1] == "DoneEvent"
        with Client(url) as client:
            session = client.interactive.start("Hi")
            assert [event.name for event in session.stream()][-1] == "complete"
        code = FileVault(tmp_path / "home" / "vault").get(SETUP_CODE) or "none"
        assert f"with the setup code {code}:\n\n  {url}/gh-setup\n" in program.text
        page = httpx2.get(f"{url}/gh-setup", headers={"X-Setup-Code": code}, trust_env=False)
        assert page.status_code == 200
        program.until('runner | {"')
        started = program.children()
        status, seconds = program.end(signal.SIGINT)
    assert status == 0
    assert seconds < 10
    assert "Traceback" not in program.text
    assert len(started) == 4
    assert still_there(started) == {}
    with running("dev", PORT="0", CLAUDE_RUN_HOME=str(tmp_path / "home")) as program:
        with Client(address(program)) as client:
            assert [status.session_id for status in client.interactive.list()] == [session.id]
        assert f"with the setup code {code}:" in program.text
        program.end(signal.SIGINT)


def test_dev_ends_when_one_of_its_services_does(tmp_path: Path) -> None:
    """Status 1, which one it was, and the others are ended."""
    with running("dev", PORT="0", CLAUDE_RUN_HOME=str(tmp_path)) as program:
        address(program)
        started = program.children()
        [model] = [pid for pid, command in started.items() if "runner.scripted" in command]
        servers.kill_group(model)
        assert program.process.wait(20) == 1
    assert "claude-run: The model ended (exit status -9).\n" in program.text
    assert still_there(started) == {}


def test_dev_on_a_port_that_is_taken_says_so() -> None:
    """One sentence with a way out, before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = claude_run("dev", PORT=str(port))
    assert done.returncode == 1
    assert done.stderr == (
        f"claude-run: port {port}: Address already in use. "
        f"Choose another: PORT={port + 1} make dev\n"
    )
    assert done.stdout == ""


@pytest.mark.parametrize("port", ["http", "-1", "65536", "9" * 5000, "\u0668"])
def test_dev_on_a_port_that_is_none_says_so(port: str) -> None:
    """Status 2."""
    done = claude_run("dev", PORT=port)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "claude-run: PORT must be a number from 0 to 65535\n"


def test_a_key_reaches_the_runner_and_nothing_else(model: servers.Server, tmp_path: Path) -> None:
    """With a key no scripted model starts; the key is on no command line and in no output."""
    key = f"{PLANTED_KEY}-dev"
    settings = {"ANTHROPIC_API_KEY": key, "ANTHROPIC_BASE_URL": model.url}
    with running("dev", PORT="0", CLAUDE_RUN_HOME=str(tmp_path), **settings) as program:
        url = address(program)
        assert "The real model answers, with the key in ANTHROPIC_API_KEY." in program.text
        with Client(url) as client, client.run(SLOW) as events:
            # By then the model was asked, and answers.
            next(one for one in events if isinstance(one, MessageEvent) and "event" in one.data)
            started = program.children()
        assert [command for command in started.values() if "claude" in command]
        assert not [command for command in started.values() if "runner.scripted" in command]
        assert not [command for command in started.values() if key in command]
        gateways = [p for p, c in started.items() if "functions_framework" in c]
        assert len(gateways) == 2
        for pid in gateways:
            assert key.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        program.end(signal.SIGINT)
    assert key not in program.text
    # The model saw it: the runner had it, and its broker presented it.
    assert key in httpx2.get(f"{model.url}/requests", trust_env=False).text


def service(tmp_path: Path, source: str) -> Service:
    """A service of one Python module."""
    (tmp_path / "double.py").write_text(source)
    return Service(
        name="double",
        module="double",
        ready=re.compile("ready (.*)"),
        environ=lambda ours, _: {**ours, "PYTHONPATH": str(tmp_path)},
    )


def test_a_service_that_does_not_get_ready_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a deadline, with what it said so far; and it is ended."""
    monkeypatch.setattr(stack_module, "START_SECONDS", 1.0)
    source = "import time\nprint('not yet', flush=True)\ntime.sleep(60)"
    with Stack([service(tmp_path, source)], environ={}) as stack:
        with pytest.raises(StackError, match="is not ready after 1 s") as failed:
            stack.start()
        assert failed.value.lines == ["not yet"]
        started = descendants(os.getpid())
    assert still_there({p: c for p, c in started.items() if c.endswith("-m double")}) == {}


def test_a_service_that_dies_at_once_is_told_with_its_words(tmp_path: Path) -> None:
    """The end of its output, where the reason usually is."""
    with Stack([service(tmp_path, "raise SystemExit('no such thing')")], environ={}) as stack:
        with pytest.raises(StackError, match=r"ended at once \(exit status 1\)") as failed:
            stack.start()
        assert failed.value.lines == ["no such thing"]


def test_a_service_that_will_not_end_is_killed_with_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its time, and then not even what it started is left."""
    monkeypatch.setattr(stack_module, "STOP_SECONDS", 0.5)
    source = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = 'import time; print(\"ready x\", flush=True); time.sleep(61.25)'\n"
        "subprocess.Popen([sys.executable, '-c', child])\n"
        "time.sleep(60)"
    )
    before = signal.getsignal(signal.SIGTERM)
    with Stack([service(tmp_path, source)], environ={}) as stack:
        stack.start()
        assert stack.addresses == {"double": "x"}
        started = {
            pid: command
            for pid, command in descendants(os.getpid()).items()
            if command.endswith("-m double") or "61.25" in command
        }
        assert len(started) == 2
    assert still_there(started) == {}
    assert signal.getsignal(signal.SIGTERM) is before
