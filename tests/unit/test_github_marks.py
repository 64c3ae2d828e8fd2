"""By what our own work is known again."""

import pytest

from gateway.github.marks import MAX_BODY, is_ours, is_unedited, marked, signed_message

MADE = {"key": "k", "branch": "claude/x", "base": "b" * 40, "tree": "c" * 40}
PARENT = "d" * 40


def test_a_commit_says_what_it_was_made_of() -> None:
    """Any other branch, base, tree or parent is not what it says."""
    message = signed_message("Fix it\n", **MADE, parent=PARENT)
    assert is_ours(message, **MADE, parents=(PARENT,))
    assert is_ours(message + "\n\n", **MADE, parents=(PARENT,))
    for name in MADE:
        assert not is_ours(message, **{**MADE, name: "other"}, parents=(PARENT,))
    assert not is_ours(message, **MADE, parents=("e" * 40,))
    assert not is_ours(message, **MADE, parents=())
    assert not is_ours(message, **MADE, parents=(PARENT, "e" * 40))
    assert not is_ours(f"{message}\n\nAnd more.", **MADE, parents=(PARENT,))


@pytest.mark.parametrize(
    ("message", "begins"),
    [
        ("Fix it", "Fix it\n\nClaude-Run-Change: "),
        ("Fix it\n\nBecause: of\nthis", "Fix it\n\nBecause: of\nthis\n\nClaude-Run-Change: "),
        (
            "Fix it\n\nCo-authored-by: Ann <ann@example.com>",
            "Fix it\n\nCo-authored-by: Ann <ann@example.com>\nClaude-Run-Change: ",
        ),
        ("fix: it", "fix: it\n\nClaude-Run-Change: "),
    ],
)
def test_the_trailer_stands_where_git_looks_for_it(message: str, begins: str) -> None:
    """In the last paragraph, with the other trailers."""
    assert signed_message(message, **MADE, parent=PARENT).startswith(begins)


@pytest.mark.parametrize("body", ["Fixes #1", "", "  x\n\n", "x" * 70_000, "<!-- claude-run:1 -->"])
def test_a_text_is_known_as_long_as_nobody_edits_it(body: str) -> None:
    """However it comes back; and it is never longer than GitHub takes."""
    made = marked(body)
    assert len(made) <= MAX_BODY
    assert is_unedited(made)
    assert is_unedited(made.replace("\n", "\r\n") + "\r\n")
    assert not is_unedited(f"A word. {made}")
    assert not is_unedited(made.replace("-->", "--> A word."))
    assert not is_unedited(body)
