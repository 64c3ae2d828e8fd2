"""The repository's CLAUDE.md, which the agent gets as advice, never as configuration."""

from contextlib import suppress
from pathlib import Path

from runner.git.tree import EXECUTABLE, REGULAR, Tree

ADVICE_FILE = b"CLAUDE.md"
MAX_ADVICE_BYTES = 64 << 10
_CUT = "\n\n[The rest of this file was left out: it is longer than 64 KiB.]\n"


def read_advice(workspace: Path, tree: Tree) -> str | None:
    """What the base commit's CLAUDE.md says; None where it is absent, empty or not a file.

    Read from a work tree that was checked out a moment ago and that no agent has seen, which
    holds the commit's bytes as they are. A symlink may point anywhere: it is no advice.
    """
    entry = tree.entries.get(ADVICE_FILE)
    if entry is None or entry.mode not in (REGULAR, EXECUTABLE):
        return None
    text = _read(workspace).decode("utf-8", "replace")
    if len(text.encode()) > MAX_ADVICE_BYTES or entry.size > MAX_ADVICE_BYTES:
        text = text.encode()[:MAX_ADVICE_BYTES].decode("utf-8", "ignore") + _CUT
    return text if text.strip() else None


def _read(workspace: Path) -> bytes:
    path = workspace / ADVICE_FILE.decode()
    with suppress(OSError), path.open("rb") as file:
        return file.read(MAX_ADVICE_BYTES)
    return b""
