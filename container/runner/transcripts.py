"""Claude Code's own transcript files, as they leave a run and as they come back into one.

In a fresh container a conversation is resumed by laying the files where Claude Code looks for
them: in a folder named after the working directory, which is why a session's workspace always has
the same path.
"""

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from claude_run.errors import CallerError
from claude_run.wire import TranscriptPart
from runner.agent import User
from runner.folders import write_private
from runner.options import Places

# A file where a folder must be, or the other way round; a name that the file system cannot have.
_UNFIT = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})


def project_folder(places: Places) -> Path:
    """Where Claude Code keeps the transcripts of a workspace."""
    from claude_agent_sdk import project_key_for_directory

    return places.config / "projects" / project_key_for_directory(places.workspace)


def part(mirrored: dict[str, Any], project: Path) -> dict[str, Any] | None:
    """The `transcript` event for a line of the CLI's mirror; None where it is of no use.

    `path` is relative to the project folder; `entries` are lines as they stand in the file.
    """
    try:
        path = PurePosixPath(mirrored["filePath"]).relative_to(project)
        entries = [_line(entry) for entry in mirrored["entries"]]
    except (KeyError, TypeError, ValueError):
        return None
    return {"path": str(path), "entries": entries}


def _line(entry: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":"))


def restore(parts: Sequence[TranscriptPart], places: Places, user: User | None) -> None:
    """Lay the files, before the agent starts: nobody else writes below `places` yet.

    Raises `CallerError` for paths that no file system could hold together.
    """
    project = project_folder(places)
    files: dict[str, list[str]] = {}
    for transcript in parts:
        files.setdefault(transcript.path, []).extend(transcript.entries)
    for path, entries in files.items():
        target = project / path
        text = "".join(f"{entry}\n" for entry in entries)
        try:
            _make_folders(target.parent, places.config, user)
            write_private(target, text.encode("utf-8", "surrogatepass"), user)
        except OSError as error:
            if error.errno not in _UNFIT:
                raise
            field, rule = "resume.transcript", "its paths cannot be files beside one another"
            details = {"field": field, "rule": rule}
            raise CallerError(f"{field}: {rule}", details=details) from None


def _make_folders(folder: Path, top: Path, user: User | None) -> None:
    missing = [parent for parent in (folder, *folder.parents) if parent.is_relative_to(top)]
    for parent in reversed(missing):
        if not parent.exists():
            parent.mkdir(mode=0o700)
            if user is not None:
                os.chown(parent, user.uid, user.gid)
