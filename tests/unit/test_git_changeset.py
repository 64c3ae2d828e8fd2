"""Trees, change sets and warnings as values."""

import pytest

from claude_run.wire import Changes
from runner.git.changeset import (
    ChangedFile,
    ChangeSet,
    Omissions,
    Warned,
    fingerprint,
)
from runner.git.failures import clone_failure
from runner.git.source import CloneSource
from runner.git.tree import SUBMODULE, SYMLINK, parse_tree

SOURCE = CloneSource(url="https://h/o/r", origin="https://h", branch="dev")


def test_a_listing_of_git_is_read_with_any_name() -> None:
    """Names are raw bytes; a submodule has no size; folders are derived."""
    listing = (
        b"100644 blob " + b"a" * 40 + b"       7\ta/b\tc\xff\n\0"
        b"120000 blob " + b"b" * 40 + b"    1000\tlink\0"
        b"160000 commit " + b"c" * 40 + b"       -\tx/y/sub\0"
    )
    tree = parse_tree(listing)
    assert tree.entries[b"a/b\tc\xff\n"].size == 7
    assert tree.entries[b"link"].mode == SYMLINK
    assert tree.entries[b"x/y/sub"] == (SUBMODULE, b"\xcc" * 20, 0)
    assert tree.folders == {b"a", b"x", b"x/y"}
    assert (tree.size, tree.algorithm) == (1007, "sha1")


def test_a_listing_tells_its_hash_algorithm() -> None:
    """Ids of 64 digits are SHA-256."""
    assert parse_tree(b"100644 blob " + b"a" * 64 + b" 1\tf\0").algorithm == "sha256"
    assert parse_tree(b"").entries == {}


def test_the_change_set_is_what_a_request_takes_back() -> None:
    """The event's data and the request's `changes` are one shape, for any name and content."""
    changes = ChangeSet(
        base="a" * 40,
        files=(
            ChangedFile(path="ä".encode(), mode=0o100755, content=b"\0\xff"),
            ChangedFile(path=b"bad\xff", mode=0o120000, content=b"../x\xff"),
            ChangedFile(path=b"gone"),
            ChangedFile(path=b"empty", mode=0o100644, content=b""),
        ),
    )
    parsed = Changes.model_validate(changes.to_json(), by_alias=True, by_name=False)
    assert [(file.raw_path, file.mode, file.raw_content) for file in parsed.files] == [
        ("ä".encode(), "100755", b"\0\xff"),
        (b"bad\xff", "120000", b"../x\xff"),
        (b"gone", None, b""),
        (b"empty", "100644", b""),
    ]


def test_warnings_are_bounded_and_forge_nothing() -> None:
    """Names come from the agent: the first few, cut, without control or bidi characters."""
    omissions = Omissions()
    for name in [b"e\x1b[31m\n", "\u202eexe".encode(), b"x" * 5000, b"a", b"b", b"c", b"d"]:
        omissions.add("FILE_TOO_LARGE", name)
    (warning,) = omissions.warnings()
    assert warning.code == "FILE_TOO_LARGE"
    assert "and 2 more" in warning.message
    assert warning.message.isprintable()
    assert len(warning.message) < 800


def test_fingerprints_tell_change_sets_apart() -> None:
    """Every part counts, also where two names could run into each other."""
    base = [(b"a", 0o100644, b"1")]
    others = [
        fingerprint(base, ()),
        fingerprint([], ()),
        fingerprint([(b"a", 0o100755, b"1")], ()),
        fingerprint([(b"a", 0o100644, b"2")], ()),
        fingerprint([(b"a", 0, b"")], ()),
        fingerprint(base, (Warned(code="C", message="m"),)),
        fingerprint([(b"a\n33188 31 1:b", 0o100644, b"1")], ()),
        fingerprint([*base, (b"b", 0o100644, b"1")], ()),
    ]
    assert len(set(others)) == len(others)
    assert fingerprint(base, ()) == others[0]


@pytest.mark.parametrize(
    "stderr",
    [
        "remote: token ghs_SECRET\nfatal: something new happened",
        "fatal: Authentication failed for 'https://x:ghs_SECRET@h/'",
    ],
)
def test_what_git_said_is_not_passed_on(stderr: str) -> None:
    """A server has a say in it; nothing of it is in the error."""
    error = clone_failure(stderr, SOURCE)
    assert "SECRET" not in repr((error.message, error.details))
    assert error.details == {"url": "https://h/o/r", "branch": "dev"}
