"""Somebody's text, put where it is shown on GitHub and does nothing. Pure.

What an agent or an author wrote may look like they wrote it, but it calls nobody, closes and links
no issue, loads no picture and is no HTML. Code is shown as it is: nothing in it acts.
"""

import re

from gateway.issues.invisible import without_unseen
from gateway.issues.markdown import Kind, Parsed, parse

# Drawn as nothing, and enough that GitHub does not see a mention or a reference any more.
BREAK = "\u200b"
CUT = "…"
# What is made harmless is longer; a text of nothing but `<` four times.
MAX_GROWTH = 1.25

_MENTION = re.compile(r"@(?=[A-Za-z0-9])")
_NUMBER = re.compile(r"(#|GH-)(?=[0-9])", re.IGNORECASE)
# An address of an issue makes a reference there, like its number.
_ADDRESS = re.compile(r"(/(?:issues|pull|pulls|discussions|commit|commits)/)(?=[0-9A-Fa-f])")
# GitHub makes a link, and a reference, of what could be a commit's name.
_COMMIT = re.compile(
    r"(?<![0-9A-Za-z])(?=[a-f]*[0-9])([0-9a-f]{7})(?=[0-9a-f]{0,33}(?![0-9A-Za-z]))"
)
_ENTITY = re.compile(r"&(?=#|[A-Za-z])")
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#+!|~>$-])")
_SPACE = re.compile(r"\s+")
# A fence to some readers, the head of a table to others.
_FENCE_OR_TABLE = re.compile(r"^[ >\t]*(?:```|~~~)[^\n]*\|", re.MULTILINE)
_TICKS = re.compile(r"`+")


def text(given: str, limit: int) -> str:
    """Markdown of several lines, at most `limit` characters of it; nothing may come after it.

    It may end within a block of code: what we say stands before it.
    """
    return _shown(given, limit)[0]


def closed_text(given: str, limit: int) -> str | None:
    """The same, behind which something may come after a blank line, that is no part of it.

    None where that is not certain, or where it is much longer than it was.
    """
    shown, parsed = _shown(given, limit)
    if not parsed.sure or len(shown) > MAX_GROWTH * limit or _FENCE_OR_TABLE.search(shown):
        return None
    # Lists, quotes and paragraphs end with a line that is not indented; a fence does not.
    return shown if parsed.open_fence is None else f"{shown}\n{parsed.open_fence}"


def line(given: str, limit: int) -> str:
    """One line, in which nothing is Markdown."""
    seen, _ = without_unseen(_SPACE.sub(" ", given).strip())
    return _PUNCTUATION.sub(r"\\\1", _harmless(_cut(seen, limit)))


def title(given: str, limit: int) -> str:
    """The title of an issue or pull request: one line, which GitHub shows as it is."""
    seen, _ = without_unseen(_SPACE.sub(" ", given).strip())
    plain = _NUMBER.sub(rf"\1{BREAK}", _MENTION.sub(f"@{BREAK}", _cut(seen, limit)))
    return _ADDRESS.sub(rf"\1{BREAK}", plain)


def code(given: str, limit: int) -> str:
    """One line as code, whatever it holds: a path, a name."""
    seen, _ = without_unseen(_SPACE.sub(" ", given).strip())
    cut = _cut(seen, limit) or " "
    fence = "`" * (1 + max((len(run) for run in _TICKS.findall(cut)), default=0))
    # Next to a backtick a space belongs to the fence and is not shown.
    gap = " " if "`" in cut else ""
    return f"{fence}{gap}{cut}{gap}{fence}"


def cell(given: str, limit: int) -> str:
    """`code` in a table, where a cell ends at a bar, in code too; elsewhere `\\|` is shown so."""
    return code(given, limit).replace("|", "\\|")


def _shown(given: str, limit: int) -> tuple[str, Parsed]:
    seen, _ = without_unseen(given.replace("\r\n", "\n").replace("\r", "\n"))
    # There is no HTML in what goes out: that decides what of it is code.
    parsed = parse(_cut(seen, limit), html=False)
    shown = "".join(
        token.text if token.kind is Kind.CODE else _harmless(token.text) for token in parsed.tokens
    )
    return shown.strip("\n"), parsed


def _harmless(shown: str) -> str:
    # GitHub looks for mentions in what is rendered: an entity could be the `@` of one.
    shown = _ENTITY.sub("&amp;", shown).replace("![", "[").replace("<", "&lt;")
    shown = _MENTION.sub(f"@{BREAK}", shown)
    shown = _NUMBER.sub(rf"\1{BREAK}", shown)
    shown = _ADDRESS.sub(rf"\1{BREAK}", shown)
    return _COMMIT.sub(rf"\1{BREAK}", shown)


def _cut(whole: str, limit: int) -> str:
    return whole if len(whole) <= limit else whole[: limit - len(CUT)].rstrip() + CUT
