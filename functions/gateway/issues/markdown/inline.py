"""Inside a run of lines: code spans, HTML, and the brackets of links, leftmost first. Pure.

What is called code is code to GitHub as well, whatever stands around it. Where that depends on
more than is looked at here (a span over several lines, the cells of a table, a link whose title
holds a backtick), nothing in the rest of the run is called code. What is called a tag, hidden or a
title may be more than GitHub takes for it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What a piece of Markdown is."""

    TEXT = auto()
    CODE = auto()
    TAG = auto()  # one HTML tag
    HIDDEN = auto()  # a comment, a declaration, what follows a fence's language: shown to nobody
    BRACKET = auto()  # `[`, `![` or `]`
    TITLE = auto()  # of a link: shown to who points at it
    DEFINITION = auto()  # of a link; it shows nothing itself
    FOOTNOTE = auto()  # its beginning: shown where something refers to it


@dataclass(frozen=True, slots=True)
class Token:
    """A piece; the texts of all of them in order are the whole.

    But for quote markers inside a tag or the like that goes over several lines: it has none.
    """

    kind: Kind
    text: str


# Possessive throughout: no piece of text is read twice for one place.
_ATTRIBUTE = (
    r"[ \t\n]++[A-Za-z_:][A-Za-z0-9_.:-]*+"
    r"""(?:[ \t\n]*+=[ \t\n]*+(?:[^ \t\n"'=<>`]++|'[^']*+'|"[^"]*+"))?+"""
)
_TAG = re.compile(
    rf"<(?:[A-Za-z][A-Za-z0-9-]*+(?:{_ATTRIBUTE})*+[ \t\n]*+/?+|/[A-Za-z][A-Za-z0-9-]*+[ \t\n]*+)>"
)
_AUTOLINK = re.compile(
    r"<(?:[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\x00-\x20<>]*+|[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]++@[\w.-]++)>"
)
# A tag as browsers read it: any `<` and a letter, and then up to a `>` outside of quoted values.
_IN_RAW = r"""</?[A-Za-z](?:[^=>]++|=[ \t\n]*+(?:"[^"]*+"|'[^']*+'|(?!["'])))*+"""
_RAW_TAG = re.compile(rf"{_IN_RAW}>")
_RAW_VALUE = re.compile(rf"""{_IN_RAW}=[ \t\n]*+(["'])""")  # one that is never closed
_RAW_BEGIN = re.compile(r"</?[A-Za-z]")
_HIDDEN = (("<!--", "-->"), ("<?", "?>"), ("<![CDATA[", "]]>"), ("<!", ">"))
_EMPTY_COMMENT = re.compile(r"<!---?>")

_MAX_PARENTHESES = 32  # in a link's address, as in CommonMark
_ADDRESS = r"(?:[^\x00-\x20()\\]|\\.)*+"
for _ in range(_MAX_PARENTHESES):
    _ADDRESS = rf"(?:[^\x00-\x20()\\]|\\.|\({_ADDRESS}\))*+"
_TITLE = r"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|\((?:[^()\\]|\\.)*+\))"""
_LINK_TAIL = re.compile(
    rf"\]\([ \t\n]*+(?:<(?:[^<>\n\\]|\\.)*+>|{_ADDRESS})"
    rf"(?P<title>[ \t\n]++{_TITLE})?+[ \t\n]*+\)",
    re.DOTALL,
)
# What stands in a line before a definition: markers of quotes and lists.
_BEFORE = re.compile(r"[ \t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t>]+)*")
_MAX_BEFORE = 80
_FOOTNOTE = re.compile(r"\[\^[^\[\]\s]{1,999}\]:")
_DEFINITION = re.compile(
    r"\[(?P<label>(?:[^\[\]\\]|\\.){1,999}+)\]:[ \t]*+\n?+[ \t]*+"
    r"(?P<address><(?:[^<>\n\\]|\\.)*+>|[^\s<]\S*+)"
    rf"(?:(?:[ \t]*+\n[ \t]*+|[ \t]++){_TITLE}[ \t]*+(?=\n|\Z)|[ \t]*+(?=\n|\Z))",
    re.DOTALL,
)
# How a line of a paragraph never begins: then a definition may follow it.
_NO_PARAGRAPH = re.compile(r" {4}|\t|[ \t]*(?:[-#*+_=`~<>|:]|[0-9]{1,9}[.)]|\Z)")
# The next place that means something.
_PLACES = r"`++|<|!\[|\[|\]|https?://|www\."
_SPECIAL = re.compile(rf"\\[!-/:-@\[-`{{-~]|{_PLACES}", re.IGNORECASE)
_SPECIAL_IN_RAW = re.compile(rf"~~~++|{_PLACES}", re.IGNORECASE)
# What follows a fence's mark: its language, and what is shown nowhere.
INFO = re.compile(r"([ \t]*[A-Za-z0-9_+#.-]{0,40})([^\n]*)")
_WORD = re.compile(r"[^ \t\n<]*+")


