"""What of a change set may be published: each rule, and what its list of files says."""

import base64
import posixpath
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from claude_run.errors import ConfigurationError
from claude_run.wire import FileChange
from gateway.github import policy as rules
from gateway.github.names import is_git
from gateway.github.policy import Policy
from gateway.github.policy_settings import PROTECTED, PolicySettings
from gateway.github.tree import entry, parents, requests


def change(path: str | bytes, content: bytes | None = b"x", mode: str = "100644") -> FileChange:
    """A change as a runner that checks nothing would send it."""
    raw = path if isinstance(path, bytes) else path.encode()
    name = base64.b64encode(raw).decode()
    if content is None:
        return FileChange.model_construct(path_base64=name, deleted=True)
    text = base64.b64encode(content).decode()
    return FileChange.model_construct(path_base64=name, mode=mode, content=text)


def rule(*changes: FileChange, **bounds: int) -> list[str]:
    """The rules that are broken."""
    verdict = Policy(replace(PolicySettings(), **bounds)).judge(changes)  # type: ignore[arg-type]
    assert len(verdict.allowed) + len(verdict.held_back) == len(changes)
    return [one.rule for one in verdict.held_back]


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        ".github/ISSUE_TEMPLATE/bug.md",
        ".github/workflows.md",
        "docs/.github/workflows/x.yml",
        "a b/ü/日本.txt",
        ".gitignore",
        ".gitattributes",
        "git~2",
        ".git2/x",
        "...",
        "src/Jenkinsfile",
        "x\\y",
    ],
)
def test_what_is_allowed(path: str) -> None:
    """Changed, executable, or deleted."""
    assert rule(change(path), change(f"{path}2", mode="100755"), change(f"{path}3", None)) == []


@pytest.mark.parametrize(
    ("path", "broken"),
    [
        ("/etc/passwd", rules.OUTSIDE),
        ("../x", rules.OUTSIDE),
        ("a/../../x", rules.OUTSIDE),
        ("a//b", rules.OUTSIDE),
        ("a/./b", rules.OUTSIDE),
        ("a/", rules.OUTSIDE),
        ("a\\..\\..\\x", rules.OUTSIDE),
        (".git/config", rules.GIT),
        ("sub/.git/hooks/pre-commit", rules.GIT),
        (".GIT/config", rules.GIT),
        (".Git", rules.GIT),
        ("git~1/config", rules.GIT),
        ("GIT~1", rules.GIT),
        (".git./config", rules.GIT),
        (".git . /config", rules.GIT),
        (".git::$INDEX_ALLOCATION/config", rules.GIT),
        ("a\\.git\\config", rules.GIT),
        (".g\u200cit/config", rules.GIT),
        (".\ufeffGIT/config", rules.GIT),
        ("\u200e.git", rules.GIT),
        ("a\nb", rules.CONTROL),
        ("a\x1b[31m", rules.CONTROL),
        ("cod\u202etxt.exe", rules.CONTROL),
        (b"caf\xe9", rules.NOT_UTF8),
        (b"\xff\xfe", rules.NOT_UTF8),
    ],
)
def test_names_that_no_repository_should_have(path: str | bytes, broken: str) -> None:
    """Written or deleted."""
    assert rule(change(path)) == rule(change(path, None)) == [broken]


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".github/workflows/deep/er.yml",
        ".GitHub/Workflows/ci.yml",
        # In the place of the folder, and of the folder above it.
        ".github/workflows",
        ".github",
        ".github/actions/mine/action.yml",
        ".github/claude-run.yml",
        ".gitlab-ci.yml",
        "Jenkinsfile",
        "Jenkinsfile/x",
        ".circleci/config.yml",
    ],
)
def test_what_ci_executes_is_protected(path: str) -> None:
    """It would run with credentials as soon as the branch is there."""
    assert rule(change(path)) == rule(change(path, None)) == [rules.PROTECTED]
    assert rule(change(path, b"../x", rules.LINK)) == [rules.PROTECTED]


def test_the_protected_places_are_a_setting() -> None:
    """Instead of ours; `*` within a part, `**` over parts."""
    bounds = PolicySettings.from_environ(
        {"POLICY_PROTECTED": '["deploy/*.sh", "**/secret.txt", "a/**/z"]'}
    )
    paths = ["deploy/x.sh", "deploy/a/x.sh", "secret.txt", "q/r/secret.txt", "a/z", "a/b/c/z"]
    verdict = Policy(bounds).judge([change(path) for path in (*paths, ".gitlab-ci.yml")])
    assert [one.raw_path.decode() for one in verdict.allowed] == [
        ".gitlab-ci.yml",
        "deploy/a/x.sh",
    ]


