"""A run of lines, read as what it may be. Pure.

Where GitHub may read it in one way or in another, what either of them hides is hidden.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from gateway.issues.markdown import raw
from gateway.issues.markdown.inline import Inline
from gateway.issues.markdown.tokens import Kind, Span, Token
from gateway.issues.markdown.unshown import notes, surplus_cells

# A line that begins a list, a quote, a heading, a code block, a row or HTML.
_BEGINS_BLOCK = re.compile(
    r"\n[ \t]*(?:[-*+>]|[0-9]{1,9}[.)][ \t]|#|```|~~~|\||<[A-Za-z/!?])", re.DOTALL
)


class Reading(Enum):
    """What a run is."""

    MARKDOWN = auto()
    HTML = auto()
    EITHER = auto()


@dataclass(frozen=True, slots=True)
class Run:
    """Its tokens; `hides_rest`: HTML in it is not closed and hides all that follows."""

    tokens: list[Token]
    hides_rest: bool


def read(
    lines: Sequence[str], reading: Reading, *, quotes: Sequence[str], html: bool = True
) -> Run:
    """The tokens of lines without a blank one between them; `quotes`: the markers before each."""
    text = "".join(lines)
    if reading is Reading.HTML:
        found = raw.read(text)
        return Run(list(_tagged(text, found)), found.hides_rest)
    either = reading is Reading.EITHER
    found = raw.read(text) if either and html else raw.Html([], [], hides_rest=False)
    moved = frozenset(_moved(lines, quotes))
    inline = Inline(text, sure=not either, certain=not either, html=html, moved=moved)
    tokens = list(inline.tokens())
    read_as_one = [*found.tags, *found.hidden, *_multiline(tokens)]
    unshown = [
        *found.tags,
        *found.hidden,
        *surplus_cells(lines),
        *(notes(lines) if either else ()),
        *(Span(span.start, len(text)) for span in read_as_one if _is_doubtful(text, span)),
        Span(inline.doubtful_from, len(text)),
    ]
    tags = frozenset(found.tags) if either else None
    return Run(list(_without(tokens, _merged(unshown), tags=tags)), found.hides_rest)


def _moved(lines: Sequence[str], quotes: Sequence[str]) -> Iterator[int]:
    """Where lines begin that are quoted otherwise than the one before."""
    start, depth = 0, 0
    for line, markers in zip(lines, quotes, strict=True):
        before, depth = depth, markers.count(">")
        if depth != before:
            yield start
        start += len(line)


def _multiline(tokens: Iterable[Token]) -> Iterator[Span]:
    """Where the tokens are that may go over several lines and show nothing."""
    start = 0
    for token in tokens:
        end = start + len(token.text)
        if token.kind in (Kind.TAG, Kind.HIDDEN, Kind.TITLE, Kind.DEFINITION):
            yield Span(start, end)
        start = end


def _is_doubtful(text: str, span: Span) -> bool:
    """Whether a line of it may begin a block: then it is not what it looks like."""
    return _BEGINS_BLOCK.search(text, span.start, span.end) is not None


def _tagged(text: str, html: raw.Html) -> Iterator[Token]:
    """A text of which only the tags mean something."""
    tags, at = frozenset(html.tags), 0
    for span in sorted([*html.tags, *html.hidden]):
        if at < span.start:
            yield Token(Kind.TEXT, text[at : span.start])
        kind = Kind.TAG if span in tags else Kind.HIDDEN
        yield Token(kind, text[span.start : span.end])
        at = span.end
    if at < len(text):
        yield Token(Kind.TEXT, text[at:])


def _without(
    tokens: Iterable[Token], unshown: Sequence[Span], *, tags: frozenset[Span] | None = None
) -> Iterator[Token]:
    """The tokens, those hidden that are in a span of what is not shown.

    `tags`: those of the other reading. What is a tag to one of the two only is hidden.
    """
    start, nearest = 0, 0
    for token in tokens:
        end = start + len(token.text)
        while nearest < len(unshown) and unshown[nearest].end <= start:
            nearest += 1
        if token.kind in (Kind.TEXT, Kind.CODE):
            yield from _cut(token, start, unshown, nearest)
        elif token.kind is Kind.TAG and tags is not None and Span(start, end) not in tags:
            yield Token(Kind.HIDDEN, token.text)
        else:
            yield token
        start = end


def _cut(token: Token, start: int, unshown: Sequence[Span], nearest: int) -> Iterator[Token]:
    """A token that begins at `start`, in pieces that are shown or not."""
    at, end = start, start + len(token.text)
    for number in range(nearest, len(unshown)):
        span = unshown[number]
        if span.start >= end:
            break
        if at < span.start:
            yield Token(token.kind, token.text[at - start : span.start - start])
        first, at = max(at, span.start), min(end, span.end)
        yield Token(Kind.HIDDEN, token.text[first - start : at - start])
    if at < end:
        yield Token(token.kind, token.text[at - start :])


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The same places in order, none in two spans."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(span.end, merged[-1].end))
        else:
            merged.append(span)
    return merged
