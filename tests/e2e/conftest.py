"""What every end-to-end test stands on: real servers, and nothing left behind."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import servers
import thoroughness  # noqa: F401 - it sets Hypothesis up
from attacks import PLANTED_VARIABLE
from doubles.emulate import require_emulate
from doubles.github import GitHub, serve_github
from leftovers import left_behind

# Where a process of a run is not gone by then, it stays.
GONE_SECONDS = 30.0
# The same runner with mechanisms taken out, by name: an attack must succeed against it.
WEAKENED = Path(__file__).parent.parent / "doubles" / "weakened_runner.py"
# A file is one piece of work to pytest-xdist. These take longest, and begin first.
LONGEST = (
    "test_image.py",
    "test_deploy.py",
    "test_issues.py",
    "test_as_deployed.py",
    "test_stopping.py",
    "test_session_faults.py",
    "test_store_firestore.py",
    "test_attacks_limits.py",
    "test_sessions.py",
)

MakeRunner = Callable[..., servers.Server]

# Whoever starts the tests in the background has them ignore Ctrl-C, and all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: the others are at their end when it is."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session")
def model() -> Iterator[servers.Server]:
    """The scripted model, one for all tests: it keeps no state for a conversation."""
    with servers.scripted_model() as server:
        yield server


@pytest.fixture(scope="session")
def runner(model: servers.Server) -> Iterator[servers.Server]:
    """A runner as it stands on this machine: with users of its own where tests run as root."""
    with servers.running_runner(model.url, **PLANTED_VARIABLE) as server:
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

        def make(*, upstream: str = model.url, **environ: str) -> servers.Server:
            return stack.enter_context(servers.running_runner(upstream, **environ))

        yield make


@pytest.fixture(scope="session")
def weakened(model: servers.Server) -> Iterator[MakeRunner]:
    """Runners with mechanisms taken out, named; each is started once, and shared like `runner`."""
    found: dict[tuple[str, ...], servers.Server] = {}
    with ExitStack() as stack:

        def named(*names: str) -> servers.Server:
            if names not in found:
                command = (str(WEAKENED), *names)
                context = servers.running_runner(model.url, command=command, **PLANTED_VARIABLE)
                found[names] = stack.enter_context(context)
            return found[names]

        yield named


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test: no process of a run, no folder, no FIFO that was not there before."""
    before = left_behind()
    yield
    deadline = time.monotonic() + GONE_SECONDS
    while (left := left_behind() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
