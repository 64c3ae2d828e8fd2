"""What a repository, a server and an agent can try through git; each works with the defence off."""

import asyncio
import base64
import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_run.errors import CallerError, ClaudeRunError
from claude_run.wire import Changes, FileChange
from doubles.git_server import GitServer, Origin, git, serve_git
from doubles.work_tree import WorkTree, check_out
from runner.git import beneath
from runner.git.apply import apply_changes
from runner.git.changeset import ChangeSet
from runner.git.clone import Clone, clone
from runner.git.command import Network
from runner.git.snapshot import Snapshot, _Reader
from runner.git.source import CloneSource, check_clone_url
from runner.git.tree import REGULAR, SYMLINK
from runner.git.walk import Walk

pytestmark = pytest.mark.e2e

# Somebody else where that is possible; only root can give files away.
OWNER = (4321, 4322) if os.geteuid() == 0 else (os.getuid(), os.getgid())
TOKEN = "ghs_planted.token-0123456789abcdef"
BASIC = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
SECRET = b"what only the runner may read"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with serve_git(tmp_path / "server") as running:
        yield running


@pytest.fixture
def origin(server: GitServer) -> Origin:
    made = server.create("octo/hello")
    made.write("README.md", "# Hello\n")
    made.write("src/a.py", "a = 1\n")
    made.commit()
    return made


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "ws"
    folder.mkdir(mode=0o700)
    return folder


def source(server: GitServer, name: str = "octo/hello") -> CloneSource:
    return check_clone_url(
        server.url(name), allowed_hosts=frozenset({server.host}), allow_loopback_http=True
    )


def fetch(server: GitServer, workspace: Path, token: str | None = None) -> Clone:
    return asyncio.run(clone(source(server), workspace=workspace, token=token, time_limit=30))


def shell(mark: Path) -> str:
    return f"touch {mark}"


# What a server or a repository tries while we clone ------------------------------------------


@pytest.mark.parametrize("defended", [True, False])
def test_a_redirect_takes_the_token_nowhere(
    server: GitServer,
    origin: Origin,
    workspace: Path,
    tmp_path: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
    defended: bool,
) -> None:
    """A server on the list that points to one that is not."""
    assert origin.bare.exists()
    with serve_git(tmp_path / "evil") as evil:
        evil.token = "asks for a login, to be given one"
        server.redirect_to = f"http://{evil.host}"
        if not defended:
            original = Network.config.fget  # type: ignore[attr-defined]

            def careless(self: Network) -> dict[str, str]:
                helper = f"credential.{self.origin}.helper"
                config: dict[str, str] = original(self)
                return {
                    **config, "http.followRedirects": "true", "credential.helper": config[helper]
                }  # fmt: skip

            monkeypatch.setattr(Network, "config", property(careless))
        with pytest.raises(ClaudeRunError) as caught:
            fetch(server, workspace, TOKEN)
        sent = [request.authorization for request in evil.requests]
    if defended:
        assert "redirect" in caught.value.message
        assert sent == []
    else:
        assert f"Basic {BASIC}" in sent


@pytest.mark.parametrize("follow", [True, False])
def test_the_credential_is_for_one_host_by_itself(
    server: GitServer,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    follow: bool,
) -> None:
    """The second lock behind the first: were redirects followed, git would not find the token."""
    with serve_git(tmp_path / "evil") as evil:
        evil.token = "another"
        server.redirect_to = f"http://{evil.host}"
        original = Network.config.fget  # type: ignore[attr-defined]
        monkeypatch.setattr(
            Network,
            "config",
            property(lambda self: {**original(self), "http.followRedirects": str(follow).lower()}),
        )
        with pytest.raises(ClaudeRunError):
            fetch(server, workspace, TOKEN)
        assert bool(evil.requests) is follow
        assert [request.authorization for request in evil.requests if request.authorization] == []


