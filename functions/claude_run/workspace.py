"""Paths as they read from inside the folder that a run works in. Pure."""

import re

# A runner's, whose name is of no use to a reader: it is gone when the run is.
_FOLDER = re.compile(r"/tmp/ws-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![\w-])(/(?=\S))?")  # noqa: S108


def from_inside(text: str) -> str:
    """The text with `src/a.py` for `/tmp/ws-<a session's id>/src/a.py`, and `.` for the folder."""
    return _FOLDER.sub(lambda found: "" if found[1] else ".", text)
