"""By what our own work is known again on GitHub. Pure.

A commit of ours says in a trailer what it was made of. Whoever amends, rebases or merges it makes
another one, whose trailer does not fit. A pull request's text says what we wrote there, so that
nobody's own words are written over.
"""

import hashlib
import re

TRAILER = "Claude-Run-Change"
MAX_TITLE = 256
MAX_BODY = 65_536  # characters, GitHub's

_MARK_LENGTH = len("\n\n<!-- claude-run:0123456789abcdef -->")
_MARK = re.compile(r"\n*<!-- claude-run:(?P<digest>[0-9a-f]{16}) -->\s*\Z")
_TRAILERS = re.compile(r"[A-Za-z][A-Za-z0-9-]*: \S.*(\n[A-Za-z][A-Za-z0-9-]*: \S.*)*")


def signed_message(
    message: str, *, key: str, branch: str, base: str, tree: str, parent: str
) -> str:
    """A commit's message with its trailer."""
    text = message.strip()
    last = text.rpartition("\n\n")[2]
    gap = "\n" if last != text and _TRAILERS.fullmatch(last) else "\n\n"
    return f"{text}{gap}{_trailer(key, branch, base, tree, parent)}"


def is_ours(
    message: str, *, key: str, branch: str, base: str, tree: str, parents: tuple[str, ...]
) -> bool:
    """Whether a commit is as we made it: for this work, on this branch, of changes to `base`."""
    if len(parents) != 1:
        return False
    last = message.rstrip().rpartition("\n")[2]
    return last == _trailer(key, branch, base, tree, parents[0])


def marked(body: str) -> str:
    """A pull request's text, cut where it is too long, with what tells later whether it is ours."""
    text = body.replace("\r\n", "\n").strip()[: MAX_BODY - _MARK_LENGTH].rstrip()
    return f"{text}\n\n<!-- claude-run:{_digest(text)} -->"


def is_unedited(body: str) -> bool:
    """Whether a pull request's text is as `marked` gave it."""
    plain = body.replace("\r\n", "\n")
    found = _MARK.search(plain)
    return found is not None and found["digest"] == _digest(plain[: found.start()])


def without_mark(body: str) -> str:
    """A pull request's text, without what only we read in it."""
    return _MARK.sub("", body.replace("\r\n", "\n"))


def _trailer(*facts: str) -> str:
    return f"{TRAILER}: {_digest(*facts)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
