"""The image: built from the Dockerfile, its files looked at, its runner answering runs.

What can be seen of an image at rest is checked at rest. The rest happens in one container, entered
as an engine would (`doubles.image_run`), with the scripted model outside.
"""

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

import servers
from claude_run.errors import Code
from doubles import image_run
from doubles.git_server import serve_git
from doubles.image_base import base_image, pip_mounts
from doubles.image_store import ImageStore
from runner.accounts import FIRST_UID, LOCKS, MAX_USERS
from servers import PLANTED_KEY, REPOSITORY, post_run, say, scenario, use

# The first test on a machine makes the base and builds the image; later ones find both.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("image"),
]

NAME = "localhost/claude-run-test"
NEEDED = ("buildah", "debootstrap", "unshare", "nsenter", "pivot_root", "mount")
BUILD_SECONDS = 600.0
MAX_BYTES = 1_200_000_000
TOOLS = "bash bwrap curl file git jq less make patch ps python3 rg socat unzip xz"


@dataclass(frozen=True, slots=True)
class Image:
    """The built image, and a container of it that nobody has started."""

    root: Path
    config: dict[str, Any]
    history: list[str]

    def paths(self) -> set[str]:
        """Every file and folder, relative to the root."""
        found: set[str] = set()
        for folder, folders, files in os.walk(self.root):
            inner = os.path.relpath(folder, self.root)
            found |= {os.path.normpath(f"{inner}/{name}") for name in (*folders, *files)}
        return found


@pytest.fixture(scope="module")
def store() -> Iterator[ImageStore]:
    """Outside the repository: it outlives `make clean`, and is a gigabyte."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if missing:
        reason = f"the image is not built here: no {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with ImageStore(cache / "claude-run-tests" / "images").opened() as opened:
        yield opened


@pytest.fixture(scope="module")
def image(store: ImageStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Built by the script that users run; only base and network are this machine's."""
    with ExitStack() as stack:
        with store.locked():
            base = base_image(store, (REPOSITORY / ".python-version").read_text().strip())
            options = [f"--build-arg=BASE={base}", "--pull-never", "--network=host"]
            mounts = pip_mounts(tmp_path_factory.mktemp("pip"))
            store.run(
                [str(REPOSITORY / "infra/build-image.sh"), NAME, *options, *mounts],
                environ={"ENGINE": "buildah"},
                seconds=BUILD_SECONDS,
            )
            root = stack.enter_context(store.container(NAME)).root
            described = store.describe(NAME)
        assert described is not None
        history = [step.get("created_by", "") for step in described["history"]]
        yield Image(root, described["config"], history)


@pytest.fixture(scope="module")
def before(image: Image) -> set[str]:
    """What was in the container before anything ran."""
    return image.paths()


@pytest.fixture(scope="module")
def box(image: Image, before: set[str], model: servers.Server) -> Iterator[image_run.Started]:
    """The image's runner, as it starts, on loopback."""
    assert before
    with image_run.started(
        image.root,
        image.config,
        HOST="127.0.0.1",
        PORT="0",
        ANTHROPIC_BASE_URL=model.url,
        ANTHROPIC_API_KEY=PLANTED_KEY,
        ALLOWED_GIT_HOSTS="127.0.0.1",
    ) as running:
        yield running


def bash(url: str, command: str) -> str:
    """What a command prints that the agent runs."""
    stream = post_run(
        url,
        {
            "prompt": scenario(use("Bash", command=command), say("Done.")),
            "allowedTools": ["Bash"],
            "permissionMode": "bypassPermissions",
        },
    )
    assert stream.error is None
    [result] = stream.tool_results()
    return str(result["content"])


