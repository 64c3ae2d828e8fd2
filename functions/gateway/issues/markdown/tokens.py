"""The pieces that Markdown is taken apart into."""

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What a piece is."""

    TEXT = auto()
    BLANK = auto()  # a line of nothing: no link, no tag of a text goes over it
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


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From one place in a text to another."""

    start: int
    end: int
