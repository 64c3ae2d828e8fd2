"""Cloning from a real git server over HTTP: what is checked out, what is refused, what is left."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from doubles.git_server import GitServer, Origin, git, serve_git, wait_for_requests
from runner.git import clone as clone_module
from runner.git.advice import MAX_ADVICE_BYTES
from runner.git.clone import Clone, clone
from runner.git.snapshot import Snapshot
from runner.git.source import CloneSource, check_clone_url

pytestmark = pytest.mark.e2e

# Somebody else where that is possible; only root can give files away.
OWNER = (4321, 4322) if os.geteuid() == 0 else (os.getuid(), os.getgid())
TOKEN = "ghs_planted.token-0123456789abcdef"
SECONDS = 30.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with serve_git(tmp_path / "server") as running:
        yield running


@pytest.fixture
def origin(server: GitServer) -> Origin:
    """octo/hello, with one commit on main."""
    made = server.create("octo/hello")
    made.write("README.md", "# Hello\n")
    made.write("run.sh", "#!/bin/sh\n", mode=0o755)
    made.write("src/a.py", "a = 1\n")
    (made.folder / "link").symlink_to("/etc/passwd")
    made.commit("First")
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


def run(
    asked: CloneSource,
    workspace: Path,
    *,
    token: str | None = None,
    seconds: float = SECONDS,
    progress: list[str] | None = None,
) -> Clone:
    return asyncio.run(
        clone(
            asked,
            workspace=workspace,
            token=token,
            time_limit=seconds,
            on_progress=None if progress is None else progress.append,
        )
    )


def refused(asked: CloneSource, workspace: Path, *, token: str | None = None) -> ClaudeRunError:
    with pytest.raises(ClaudeRunError) as caught:
        run(asked, workspace, token=token)
    assert caught.value.code is Code.CLONE_FAILED
    assert TOKEN not in repr((caught.value.message, caught.value.details))
    return caught.value


def agent_git(workspace: Path, *args: str) -> str:
    """git as the agent uses it: in the workspace, with its own configuration."""
    done = subprocess.run(
        ["git", *args],
        cwd=workspace,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def changes_after(cloned: Clone, workspace: Path, tmp_path: Path) -> set[bytes]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    snapshot = Snapshot(workspace=workspace, scratch=scratch, clone=cloned)
    changes = asyncio.run(snapshot.changes())
    return {file.path for file in changes.files} if changes else set()


def test_the_default_branch(
    server: GitServer, origin: Origin, workspace: Path, tmp_path: Path
) -> None:
    """The tip, shallow, with everything as its author committed it."""
    second = git("rev-parse", "HEAD", cwd=origin.folder)
    progress: list[str] = []
    cloned = run(source(server), workspace, progress=progress)
    assert (cloned.base, cloned.branch, cloned.advice) == (second, "main", None)
    assert (workspace / "README.md").read_text() == "# Hello\n"
    assert os.access(workspace / "run.sh", os.X_OK)
    assert (workspace / "link").readlink() == Path("/etc/passwd")
    assert changes_after(cloned, workspace, tmp_path) == set()
    assert any(line.startswith("Receiving objects: 100%") for line in progress)


def test_a_named_branch(server: GitServer, origin: Origin, workspace: Path) -> None:
    """Its tip, and HEAD on it."""
    git("checkout", "--quiet", "-b", "feature/x", cwd=origin.folder)
    origin.write("new", "1")
    tip = origin.commit()
    cloned = run(replace(source(server), branch="feature/x"), workspace)
    assert (cloned.base, cloned.branch) == (tip, "feature/x")
    assert (workspace / "new").exists()


@pytest.mark.parametrize("branch", [None, "main"])
def test_a_commit_that_is_no_tip(
    server: GitServer, origin: Origin, workspace: Path, tmp_path: Path, branch: str | None
) -> None:
    """An older commit by its id; with a branch, HEAD is on a branch of that name."""
    older = git("rev-parse", "HEAD", cwd=origin.folder)
    origin.write("later", "1")
    origin.commit("Second")
    cloned = run(replace(source(server), commit=older, branch=branch), workspace)
    assert (cloned.base, cloned.branch) == (older, branch)
    assert not (workspace / "later").exists()
    assert changes_after(cloned, workspace, tmp_path) == set()
    assert agent_git(workspace, "status", "--porcelain") == ""


@pytest.mark.parametrize("by_commit", [False, True])
def test_repositories_with_sha256(
    server: GitServer, workspace: Path, tmp_path: Path, by_commit: bool
) -> None:
    """Ids of 64 digits, the same promises."""
    origin = server.create("octo/sha256", object_format="sha256")
    origin.write("a", "1")
    commit = origin.commit()
    asked = source(server, "octo/sha256")
    cloned = run(replace(asked, commit=commit) if by_commit else asked, workspace)
    assert cloned.base == commit
    (workspace / "a").write_text("2")
    assert changes_after(cloned, workspace, tmp_path) == {b"a"}


@pytest.mark.parametrize("by_commit", [False, True])
def test_the_agent_can_use_its_git(
    server: GitServer, origin: Origin, workspace: Path, tmp_path: Path, by_commit: bool
) -> None:
    """log, diff and commit work; the remote has a clean URL; its commits are no matter to us."""
    base = git("rev-parse", "HEAD", cwd=origin.folder)
    asked = replace(source(server), commit=base) if by_commit else source(server)
    cloned = run(asked, workspace)
    assert agent_git(workspace, "status", "--porcelain") == ""
    assert agent_git(workspace, "log", "--format=%s") == "First"
    assert agent_git(workspace, "remote", "get-url", "origin") == server.url("octo/hello")
    (workspace / "README.md").write_text("# Changed\n")
    assert "+# Changed" in agent_git(workspace, "diff")
    agent_git(workspace, "commit", "--quiet", "-am", "Mine")
    assert agent_git(workspace, "status", "--porcelain") == ""
    assert changes_after(cloned, workspace, tmp_path) == {b"README.md"}


def test_a_private_repository_with_its_token(
    server: GitServer, origin: Origin, workspace: Path
) -> None:
    """The token is sent when the server asks for it, and nowhere left."""
    server.token = TOKEN
    cloned = run(source(server), workspace, token=TOKEN)
    assert cloned.base == git("rev-parse", "HEAD", cwd=origin.folder)
    assert server.requests[0].authorization is None
    assert server.requests[-1].authorization is not None
    for path in workspace.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert TOKEN.encode() not in path.read_bytes(), path


def test_bytes_are_those_of_the_commit(
    server: GitServer,
    origin: Origin,
    workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Attributes that rewrite content do not; without our own they make changes of nobody's."""
    (origin.folder / ".git/info").mkdir(exist_ok=True)
    (origin.folder / ".git/info/attributes").write_text("* -text !ident !working-tree-encoding\n")
    origin.write(
        ".gitattributes",
        "*.bat text eol=crlf\n*.id ident\n*.u16 working-tree-encoding=UTF-16\n"
        "*.lfs filter=lfs -text\n*.sub export-subst\n* text=auto\n",
    )
    origin.write("a.bat", "one\ntwo\n")
    origin.write("mixed.txt", "one\r\ntwo\n")
    origin.write("a.id", "$Id$\n")
    origin.write("a.u16", "plain\n")
    origin.write("a.lfs", "version https://git-lfs.github.com/spec/v1\n")
    origin.write("a.sub", "$Format:%H$\n")
    origin.commit()
    cloned = run(source(server), workspace)
    assert (workspace / "a.bat").read_bytes() == b"one\ntwo\n"
    assert (workspace / "a.id").read_bytes() == b"$Id$\n"
    assert changes_after(cloned, workspace, tmp_path) == set()
    assert agent_git(workspace, "status", "--porcelain") == ""

    monkeypatch.setattr(clone_module, "_ATTRIBUTES", "")
    other = tmp_path / "other"
    other.mkdir()
    cloned = run(source(server), other)
    assert changes_after(cloned, other, tmp_path) >= {b"a.bat", b"a.id", b"a.u16"}


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ("Use tabs.\n", "Use tabs.\n"),
        (" \n", None),
        ("x" * (MAX_ADVICE_BYTES - 1) + "ä\n", "x" * (MAX_ADVICE_BYTES - 1)),
        (b"bad \xff\n", "bad \N{REPLACEMENT CHARACTER}\n"),
    ],
)
def test_advice_is_the_commits_own(
    server: GitServer, origin: Origin, workspace: Path, content: str | bytes, advice: str | None
) -> None:
    """CLAUDE.md, decoded, cut with a note."""
    origin.write("CLAUDE.md", content)
    origin.commit()
    read = run(source(server), workspace).advice
    if advice is not None and len(content) > MAX_ADVICE_BYTES - 1:
        assert read is not None
        text, _, note = read.partition("\n\n[")
        assert text == advice
        assert "left out" in note
    else:
        assert read == advice


