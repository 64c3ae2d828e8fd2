"""Which files a turn has changed, from one change set of its run to the next. Pure."""

from typing import NamedTuple

from claude_run.wire import Changes, FileChange

ADDED = "added"
MODIFIED = "modified"
DELETED = "deleted"


class _Known(NamedTuple):
    content: int  # a hash: a change set may hold 30 MB, and this only says "another"
    new: bool


class FileList:
    """What is known of the workspace; `begun_with` is the change set that the turn began with."""

    def __init__(self, begun_with: Changes | None = None) -> None:
        self._known = _known(begun_with) if begun_with is not None else {}

    def update(self, changes: Changes) -> list[dict[str, str]]:
        """`path` and `status` of each file that differs from the change set before."""
        before, now = self._known, _known(changes)
        self._known = now
        listed = [
            _entry(change.raw_path, _status(change, known=change.raw_path in before))
            for change in changes.files
            if before.get(change.raw_path) != now[change.raw_path]
        ]
        # What is in the set no more is as the commit has it; what the commit has not, is gone.
        return listed + [
            _entry(path, DELETED if known.new else MODIFIED)
            for path, known in before.items()
            if path not in now
        ]


def _known(changes: Changes) -> dict[bytes, _Known]:
    return {
        change.raw_path: _Known(hash((change.mode, change.content)), change.new is True)
        for change in changes.files
    }


def _status(change: FileChange, *, known: bool) -> str:
    if change.deleted:
        return DELETED
    return ADDED if change.new and not known else MODIFIED


def _entry(path: bytes, status: str) -> dict[str, str]:
    return {"path": path.decode("utf-8", "backslashreplace"), "status": status}
