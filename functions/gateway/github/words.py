"""What somebody says in a text of GitHub's, and whom they mention. Pure.

Not what they quote, show as code or hide: an issue's template has comments full of mentions, an
answer quotes the one that it answers. A reading of Markdown by its lines, as far as that takes;
what it misjudges is seen once more by whoever may be asked at all.
"""

import re
from collections.abc import Iterator

# A login or an App's name: letters, digits and single hyphens, 39 at most. Neither an e-mail
# address, nor a path, nor the beginning of a longer name, nor a team.
_MENTION = re.compile(r"(?<![\w@/])@[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}(?!-?\w|/\w)")
_STOP = re.compile(r"@[A-Za-z0-9-]{1,39}[,:]?\s+stop\s*[.!]?", re.IGNORECASE)

_FENCE = re.compile(r"[ \t]*(`{3,}(?=[^`]*$)|~{3,})")
_QUOTE = re.compile(r" {0,3}>")
_INDENTED = re.compile(r"(?: {4}| {0,3}\t)")
_LIST_ITEM = re.compile(r" {0,3}(?:[-*+]|[0-9]{1,9}[.)])(?:\s|$)")
_COMMENT = re.compile(r" {0,3}<!--")
_TICKS = re.compile(r"`+")
_HIDDEN_TAGS = ("pre", "code", "blockquote")


def mentioned(text: str) -> tuple[str, ...]:
    """Whom it mentions, in lower case with the `@`, in the order they first appear."""
    if "@" not in text:
        return ()
    found = (match[0].lower() for match in _MENTION.finditer(said(text)))
    return tuple(dict.fromkeys(found))


def is_stop(text: str) -> bool:
    """Whether all that it says is a mention and `stop`."""
    return _STOP.fullmatch(said(text).strip()) is not None


def said(text: str) -> str:
    """The text without code, quotes and comments; what stood around them stays apart."""
    shown = "\n".join(_shown_lines(text.replace("\r\n", "\n").replace("\r", "\n")))
    shown = _without_code_spans(shown)
    shown = _cut(shown, "<!--", "-->")
    for tag in _HIDDEN_TAGS:
        shown = _cut(shown, f"<{tag}", f"</{tag}")
    return shown


def _shown_lines(text: str) -> Iterator[str]:
    """The lines, empty where they are code, a quote or a comment."""
    fence = ""
    in_comment = in_list = was_blank = False
    in_code = True  # before the first line there is no paragraph that it could go on with
    for line in text.split("\n"):
        rest = line
        if fence:
            fence = "" if _closes(line, fence) else fence
            rest = ""
        elif in_comment or _COMMENT.match(line):
            _, end, rest = line.partition("-->")
            in_comment = not end
        elif opening := _FENCE.match(line):
            fence, rest = opening[1], ""
        elif _QUOTE.match(line):
            rest = ""
        is_blank = not line.strip()
        if rest and not is_blank:
            goes_on = not was_blank or line[0].isspace()
            in_list = _LIST_ITEM.match(line) is not None or (in_list and goes_on)
        # What is indented as far below a list's item belongs to it.
        in_code = _INDENTED.match(line) is not None and not in_list and (in_code or was_blank)
        was_blank = is_blank
        yield "" if in_code else rest


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and not stripped.strip(fence[0])


def _without_code_spans(text: str) -> str:
    """Without what stands between two runs of as many backticks, in one paragraph."""
    return "\n\n".join(_spoken(paragraph) for paragraph in text.split("\n\n"))


def _spoken(paragraph: str) -> str:
    runs = [(match.start(), match.end()) for match in _TICKS.finditer(paragraph)]
    # By length, where the next run of it is: a search from each one on would be quadratic.
    places: dict[int, list[int]] = {}
    for number, (start, end) in reversed(list(enumerate(runs))):
        places.setdefault(end - start, []).append(number)
    kept: list[str] = []
    position = number = 0
    while number < len(runs):
        start, end = runs[number]
        same = places[end - start]
        while same and same[-1] <= number:
            same.pop()
        if same:
            kept += [paragraph[position:start], " "]
            number = same[-1]
            position = runs[number][1]
        number += 1
    return "".join([*kept, paragraph[position:]])


def _cut(text: str, begin: str, end: str) -> str:
    """Without what stands between these; an opening without an end is only text."""
    lower = text.lower()
    if len(lower) != len(text):  # a few letters are longer in lower case
        lower = text
    kept: list[str] = []
    position = 0
    while (start := lower.find(begin, position)) >= 0:
        stop = lower.find(end, start + len(begin))
        if stop < 0:
            break
        kept += [text[position:start], " "]
        position = stop + len(end)
    return "".join([*kept, text[position:]])