def test_only_what_is_named_gets_into_the_context(store: ImageStore, tmp_path: Path) -> None:
    """Keys, settings and histories that lie about in the repository reach no layer."""
    wanted = {
        ".python-version",
        "container/requirements.txt",
        "container/runner/deep/module.py",
        "functions/claude_run/py.typed",
    }
    planted = {
        ".env",
        ".git/config",
        ".claude-run/vault/anthropic",
        "container/Dockerfile",
        "container/.env",
        "container/runner/__pycache__/module.cpython-311.pyc",
        "container/runner/stale.pyc",
        "functions/key.json",
        "functions/gateway/app.py",
        "tests/test_it.py",
    }
    for path in wanted | planted:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(PLANTED_KEY)
    shutil.copy(REPOSITORY / ".dockerignore", tmp_path)
    (tmp_path / "everything").write_text("FROM scratch\nCOPY . /\n")
    with store.locked():
        built = store.buildah(
            "build", "--quiet", "--layers=false", "--file", f"{tmp_path}/everything", f"{tmp_path}"
        )
        with store.container(built) as container:
            found = {path for path in container.root.rglob("*") if path.is_file()}
            assert {str(path.relative_to(container.root)) for path in found} == wanted
        store.buildah("rmi", built)


def test_it_is_small(image: Image) -> None:
    """A cold start loads it."""
    total = subprocess.run(
        ["du", "--summarize", "--block-size=1", "--one-file-system", image.root],
        capture_output=True,
        check=True,
    )
    assert int(total.stdout.split()[0]) < MAX_BYTES


def test_nothing_of_its_making_is_left(image: Image) -> None:
    """No package lists, no caches, no logs, nothing of the machine it was made on."""
    for folder in ("var/lib/apt/lists", "var/cache/apt", "root/.cache", "tmp", "var/tmp"):
        place = image.root / folder
        assert not place.exists() or not [*place.iterdir()], folder
    assert not [*(image.root / "var/log").rglob("*.log")]
    settings = image.root / "etc/pip.conf"
    assert not settings.exists() or not settings.read_bytes()
    environ = dict(entry.split("=", 1) for entry in image.config["Env"])
    assert (environ["PYTHONPATH"], environ["PORT"]) == ("/app", "8080")
    # The official image names its Python's version and checksum too.
    named = ("PATH", "PYTHONPATH", "HOST", "PORT", "LANG", "GPG_KEY")
    assert not [name for name in environ if name not in named and "PYTHON" not in name]
    assert not [step for step in image.history if "claude-run/certificates" in step]


