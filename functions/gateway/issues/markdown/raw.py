"""A run of lines as HTML, the way a browser reads it: no Markdown in it has a meaning. Pure."""

import re
from dataclasses import dataclass

from gateway.issues.markdown.inline import TO_MARKUP
from gateway.issues.markdown.tokens import Span

# Any `<` and a letter begin a tag, which ends at a `>` outside of quoted values.
_INSIDE = r"""</?[A-Za-z](?:[^=>]++|=[ \t\n]*+(?:"[^"]*+"|'[^']*+'|(?!["'])))*+"""
_TAG = re.compile(rf"{_INSIDE}>")
_OPEN_VALUE = re.compile(rf"""{_INSIDE}=[ \t\n]*+["']""")
_BEGINNING = re.compile(r"</?[A-Za-z]")
_HIDDEN = (("<!--", "-->"), ("<?", "?>"), ("<![CDATA[", "]]>"), ("<!", ">"), ("</", ">"))


@dataclass(frozen=True, slots=True)
class Html:
    """The tags and what is hidden; `hides_rest`: one of these hides all that follows the run."""

    tags: list[Span]
    hidden: list[Span]
    hides_rest: bool


def read(text: str) -> Html:
    """The HTML of a run."""
    html = Html([], [], hides_rest=False)
    at = 0
    while (start := text.find("<", at)) >= 0:
        if found := _TAG.match(text, start):
            html.tags.append(Span(start, found.end()))
            at = found.end()
            continue
        if _BEGINNING.match(text, start):
            html.hidden.append(Span(start, len(text)))
            return Html(html.tags, html.hidden, _OPEN_VALUE.match(text, start) is not None)
        at = start + 1
        for opening, closing in _HIDDEN:
            if not text.startswith(opening, start):
                continue
            end = text.find(closing, start + len(opening))
            early = opening in TO_MARKUP and ">" in text[start : end + len(closing) - 1]
            if end < 0 or early:
                html.hidden.append(Span(start, len(text)))
                return Html(html.tags, html.hidden, hides_rest=True)
            at = end + len(closing)
            html.hidden.append(Span(start, at))
            break
    return html