class Run:
    """Lines without a blank one between them, each with its line feed.

    `sure`: backticks may make code in it. `raw`: GitHub may take it for HTML as it stands, where
    what is not closed in it hides all that follows it: then `hides_rest`.
    """

    def __init__(self, text: str, *, sure: bool, raw: bool) -> None:
        self.hides_rest = False
        self._text = text
        self._sure = sure
        self._raw = raw
        # What was looked for in vain is not looked for again: the time stays linear.
        self._missing: set[str] = set()
        self._word_end = 0
        self._defined_to = 0

    def tokens(self) -> Iterator[Token]:
        """Its pieces."""
        text, done, at = self._text, 0, 0
        # HTML knows no backslashes.
        special = _SPECIAL if not self._raw else _SPECIAL_IN_RAW
        while (found := special.search(text, at)) is not None:
            start, at = found.span()
            pieces = self._pieces(found[0], start)
            if not pieces:
                continue
            if done < start:
                yield Token(Kind.TEXT, text[done:start])
            yield from pieces
            done = at = start + sum(len(piece.text) for piece in pieces)
        if done < len(text):
            yield Token(Kind.TEXT, text[done:])

    def _pieces(self, special: str, start: int) -> list[Token]:
        """What begins there; none: it is text."""
        match special[0]:
            case "`" | "~":
                pieces = self._fence(special, start) if self._raw else self._code(special, start)
            case "<":
                pieces = self._angle(start)
            case "]":
                pieces = self._closed(start)
            case "[" | "!":
                pieces = self._defined(start) or [Token(Kind.BRACKET, special)]
            case "\\":
                pieces = []
            case _:
                pieces = self._address(start)
        self._distrust(pieces)
        return pieces

    def _distrust(self, pieces: list[Token]) -> None:
        """A backtick in what is no code may be one elsewhere: in another block, in no link."""
        text = "".join(piece.text for piece in pieces if piece.kind is not Kind.CODE)
        of_link = bool(pieces) and pieces[0].kind in (Kind.BRACKET, Kind.DEFINITION)
        if "`" in text and ("\n" in text or of_link):
            self._sure = False

    def _code(self, ticks: str, start: int) -> list[Token]:
        if not self._sure:
            return []
        line_end = self._text.find("\n", start)
        line = self._text[start : line_end if line_end >= 0 else None]
        end = _closing(line, ticks)
        if end is None or "|" in line[:end]:
            self._sure = False
            return []
        return [Token(Kind.CODE, line[:end])]

    def _fence(self, mark: str, start: int) -> list[Token]:
        """Of what may be the first line of a code block: what it shows nowhere."""
        line_start = self._text.rfind("\n", max(0, start - _MAX_BEFORE), start) + 1
        if not _BEFORE.fullmatch(self._text, line_start, start) or len(mark) < 3:
            return []
        info = INFO.match(self._text, start + len(mark))
        if info is None or not info[2].strip() or (mark[0] == "`" and "`" in info[2]):
            return []
        return [Token(Kind.TEXT, mark + info[1]), Token(Kind.HIDDEN, info[2])]

    def _angle(self, start: int) -> list[Token]:
        text = self._text
        if found := (_RAW_TAG if self._raw else _TAG).match(text, start):
            return [Token(Kind.TAG, found[0])]
        for opening, closing in _HIDDEN:
            if text.startswith(opening, start):
                end = self._find(closing, start + len(opening))
                if found := _EMPTY_COMMENT.match(text, start):
                    # A whole comment to browsers, to others its beginning.
                    self._sure = False
                    end = end or (None if self._raw else found.end())
                return self._hidden(start, end)
        if found := _AUTOLINK.match(text, start):
            return [Token(Kind.TEXT, found[0])]
        return self._raw_angle(start) if self._raw else []

    def _raw_angle(self, start: int) -> list[Token]:
        """What HTML makes of a `<` that begins no whole tag."""
        if _RAW_VALUE.match(self._text, start):
            return self._hidden(start, None)
        if _RAW_BEGIN.match(self._text, start):
            return [Token(Kind.HIDDEN, self._text[start:])]
        if self._text.startswith("</", start):
            return self._hidden(start, self._find(">", start))
        return []

    def _hidden(self, start: int, end: int | None) -> list[Token]:
        if end is None:
            self._sure = False
            if not self._raw:
                return []
            self.hides_rest = True
        return [Token(Kind.HIDDEN, self._text[start:end])]

    def _find(self, closing: str, start: int) -> int | None:
        """Where the first such closing ends."""
        at = -1 if closing in self._missing else self._text.find(closing, start)
        if at < 0:
            self._missing.add(closing)
            return None
        return at + len(closing)

    def _closed(self, start: int) -> list[Token]:
        following = self._text[start + 1 : start + 2]
        tail = _LINK_TAIL.match(self._text, start) if following == "(" else None
        if tail is None:
            # A definition, or no link after all: what follows may be its title, or not.
            self._sure = self._sure and following not in (":", "(")
            return [Token(Kind.BRACKET, "]")]
        first, last = tail.span("title") if tail["title"] else (tail.end() - 1, tail.end() - 1)
        parts = (
            Token(Kind.TEXT, self._text[start + 1 : first]),
            Token(Kind.TITLE, self._text[first:last]),
            Token(Kind.TEXT, self._text[last : tail.end()]),
        )
        return [Token(Kind.BRACKET, "]"), *(part for part in parts if part.text)]

    def _defined(self, start: int) -> list[Token]:
        """A definition that begins there, or a footnote."""
        text = self._text
        line_start = text.rfind("\n", max(0, start - _MAX_BEFORE), start) + 1
        if (start - line_start > _MAX_BEFORE) or not _BEFORE.fullmatch(text, line_start, start):
            return []
        if found := _FOOTNOTE.match(text, start):
            return [Token(Kind.FOOTNOTE, found[0])]
        if self._in_paragraph(line_start, start):
            return []
        found = _DEFINITION.match(text, start)
        if found is None:
            return []
        self._defined_to = found.end()
        return [Token(Kind.DEFINITION, found[0])]

    def _in_paragraph(self, line_start: int, start: int) -> bool:
        """Whether a line goes on with the text of the one before it."""
        if line_start == 0 or self._text[line_start:start].strip():
            return False
        before = self._text.rfind("\n", 0, line_start - 1) + 1
        if before < self._defined_to:
            return False
        return not _NO_PARAGRAPH.match(self._text, before, line_start - 1)

    def _address(self, start: int) -> list[Token]:
        """A bare one takes a backtick into itself, and GitHub decides where it ends."""
        if start >= self._word_end and (word := _WORD.match(self._text, start)):
            self._word_end = word.end()
            self._sure = self._sure and "`" not in word[0]
        return []


def _closing(line: str, ticks: str) -> int | None:
    """Where the code span that a line begins with ends."""
    found = re.compile(rf"(?<!`){ticks}(?!`)").search(line, len(ticks))
    return found.end() if found else None


def definition(text: str) -> tuple[str, str]:
    """The label and the address of a definition."""
    found = _DEFINITION.match(text)
    return (found["label"], found["address"]) if found else ("", "")