def test_the_code_is_what_the_repository_has(image: Image) -> None:
    """Both packages, whole, and compiled."""
    for package, source in (("claude_run", "functions"), ("runner", "container")):
        wanted = {
            str(path.relative_to(REPOSITORY / source))
            for path in (REPOSITORY / source / package).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        files = [path for path in (image.root / "app" / package).rglob("*") if path.is_file()]
        found = {str(path.relative_to(image.root / "app")) for path in files}
        assert {path for path in found if not path.endswith(".pyc")} == wanted
        assert sum(path.endswith(".pyc") for path in found) == sum(
            path.endswith(".py") for path in wanted
        )


def test_a_run_can_write_nowhere_but_where_the_runner_clears(image: Image) -> None:
    """Of all files and folders only the shared ones of `runner.folders`, and those are sticky."""
    open_to_all: dict[str, int] = {}
    for path in image.paths():
        status = (image.root / path).lstat()
        if status.st_mode & stat.S_IWOTH and not stat.S_ISLNK(status.st_mode):
            open_to_all[path] = stat.S_IMODE(status.st_mode)
        assert not FIRST_UID <= status.st_uid < FIRST_UID + MAX_USERS, path
    devices = {path for path in open_to_all if path.startswith("dev/")}
    assert {path: open_to_all[path] for path in open_to_all.keys() - devices} == {
        "tmp": 0o1777,
        "var/tmp": 0o1777,
    }


def test_without_a_rule_who_may_call_it_does_not_start(image: Image) -> None:
    """It listens on all addresses, where AUTH must be set; the reason is said, the status kept."""
    done = subprocess.run(
        image_run.command_line(image.root, image.config, {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == os.EX_CONFIG
    assert "AUTH is missing" in done.stderr


def test_it_is_alive(box: image_run.Started) -> None:
    """The page's answer, and the image's own check finds it."""
    answer = httpx2.get(f"{box.url}/health", trust_env=False)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_health_check_needs_no_token(image: Image) -> None:
    """Where /health wants one, a refusal is a sign of life; silence is none."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    auth = {
        "AUTH": "verify",
        "AUTH_AUDIENCE": "https://runner.example",
        "AUTH_ALLOWED_CALLERS": "ann@example.com",
    }
    with image_run.started(image.root, image.config, HOST="127.0.0.1", PORT=port, **auth) as box:
        assert httpx2.get(f"{box.url}/health", trust_env=False).status_code == 401
        assert box.check_health(port) == 0
        assert box.check_health("1") != 0  # where nobody listens


def test_the_agent_is_nobody(box: image_run.Started) -> None:
    """A user of the run's own, who can change neither runner nor itself."""
    said = bash(
        box.url,
        "id -u; for folder in / /app /app/runner /opt/venv /opt/venv/bin /usr/local /etc /run "
        '/run/lock; do touch "$folder/x" 2>/dev/null && echo "wrote $folder"; done; '
        'echo x > "$HOME/x" && echo "wrote home"; grep NoNewPrivs /proc/self/status',
    )
    uid, home, privileges = said.split("\n")
    assert FIRST_UID <= int(uid) < FIRST_UID + MAX_USERS
    assert home == "wrote home"
    assert privileges.split() == ["NoNewPrivs:", "1"]


def test_the_agent_has_its_tools(box: image_run.Started) -> None:
    """Those of the list, and a Python that is not the runner's, with environments of its own."""
    said = bash(
        box.url,
        f"for tool in {TOOLS}; do command -v $tool >/dev/null || echo no $tool; done; "
        "python3 -m venv env && env/bin/pip --version | cut -d' ' -f1; "
        "python3 -c 'import runner' 2>&1 | tail -1",
    )
    assert said.split("\n") == ["pip", "ModuleNotFoundError: No module named 'runner'"]


def test_a_repository_is_cloned_and_changed(box: image_run.Started, tmp_path: Path) -> None:
    """Clone, agent, change set: the whole way of a run."""
    with serve_git(tmp_path) as server:
        origin = server.create("octo/hello")
        origin.write("README.md", "# Hello\n")
        base = origin.commit()
        stream = post_run(
            box.url,
            {
                "prompt": scenario(
                    use("Bash", command="git log --oneline | wc -l; echo More >> README.md"),
                    say("Changed."),
                ),
                "allowedTools": ["Bash"],
                "permissionMode": "bypassPermissions",
                "repository": {"url": server.url("octo/hello")},
            },
        )
    assert stream.error is None
    assert stream.text == "Changed."
    assert stream.changes["base"] == base
    assert [file["path"] for file in stream.changes["files"]] == ["README.md"]


def test_orphans_are_collected(box: image_run.Started, tmp_path: Path) -> None:
    """A clone that is cut short leaves git's own children; process 1 lets none of them linger."""
    ours = box.processes()
    with serve_git(tmp_path) as server:
        server.create("octo/slow").commit()
        server.delay = 60.0
        body = {
            "prompt": "Never read.",
            "repository": {"url": server.url("octo/slow")},
            "timeoutMinutes": 0.03,
        }
        error = post_run(box.url, body).error
    assert error is not None
    assert error["code"] in (Code.TIMEOUT, Code.CLONE_FAILED)
    deadline = time.monotonic() + 2
    while (left := box.processes()).keys() != ours.keys() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left.keys() == ours.keys(), left


def test_sigterm_ends_a_run_and_leaves_nothing(
    image: Image, before: set[str], box: image_run.Started
) -> None:
    """The last test here: the signal reaches the runner, its stream ends, no file has come."""
    prompt = scenario(use("Bash", command="touch started; sleep 300"), say("Late."))
    body = {
        "prompt": prompt,
        "allowedTools": ["Bash"],
        "permissionMode": "bypassPermissions",
    }
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post_run, box.url, body)
        deadline = time.monotonic() + 30
        while not [*image.root.glob("tmp/ws-*/started")]:
            assert time.monotonic() < deadline, "the agent did not start"
            time.sleep(0.05)
        seconds = box.stop()
        stream = answer.result()
    assert seconds < 8
    assert stream.error is not None
    assert stream.error["code"] == Code.SHUTDOWN
    assert stream.events[-1].event == "done"
    assert {f"/{path}" for path in image.paths() - before} <= {str(LOCKS)}