def test_advice_is_no_link(server: GitServer, origin: Origin, workspace: Path) -> None:
    """It could point at the runner's own files."""
    (origin.folder / "CLAUDE.md").symlink_to("/etc/passwd")
    origin.commit()
    assert run(source(server), workspace).advice is None


def test_no_such_repository(server: GitServer, workspace: Path) -> None:
    """One sentence for absent and private: a server does not tell them apart either."""
    error = refused(source(server, "octo/absent"), workspace)
    assert isinstance(error, CallerError)
    assert "does not exist, or needs a login" in error.message
    assert error.details == {"url": server.url("octo/absent")}


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_login_that_is_missing_or_wrong(
    server: GitServer, origin: Origin, workspace: Path, token: str | None
) -> None:
    """At once, without a question on a terminal."""
    assert origin.bare.exists()
    server.token = "another-token"
    assert "needs a login" in refused(source(server), workspace, token=token).message


def test_no_such_branch(server: GitServer, origin: Origin, workspace: Path) -> None:
    """Named in the sentence."""
    assert origin.bare.exists()
    error = refused(replace(source(server), branch="nowhere"), workspace)
    assert error.message == "The repository has no branch nowhere."


def test_no_such_commit(server: GitServer, origin: Origin, workspace: Path) -> None:
    """An id that the server does not know."""
    assert origin.bare.exists()
    error = refused(replace(source(server), commit="1" * 40), workspace)
    assert "no commit 1111" in error.message


