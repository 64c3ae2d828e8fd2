"""Lines: which of them are code for certain, which may be HTML, which are text. Pure.

This is not a parser of Markdown: it knows as much of its blocks as it takes to be certain of a
code block. Where it cannot be (fences deep in lists, lazy lines, tabs before markers) it gives up
for the rest of the text: there nothing is code, and whatever may be hidden is.
"""

import re
from dataclasses import dataclass

from gateway.issues.markdown import runs
from gateway.issues.markdown.runs import Reading
from gateway.issues.markdown.tokens import Kind, Token
from gateway.issues.markdown.unshown import NOTES

_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_MARKER = re.compile(r"([-*+]|([0-9]{1,9})[.)])( +)(?=[^ \n])")
_LIKE_A_MARKER = re.compile(r"([-*+]|[0-9]{1,9}[.)])([ \t]|$)|\[\^")
_MARKERS = re.compile(r"(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+|>[ \t]*)*+")
_RULE = re.compile(r"(?:\*[ \t]*){3,}$|(?:-[ \t]*){3,}$|(?:_[ \t]*){3,}$")
_FENCE = re.compile(r"(`{3,})([^`]*)$|(~{3,})(.*)$")
_QUOTE = re.compile(r" {0,3}> ?")
_QUOTE_IN_LIST = re.compile(r"[ \t]*> ?")
_MAX_INDENT = 3  # more makes a line code, or a part of the paragraph before it

