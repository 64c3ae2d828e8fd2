"""The names of the branches that issues' changes are published on. Pure."""

import re
import unicodedata

from gateway.github.asked import Asked

MAX_WORDS = 40

_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


def branch_name(asked: Asked) -> str:
    """The name of the branch for what was asked: `claude/issue-12-the-title`."""
    plain = unicodedata.normalize("NFKD", asked.title).encode("ascii", "ignore").decode().lower()
    words = _NOT_PLAIN.sub("-", plain)[:MAX_WORDS].strip("-")
    return "-".join(filter(None, (f"claude/issue-{asked.issue}", words)))