@pytest.mark.parametrize("kind", ["tag", "tree", "blob"])
def test_an_id_that_is_no_commit(
    server: GitServer, origin: Origin, workspace: Path, kind: str
) -> None:
    """The base of a change set is a commit, not what can be peeled to one."""
    git("tag", "-a", "-m", "x", "v1", cwd=origin.folder)
    origin.publish()
    name = {"tag": "v1", "tree": "HEAD^{tree}", "blob": "HEAD:README.md"}[kind]
    object_id = git("rev-parse", name, cwd=origin.folder)
    error = refused(replace(source(server), commit=object_id), workspace)
    assert f"no commit {object_id}" in error.message


def test_an_empty_repository(server: GitServer, workspace: Path) -> None:
    """There is no commit to compare with."""
    server.create("octo/empty")
    assert "no commit to work from" in refused(source(server, "octo/empty"), workspace).message


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(500, "cannot serve it"), (429, "cannot serve it"), (403, "needs a login")],
)
def test_a_server_in_trouble(
    server: GitServer, workspace: Path, status: int, sentence: str
) -> None:
    """By whose fault it is."""
    server.status = status
    assert sentence in refused(source(server), workspace).message


def test_a_host_that_is_not_there(server: GitServer, workspace: Path) -> None:
    """Nobody listens."""
    asked = source(server)
    gone = replace(asked, url="http://127.0.0.1:9/octo/hello", origin="http://127.0.0.1:9")
    error = refused(gone, workspace)
    assert isinstance(error, UpstreamError)
    assert "cannot be reached" in error.message


