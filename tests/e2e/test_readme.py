"""What the README shows is what happens: every `sh` and `python` block of it is run."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import servers
from programs import WAIT_SECONDS, Program, environment, running, still_there
from servers import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("readme")]

README = (REPOSITORY / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
# The suite itself; `.ci/run` runs it.
THIS = "make test\n"
MAKE = [source for _, source in BLOCKS if source.startswith("make ") and source != THIS]
EXAMPLES = [(kind, source) for kind, source in BLOCKS if not source.startswith("make ")]
URL = "http://127.0.0.1:8080"


def curl_that_fails(home: Path) -> dict[str, str]:
    """curl's own status for an HTTP error; without it a refused example would look well."""
    if shutil.which("curl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no curl here")
        pytest.skip("there is no curl here")
    (home / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    return {"CURL_HOME": str(home)}


@pytest.mark.parametrize(("kind", "source"), EXAMPLES)
def test_an_example_works(kind: str, source: str, runner: servers.Server, tmp_path: Path) -> None:
    """As it stands, against a gateway and a runner; only the address is another one."""
    with servers.running_gateway(runner.url, tmp_path / "state") as gateway:
        works(kind, source, gateway.url, tmp_path)


def works(kind: str, source: str, url: str, tmp_path: Path) -> None:
    """Run an example; what it prints shows the end of what it began."""
    environ = {"CLAUDE_RUN_URL": url}
    if "curl" in source:
        environ |= curl_that_fails(tmp_path)
    source = source.replace(URL, url).replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    shell = ["bash", "-euo", "pipefail", "-c"]
    done = subprocess.run(
        [*(shell if kind == "sh" else [sys.executable, "-c"]), source],
        env=environment(environ),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "scripted-model-1.md" in done.stdout or '{"event":"done","data":"[DONE]"}' in done.stdout
    assert "event: error" not in done.stdout


def test_the_examples_are_found() -> None:
    """For runs the command line, curl twice, Python; one of each for sessions; two commands."""
    assert len(EXAMPLES) == 7
    assert MAKE == ["make demo\n"]
    assert THIS in [source for _, source in BLOCKS]
    assert THIS in (REPOSITORY / ".ci/run").read_text()


@pytest.fixture
def made() -> None:
    """`make` installs where something changed; whoever runs the tests has done that."""
    stamp = REPOSITORY / ".venv/.installed"
    sources = [REPOSITORY / name for name in ("requirements-dev.txt", "pyproject.toml")]
    assert stamp.exists(), "run `make install` first"
    assert all(source.stat().st_mtime <= stamp.stat().st_mtime for source in sources)


@pytest.mark.usefixtures("made")
def test_make_demo_shows_what_the_readme_shows() -> None:
    """Line for line, but for the figures, the id in a path, and the prompt in the block."""
    with running("demo", program=["make"], PROMPT="Say hello") as program:
        assert program.process.wait(WAIT_SECONDS) == 0
    shown = README.partition('```text\n$ make demo PROMPT="Say hello"\n')[2].partition("```")[0]
    assert alike(program.text) == alike(shown)


def alike(text: str) -> list[str]:
    """The lines, without what differs from run to run."""
    lines = [re.sub(r"/tmp/ws-.*", "", line) for line in text.strip().splitlines()]
    return [re.sub(r"[0-9][0-9.,]*", "0", line) for line in lines]


@pytest.mark.usefixtures("made")
def test_make_dev_stays_until_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C reaches make and what it started, and everything ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = str(tmp_path)
    with running("dev", program=["make"], PORT=str(port), CLAUDE_RUN_HOME=home) as program:
        program.until("Ctrl-C ends everything")
        started = program.children()
        interrupt(program)
        program.process.wait(WAIT_SECONDS)
    assert f"http://127.0.0.1:{port}/run" in program.text
    assert "Traceback" not in program.text
    assert len(started) == 5
    assert still_there(started) == {}


def interrupt(program: Program) -> None:
    """What a terminal does on Ctrl-C."""
    os.killpg(program.process.pid, signal.SIGINT)
