"""`.github/claude-run.yml`: it narrows, and a broken one is told."""

import base64

import pytest

from claude_run.errors import UpstreamError
from gateway.github.trigger_settings import Triggers
from gateway.issues.repository_file import MAX_BYTES, RepositoryFile, read, told

GOOD = b"""
triggers:
  on_open: false
  labels: [Robot]
tools: [Read, "Bash(git *)", WebFetch]
max_turns: 5
timeout_minutes: 2.5
max_budget_usd: 1
model: claude-x
instructions: |
  Be brief.
"""


def test_a_file_chooses() -> None:
    """What it leaves out stays as it is."""
    found = read(GOOD)
    assert found.complaint is None
    assert found.file.chosen(Triggers()) == Triggers(on_open=False, labels=frozenset({"robot"}))
    assert found.file.instructions == "Be brief.\n"


def test_it_gets_no_tool_that_the_deployment_has_not() -> None:
    """A narrower rule of a tool is allowed where the tool is."""
    file = read(GOOD).file
    assert file.allowed(["Read", "Bash", "Edit"]) == ["Read", "Bash(git *)"]
    assert file.allowed(["Bash(make *)"]) == []
    assert RepositoryFile().allowed(["Read"]) == ["Read"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: [", "line 1"),
        ("- x", "mapping"),
        ("unknown: 1", "unknown"),
        ("max_turns: '5'", "max_turns"),
        ("max_turns: 0", "max_turns"),
        ("timeout_minutes: .inf", "timeout_minutes"),
        ("triggers: {labels: ['a,b']}", "labels"),
        ("tools: &a [*a]", "references"),
        ("model: a\nmodel: b", "line 2: a name is there twice"),
        ("[" * 5_000, "YAML"),
        ("instructions: {{ x }}", "YAML"),
        ("? [a]\n: b", "YAML"),
        ("max_turns: !!int ''", "YAML"),
        ("max_turns: !!bool x", "YAML"),
        ("model: !!timestamp x", "YAML"),
        ("model: !!python/name:os.system", "line 1"),
        ("instructions: " + "x" * 30_000, "instructions"),
        ("#" * (MAX_BYTES + 1), "larger"),
    ],
)
def test_a_broken_file_is_told_and_not_used(text: str, word: str) -> None:
    """Its defaults hold."""
    found = read(text.encode())
    assert found.file == RepositoryFile()
    assert found.complaint is not None
    assert word in found.complaint


def test_bytes_that_are_no_text() -> None:
    """They are told, too; an empty file is none."""
    assert read(b"\xff").complaint is not None
    assert read(b"").complaint is None


def test_what_github_shows_in_its_place() -> None:
    """A folder, a submodule, a file of a megabyte are broken ones."""
    content = base64.encodebytes(GOOD).decode()
    assert told({"type": "file", "encoding": "base64", "content": content}) == read(GOOD)
    for shown, word in (
        ([{"type": "file"}], "not a file"),
        ({"type": "submodule"}, "not a file"),
        ({"type": "file", "encoding": "none", "content": ""}, "larger"),
    ):
        found = told(shown)
        assert found.file == RepositoryFile()
        assert word in (found.complaint or "")


@pytest.mark.parametrize(
    "answer",
    [None, "x", {}, {"data": "<html>"}, {"type": "file"}, {"type": "file", "content": 7}],
)
def test_what_is_no_answer_of_githubs_is_no_file(answer: object) -> None:
    """Without the file, a run would have more than its repository gives it."""
    with pytest.raises(UpstreamError):
        told(answer)