@contextmanager
def sampled() -> Iterator[set[bytes]]:
    """Every argument list and environment of a process of ours that is seen meanwhile."""
    seen: set[bytes] = set()
    stop = threading.Event()
    ours = str(os.getpid())

    def look() -> None:
        while not stop.wait(0.002):
            for folder in Path("/proc").glob("[0-9]*"):
                if folder.name == ours:
                    continue
                for name in ("cmdline", "environ"):
                    try:
                        seen.add((folder / name).read_bytes())
                    except OSError:
                        continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def test_the_token_is_in_no_argument_and_no_environment(
    server: GitServer, origin: Origin, workspace: Path, tmp_path: Path
) -> None:
    """Every process is looked at all the time; a token in a URL is found that way."""
    assert origin.bare.exists()
    server.token = TOKEN
    server.delay = 0.1
    with sampled() as seen:
        fetch(server, workspace, TOKEN)
    everything = b"\n".join(seen)
    assert b"remote-http" in everything
    assert b"credential." in everything
    assert TOKEN.encode() not in everything
    assert BASIC.encode() not in everything
    config = (workspace / ".git/config").read_text()
    assert TOKEN not in config
    assert "@" not in config.partition("[user]")[0]

    with sampled() as seen:
        url = server.url("octo/hello").replace("//", f"//x-access-token:{TOKEN}@")
        git("clone", "--quiet", url, str(tmp_path / "plain"), cwd=tmp_path)
    assert TOKEN.encode() in b"\n".join(seen)


@pytest.mark.parametrize("defended", [True, False])
def test_the_users_own_configuration_plays_no_part(
    server: GitServer,
    origin: Origin,
    workspace: Path,
    tmp_path: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
    defended: bool,
) -> None:
    """insteadOf, hooks of a template, a credential helper, all in the runner's own home."""
    assert origin.bare.exists()
    home, template, mark = tmp_path / "home", tmp_path / "template", tmp_path / "ran"
    (template / "hooks").mkdir(parents=True)
    (template / "hooks/post-checkout").write_text(f"#!/bin/sh\n{shell(mark)}\n")
    (template / "hooks/post-checkout").chmod(0o755)
    home.mkdir()
    with serve_git(tmp_path / "evil") as evil:
        (home / ".gitconfig").write_text(
            f'[url "http://{evil.host}/"]\n\tinsteadOf = http://{server.host}/octo/\n'
            f"[init]\n\ttemplateDir = {template}\n"
        )
        evil_origin = evil.create("hello")
        evil_origin.write("evil", "1")
        evil_origin.commit()
        if defended:
            monkeypatch.setenv("HOME", str(home))
            monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
            monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(home / ".gitconfig"))
            monkeypatch.setenv("GIT_TEMPLATE_DIR", str(template))
            fetch(server, workspace)
        else:
            subprocess.run(
                ["git", "clone", "--quiet", server.url("octo/hello"), str(workspace)],
                env={"PATH": os.environ["PATH"], "HOME": str(home)},
                check=True,
            )
        reached = bool(evil.requests)
    assert (reached, mark.exists()) == ((False, False) if defended else (True, True))
    assert (workspace / "evil").exists() is not defended


def test_submodules_are_not_fetched(
    server: GitServer, origin: Origin, workspace: Path, tmp_path: Path
) -> None:
    """Neither by a request nor by a command in their URL; an empty folder stays."""
    mark = tmp_path / "ran"
    other = server.create("octo/other")
    other.write("x", "1")
    commit = other.commit()
    origin.write(
        ".gitmodules",
        f'[submodule "s"]\n\tpath = s\n\turl = {server.url("octo/other")}\n'
        f'[submodule "t"]\n\tpath = t\n\turl = ext::sh -c touch% {mark}\n',
    )
    git("add", ".", cwd=origin.folder)
    for name in ("s", "t"):
        git("update-index", "--add", "--cacheinfo", f"160000,{commit},{name}", cwd=origin.folder)
    git("commit", "--quiet", "-m", "Submodules", cwd=origin.folder)
    origin.publish()
    server.requests.clear()
    fetch(server, workspace)
    assert list((workspace / "s").iterdir()) == []
    assert not mark.exists()
    assert not [request for request in server.requests if "other" in request.path]

    git("-c", "protocol.ext.allow=always", "clone", "--quiet", "--recurse-submodules=s",
        server.url("octo/hello"), str(tmp_path / "plain"), cwd=tmp_path)  # fmt: skip
    assert [request for request in server.requests if "other" in request.path]


# What an agent tries in its workspace ---------------------------------------------------------


