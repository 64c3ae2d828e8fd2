"""What a model or a tool prints cannot control the terminal that shows it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.cli.plain import one_line, plain

# Everything a terminal may obey, and what lets text read as another one.
ATTACKS = {
    "\x1b[2J\x1b[H": "␛[2J␛[H",
    "\x1b]0;title\x07": "␛]0;title␇",
    "\x1b]52;c;ZXZpbA==\x1b\\": "␛]52;c;ZXZpbA==␛\\",
    "\x9b31m": "\ufffd31m",
    "a\x08\x08b": "a␈␈b",
    "rm -rf /\rls": "rm -rf /ls",
    "a\r\nb": "a\nb",
    "\x00\x7f": "␀␡",
    "\u202eevil\u202c\u2066x\u2069": "\ufffdevil\ufffd\ufffdx\ufffd",
    "half \ud83d a pair": "half \ufffd a pair",
    "tab\tand\nline": "tab\tand\nline",
    "ünïcode 日本 🎉": "ünïcode 日本 🎉",
}


@pytest.mark.parametrize(("text", "shown"), ATTACKS.items())
def test_controls_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    """Each control character becomes its picture; words, line feeds and tabs stay."""
    assert plain(text) == shown


@given(st.text(alphabet=st.characters(), max_size=200))
def test_nothing_a_terminal_obeys_is_left(text: str) -> None:
    """No control character of Unicode, and always something that UTF-8 can carry."""
    shown = plain(text)
    shown.encode("utf-8")
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c not in "\n\t"]


@given(st.text(max_size=500), st.integers(min_value=1, max_value=80))
def test_one_line_is_one_line_of_its_width(text: str, width: int) -> None:
    """No line of any kind is left in it, however long the text is."""
    line = one_line(text, width)
    assert len(line) <= width
    assert len(line.splitlines()) <= 1


def test_a_cut_line_says_so() -> None:
    """What fits stays whole, what does not ends in an ellipsis."""
    assert one_line("a  b\nc", 5) == "a b c"
    assert one_line("abcdef", 5) == "abcd…"
    assert one_line(" " * 100 + "x", 5) == "…"
