"""What every end-to-end test stands on: real servers, and nothing left behind."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

import servers
import thoroughness  # noqa: F401 - it sets Hypothesis up
from doubles.emulate import require_emulate
from doubles.github import GitHub, serve_github
from leftovers import left_behind

GONE_SECONDS = 10.0
# The same runner with mechanisms taken out, by name: an attack must succeed against it.
WEAKENED = Path(__file__).parent.parent / "doubles" / "weakened_runner.py"

# Whoever starts the tests in the background may have SIGINT ignored, and so would every process
# that they start: Ctrl-C is what some of them are about.
signal.signal(signal.SIGINT, signal.default_int_handler)

MakeRunner = Callable[..., servers.Server]


@pytest.fixture(scope="session")
def model() -> Iterator[servers.Server]:
    """The scripted model, one for all tests: it keeps no state for a conversation."""
    with servers.scripted_model() as server:
        yield server


@pytest.fixture(scope="session")
def runner(model: servers.Server) -> Iterator[servers.Server]:
    """A runner as it stands on this machine: with users of its own where tests run as root."""
    with servers.running_runner(model.url) as server:
        yield server


@pytest.fixture(scope="session")
def github(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHub]:
    """GitHub, one for all tests: each makes repositories of its own in it."""
    require_emulate()
    with serve_github(tmp_path_factory.mktemp("github")) as served:
        yield served


@pytest.fixture
def make_runner(model: servers.Server) -> Iterator[MakeRunner]:
    """Start runners with settings of a test's own; they end with the test."""
    with ExitStack() as stack:

        def make(
            *, upstream: str = model.url, weak: Sequence[str] = (), **environ: str
        ) -> servers.Server:
            command = (str(WEAKENED), *weak) if weak else ("-m", "runner")
            return stack.enter_context(servers.running_runner(upstream, command=command, **environ))

        yield make


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test: no process of a run, no folder, no FIFO that was not there before."""
    before = left_behind()
    yield
    deadline = time.monotonic() + GONE_SECONDS
    while (left := left_behind() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
