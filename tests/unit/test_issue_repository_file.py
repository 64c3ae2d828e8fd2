"""`.github/claude-run.yml`: it narrows, and a broken one is told."""

import base64

import pytest

from claude_run.errors import UpstreamError
from gateway.github.trigger_settings import Triggers
from gateway.issues.repository_file import MAX_BYTES, RepositoryFile, read, read_answer

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


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "file", "encoding": "none", "size": 2_000_000, "content": ""},
        [{"type": "file", "name": "x"}],
        {"type": "submodule"},
    ],
)
def test_what_is_no_file_that_can_be_read_is_said(answer: object) -> None:
    """A folder of that name, or more than GitHub gives: not as if there was none."""
    found = read_answer(answer)
    assert found.file == RepositoryFile()
    assert "no file of at most 65536 bytes" in (found.complaint or "")


def test_an_answer_of_github() -> None:
    """Its content comes in lines of base64."""
    content = base64.encodebytes(b"max_turns: 7\n" + b"# " + b"x" * 100).decode()
    found = read_answer({"type": "file", "encoding": "base64", "content": content})
    assert (found.file.max_turns, found.complaint) == (7, None)


@pytest.mark.parametrize(
    "answer",
    [
        *(None, "x", {}, {"data": "<html>"}, {"type": "file"}),
        {"type": "file", "encoding": "base64", "content": "a"},
        {"type": "file", "encoding": "base64", "content": 3},
    ],
)
def test_what_is_no_answer_of_githubs_is_no_file(answer: object) -> None:
    """Without the file, a run would have more than its repository gives it."""
    with pytest.raises(UpstreamError):
        read_answer(answer)
