"""The ignore rules: git's own, on copies; and what an agent can do to them."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from doubles.git_server import git
from doubles.work_tree import check_out, write_files
from runner.git import ignore
from runner.git.changeset import ChangeSet
from runner.git.snapshot import Snapshot
from runner.git.tree import REGULAR, SYMLINK
from thoroughness import examples


def snapshot_of(root: Path, files: dict[bytes, bytes]) -> tuple[Snapshot, Path]:
    tree = check_out(root, {})
    write_files(tree.workspace, {path: (REGULAR, content) for path, content in files.items()})
    return tree.snapshot(), tree.workspace


def paths(changes: ChangeSet | None) -> set[bytes]:
    return {file.path for file in changes.files} if changes else set()


def test_ignored_folders_are_not_walked_into(tmp_path: Path) -> None:
    """node_modules lands in no pull request, and costs nothing."""
    files = {b"node_modules/m%d/index.js" % n: b"" for n in range(300)}
    snapshot, workspace = snapshot_of(
        tmp_path, {**files, b".gitignore": b"node_modules/\n*.pyc\n!keep.pyc\n", b"a.pyc": b"",
                   b"keep.pyc": b"", b"src/b.pyc": b"", b"src/c.py": b""}
    )  # fmt: skip
    (workspace / "node_modules").chmod(0)
    changes = asyncio.run(snapshot.changes())
    (workspace / "node_modules").chmod(0o755)
    assert paths(changes) == {b".gitignore", b"keep.pyc", b"src/c.py"}
    assert changes is not None
    assert changes.warnings == ()


def test_files_of_the_repository_count_though_ignored(tmp_path: Path) -> None:
    """As for `git status`: rules are about new files."""
    tree = check_out(
        tmp_path, {b"build/kept": (REGULAR, b"1"), b".gitignore": (REGULAR, b"build/\n")}
    )
    (tree.workspace / "build/kept").write_bytes(b"2")
    (tree.workspace / "build/new").write_bytes(b"")
    assert paths(asyncio.run(tree.snapshot().changes())) == {b"build/kept"}


def test_the_agents_rules_are_followed_as_they_change(tmp_path: Path) -> None:
    """Rules that come, change, move and go, with one Snapshot throughout."""
    snapshot, workspace = snapshot_of(
        tmp_path, {b"a.log": b"", b"sub/b.log": b"", b"sub/c.tmp": b""}
    )

    async def story() -> None:
        assert paths(await snapshot.changes()) == {b"a.log", b"sub/b.log", b"sub/c.tmp"}
        (workspace / ".gitignore").write_bytes(b"*.log\n")
        assert paths(await snapshot.changes()) == {b".gitignore", b"sub/c.tmp"}
        (workspace / "sub/.gitignore").write_bytes(b"!b.log\n*.tmp\n")
        assert paths(await snapshot.changes()) == {b".gitignore", b"sub/.gitignore", b"sub/b.log"}
        (workspace / "sub/.gitignore").unlink()
        (workspace / "sub/.gitignore").mkdir()
        (workspace / "sub/.gitignore/.gitignore").write_bytes(b"x\n")
        (workspace / "sub/.gitignore/x").write_bytes(b"")
        assert paths(await snapshot.changes()) == {
            b".gitignore", b"sub/c.tmp", b"sub/.gitignore/.gitignore"
        }  # fmt: skip
        (workspace / "sub/.gitignore/x").unlink()
        (workspace / "sub/.gitignore/.gitignore").unlink()
        (workspace / "sub/.gitignore").rmdir()
        (workspace / "sub/.gitignore").write_bytes(b"*.tmp\n")
        assert paths(await snapshot.changes()) == {b".gitignore", b"sub/.gitignore"}
        (workspace / ".gitignore").unlink()
        (workspace / "sub/.gitignore").unlink()
        assert paths(await snapshot.changes()) == {b"a.log", b"sub/b.log", b"sub/c.tmp"}

    asyncio.run(story())


def test_names_that_look_like_magic_are_names(tmp_path: Path) -> None:
    """git reads `:(exclude)x` and `*` as more than names unless it is told."""
    names = {b":(exclude)x", b":!y", b"*", b"-z", b"a\nb", b"\xff", b"[a]", b"\\", b" "}
    snapshot, _ = snapshot_of(
        tmp_path, {b".gitignore": b"*.o\n", b":x.o": b"", **dict.fromkeys(names, b"")}
    )
    assert paths(asyncio.run(snapshot.changes())) == names | {b".gitignore"}


def test_an_ignore_file_that_is_a_fifo_blocks_nothing(tmp_path: Path) -> None:
    """git, asked in the work tree itself, waits for a writer that never comes."""
    snapshot, workspace = snapshot_of(tmp_path, {b"a": b""})
    git("init", "--quiet", ".", cwd=workspace)
    os.mkfifo(workspace / ".gitignore")
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            ["git", "status"], cwd=workspace, timeout=0.5, check=False, capture_output=True
        )
    started = time.monotonic()
    assert paths(asyncio.run(snapshot.changes())) == {b"a"}
    assert time.monotonic() - started < 2


def test_an_ignore_file_that_is_a_link_is_no_rule(tmp_path: Path) -> None:
    """As for git, and nothing outside is read."""
    (tmp_path / "outside").write_bytes(b"*\n")
    tree = check_out(tmp_path, {b"x": (REGULAR, b"")})
    write_files(tree.workspace, {b"a": (REGULAR, b""), b".gitignore": (SYMLINK, b"../outside")})
    assert paths(asyncio.run(tree.snapshot().changes())) == {b"a", b".gitignore"}


def test_too_large_rules_are_not_used_and_named(tmp_path: Path) -> None:
    """git would read any size into memory."""
    rules = b"*.o\n" * (ignore.MAX_IGNORE_FILE_BYTES // 4 + 1)
    snapshot, _ = snapshot_of(tmp_path, {b".gitignore": rules, b"a.o": b""})
    changes = asyncio.run(snapshot.changes())
    assert paths(changes) == {b".gitignore", b"a.o"}
    assert changes is not None
    assert [warning.code for warning in changes.warnings] == ["IGNORE_FILE"]


def test_rules_that_take_for_ever_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern can be made slow by who writes it: bounded, named, and the files are there."""
    monkeypatch.setattr(ignore, "IGNORE_SECONDS", 0.0)
    snapshot, _ = snapshot_of(tmp_path, {b".gitignore": b"*.o\n", b"a.o": b""})
    changes = asyncio.run(snapshot.changes())
    assert paths(changes) == {b".gitignore", b"a.o"}
    assert changes is not None
    assert [warning.code for warning in changes.warnings] == ["IGNORE_FILE"]


