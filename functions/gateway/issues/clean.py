"""What somebody wrote, as a reader of the page sees it: the text for the prompt. Pure.

The model reads what people see on GitHub, and nothing else: comments, tags, what HTML hides, the
attributes and titles that only a pointer shows, definitions that nothing refers to, characters
that are drawn as nothing are taken out, and what was is named. Code keeps its text. Where it is
not certain that something is code, it is treated as none.
"""

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.issues.invisible import is_unseen, without_unseen
from gateway.issues.markdown import TAG, Kind, Token, definition, parse


class Unshown(StrEnum):
    """What was taken out beside characters, as a receipt names it."""

    COMMENT = "HTML comments"
    ELEMENT = "hidden HTML elements"
    TAG = "HTML tags"
    ATTRIBUTE = "HTML attributes"
    NOTE = "notes of code blocks"
    TITLE = "link titles"
    DESCRIPTION = "image descriptions"
    DEFINITION = "unused link definitions"
    FOOTNOTE = "unused footnotes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A text, and what was taken out of it: how many, by what they are called."""

    text: str
    removed: Mapping[str, int]


def clean(text: str) -> Cleaned:
    """The text as it is seen; empty if nothing is."""
    # As CommonMark has it: each of these ends a line.
    pieces = _Pieces(parse(text.replace("\r\n", "\n").replace("\r", "\n")))
    seen, unseen = without_unseen(pieces.text())
    removed: Counter[str] = Counter()
    for what, times in [*pieces.removed.items(), *unseen.items()]:
        removed[what.value] += times
    return Cleaned(text=seen.strip("\n") if seen.strip() else "", removed=removed)


# --- HTML ------------------------------------------------------------------------------------

