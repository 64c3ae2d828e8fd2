"""Change sets of a work tree: exact, bounded, and blind to nothing but what git ignores."""

import asyncio
import os
import random
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_run.errors import AgentError
from claude_run.wire import Changes
from doubles.work_tree import BASE, WorkTree, check_out, read_files, write_files
from runner.git import snapshot as snapshot_module
from runner.git.apply import apply_changes
from runner.git.changeset import ChangeSet, Limits
from runner.git.snapshot import Snapshot
from runner.git.tree import EXECUTABLE, REGULAR, SUBMODULE, SYMLINK, TreeEntry
from runner.git.walk import stat_key
from thoroughness import examples

FILES = {
    b"README.md": (REGULAR, b"# Hello\n"),
    b"run.sh": (EXECUTABLE, b"#!/bin/sh\n"),
    b"link": (SYMLINK, b"README.md"),
    b"src/a.py": (REGULAR, b"a = 1\n"),
    b"src/deep/b.py": (REGULAR, b"b = 1\n"),
    b"bad\xffname": (REGULAR, b"raw\n"),
}

Shape = dict[bytes, tuple[int, bytes] | None]


def shape(changes: ChangeSet | None) -> Shape:
    """Path → mode and content, or None where it is gone."""
    assert changes is not None
    return {
        file.path: None if file.mode is None or file.content is None else (file.mode, file.content)
        for file in changes.files
    }


def codes(changes: ChangeSet | None) -> list[str]:
    assert changes is not None
    return [warning.code for warning in changes.warnings]


def once(tree: WorkTree, limits: Limits | None = None) -> ChangeSet | None:
    return asyncio.run(tree.snapshot(limits).changes())


def test_an_untouched_checkout_has_no_changes(tmp_path: Path) -> None:
    """Nothing to tell is None."""
    tree = check_out(tmp_path, FILES)
    assert once(tree) is None
    assert asyncio.run(tree.snapshot().changes(final=True)) is None


def test_every_kind_of_change(tmp_path: Path) -> None:
    """Additions, edits, modes, links, deletions, binary content and names of any bytes."""
    tree = check_out(tmp_path, FILES)
    work = tree.workspace
    (work / "README.md").write_bytes(b"# Changed\r\n\0\xff")
    (work / "run.sh").chmod(0o644)
    (work / "link").unlink()
    (work / "link").symlink_to("/etc/passwd")
    (work / "src/a.py").unlink()
    (work / os.fsdecode(b"bad\xffname")).unlink()
    (work / os.fsdecode(b"new\xfe")).write_bytes(b"")
    (work / "made/by").mkdir(parents=True)
    (work / "made/by/agent").write_bytes(b"x")
    (work / "empty").mkdir()
    changes = once(tree)
    assert shape(changes) == {
        b"README.md": (REGULAR, b"# Changed\r\n\0\xff"),
        b"run.sh": (REGULAR, b"#!/bin/sh\n"),
        b"link": (SYMLINK, b"/etc/passwd"),
        b"src/a.py": None,
        b"bad\xffname": None,
        b"new\xfe": (REGULAR, b""),
        b"made/by/agent": (REGULAR, b"x"),
    }
    assert changes is not None
    assert (changes.base, changes.warnings) == (BASE, ())
    paths = [file.path for file in changes.files]
    assert paths == sorted(paths)


def test_folders_and_files_change_places(tmp_path: Path) -> None:
    """A file becomes a folder, a folder a file, a folder a link."""
    tree = check_out(tmp_path, {**FILES, b"other/x": (REGULAR, b"x")})
    work = tree.workspace
    (work / "README.md").unlink()
    (work / "README.md").mkdir()
    (work / "README.md/inside").write_bytes(b"i")
    for path in ("src/deep/b.py", "src/a.py", "other/x"):
        (work / path).unlink()
    (work / "src/deep").rmdir()
    (work / "src").rmdir()
    (work / "src").write_bytes(b"now a file")
    (work / "other").rmdir()
    (work / "other").symlink_to("/")
    assert shape(once(tree)) == {
        b"README.md": None,
        b"README.md/inside": (REGULAR, b"i"),
        b"src": (REGULAR, b"now a file"),
        b"src/a.py": None,
        b"src/deep/b.py": None,
        b"other": (SYMLINK, b"/"),
        b"other/x": None,
    }


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    """None until the change set differs from the one returned last; undoing is a difference."""
    tree = check_out(tmp_path, FILES)
    snapshot = tree.snapshot()

    async def story() -> None:
        assert await snapshot.changes() is None
        (tree.workspace / "new").write_bytes(b"1")
        assert shape(await snapshot.changes()) == {b"new": (REGULAR, b"1")}
        assert await snapshot.changes() is None
        assert await snapshot.changes(final=True) is None
        (tree.workspace / "new").write_bytes(b"2")
        assert shape(await snapshot.changes()) == {b"new": (REGULAR, b"2")}
        (tree.workspace / "new").unlink()
        assert shape(await snapshot.changes()) == {}
        assert await snapshot.changes() is None

    asyncio.run(story())