@pytest.mark.parametrize(
    ("path", "target", "broken"),
    [
        ("a", b"b", None),
        ("a", b"./b/c", None),
        ("x/y/a", b"../../b", None),
        ("x/y/a", b"../../../b", rules.LINK_OUTSIDE),
        ("a", b"..", rules.LINK_OUTSIDE),
        ("x/a", b"..", None),
        ("a", b"/etc/passwd", rules.LINK_OUTSIDE),
        ("a", b"", rules.LINK_OUTSIDE),
        ("a", b"x\0y", rules.LINK_OUTSIDE),
        # Through another link, up from wherever that leads.
        ("a", b"link/../../etc", rules.LINK_OUTSIDE),
        ("a", b"b/../c", rules.LINK_OUTSIDE),
        ("x/a", b"..\\..\\b", rules.LINK_OUTSIDE),
        ("a", b"C:\\x", rules.LINK_OUTSIDE),
        ("a", b"\\\\host\\share", rules.LINK_OUTSIDE),
        ("a", b".git/config", rules.LINK_OUTSIDE),
        ("x/a", b"../.GIT", rules.LINK_OUTSIDE),
        ("a", b"caf\xe9", None),
        (".gitmodules", b"x", rules.LINK_READ_BY_GIT),
        ("x/.GitAttributes", b"y", rules.LINK_READ_BY_GIT),
    ],
)
def test_links_stay_inside(path: str, target: bytes, broken: str | None) -> None:
    """Wherever the links lead that they pass."""
    assert rule(change(path, target, rules.LINK)) == ([broken] if broken else [])


_PARTS = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=6)


@given(depth=st.integers(0, 3), parts=_PARTS)
@settings(deadline=None)
def test_no_link_that_is_allowed_leads_outside(depth: int, parts: list[str]) -> None:
    """As a file system would resolve it."""
    path, target = "d/" * depth + "link", "/".join(parts)
    if rule(change(path, target.encode(), rules.LINK)) == []:
        inside = posixpath.normpath(posixpath.join("/root/" + "d/" * depth, target))
        assert inside == "/root" or inside.startswith("/root/")


def test_modes_are_those_of_files() -> None:
    """No submodule, no folder."""
    assert rule(change("a", mode="160000"), change("b", mode="040000")) == [rules.MODE] * 2


def test_a_file_beneath_a_file_is_held_back() -> None:
    """No tree has that; a file in the place of a folder that goes is fine."""
    assert rule(change("a"), change("a/b/c")) == [rules.BENEATH_FILE]
    assert rule(change("a"), change("a/b", None)) == []
    assert rule(change("a", None), change("a/b")) == []


def test_bounds_hold_back_what_is_too_much() -> None:
    """In the order of paths, each with its rule; what does not fit leaves room for the rest."""
    files = [change("a", b"1" * 6), change("b", b"2" * 6), change("c", b"3" * 4), change("d", None)]
    assert rule(*files, max_bytes=10) == ["all changes together are larger than 10 bytes"]
    assert rule(*files, max_file_bytes=5) == ["it is larger than 5 bytes"] * 2
    assert rule(*files, max_files=3) == ["there are more than 3 changed files"]
    binary = [change("x", b"\0"), change("y", b""), change("z", b"text")]
    assert rule(*binary, max_blobs=1) == ["there are more than 1 binary or large files"]
    verdict = Policy(PolicySettings(max_bytes=10)).judge(files[::-1])
    assert [one.raw_path for one in verdict.allowed] == [b"a", b"c", b"d"]
    assert [one.path for one in verdict.held_back] == ["b"]


def test_a_name_is_shown_without_what_cannot_be_shown() -> None:
    """It will stand in a pull request."""
    verdict = Policy().judge([change(b"a\xff"), change("b\n## c"), change("d\u202ee")])
    assert [one.path for one in verdict.held_back] == ["a\ufffd", "b\ufffd## c", "d\ufffde"]