def test_nothing_in_the_workspace_is_run(
    server: GitServer, origin: Origin, workspace: Path, tmp_path: Path
) -> None:
    """fsmonitor, filters, hooks, textconv and an include; `git status` and `git add` run them."""
    assert origin.bare.exists()
    cloned = fetch(server, workspace)
    mark, scratch = tmp_path / "ran", tmp_path / "scratch"
    scratch.mkdir()
    snapshot = Snapshot(workspace=workspace, scratch=scratch, clone=cloned)
    run = tmp_path / "evil.sh"
    run.write_text(f"#!/bin/sh\n{shell(mark)}\ncat\n")
    run.chmod(0o755)
    (workspace / ".git/evil").write_text(
        f"[core]\n\tfsmonitor = {run}\n\thooksPath = {workspace}/hooks\n\tsshCommand = {run}\n"
        f'[filter "f"]\n\tclean = {run}\n\tsmudge = {run}\n[diff "d"]\n\ttextconv = {run}\n'
        f"[core]\n\tattributesFile = {workspace}/.gitattributes\n\tpager = {run}\n"
    )
    with (workspace / ".git/config").open("a") as config:
        config.write("[include]\n\tpath = evil\n")
    (workspace / ".gitattributes").write_text("* filter=f diff=d\n")
    (workspace / ".git/info/attributes").unlink()
    (workspace / ".gitignore").write_text("*.o\n")
    (workspace / "new").write_text("1")
    (workspace / "src/a.py").write_text("a = 2\n")
    for place in (workspace / ".git/objects/info", workspace / "hooks"):
        place.mkdir(parents=True, exist_ok=True)
    (workspace / ".git/objects/info/alternates").write_text("/root/.git/objects\n")
    shutil.copy(run, workspace / "hooks/post-index-change")

    changes = asyncio.run(snapshot.changes())
    assert changes is not None
    assert {file.path for file in changes.files} == {
        b".gitattributes", b".gitignore", b"new", b"src/a.py", b"hooks/post-index-change"
    }  # fmt: skip
    assert {file.content for file in changes.files if file.path == b"new"} == {b"1"}
    assert not mark.exists()
    subprocess.run(
        ["git", "status"], cwd=workspace, capture_output=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )  # fmt: skip
    assert mark.exists()


def test_a_git_file_that_points_elsewhere_is_not_followed(
    server: GitServer, origin: Origin, workspace: Path, tmp_path: Path
) -> None:
    """The workspace's .git replaced, by a file, a link, or nothing."""
    assert origin.bare.exists()
    cloned = fetch(server, workspace)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    snapshot = Snapshot(workspace=workspace, scratch=scratch, clone=cloned)
    (workspace / "new").write_text("1")
    shutil.rmtree(workspace / ".git")
    (workspace / ".git").write_text("gitdir: /etc\n")
    changes = asyncio.run(snapshot.changes())
    assert changes is not None
    assert [file.path for file in changes.files] == [b"new"]
    (workspace / ".git").unlink()
    (workspace / ".git").symlink_to("/")
    assert asyncio.run(snapshot.changes()) is None


def secrets_of(changes: ChangeSet | None) -> list[bytes]:
    return [f.path for f in changes.files if f.content == SECRET] if changes else []


def victim(tmp_path: Path) -> tuple[WorkTree, Path]:
    """A work tree with `a/b`, and a folder outside with a `b` that is secret."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_bytes(SECRET)
    tree = check_out(tmp_path, {b"a/b": (REGULAR, b"x" * len(SECRET))})
    return tree, outside


def after(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, then: Callable[[], None]
) -> None:
    """Do something once, right after a method returned: the worst moment, every time."""
    original = getattr(owner, name)
    done: list[bool] = []

    def patched(self: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        result = original(self, *args, **kwargs)
        if not done and (name != "level" or b"a/b" in self.listing.files):  # type: ignore[attr-defined]
            done.append(True)
            then()
        return result

    monkeypatch.setattr(owner, name, patched)


@pytest.mark.parametrize("defended", [True, False])
@pytest.mark.parametrize("moment", ["listed", "hashed"])
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_link_that_is_swapped_in_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defended: bool, moment: str, what: str
) -> None:
    """Between listing and reading, a folder or a file becomes a link out of the tree."""
    tree, outside = victim(tmp_path)
    (tree.workspace / "a/b").write_bytes(b"y" * len(SECRET))
    snapshot = tree.snapshot()

    def swap() -> None:
        if what == "folder":
            (tree.workspace / "a").rename(tree.workspace / "moved")
            (tree.workspace / "a").symlink_to(outside)
        else:
            (tree.workspace / "a/b").unlink()
            (tree.workspace / "a/b").symlink_to(outside / "b")

    if moment == "listed":
        after(monkeypatch, Walk, "level", swap)
    else:
        after(monkeypatch, _Reader, "hash", swap)
        # The folder that is open is safe by itself; as if another had been read in between.
        monkeypatch.setattr(_Reader, "_enter", _enter_anew)
    if not defended:
        monkeypatch.setattr(beneath, "_DIRECTORY", beneath._DIRECTORY & ~os.O_NOFOLLOW)
        monkeypatch.setattr(beneath, "_FILE", beneath._FILE & ~os.O_NOFOLLOW)
        if moment == "listed":
            # A file that is not what was listed is refused as well: the second lock.
            monkeypatch.setattr("runner.git.snapshot.stat_key", lambda _: _Anything())
    leaked = secrets_of(asyncio.run(snapshot.changes()))
    assert leaked == ([] if defended else [b"a/b"])


class _Anything:
    """Equal to every key."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