def test_a_change_within_one_tick_is_seen(tmp_path: Path) -> None:
    """Same size, same times, another content: nothing fresh is believed."""
    tree = check_out(tmp_path, FILES)
    snapshot = tree.snapshot()
    target = tree.workspace / "new"

    async def story() -> None:
        for number in range(30):
            target.write_bytes(b"%02d" % number)
            assert shape(await snapshot.changes()) == {b"new": (REGULAR, b"%02d" % number)}

    asyncio.run(story())


def test_times_set_back_hide_nothing(tmp_path: Path) -> None:
    """The owner of a file can forge its mtime, not its ctime."""
    tree = check_out(tmp_path, FILES)
    target = tree.workspace / "README.md"
    facts = target.stat()
    snapshot = tree.snapshot()

    async def story() -> None:
        await asyncio.sleep(0.15)  # old enough to be remembered
        assert await snapshot.changes() is None
        target.write_bytes(b"# HELLO\n")
        os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        assert shape(await snapshot.changes()) == {b"README.md": (REGULAR, b"# HELLO\n")}

    asyncio.run(story())


def test_the_final_one_reads_again_what_was_touched(tmp_path: Path) -> None:
    """A memory mapping can write without a trace in the times; simulated by a wrong memory."""
    tree = check_out(tmp_path, FILES)
    snapshot = tree.snapshot()
    target = tree.workspace / "new"

    async def story() -> None:
        target.write_bytes(b"1")
        await asyncio.sleep(0.15)
        await snapshot.changes()
        seen = snapshot._hashes[b"new"]
        target.write_bytes(b"2")
        facts = target.stat()
        await asyncio.sleep(0.15)
        snapshot._hashes[b"new"] = seen._replace(key=stat_key(facts))
        assert await snapshot.changes() is None
        assert shape(await snapshot.changes(final=True)) == {b"new": (REGULAR, b"2")}

    asyncio.run(story())


def test_without_a_repository_everything_is_new(tmp_path: Path) -> None:
    """`base` is null then; the workspace's own ignore rules hold."""
    tree = check_out(tmp_path, {})
    write_files(
        tree.workspace, {**FILES, b".gitignore": (REGULAR, b"*.log\n"), b"x.log": (REGULAR, b"")}
    )
    snapshot = Snapshot(workspace=tree.workspace, scratch=tree.scratch, clone=None)
    changes = asyncio.run(snapshot.changes())
    assert shape(changes) == {**FILES, b".gitignore": (REGULAR, b"*.log\n")}
    assert changes is not None
    assert changes.base is None


def test_embedded_repositories_are_files(tmp_path: Path) -> None:
    """What makes a folder a repository is left out at every depth; the rest counts."""
    tree = check_out(tmp_path, FILES)
    write_files(
        tree.workspace,
        {
            b"sub/.git/config": (REGULAR, b"[core]\n\tfsmonitor = touch /tmp/x\n"),
            b"sub/file": (REGULAR, b"f"),
            b"sub/deeper/.git": (REGULAR, b"gitdir: /root/.git\n"),
            b"sub/deeper/file": (REGULAR, b"g"),
            b"odd/.GIT/config": (REGULAR, b""),
            b".git": (REGULAR, b"gitdir: /etc\n"),
        },
    )
    assert set(shape(once(tree))) == {b"sub/file", b"sub/deeper/file"}


def test_submodules_stay_as_they_are(tmp_path: Path) -> None:
    """An empty folder is one; what is put into it is named; removing it is a deletion."""
    tree = check_out(tmp_path, FILES)
    entries = {**tree.clone.tree.entries, b"sub": TreeEntry(SUBMODULE, b"\x01" * 20, 0)}
    object.__setattr__(tree.clone.tree, "entries", entries)
    sub = tree.workspace / "sub"
    sub.mkdir()
    assert once(tree) is None
    (sub / "file").write_bytes(b"x")
    changes = once(tree)
    assert (shape(changes), codes(changes)) == ({}, ["SUBMODULE"])
    (sub / "file").unlink()
    sub.rmdir()
    assert shape(once(tree)) == {b"sub": None}