_NAME = st.sampled_from([b"a", b"b", b"ab", b"a.o", b"b.o", b"build"])
_PATH = st.lists(_NAME, min_size=1, max_size=3).map(b"/".join)
_PATTERN = st.builds(
    b"".join,
    st.tuples(
        st.sampled_from([b"", b"", b"!"]),
        st.sampled_from([b"", b"", b"/", b"**/"]),
        st.sampled_from(
            [b"a", b"b", b"*.o", b"a*", b"build", b"?", b"a/b", b"[ab]", b"*", b"a/**"]
        ),
        st.sampled_from([b"", b"", b"/", b"/*", b" ", b"\r"]),
    ),
)
_RULES = st.lists(_PATTERN, max_size=4).map(b"\n".join)


@settings(max_examples=examples(30))
@given(
    files=st.sets(_PATH, max_size=10), rules=_RULES, more=st.dictionaries(_PATH, _RULES, max_size=2)
)
@example(files={b"a/a"}, rules=b"a/*\n!a", more={})
def test_the_answers_are_those_of_git_status(
    tmp_path_factory: pytest.TempPathFactory,
    files: set[bytes],
    rules: bytes,
    more: dict[bytes, bytes],
) -> None:
    """For any rules at any depth: what git lists as new is what the change set adds."""
    wanted = {b".gitignore": rules, **{path + b"/.gitignore": text for path, text in more.items()}}
    wanted |= dict.fromkeys(files, b"")
    placed = {
        path: text
        for path, text in wanted.items()
        if not any(other.startswith(path + b"/") for other in wanted)
    }
    snapshot, workspace = snapshot_of(tmp_path_factory.mktemp("rules"), placed)
    git("init", "--quiet", "--template=", ".", cwd=workspace)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "-z"],
        cwd=workspace, capture_output=True, check=True,
        env={"PATH": os.environ["PATH"], "HOME": "/dev/null"},
    ).stdout  # fmt: skip
    assert paths(asyncio.run(snapshot.changes())) == set(listed.split(b"\0")) - {b""}
