"""Which files a turn has changed, from one change set of its run to the next. Pure."""

from claude_run.wire import Changes, FileChange

ADDED = "added"
CHANGED = "changed"
DELETED = "deleted"


class FileList:
    """What is known of the workspace; `begun_with` is the change set that the turn began with."""

    def __init__(self, begun_with: Changes | None = None) -> None:
        # A change set may hold 30 MB: of each file its hash is kept, which says "another".
        self._known = _hashes(begun_with) if begun_with is not None else {}

    def update(self, changes: Changes) -> list[dict[str, str]]:
        """`path` and `status` of each file that differs from the change set before.

        A change set does not say which files its commit had: against a commit, what is new and
        what is written are both "changed". Without a repository all that is new is "added".
        """
        before, now = self._known, _hashes(changes)
        self._known = now
        listed = [
            _entry(change.raw_path, _status(change, new=_is_new(change, changes, before)))
            for change in changes.files
            if before.get(change.raw_path) != now[change.raw_path]
        ]
        # What is in the set no more is as the commit has it; without a commit, it is gone.
        status = DELETED if changes.base is None else CHANGED
        return listed + [_entry(path, status) for path in before if path not in now]


def _hashes(changes: Changes) -> dict[bytes, int]:
    return {change.raw_path: hash((change.mode, change.content)) for change in changes.files}


def _is_new(change: FileChange, changes: Changes, before: dict[bytes, int]) -> bool:
    return changes.base is None and change.raw_path not in before


def _status(change: FileChange, *, new: bool) -> str:
    if change.deleted:
        return DELETED
    return ADDED if new else CHANGED


def _entry(path: bytes, status: str) -> dict[str, str]:
    return {"path": path.decode("utf-8", "backslashreplace"), "status": status}
