"""Somebody's text on GitHub does nothing there."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gateway.issues import inert

# What GitHub acts on in a text that it shows.
_ACTS = re.compile(
    r"@[A-Za-z0-9]|#[0-9]|GH-[0-9]|/(?:issues|pull|pulls|discussions|commits?)/[0-9a-f]",
    re.IGNORECASE,
)
_PARTS = st.sampled_from(
    ["@octo", "#12", "GH-3", "Fixes #1", "`", "```\n", "~~~", "\n", "    ", "> ", "- ", "<b>",
     "<!--", "-->", "![x](http://x/y.png)", "[a](b)", "https://github.com/o/r/issues/7",
     "/pull/3", "deadbeefcafe", "&#64;octo", "&commat;x", "&#35;1", "|", "\\", "word ", "\u202e",
     "\u200b", "é", "\n\n"]
)  # fmt: skip
_TEXTS = st.lists(_PARTS, max_size=30).map("".join) | st.text(max_size=200)


def _shown(markdown: str) -> tuple[str, set[str]]:
    """The text outside code, and the kinds of pieces, as Markdown has them."""
    reader = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    kinds, texts = set(), []
    waiting = list(reader.parse(markdown))
    while waiting:
        token = waiting.pop(0)
        kinds.add(token.type)
        if token.type == "text":
            texts.append(token.content)
        waiting[:0] = token.children or []
    return "\n".join(texts), kinds


@given(_TEXTS)
@example("see @octo and #12, GH-3, https://github.com/o/r/issues/7 ![x](y) <img src=x>")
@example("`unclosed @octo")
@example("<!-- \n```\n-->\n```\n@x\n```")
def test_a_text_calls_and_links_nobody(text: str) -> None:
    """Outside code there is no mention, reference, picture or HTML left."""
    shown, kinds = _shown(inert.text(text, 10_000))
    assert not _ACTS.search(shown)
    assert not kinds & {"image", "html_inline", "html_block"}


@given(_TEXTS)
@example("**bold** [link](x) `code` | cell")
def test_a_line_is_plain(text: str) -> None:
    """One paragraph of text, whatever it holds; nothing of it is Markdown."""
    line = inert.line(text, 1_000)
    assert "\n" not in line
    shown, kinds = _shown(f"x {line}")
    assert not _ACTS.search(shown)
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}


@given(_TEXTS.filter(lambda text: text.strip() != ""))
def test_code_is_one_piece(text: str) -> None:
    """A path with backticks in it is code, too."""
    shown, kinds = _shown(f"x {inert.code(text, 500)} y")
    assert "code_inline" in kinds
    assert shown.replace("\n", "") == "x  y"


@given(_TEXTS)
@example("```\nx")
@example("- a\n  ```\n  x")
@example("> ```\n> x")
@example("```\\|a|b|\n|-|-|\n")
@example("1. a\n\n   b\n~~~~ x\n~~~\n")
def test_what_follows_a_closed_text_is_no_part_of_it(text: str) -> None:
    """Whatever the text leaves open; where that is not certain there is none."""
    closed = inert.closed_text(text, 10_000)
    if closed is None:
        return
    reader = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    tokens = reader.parse(f"{closed}\n\n---\n\n<details>\n\n**After**\n\n</details>")
    shape = [(token.type, token.level) for token in tokens[-6:]]
    assert shape == [
        ("hr", 0),
        ("html_block", 0),
        ("paragraph_open", 0),
        ("inline", 1),
        ("paragraph_close", 0),
        ("html_block", 0),
    ]


def test_a_text_that_grows_too_much_is_not_closed() -> None:
    """What follows it would be cut off."""
    assert inert.closed_text("<" * 1_000, 1_000) is None
    assert inert.closed_text("x" * 1_000, 1_000) == "x" * 1_000


def test_code_stays_as_it_is() -> None:
    """A decorator in a code block is not taken apart."""
    text = "Like so:\n\n```python\n@cache\ndef f(): ...  # 1\n```\n\nand `@x`"
    assert inert.text(text, 1_000) == text


def test_what_is_long_is_cut() -> None:
    """To its limit, and it says so."""
    assert inert.text("x" * 100, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("given_title", ["Fix @octo's #12", "  Fix\n@octo's #12  "])
def test_a_title_is_one_line(given_title: str) -> None:
    """Its Markdown stays, for GitHub shows none there."""
    assert inert.title(given_title, 100) == "Fix @\u200bocto's #\u200b12"


def test_a_title_closes_no_issue_by_its_address() -> None:
    """It is the message of a commit, too."""
    title = inert.title("closes https://github.com/o/r/issues/5", 100)
    assert title == "closes https://github.com/o/r/issues/\u200b5"
