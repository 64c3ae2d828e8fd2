"""Whom a text mentions: not in code, quotes or comments, and in no time, whatever it is."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.github.words import is_stop, mentioned, said


@pytest.mark.parametrize(
    "text",
    [
        "@claude",
        "@claude please",
        "please, @Claude!",
        "(@CLAUDE)",
        "@claude's turn",
        "first\n@claude: fix it",
        "first\r\n@claude\r\nlast",
        "- @claude do this",
        "- one\n\n    @claude in the list's second paragraph",
        "1. one\n   - two\n\n       @claude",
        "some words\n    @claude goes on with the paragraph",
        "**@claude**, `code` and @claude",
        "`unclosed @claude",
        "``two ` one`` @claude",
        "> quoted\n\n@claude answers",
        "```\ncode\n```\n@claude",
        "~~~\n```\n~~~\n@claude",
        "<!-- hidden --> @claude",
        "<!--\nhidden\n--> @claude",
        "<code>x</code> @claude",
        "<code> @claude, a tag that is never closed",
        "<!-- never closed is in the middle of a line: @claude".replace("<!--", "x <!--"),
        "日本語 @claude をお願い",
        "\u202e@claude",
        "@claude\u200b",
        "@claude[bot]",
    ],
)
def test_what_mentions_us(text: str) -> None:
    """Wherever people write it."""
    assert "@claude" in mentioned(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "claude",
        "@ claude",
        "me@claude",
        "me@claude.ai",
        "@claudette",
        "@claude-bot",
        "@claude_bot",
        "@claudeé",
        "@claude/team",
        "é@claude",
        "@@claude",
        "https://medium.com/@claude",
        "`@claude`",
        "``a ` @claude``",
        "`over\nlines @claude`",
        "```\n@claude\n```",
        "```python\n@claude\n```",
        "````\n```\n@claude\n```\n````",
        "```\nnever closed @claude",
        "~~~\n@claude\n~~~",
        "- item\n\n  ```\n  @claude\n  ```",
        "1. item\n    ```\n    @claude\n    ```",
        "text\n\n    @claude in indented code",
        "    @claude",
        "\t@claude",
        "> @claude wrote",
        "  > @claude wrote",
        ">> @claude wrote",
        "<!-- @claude -->",
        "<!--\nUse @claude to ask\n-->",
        "<!-- @claude is never shown",
        "a <!-- @claude --> b",
        "<pre>@claude</pre>",
        "<CODE class='x'>@claude</CODE>",
        "<blockquote>@claude</blockquote>",
        "@\uff43\uff4c\uff41\uff55\uff44\uff45",
        "@cl\u0430ude",
    ],
)
def test_what_does_not(text: str) -> None:
    """Longer names, paths, addresses, code, quotes, what nobody sees, and look-alikes."""
    assert "@claude" not in mentioned(text)


def test_everybody_is_found_once_and_in_order() -> None:
    """In lower case."""
    assert mentioned("@B and @a, @b again") == ("@b", "@a")


@pytest.mark.parametrize(
    "text", ["@claude stop", "@Claude, STOP!", " @claude:  stop. \n", "> go on\n\n@claude stop"]
)
def test_a_request_to_stop(text: str) -> None:
    """Nothing but a mention and the word; what is quoted is not said."""
    assert is_stop(text)


@pytest.mark.parametrize(
    "text",
    [
        "stop",
        "@claude",
        "@claude stop the server from crashing",
        "please @claude stop",
        "@claude stopped",
        "`@claude stop`",
        "@claude don't stop",
        "",
    ],
)
def test_what_is_no_request_to_stop(text: str) -> None:
    """A sentence that begins so is a request of its own."""
    assert not is_stop(text)


HARD = (
    "@claude " * 8_192,
    "@" * 65_536,
    "@" + "a-" * 32_768,
    "@a" * 32_768,
    "`" * 65_536,
    "".join("`" * number + " " for number in range(1, 361)),
    "` `` " * 13_000,
    "<!--" * 16_384,
    "<pre>" * 13_107,
    "<code><pre><blockquote>" * 2_800,
    "```\n" * 16_384,
    "~~~ x\n" * 10_000,
    "> @claude\n" * 6_500,
    "    @claude\n\n" * 5_000,
    "- " * 32_768,
    "\n" * 65_536,
    "\t" * 65_536,
    "İ" * 65_536,
    "\u202e\u2066" * 32_768,
)


@pytest.mark.parametrize("text", HARD, ids=range(len(HARD)))
def test_no_text_takes_long(text: str) -> None:
    """As long as GitHub lets them be, made to be hard: they take milliseconds."""
    began = time.thread_time()
    mentioned(text + "@")
    is_stop(text)
    assert time.thread_time() - began < 2


@given(st.text("@claude `~<>!-\n\t>prcoe/ 1.", max_size=200))
def test_nothing_is_made_up(text: str) -> None:
    """Whatever is said stood there; text of plain words is said as it is."""
    assert set(mentioned(text)) <= {f"@{part}" for part in _names(text)}
    plain = text.translate(str.maketrans("", "", "`~<>\t"))
    lines = [line.lstrip() for line in plain.split("\n")]
    assert said("\n".join(lines)) == "\n".join(lines)


def _names(text: str) -> set[str]:
    """Everything behind an `@` that could be a name."""
    found = set()
    for start, sign in enumerate(text):
        if sign == "@":
            name = text[start + 1 :]
            found |= {name[:length].lower() for length in range(1, len(name) + 1)}
    return found