_enter = _Reader._enter


def _enter_anew(self: _Reader, folder: bytes) -> int:
    self._leave()
    return _enter(self, folder)


def test_a_race_without_end_leaks_nothing(tmp_path: Path) -> None:
    """A thread that swaps as fast as it can, against one snapshot after another."""
    tree, outside = victim(tmp_path)
    snapshot = tree.snapshot()
    work = tree.workspace
    stop = threading.Event()

    def swap() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (work / "a").rename(work / "real")
            (work / "a").symlink_to(outside)
            (work / "a").unlink()
            (work / "real").rename(work / "a")
            (work / "a/b").write_bytes(b"%030d" % number)
            (work / "a/b").unlink()
            (work / "a/b").symlink_to(outside / "b")
            (work / "a/b").unlink()
            os.mkfifo(work / "a/b")
            (work / "a/b").unlink()
            (work / "a/b").write_bytes(b"")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        deadline = time.monotonic() + 1.5
        rounds = 0
        while time.monotonic() < deadline:
            assert secrets_of(asyncio.run(snapshot.changes())) == []
            rounds += 1
    finally:
        stop.set()
        thread.join()
    assert rounds > 20


def test_a_fifo_that_is_swapped_in_blocks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened without O_NONBLOCK it waits until somebody opens the other end."""
    tree, _ = victim(tmp_path)
    target = tree.workspace / "a/b"
    snapshot = tree.snapshot()

    def swap() -> None:
        target.unlink()
        os.mkfifo(target)

    after(monkeypatch, Walk, "level", swap)
    started = time.monotonic()
    asyncio.run(snapshot.changes())
    assert time.monotonic() - started < 1

    monkeypatch.setattr(beneath, "_FILE", beneath._FILE & ~os.O_NONBLOCK)
    opened = threading.Event()

    def read() -> None:
        parent = beneath.open_directory(tree.workspace / "a")
        with pytest.raises(OSError), beneath.regular_file(parent, b"b", owner=os.getuid()):  # noqa: PT011
            pass
        os.close(parent)
        opened.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert not opened.wait(0.3)
    target.open("wb").close()
    thread.join()


# What a change set tries ----------------------------------------------------------------------


def apply(tree: WorkTree, *files: FileChange, owner: tuple[int, int] | None = None) -> None:
    changes = Changes(base=tree.clone.base, files=list(files))
    asyncio.run(apply_changes(changes, workspace=tree.workspace, base=tree.clone.base, owner=owner))


def put(path: str, content: bytes = b"x", mode: str = "100644") -> FileChange:
    return FileChange.model_validate(
        {"path": path, "mode": mode, "content": base64.b64encode(content).decode()}
    )


@pytest.mark.parametrize("defended", [True, False])
@pytest.mark.parametrize("change", ["write", "delete"])
def test_changes_do_not_go_through_a_link_of_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defended: bool, change: str
) -> None:
    """`out -> /outside` in the commit, `out/b` in the change set."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_bytes(SECRET)
    tree = check_out(tmp_path, {b"out": (SYMLINK, os.fsencode(outside))})
    file = put("out/b") if change == "write" else FileChange(path="out/b", deleted=True)
    if defended:
        with pytest.raises(CallerError) as caught:
            apply(tree, file)
        assert caught.value.details["field"] == "changes.files.0"
        assert (outside / "b").read_bytes() == SECRET
    else:
        monkeypatch.setattr(beneath, "_DIRECTORY", beneath._DIRECTORY & ~os.O_NOFOLLOW)
        apply(tree, file)
        assert not (outside / "b").exists() or (outside / "b").read_bytes() == b"x"