# Tags whose effect is seen, and the attributes of theirs that say where something is.
_SHOWN = frozenset(
    [
        *("a", "b", "blockquote", "br", "center", "code", "dd", "del", "details", "div", "dl"),
        *("dt", "em", "figcaption", "figure", "font", "h1", "h2", "h3", "h4", "h5", "h6", "hr"),
        *("i", "img", "ins", "kbd", "li", "mark", "ol", "p", "picture", "pre", "q", "rp", "rt"),
        *("ruby", "s", "samp", "small", "source", "span", "strike", "strong", "sub", "summary"),
        *("sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "tt", "u", "ul", "var"),
        "video",
    ]
)
_PLACES = {"a": "href", "img": "src", "source": "src", "video": "src"}
_PLACE = re.compile(r"(?:https?://|[/.#])[^\s<>\"'`]{1,2000}", re.IGNORECASE)
# Elements with a content that is no text of the page.
_NEVER_SHOWN = frozenset(
    [
        *("applet", "audio", "canvas", "embed", "head", "iframe", "math", "noembed", "noframes"),
        *("noscript", "object", "script", "select", "style", "svg", "template", "textarea"),
        *("title", "xmp"),
    ]
)
_HIDING_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*0|font-size\s*:\s*0"
    r"|color\s*:\s*(?:transparent|white|#f{3,8}\b)|(?:left|top|text-indent)\s*:\s*-",
    re.IGNORECASE,
)
_TAG_NAME = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]*)")
_ATTRIBUTES = re.compile(
    r"""[ \t\n]([A-Za-z_:][A-Za-z0-9_.:-]*+)"""
    r"""(?:[ \t\n]*+=[ \t\n]*+([^ \t\n"'=<>`]++|'[^']*+'|"[^"]*+"))?+"""
)
# Values that say nothing: sizes, names of sides, numbers. They go without being named.
_PLAIN_VALUE = re.compile(r"[\w#%.,:/ -]{0,24}")
# How GitHub itself and most people call a picture that they paste.
_PLAIN_DESCRIPTION = re.compile(r"(?:image|img|screenshot|photo)?[\W\d_]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag, read."""

    name: str
    closing: bool
    attributes: Mapping[str, str]
    odd: bool  # no tag to Markdown, only to a browser

    @classmethod
    def of(cls, text: str) -> "_Tag":
        found = _TAG_NAME.match(text)
        name, closing = (found[2].lower(), bool(found[1])) if found else ("", False)
        attributes = {
            one[1].lower(): html.unescape((one[2] or "").strip("\"'"))
            for one in _ATTRIBUTES.finditer(text)
        }
        return cls(name, closing, attributes, odd=not TAG.fullmatch(text))

    @property
    def hides(self) -> bool:
        """Whether what is between it and its end is shown to nobody, or is meant not to be."""
        return not self.closing and (
            self.name in _NEVER_SHOWN
            or "hidden" in self.attributes
            or _HIDING_STYLE.search(self.attributes.get("style", "")) is not None
        )

    @property
    def shown(self) -> str:
        """What is left of it: its name and the place that it names."""
        if self.name not in _SHOWN:
            return ""
        if self.closing:
            return f"</{self.name}>"
        key = _PLACES.get(self.name, "")
        place = self.attributes.get(key, "")
        if key and not _PLACE.fullmatch(place):
            return "" if self.name in ("img", "source") else f"<{self.name}>"
        return f'<{self.name} {key}="{place}">' if key else f"<{self.name}>"

    @property
    def lost(self) -> Unshown | None:
        """What of it is worth being named."""
        if self.name not in _SHOWN:
            return Unshown.TAG
        if self.odd:
            return Unshown.ATTRIBUTE
        place = _PLACES.get(self.name)
        for name, value in self.attributes.items():
            plain = _PLAIN_DESCRIPTION if name in ("alt", "title") else _PLAIN_VALUE
            kept = name == place and value in self.shown
            if not kept and not plain.fullmatch(value):
                return Unshown.ATTRIBUTE
        return None


# --- all of it -------------------------------------------------------------------------------

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_INDENTED = re.compile(r"[ >]{4}|\t")


class _Pieces:
    """The tokens of a text, and what is shown of them."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.removed: Counter[Unshown] = Counter()
        self._tokens = tokens
        self._out: list[str] = []
        self._brackets: list[bool] = []  # those that are open: whether an image's
        self._images: list[int] = []  # where in `out` the descriptions of these begin
        self._inside: int | None = None  # where the content of the innermost brackets begins
        self._labels = _labels(tokens)

    def text(self) -> str:
        """What is shown, invisible characters still in it."""
        ends = _ends_of_hidden(self._tokens)
        at = 0
        while at < len(self._tokens):
            token = self._tokens[at]
            if (end := ends.get(at)) is not None:
                self.removed[Unshown.ELEMENT] += 1
                at = end
            elif token.kind is Kind.FOOTNOTE and not self._used(token.text[1:-2]):
                self.removed[Unshown.FOOTNOTE] += 1
                at = self._footnote_end(at)
            elif token.kind is Kind.BRACKET and token.text == "]":
                at = self._closed(at)
            else:
                self._take(token)
                at += 1
        return "".join(self._out)

    def _take(self, token: Token) -> None:
        match token.kind:
            case Kind.CODE | Kind.FOOTNOTE:
                self._out.append(token.text)
            case Kind.BLANK:
                self._brackets.clear()
                self._images.clear()
                self._out.append(token.text)
            case Kind.TEXT:
                self._out.append(_ENTITY.sub(_character, token.text))
            case Kind.TAG:
                self._tag(_Tag.of(token.text))
            case Kind.HIDDEN:
                self.removed[_kind_of_hidden(token.text)] += 1
            case Kind.TITLE:
                self.removed[Unshown.TITLE] += 1
            case Kind.DEFINITION:
                self._definition(token.text)
            case Kind.BRACKET:
                self._out.append(token.text)
                self._inside = len(self._out)
                self._brackets.append(token.text == "![")
                if token.text == "![":
                    self._images.append(len(self._out))

    def _tag(self, tag: _Tag) -> None:
        self._out.append(tag.shown)
        if tag.lost is not None:
            self.removed[tag.lost] += 1

    def _definition(self, text: str) -> None:
        label, address = definition(text)
        if not self._used(label):
            self.removed[Unshown.DEFINITION] += 1
            return
        shown = f"[{label}]: {address}"
        self._out.append(shown)
        if len(shown.split()) < len(text.split()):
            self.removed[Unshown.TITLE] += 1

    def _closed(self, at: int) -> int:
        """The end of brackets. Returns where what follows begins."""
        inside = "".join(self._out[self._inside :]) if self._inside is not None else ""
        self._inside = None
        following = self._tokens[at + 1].text[:1] if at + 1 < len(self._tokens) else ""
        label, after = self._label_at(at + 1) if following == "[" else ("", at + 1)
        address = self._labels.defined.get(label)
        if following == "(" or address or _label(inside) in self._labels.defined:
            self._drop_description()
        if self._brackets and self._brackets.pop():
            self._images.pop()
        if address is None:
            self._out.append("]")
            return at + 1
        # The label is seen by nobody: the address stands for it.
        self._out.append(f"]({address})")
        return after

    def _drop_description(self) -> None:
        """Of the outermost image that a link may be the end of, or be in."""
        if not self._images:
            return
        start = self._images[0]
        described = "".join(self._out[start:])
        del self._out[start:]
        if not _PLAIN_DESCRIPTION.fullmatch(described):
            self.removed[Unshown.DESCRIPTION] += 1

    def _label_at(self, at: int) -> tuple[str, int]:
        """The label in the brackets that begin at a token, and where what follows begins."""
        inside: list[str] = []
        for place in range(at + 1, len(self._tokens)):
            token = self._tokens[place]
            if token.kind is Kind.BRACKET:
                return (_label("".join(inside)), place + 1) if token.text == "]" else ("", at)
            inside.append(token.text)
        return "", at

    def _used(self, label: str) -> bool:
        return _label(label) in self._labels.used

    def _footnote_end(self, at: int) -> int:
        """The token after a footnote: its paragraph, and all that is indented below it."""
        blank_before = False
        for place in range(at + 1, len(self._tokens)):
            token = self._tokens[place]
            if blank_before and token.kind is not Kind.BLANK and not _INDENTED.match(token.text):
                return place
            blank_before = token.kind is Kind.BLANK
        return len(self._tokens)


@dataclass(frozen=True, slots=True)
class _Labels:
    """The addresses of labels that are defined, and those that are seen where they are used."""

    defined: Mapping[str, str]
    used: frozenset[str]


def _label(text: str) -> str:
    return " ".join(text.casefold().split())


def _labels(tokens: Sequence[Token]) -> _Labels:
    defined: dict[str, str] = {}
    used: set[str] = set()
    inside: list[str] | None = None  # of the innermost brackets
    seen = after = False
    for token in tokens:
        closes = token.kind is Kind.BRACKET and token.text == "]"
        if token.kind is Kind.DEFINITION:
            label, address = definition(token.text)
            defined.setdefault(_label(label), address)
        elif closes:
            if seen:
                used.add(_label("".join(inside or ())))
            inside = None
        elif token.kind is Kind.BRACKET:
            # In `[text][label]` only the text is seen.
            inside, seen = [], not after
        elif inside is not None:
            inside.append(token.text)
        after = closes
    return _Labels(defined, frozenset(used))


def _ends_of_hidden(tokens: Sequence[Token]) -> dict[int, int]:
    """Of each tag that hides what follows it: where what follows its end begins."""
    ends: dict[int, int] = {}
    opened: dict[str, list[tuple[int, bool]]] = {}
    for place, token in enumerate(tokens):
        if token.kind is not Kind.TAG:
            continue
        tag = _Tag.of(token.text)
        if not tag.closing:
            opened.setdefault(tag.name, []).append((place, tag.hides))
        elif opened.get(tag.name):
            start, hides = opened[tag.name].pop()
            if hides:
                ends[start] = place + 1
    return ends


def _kind_of_hidden(text: str) -> Unshown:
    if text.startswith("<!--"):
        return Unshown.COMMENT
    return Unshown.ELEMENT if text.startswith("<") else Unshown.NOTE


def _character(found: "re.Match[str]") -> str:
    """An entity as it stands; one that is drawn as nothing as its character, which then goes."""
    character = html.unescape(found[0])
    if not character:
        return "\0"
    return character if is_unseen(character) else found[0]
