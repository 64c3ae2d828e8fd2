"""A run of lines as Markdown: code spans, HTML, and the brackets of links, leftmost first. Pure.

What is called code is code to GitHub as well, whatever stands around it. Where that depends on
more than is looked at here (a span over several lines, the cells of a table, a link whose title
holds a backtick), nothing in the rest of the run is called code.
"""

import re
from collections.abc import Iterator

from gateway.issues.markdown.tokens import Kind, Token

# Possessive throughout: no piece of text is read twice for one place.
_ATTRIBUTE = (
    r"[ \t\n]++[A-Za-z_:][A-Za-z0-9_.:-]*+"
    r"""(?:[ \t\n]*+=[ \t\n]*+(?:[^ \t\n"'=<>`]++|'[^']*+'|"[^"]*+"))?+"""
)
TAG = re.compile(
    rf"<(?:[A-Za-z][A-Za-z0-9-]*+(?:{_ATTRIBUTE})*+[ \t\n]*+/?+|/[A-Za-z][A-Za-z0-9-]*+[ \t\n]*+)>"
)
_AUTOLINK = re.compile(
    r"<(?:[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\x00-\x20<>]*+|[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]++@[\w.-]++)>"
)
_HIDDEN = (("<!--", "-->"), ("<?", "?>"), ("<![CDATA[", "]]>"), ("<!", ">"))
# To a browser each of these ends at the first `>`.
TO_MARKUP = ("<?", "<![CDATA[")
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
_ODD_ADDRESS = re.compile(r"\[|<[^>]*[ \t\"']")
# What may stand in a line before a definition or a fence: markers of quotes and lists.
BEFORE = r"[ \t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t>]+)*"
_BEFORE = re.compile(BEFORE)
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
_SPECIAL = re.compile(r"\\[!-/:-@\[-`{-~]|`++|<|!\[|\[|\]|https?://|www\.", re.IGNORECASE)
_WORD = re.compile(r"[^ \t\n<]*+")


def definition(text: str) -> tuple[str, str]:
    """The label and the address of a definition."""
    found = _DEFINITION.match(text)
    return (found["label"], found["address"]) if found else ("", "")


class Inline:
    """The reader of one run.

    `sure`: backticks may make code in it. `certain`: it is no HTML and in no block that is read
    otherwise, so that a line which goes on with a paragraph holds no definition. `moved`: where
    lines begin that are quoted more or less deeply than the one before.
    """

    def __init__(
        self, text: str, *, sure: bool, certain: bool, html: bool, moved: frozenset[int]
    ) -> None:
        # From here on what the pieces are is not certain.
        self.doubtful_from = len(text)
        self._text = text
        self._sure = sure
        self._certain = certain
        self._html = html
        self._moved = moved
        # What was looked for in vain is not looked for again: the time stays linear.
        self._missing: set[str] = set()
        self._word_end = 0
        self._defined_to = 0

    def tokens(self) -> Iterator[Token]:
        """Its pieces."""
        text, done, at = self._text, 0, 0
        while (found := _SPECIAL.search(text, at)) is not None:
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
            case "`":
                pieces = self._code(special, start)
            case "<":
                pieces = self._angle(start) if self._html else []
            case "]":
                pieces = self._closed(start)
            case "[" | "!":
                pieces = self._defined(start) or [Token(Kind.BRACKET, special)]
            case "\\":
                pieces = []
            case _:
                pieces = self._address(start)
        self._distrust(pieces, start)
        return pieces

    def _distrust(self, pieces: list[Token], start: int) -> None:
        """Of a backtick in what is no code: it may be a code span's, in another block, in no link.

        Where code may be that is not known, what holds a backtick may have begun inside of it.
        """
        text = "".join(piece.text for piece in pieces if piece.kind is not Kind.CODE)
        if "`" not in text:
            return
        if not self._sure:
            self.doubtful_from = min(start, self.doubtful_from)
        elif "\n" in text or pieces[0].kind in (Kind.BRACKET, Kind.DEFINITION):
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

    # --- HTML --------------------------------------------------------------------------------

    def _angle(self, start: int) -> list[Token]:
        if found := TAG.match(self._text, start):
            return [Token(Kind.TAG, found[0])]
        for opening, closing in _HIDDEN:
            if self._text.startswith(opening, start):
                return self._hidden(start, self._find(closing, start + len(opening)))
        if found := _AUTOLINK.match(self._text, start):
            return [Token(Kind.TEXT, found[0])]
        return []

    def _hidden(self, start: int, end: int | None) -> list[Token]:
        if empty := _EMPTY_COMMENT.match(self._text, start):
            # A whole comment to some, to others its beginning.
            self._sure = False
            end = end or empty.end()
        if end is None:
            self._sure = False
            return []
        if self._text.startswith(TO_MARKUP, start) and ">" in self._text[start : end - 1]:
            self.doubtful_from = min(start, self.doubtful_from)
        return [Token(Kind.HIDDEN, self._text[start:end])]

    def _find(self, closing: str, start: int) -> int | None:
        """Where the first such closing ends."""
        at = -1 if closing in self._missing else self._text.find(closing, start)
        if at < 0:
            self._missing.add(closing)
            return None
        return at + len(closing)

    # --- links -------------------------------------------------------------------------------

    def _closed(self, start: int) -> list[Token]:
        following = self._text[start + 1 : start + 2]
        tail = _LINK_TAIL.match(self._text, start) if following == "(" else None
        if tail is None:
            # A definition, or no link after all: what follows may be its title, or not.
            self._sure = self._sure and following not in (":", "(")
            return [Token(Kind.BRACKET, "]")]
        first, last = tail.span("title") if tail["title"] else (tail.end() - 1, tail.end() - 1)
        address = self._text[start + 1 : first]
        parts = (
            # Where there is no link after all, it is a tag or an image.
            Token(Kind.HIDDEN if _ODD_ADDRESS.search(address) else Kind.TEXT, address),
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
        if self._certain and self._in_paragraph(line_start, start):
            return []
        found = _DEFINITION.match(text, start)
        if found is None:
            return []
        self._defined_to = found.end()
        return [Token(Kind.DEFINITION, found[0])]

    def _in_paragraph(self, line_start: int, start: int) -> bool:
        """Whether a line goes on with the text of the one before it."""
        if line_start == 0 or line_start in self._moved or self._text[line_start:start].strip():
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