def test_special_files_neither_block_nor_count(tmp_path: Path) -> None:
    """FIFOs and sockets are named in a warning; one in a file's place is that file's end."""
    tree = check_out(tmp_path, FILES)
    os.mkfifo(tree.workspace / "pipe")
    (tree.workspace / "README.md").unlink()
    os.mkfifo(tree.workspace / "README.md")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree.workspace / "socket"))
        changes = once(tree)
    assert (shape(changes), codes(changes)) == ({b"README.md": None}, ["SPECIAL_FILE"])


def test_hard_links_of_its_own_are_files(tmp_path: Path) -> None:
    """Two names, one content."""
    tree = check_out(tmp_path, FILES)
    os.link(tree.workspace / "README.md", tree.workspace / "twin")
    assert shape(once(tree)) == {b"twin": FILES[b"README.md"]}


@pytest.mark.parametrize(
    ("limits", "kept", "code"),
    [
        (Limits(file_bytes=9), {b"a", b"b"}, "FILE_TOO_LARGE"),
        (Limits(change_bytes=9), {b"a", b"b"}, "CHANGES_TOO_LARGE"),
        (Limits(files=2), {b"a", b"b"}, "TOO_MANY_FILES"),
    ],
)
def test_what_is_over_a_limit_is_left_out_and_named(
    tmp_path: Path, limits: Limits, kept: set[bytes], code: str
) -> None:
    """The run goes on; what fits, in the order of paths, is there."""
    tree = check_out(tmp_path, FILES)
    write_files(
        tree.workspace, {b"a": (REGULAR, b"1"), b"b": (REGULAR, b"22"), b"c": (REGULAR, b"x" * 10)}
    )
    changes = once(tree, limits)
    assert (set(shape(changes)), codes(changes)) == (kept, [code])
    assert changes is not None
    assert "(c)" in changes.warnings[0].message


def test_a_large_file_of_the_repository_is_no_change(tmp_path: Path) -> None:
    """Over the limit and untouched: silent. Touched, same size: named, and not called deleted."""
    tree = check_out(tmp_path, {b"big": (REGULAR, b"x" * 100)})
    limits = Limits(file_bytes=10)
    assert once(tree, limits) is None
    (tree.workspace / "big").write_bytes(b"y" * 100)
    changes = once(tree, limits)
    assert (shape(changes), codes(changes)) == ({}, ["FILE_TOO_LARGE"])


def test_a_sparse_terabyte_costs_nothing(tmp_path: Path) -> None:
    """What cannot fit is not read."""
    tree = check_out(tmp_path, FILES)
    with (tree.workspace / "huge").open("wb") as file:
        file.truncate(1 << 40)
    started = time.monotonic()
    assert codes(once(tree)) == ["FILE_TOO_LARGE"]
    assert time.monotonic() - started < 2


def test_what_was_not_looked_at_is_not_called_deleted(tmp_path: Path) -> None:
    """A flood of files ends the walk; the repository's files behind it count as unchanged."""
    tree = check_out(tmp_path, FILES)
    write_files(tree.workspace, {b"src/f%03d" % n: (REGULAR, b"") for n in range(100)})
    changes = once(tree, Limits(entries=50))
    assert codes(changes) == ["TOO_MANY_ENTRIES"]
    assert None not in shape(changes).values()


def test_a_tower_of_folders_is_bounded(tmp_path: Path) -> None:
    """Deeper than any path the kernel takes, made step by step."""
    tree = check_out(tmp_path, FILES)
    current = os.open(tree.workspace, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=current)
        child = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = child
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=current))
    os.close(current)
    assert codes(once(tree)) == ["PATH_TOO_LONG"]
    # pytest could not remove it by its path.
    os.system(f"rm -rf '{tree.workspace}'")  # noqa: S605


@pytest.mark.root
def test_what_belongs_to_somebody_else_is_not_read(tmp_path: Path) -> None:
    """A hard link to a file that the agent cannot read must not be read for it, by root."""
    tree = check_out(tmp_path, FILES)
    secret = tmp_path / "secret"
    secret.write_bytes(b"the runner's own")
    secret.chmod(0o600)
    os.link(secret, tree.workspace / "linked")
    snapshot = tree.snapshot()
    assert shape(asyncio.run(snapshot.changes())) == {b"linked": (REGULAR, b"the runner's own")}
    if os.geteuid() != 0:
        snapshot._owner += 1  # nobody here can give files away: so everything is somebody else's
    else:
        for parent, folders, files in os.walk(tree.workspace):
            for name in {".", *folders, *files} - {"linked"}:
                os.lchown(Path(parent, name), 12345, 12345)
        snapshot = tree.snapshot()
    changes = asyncio.run(snapshot.changes())
    assert (shape(changes), codes(changes)) == ({}, ["FILE_UNREADABLE"])