# How a line begins that is HTML until another one has the closing; CommonMark's kinds 1 to 5.
_UNTIL = (
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(r"<![A-Za-z]"), re.compile(r">")),
    (
        re.compile(r"<(?:script|pre|style|textarea)(?:[ \t>]|$)", re.IGNORECASE),
        re.compile(r"</(?:script|pre|style|textarea)>", re.IGNORECASE),
    ),
)
# And that is HTML until a blank line; kind 6.
_BLOCK_TAG = re.compile(
    r"</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd"
    r"|details|dialog|dir|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]"
    r"|head|header|hr|html|iframe|legend|li|link|main|menu|menuitem|nav|noframes|ol|optgroup"
    r"|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul)"
    r"(?:[ \t]|/?>|$)",
    re.IGNORECASE,
)
_LIKE_A_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9-]*(?:[ \t/>]|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fence:
    """An open one; its lines have so many quote markers and then at least so many spaces."""

    mark: str
    quotes: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """An open list item, and where its content begins."""

    offset: int
    ordered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line taken apart: its quote markers, the spaces before and after them, the rest."""

    text: str
    quoted: str
    quotes: int
    indent: int  # before the first quote marker; without one, before the rest
    inner: int  # after the last quote marker
    rest: str
    tabbed: bool  # how far it is indented depends on a tab, or on the list that it is in


def parse(text: str, *, html: bool = True) -> tuple[Token, ...]:
    """The tokens of a text whose lines end in line feeds.

    Without `html` it is read as if each `<` in it were written `&lt;`.
    """
    parser = _Parser(html=html)
    for line in _LINES.findall(text):
        parser.feed(line)
    return parser.end()


def _take_apart(text: str, *, in_list: bool) -> _Line:
    at, quotes = 0, 0
    while (found := (_QUOTE_IN_LIST if in_list else _QUOTE).match(text, at)) is not None:
        at, quotes = found.end(), quotes + 1
    rest = text[at:].lstrip(" \t")
    blanks = text[at : len(text) - len(rest)]
    before = len(text) - len(text.lstrip(" ")) if quotes else len(blanks)
    return _Line(
        text=text,
        quoted=text[:at],
        quotes=quotes,
        indent=before,
        inner=len(blanks),
        rest=rest.removesuffix("\n"),
        tabbed="\t" in blanks or "\t" in text[:at] or (quotes > 0 and before > _MAX_INDENT),
    )


class _Parser:
    """Fed with every line, its line feed included."""

    def __init__(self, *, html: bool) -> None:
        self._with_html = html
        self._tokens: list[Token] = []
        self._sure = True
        self._fence: _Fence | None = None
        self._html_end: re.Pattern[str] | None = None
        self._until_blank = False  # in HTML that a blank line ends
        self._html_reading = Reading.HTML
        self._html_indent = 0  # of what the HTML is in: a line with less ends it
        self._rest_hidden = False
        # No paragraph is open before the next line.
        self._fresh = True
        self._indented = False  # in an indented code block
        self._items: list[_Item] = []
        # A list may be open that is not among the items.
        self._murky = False
        self._run: list[tuple[str, str]] = []
        self._reading = Reading.MARKDOWN  # of the run
        self._rest = Reading.MARKDOWN  # of what follows up to a blank line
        self._depth = 0  # of the run's quotes, at most

    def feed(self, line: str) -> None:
        """The next line."""
        if self._fence is not None and self._in_fence(line, self._fence):
            return
        if self._html_end is not None and not self._is_inside(line):
            self._html_end = None
            self._flush()
        if self._rest_hidden:
            self._emit(Kind.HIDDEN, line)
        elif self._html_end is not None:
            self._html(line, self._html_end)
        elif not line.strip(" \t\n"):
            self._flush(blank=True)
            self._until_blank = False
            self._fresh = True
            self._emit(Kind.BLANK, line)
        elif self._until_blank:
            self._add(line, reading=Reading.HTML)
        else:
            self._block(_take_apart(line, in_list=self._in_list()))

    def end(self) -> tuple[Token, ...]:
        """What all lines came to."""
        self._flush()
        return tuple(self._tokens)

    # --- blocks ------------------------------------------------------------------------------

    def _block(self, line: _Line) -> None:
        indented, self._indented = self._indented, False
        if not line.rest:
            # A blank line, in a quote.
            self._flush(blank=True)
            self._fresh = True
            self._emit(Kind.BLANK, line.text)
        elif self._begins_quote(line) and self._interrupted(line):
            return
        elif not self._sure:
            self._add(line.text, quoted=line.quoted, reading=Reading.EITHER)
        elif self._is_indented_code(line, after_code=indented):
            self._indented = True
            self._emit(Kind.CODE, line.text)
        else:
            self._certain_block(line)
            self._fresh = False

    def _begins_quote(self, line: _Line) -> bool:
        return line.quotes > self._depth and self._reading is Reading.MARKDOWN

    def _is_indented_code(self, line: _Line, *, after_code: bool) -> bool:
        columns = len(line.text[: len(line.text) - len(line.text.lstrip(" \t"))].expandtabs(4))
        follows = self._fresh or after_code
        return not self._in_list() and not line.quotes and columns > _MAX_INDENT and follows

    def _certain_block(self, line: _Line) -> None:
        starts_fence = _FENCE.match(line.rest) is not None
        rest, at = self._follow_lists(line, interrupts=starts_fence)
        if (mark := _FENCE.match(rest)) is not None:
            self._open_fence(line, mark, at)
            return
        # Whatever may be a marker: something may begin behind it.
        rest = _MARKERS.sub("", rest, count=1)
        if _FENCE.match(rest):
            self._give_up(line)
            return
        if not self._with_html:
            self._add(line.text, quoted=line.quoted)
            return
        top = not line.quotes and rest == line.rest and self._top_level(line, at)
        for beginning, ending in _UNTIL:
            if beginning.match(rest):
                if not self._interrupted(line):
                    self._sure = self._sure and top
                    self._html_indent = 0 if top else max(1, min(at, self._offset()))
                    self._html_reading = Reading.HTML if top else Reading.EITHER
                    self._html(line.text, ending)
                return
        if top and _BLOCK_TAG.match(rest):
            if self._interrupted(line):
                return
            self._until_blank = True
            self._add(line.text, reading=Reading.HTML)
        elif _LIKE_A_TAG.match(rest):
            self._add(line.text, quoted=line.quoted, reading=Reading.EITHER)
        else:
            self._add(line.text, quoted=line.quoted)

    def _top_level(self, line: _Line, at: int) -> bool:
        """Whether a block that begins here is in no list."""
        if line.tabbed:
            return False
        return at == 0 or (at <= _MAX_INDENT and not self._in_list())

    def _html(self, line: str, ending: "re.Pattern[str]") -> None:
        self._add(line, reading=self._html_reading)
        self._html_end = None if ending.search(line) else ending
        if self._html_end is None:
            self._flush()
            self._fresh = True

    def _is_inside(self, line: str) -> bool:
        lead = len(line) - len(line.lstrip(" \t>"))
        return not line.strip() or lead >= self._html_indent

    def _give_up(self, line: _Line) -> None:
        self._sure = False
        self._add(line.text, quoted=line.quoted, reading=Reading.EITHER)

    # --- lists -------------------------------------------------------------------------------

    def _in_list(self) -> bool:
        """Whether a list may be open. Where nothing is certain one may."""
        return bool(self._items) or self._murky or not self._sure

    def _offset(self) -> int:
        """Where the content of the innermost list item begins."""
        return self._items[-1].offset if self._items else 0

    def _follow_lists(self, line: _Line, *, interrupts: bool) -> tuple[str, int]:
        """Close and open list items. Returns what follows a line's list markers, and its column."""
        if line.tabbed or self._reading is not Reading.MARKDOWN:
            self._murky = True
            return line.rest, line.indent
        marked = _MARKER.match(line.rest) is not None
        left = self._leave_items(line, interrupts=interrupts or marked or line.quotes > 0)
        rest, at, first = line.rest, line.indent, True
        while not line.quotes and not _RULE.match(rest) and (found := _MARKER.match(rest)):
            base = self._offset()
            # Within a paragraph only a bullet or a 1 begins a list.
            begins = self._fresh or not first or not found[2] or int(found[2]) == 1
            sibling = left is not None and left.ordered
            if not 0 <= at - base <= _MAX_INDENT or not (begins or sibling) or len(found[3]) > 4:
                break
            at += found.end()
            self._items.append(_Item(offset=at, ordered=bool(found[2])))
            rest, first = rest[found.end() :], False
        if _LIKE_A_MARKER.match(rest) and not _RULE.match(rest):
            self._murky = True
        elif self._fresh and first and line.indent == 0:
            self._murky = False
        return rest, at

    def _leave_items(self, line: _Line, *, interrupts: bool) -> _Item | None:
        """Close the items that a line is not in. Returns the last one."""
        left = None
        while self._items and line.indent < self._items[-1].offset:
            if not self._fresh and not interrupts:
                # It may go on with the item's paragraph, though it is not indented.
                self._murky = True
                return left
            left = self._items.pop()
        return left

    # --- fences ------------------------------------------------------------------------------

    def _open_fence(self, line: _Line, mark: "re.Match[str]", at: int) -> None:
        fence = self._fence_of(line, mark[1] or mark[3], at)
        if self._reading is not Reading.MARKDOWN:
            fence = None  # is what began before it HTML?
        elif fence is None and not self._in_list() and not line.quotes and not line.tabbed:
            self._add(line.text)  # so far inside it goes on with the paragraph
            return
        if fence is None:
            self._give_up(line)
            return
        self._flush()
        self._fence = fence
        before = len(line.text.removesuffix("\n")) - len(mark[0]) + len(fence.mark)
        notes = NOTES.match(line.text, before)
        end = notes.start("notes") if notes else before
        self._emit(Kind.TEXT, line.text[:end])
        hidden = line.text[end:].removesuffix("\n")
        self._emit(Kind.HIDDEN if hidden.strip() else Kind.TEXT, hidden)
        self._emit(Kind.TEXT, line.text[end + len(hidden) :])

    def _fence_of(self, line: _Line, mark: str, at: int) -> _Fence | None:
        """The fence that opens at a column; None where that is not certain."""
        if line.tabbed:
            return None
        if line.quotes:
            alone = not self._in_list() and line.inner == 0
            return _Fence(mark=mark, quotes=line.quotes, offset=0) if alone else None
        if at == 0:
            # It ends every list.
            self._items.clear()
            self._murky = False
        base = self._offset()
        if self._murky or not 0 <= at - base <= _MAX_INDENT:
            return None
        return _Fence(mark=mark, quotes=0, offset=base)

    def _in_fence(self, line: str, fence: _Fence) -> bool:
        """Take a line of a fence; False: it ended before it."""
        rest = line
        for _ in range(fence.quotes):
            found = _QUOTE.match(rest)
            if found is None:
                return self._left_fence()
            rest = rest[found.end() :]
        body = rest.strip(" \t\n")
        blanks = rest[: len(rest) - len(rest.lstrip(" \t"))]
        indent = len(blanks.expandtabs(4))
        if body and indent < fence.offset:
            return self._left_fence()
        closes = len(body) >= len(fence.mark) and not body.strip(fence.mark[0])
        if closes and fence.quotes and "\t" in blanks:
            # How wide a tab is depends on the column that it stands in.
            self._sure = False
            return self._left_fence()
        closes = closes and indent - fence.offset <= _MAX_INDENT
        self._emit(Kind.TEXT if closes else Kind.CODE, line)
        if closes:
            self._left_fence()
        return True

    def _left_fence(self) -> bool:
        self._fence = None
        self._fresh = True
        return False

    # --- runs --------------------------------------------------------------------------------

    def _add(self, text: str, *, quoted: str = "", reading: Reading = Reading.MARKDOWN) -> None:
        """A line to the run, which is read as the most that one of its lines may be."""
        self._run.append((quoted, text[len(quoted) :]))
        self._depth = max(self._depth, quoted.count(">"))
        if self._reading is Reading.MARKDOWN:
            self._reading = reading
        if reading is Reading.EITHER:
            self._rest = reading

    def _interrupted(self, line: _Line) -> bool:
        """End the run before a line; True: it left something open that the line is a part of."""
        self._flush()
        if self._rest_hidden:
            self._emit(Kind.HIDDEN, line.text)
        return self._rest_hidden

    def _flush(self, *, blank: bool = False) -> None:
        """End the run; a blank line ends what may be HTML, too."""
        lines, self._run = self._run, []
        contents, markers = [text for _, text in lines], [quoted for quoted, _ in lines]
        run = runs.read(contents, self._reading, quotes=markers, html=self._with_html)
        self._rest = Reading.MARKDOWN if blank else self._rest
        self._reading, self._depth = self._rest, 0
        self._rest_hidden = run.hides_rest
        quotes = iter(markers)
        at_start = True
        for token in run.tokens:
            for piece in _LINES.findall(token.text) if token.kind is Kind.TEXT else [token.text]:
                if at_start:
                    self._emit(Kind.TEXT, next(quotes))
                self._emit(token.kind, piece)
                at_start = piece.endswith("\n")
            if token.kind is not Kind.TEXT:
                for _ in range(token.text[:-1].count("\n")):
                    next(quotes)

    def _emit(self, kind: Kind, text: str) -> None:
        if text:
            self._tokens.append(Token(kind, text))