def git_processes(workspace: Path, server: GitServer) -> list[bytes]:
    ours = (str(workspace).encode(), source(server).url.encode())
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        # Other tests clone beside this one.
        if line.startswith((b"git", b"/usr/lib/git-core", b"/bin/sh")) and any(
            name in line for name in ours
        ):
            found.append(line)
    return found


def test_a_server_that_never_answers(server: GitServer, workspace: Path) -> None:
    """The time is up: a sentence, and no process left."""
    server.delay = 60
    with pytest.raises(UpstreamError, match=r"longer than 0\.5 seconds") as caught:
        run(source(server), workspace, seconds=0.5)
    assert caught.value.code is Code.CLONE_FAILED
    assert git_processes(workspace, server) == []


def test_a_caller_that_goes_away(server: GitServer, workspace: Path) -> None:
    """Cancelled in the middle of the network: no process left."""
    server.delay = 60

    async def story() -> None:
        task = asyncio.create_task(
            clone(source(server), workspace=workspace, token=TOKEN, time_limit=SECONDS)
        )
        await asyncio.to_thread(wait_for_requests, server, 1)
        assert git_processes(workspace, server)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    assert git_processes(workspace, server) == []


@pytest.mark.parametrize(
    ("name", "limit", "sentence"),
    [
        ("MAX_PACK_BYTES", 64 << 10, "larger than this runner clones"),
        ("MAX_CHECKOUT_BYTES", 64 << 10, "larger than this runner clones"),
        ("MAX_TREE_FILES", 3, "more files than this runner clones"),
        ("_MAX_LISTING_BYTES", 100, "more files than this runner clones"),
    ],
)
@pytest.mark.parametrize("by_commit", [False, True])
def test_a_repository_that_would_fill_the_disk(
    server: GitServer,
    origin: Origin,
    workspace: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    limit: int,
    sentence: str,
    by_commit: bool,
) -> None:
    """A large pack, a small pack of large files, a tree without end: nothing is checked out."""
    origin.write("large", os.urandom(200 << 10))
    commit = origin.commit()
    monkeypatch.setattr(clone_module, name, limit)
    asked = replace(source(server), commit=commit) if by_commit else source(server)
    assert sentence in refused(asked, workspace).message
    assert not (workspace / "README.md").exists()


def test_a_tree_that_would_write_into_git(
    server: GitServer, origin: Origin, workspace: Path
) -> None:
    """A commit with .git/hooks in it, which no honest git makes."""
    blob = git("hash-object", "-w", "--stdin", cwd=origin.folder, stdin=b"#!/bin/sh\n")
    entry = b"100755 post-checkout\0" + bytes.fromhex(blob)
    tree = git("hash-object", "-t", "tree", "-w", "--stdin", cwd=origin.folder, stdin=entry)
    for name in (b"hooks", b".git"):
        entry = b"40000 " + name + b"\0" + bytes.fromhex(tree)
        tree = git(
            "hash-object", "-t", "tree", "-w", "--literally", "--stdin",
            cwd=origin.folder, stdin=entry,
        )  # fmt: skip
    commit = git("commit-tree", "-m", "x", tree, cwd=origin.folder)
    git("update-ref", "refs/heads/main", commit, cwd=origin.folder)
    origin.publish()
    assert "cannot be checked out safely" in refused(source(server), workspace).message
    assert not list(workspace.glob(".git/hooks/*"))


@pytest.mark.root
def test_everything_is_the_runs_users(server: GitServer, origin: Origin, workspace: Path) -> None:
    """Files, folders and links themselves; what a link points to is not touched."""
    before = Path("/etc/passwd").stat().st_uid
    assert origin.bare.exists()
    (origin.folder / "folder").symlink_to("/etc")
    origin.commit()
    asyncio.run(
        clone(source(server), workspace=workspace, token=None, time_limit=SECONDS, owner=OWNER)
    )
    for path in [workspace, *workspace.rglob("*")]:
        facts = path.lstat()
        assert (facts.st_uid, facts.st_gid) == OWNER, path
    assert Path("/etc/passwd").stat().st_uid == before
    assert Path("/etc").stat().st_uid == before
