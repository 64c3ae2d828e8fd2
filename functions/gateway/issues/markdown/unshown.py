"""What of a run's lines GitHub leaves out: cells without a column, the notes of a fence. Pure."""

import re
from collections.abc import Iterator, Sequence

from gateway.issues.markdown.inline import BEFORE
from gateway.issues.markdown.tokens import Span

_DELIMITERS = re.compile(
    r"[ \t>]*\|?+[ \t]*+:?-+:?[ \t]*+(?:\|[ \t]*+:?-+:?[ \t]*+)*+\|?+[ \t]*\n?"
)
_PIPE = re.compile(r"\\.|\|", re.DOTALL)
_LANGUAGE = r"[ \t]*[A-Za-z0-9_+#.-]{0,40}"
_FENCE = re.compile(rf"{BEFORE}(?:`{{3,}}+(?![^`\n]*`)|~{{3,}}+){_LANGUAGE}(?P<notes>[^\n]*)")
NOTES = re.compile(rf"{_LANGUAGE}(?P<notes>[^\n]*)")


def surplus_cells(lines: Sequence[str]) -> Iterator[Span]:
    """Cells beyond the last column, if a line of delimiters makes those below it rows."""
    columns: int | None = None
    start = 0
    for number, line in enumerate(lines):
        if number and "-" in line and _DELIMITERS.fullmatch(line):
            columns = line.strip("|> \t\n").count("|") + 1
        elif columns is not None:
            surplus = _surplus(line, columns)
            if surplus is not None:
                yield Span(start + surplus, start + len(line.rstrip("\n")))
        start += len(line)


def _surplus(line: str, columns: int) -> int | None:
    """Where the cells of a row begin that have no column."""
    first = len(line) - len(line.lstrip(" \t"))
    pipes = [found.start() for found in _PIPE.finditer(line) if found[0] == "|"]
    if pipes and pipes[0] == first:
        del pipes[0]
    return pipes[columns - 1] + 1 if len(pipes) >= columns else None


def notes(lines: Sequence[str]) -> Iterator[Span]:
    """What follows the language in lines that may begin a code block."""
    start = 0
    for line in lines:
        found = _FENCE.match(line)
        if found is not None and found["notes"].strip():
            yield Span(start + found.start("notes"), start + found.end("notes"))
        start += len(line)