def test_changes_do_not_go_through_a_link_of_their_own(tmp_path: Path) -> None:
    """The link and what lies behind it in one change set, in either order."""
    for number, order in enumerate([(0, 1), (1, 0)]):
        tree = check_out(tmp_path / str(number), {})
        files = [put("out", os.fsencode(tmp_path), mode="120000"), put("out/b")]
        with pytest.raises(CallerError):
            apply(tree, *(files[index] for index in order))
        assert not (tmp_path / "b").exists()


def test_a_link_in_a_files_place_is_replaced_not_written_through(tmp_path: Path) -> None:
    """The commit has a link where the change set has a file."""
    target = tmp_path / "target"
    target.write_bytes(SECRET)
    tree = check_out(tmp_path, {b"f": (SYMLINK, os.fsencode(target)), b"g": (REGULAR, b"g")})
    os.link(tree.workspace / "g", tmp_path / "twin")
    apply(tree, put("f", b"new"), put("g", b"new", mode="100755"))
    assert target.read_bytes() == SECRET
    assert (tmp_path / "twin").read_bytes() == b"g"
    assert (tree.workspace / "f").read_bytes() == b"new"
    assert os.access(tree.workspace / "g", os.X_OK)


@pytest.mark.parametrize(
    "files",
    [
        [put("a")],  # a folder with something in it
        [put("a/b/c")],  # a file where a folder must be
        [FileChange(path="a", deleted=True)],
        [put("x", b"a\0b", mode="120000")],
        [put("x", b"", mode="120000")],
        [put("x" * 300)],
    ],
)
def test_changes_that_do_not_fit_are_the_callers_error(
    tmp_path: Path, files: list[FileChange]
) -> None:
    """Named by their place in the request."""
    tree = check_out(tmp_path, {b"a/b": (REGULAR, b"")})
    with pytest.raises(CallerError) as caught:
        apply(tree, *files)
    assert str(caught.value.details["field"]).startswith("changes.files.0")


def test_changes_of_another_commit_touch_nothing(tmp_path: Path) -> None:
    """Checked before the first write."""
    tree = check_out(tmp_path, {})
    changes = Changes(base="f" * 40, files=[put("x")])
    with pytest.raises(CallerError) as caught:
        asyncio.run(apply_changes(changes, workspace=tree.workspace, base=tree.clone.base))
    assert caught.value.details["field"] == "changes.base"
    assert list(tree.workspace.iterdir()) == []


@pytest.mark.root
def test_what_is_reapplied_is_the_runs_users(tmp_path: Path) -> None:
    """Files, links and new folders; what a link points to stays its owner's."""
    target = tmp_path / "target"
    target.write_bytes(b"")
    tree = check_out(tmp_path, {})
    apply(
        tree,
        put("d/e/f"),
        put("link", os.fsencode(target), mode="120000"),
        owner=OWNER,
    )
    for path in tree.workspace.rglob("*"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == OWNER, path
    assert target.stat().st_uid == os.getuid()
    assert stat.S_IMODE((tree.workspace / "d/e/f").stat().st_mode) == 0o644


def test_a_turn_goes_on_where_the_last_one_ended(
    server: GitServer, origin: Origin, workspace: Path, tmp_path: Path
) -> None:
    """Clone, change, clone again at the base although the branch moved, reapply: the same."""
    first = fetch(server, workspace)
    (workspace / "new").write_text("1")
    (workspace / "README.md").unlink()
    scratches = [tmp_path / "s1", tmp_path / "s2"]
    for folder in scratches:
        folder.mkdir()
    changes = asyncio.run(
        Snapshot(workspace=workspace, scratch=scratches[0], clone=first).changes()
    )
    assert changes is not None
    origin.write("later", "1")
    origin.commit("Meanwhile")

    again = tmp_path / "again"
    again.mkdir()

    async def story() -> None:
        asked = replace(source(server), commit=first.base)
        second = await clone(asked, workspace=again, token=None, time_limit=30)
        request = Changes.model_validate(changes.to_json(), by_alias=True, by_name=False)
        await apply_changes(request, workspace=again, base=second.base)
        snapshot = Snapshot(workspace=again, scratch=scratches[1], clone=second)
        repeated = await snapshot.changes()
        assert repeated is not None
        assert repeated.to_json() == changes.to_json()

    asyncio.run(story())