@given(st.lists(st.binary(min_size=1, max_size=12), unique=True, max_size=8), st.data())
@settings(deadline=None)
def test_every_change_is_judged_once(paths: list[bytes], data: st.DataObject) -> None:
    """Whatever its name; and what is allowed is something that the trees API can be given."""
    changes = [
        change(
            path,
            data.draw(st.one_of(st.none(), st.binary(max_size=9))),
            data.draw(st.sampled_from(["100644", "100755", rules.LINK])),
        )
        for path in paths
    ]
    verdict = Policy().judge(changes)
    assert len(verdict.allowed) + len(verdict.held_back) == len(paths)
    for one in verdict.allowed:
        parts = entry(one).path.split("/")
        assert not {"", ".", ".."} & set(parts)
        assert not any(is_git(part) for part in parts)


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1", ".git ", ".git.", ".g\u200cit"])
def test_git_refuses_the_same_names(name: str, tmp_path: Path) -> None:
    """The list is git's own: it puts none of these into its index."""
    assert is_git(name)
    git = ["git", "-c", "core.protectHFS=true", "-c", "core.protectNTFS=true"]
    subprocess.run([*git, "init", "--quiet"], cwd=tmp_path, check=True)
    blob = (
        subprocess.run(
            [*git, "hash-object", "-w", "--stdin"],
            cwd=tmp_path,
            check=True,
            input=b"",
            capture_output=True,
        )
        .stdout.strip()
        .decode()
    )
    for path, taken in ((f"{name}/x", False), ("x/y", True)):
        done = subprocess.run(
            [*git, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}"],
            cwd=tmp_path,
            check=False,
            capture_output=True,
        )
        assert (done.returncode == 0) is taken


@given(st.lists(st.tuples(st.text("ab/", min_size=1, max_size=5), st.booleans()), max_size=9))
@settings(deadline=None)
def test_requests_hold_every_entry_once_and_in_an_order_that_works(
    asked: list[tuple[str, bool]],
) -> None:
    """Played one after the other on any tree that had what goes."""
    named = {path.strip("/"): gone for path, gone in asked if "//" not in path and path.strip("/")}
    changes = [change(path, None if gone else b"x") for path, gone in named.items()]
    allowed = Policy().judge(changes).allowed
    going = {entry(one).path for one in allowed if one.deleted}
    assume(not any(parent in going for path in going for parent in parents(path)))
    tree = set(going)
    for request in requests([entry(one) for one in allowed]):
        for one in request:
            if one.deleted:
                tree.remove(one.path)
        for one in request:
            if not one.deleted:
                assert not any(parent in tree for parent in parents(one.path))
                assert not any(path.startswith(f"{one.path}/") for path in tree)
                tree.add(one.path)
    assert tree == {entry(one).path for one in allowed if not one.deleted}


def test_a_large_change_set_goes_up_in_several_requests() -> None:
    """By number, and by what stands in them; long text, empty files and bytes are blobs."""
    many = [entry(change(f"f{number:04}")) for number in range(1_201)]
    assert [len(request) for request in requests(many)] == [500, 500, 201]
    long = [entry(change(f"f{number}", b"x" * 90_000)) for number in range(12)]
    assert [len(request) for request in requests(long)] == [11, 1]
    for content in (b"", b"\0", b"\xff", b"x" * 100_001):
        made = entry(change("a", content))
        assert (made.blob, made.text, made.deleted) == (content, None, False)
    assert entry(change("a", "ü\r\n".encode())).text == "ü\r\n"
    assert entry(change("a", None)).deleted


def test_settings_name_everything_that_is_wrong() -> None:
    """At once, by name."""
    assert PolicySettings.from_environ({}) == PolicySettings(protected=PROTECTED)
    given = {"POLICY_MAX_FILES": "7", "POLICY_MAX_BLOBS": "400", "POLICY_PROTECTED": "[]"}
    read = PolicySettings.from_environ(given)
    assert (read.max_files, read.max_blobs, read.protected) == (7, 400, ())
    wrong = {
        "POLICY_PROTECTED": '["/absolute"]',
        "POLICY_MAX_FILES": "0",
        "POLICY_MAX_BYTES": "1e9",
        "POLICY_MAX_FILE_BYTES": "-1",
        "POLICY_MAX_BLOBS": "401",
    }
    with pytest.raises(ConfigurationError) as caught:
        PolicySettings.from_environ(wrong)
    assert len(caught.value.details["settings"]) == len(wrong)  # type: ignore[arg-type]
    assert all(name in caught.value.message for name in wrong)