@pytest.mark.parametrize("replacement", ["nothing", "folder", "link"])
def test_another_workspace_is_an_error_not_a_deletion(tmp_path: Path, replacement: str) -> None:
    """Its owner may rename it away: then nothing is said about its files."""
    tree = check_out(tmp_path, FILES)
    snapshot = tree.snapshot()
    tree.workspace.rename(tmp_path / "moved")
    if replacement == "folder":
        tree.workspace.mkdir()
    if replacement == "link":
        tree.workspace.symlink_to(tmp_path / "moved")
    with pytest.raises(AgentError, match="workspace"):
        asyncio.run(snapshot.changes())


def test_cancelled_means_nothing_reads_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends before the cancellation is told, so that the workspace can be removed."""
    tree = check_out(tmp_path, {b"f%03d" % n: (REGULAR, b"x") for n in range(200)})
    snapshot = tree.snapshot()
    read: list[bytes] = []
    original = snapshot_module._Reader.hash

    def slow(self: snapshot_module._Reader, path: bytes, *args: object) -> bytes:
        time.sleep(0.01)
        read.append(path)
        return original(self, path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshot_module._Reader, "hash", slow)

    async def story() -> None:
        task = asyncio.create_task(snapshot.changes())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        number = len(read)
        assert 0 < number < 200
        await asyncio.sleep(0.1)
        assert len(read) == number

    asyncio.run(story())


def test_five_thousand_files_are_quick(tmp_path: Path) -> None:
    """Twice the time that is promised: a second at first, 0.3 s while nothing changes."""
    chance = random.Random(1)  # noqa: S311 - content, not secrets
    files = {
        b"d%d/e%d/f%d" % (n % 50, n % 7, n): (REGULAR, chance.randbytes(2000)) for n in range(5000)
    }
    tree = check_out(tmp_path, files)
    snapshot = tree.snapshot()

    async def timed() -> float:
        # Of the processor, which other tests share.
        started = time.process_time()
        assert await snapshot.changes() is None
        return time.process_time() - started

    async def story() -> None:
        await asyncio.sleep(0.1)
        assert await timed() < 2.0
        assert await timed() < 0.6

    asyncio.run(story())


# Few names, so that files and folders take each other's places all the time.
_NAMES = st.sampled_from([b"a", b"b", b"c\xff", b"d e"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map(b"/".join)
_CONTENTS = st.one_of(
    st.tuples(st.sampled_from([REGULAR, EXECUTABLE]), st.binary(max_size=20)),
    st.tuples(st.just(SYMLINK), st.sampled_from([b"a", b"../b", b"/etc", b"\xff"])),
)


def _without_conflicts(files: dict[bytes, tuple[int, bytes]]) -> dict[bytes, tuple[int, bytes]]:
    def parents(path: bytes) -> Iterable[bytes]:
        parts = path.split(b"/")
        return (b"/".join(parts[:depth]) for depth in range(1, len(parts)))

    return {
        path: value
        for path, value in files.items()
        if not any(parent in files for parent in parents(path))
    }


_TREES = st.dictionaries(_PATHS, _CONTENTS, max_size=8).map(_without_conflicts)


@settings(max_examples=examples(60))
@given(base=_TREES, wanted=_TREES)
def test_applied_to_its_base_a_change_set_makes_the_same_tree(
    tmp_path_factory: pytest.TempPathFactory,
    base: dict[bytes, tuple[int, bytes]],
    wanted: dict[bytes, tuple[int, bytes]],
) -> None:
    """Through JSON and the request's model, from any tree to any other."""
    root = tmp_path_factory.mktemp("trees")
    tree = check_out(root / "agent", base)
    again = check_out(root / "again", base)
    for place in sorted(tree.workspace.rglob("*"), reverse=True):
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
    write_files(tree.workspace, wanted)
    changes = once(tree)
    if changes is None:
        assert base == wanted
        return
    parsed = Changes.model_validate(changes.to_json(), by_alias=True, by_name=False)
    asyncio.run(apply_changes(parsed, workspace=again.workspace, base=BASE))
    assert read_files(again.workspace) == wanted
    assert shape(once(again)) == shape(changes)
