"""A change set: what a work tree has that its base commit has not, within limits. Pure."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from claude_run.wire import MAX_FILES

# As base64 this is 26.7 MiB: it fits into the next turn's request of 31 MiB.
MAX_CHANGE_BYTES = 20 << 20
MAX_FILE_BYTES = 10 << 20
# Directory entries looked at in one snapshot. What lies behind them counts as unchanged.
MAX_ENTRIES = 150_000
MAX_PATH_BYTES = 2048
MAX_DEPTH = 100
# A warning is for people: it names the first few.
_NAMED = 5
_NAME_LENGTH = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The caps of a change set; what is over one is left out and reported."""

    change_bytes: int = MAX_CHANGE_BYTES
    file_bytes: int = MAX_FILE_BYTES
    files: int = MAX_FILES
    entries: int = MAX_ENTRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something that is missing from a change set, as the `warning` event says it."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """One raw path with its new mode and content, or gone: both None.

    `new`: the base commit has no such path.
    """

    path: bytes
    mode: int | None = None
    content: bytes | None = None
    new: bool = False

    def to_json(self) -> dict[str, Any]:
        """As in the `changes` event."""
        result: dict[str, Any] = {}
        try:
            result["path"] = self.path.decode("utf-8")
        except UnicodeDecodeError:
            result["pathBase64"] = base64.b64encode(self.path).decode()
        if self.mode is None or self.content is None:
            result["deleted"] = True
        else:
            result["mode"] = f"{self.mode:06o}"
            result["content"] = base64.b64encode(self.content).decode()
            if self.new:
                result["new"] = True
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """Everything that differs from `base` (None without a repository), sorted by raw path."""

    base: str | None
    files: tuple[ChangedFile, ...] = ()
    warnings: tuple[Warned, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The data of a `changes` event; the warnings are events of their own."""
        return {"base": self.base, "files": [file.to_json() for file in self.files]}


@dataclass(slots=True)
class Omissions:
    """What had to be left out while a change set was made, by reason."""

    paths: dict[str, list[bytes]] = field(default_factory=dict)

    def add(self, code: str, path: bytes) -> None:
        """Note that `path` was left out for the reason `code`, a key of `REASONS`."""
        self.paths.setdefault(code, []).append(path)

    def warnings(self) -> tuple[Warned, ...]:
        """One warning for each reason, always in the same order."""
        return tuple(
            Warned(code=code, message=f"{sentence} ({_names(self.paths[code])}).")
            for code, sentence in REASONS.items()
            if code in self.paths
        )


REASONS = {
    "FILE_TOO_LARGE": "Left out of the changes: a file over the limit for one file",
    "CHANGES_TOO_LARGE": "Left out of the changes: more than fits into a change set",
    "TOO_MANY_FILES": "Left out of the changes: more files than a change set may have",
    "TOO_MANY_ENTRIES": "Left out of the changes: more files and folders than are looked at",
    "PATH_TOO_LONG": "Left out of the changes: a path too long or too deep",
    "FILE_UNREADABLE": "Left out of the changes: the runner may not read it",
    "SPECIAL_FILE": "Left out of the changes: neither file, folder nor link",
    "SUBMODULE": "Left out of the changes: it lies in a submodule",
    "IGNORE_FILE": "Ignore rules not used: too large, or git could not read them",
}


def _names(paths: list[bytes]) -> str:
    named = ", ".join(_printable(path) for path in sorted(paths)[:_NAMED])
    rest = len(paths) - _NAMED
    return f"{named} and {rest} more" if rest > 0 else named


def _printable(path: bytes) -> str:
    """A name that an agent chose, for a person's eyes: nothing that could hide or forge text."""
    text = path.decode("utf-8", "replace") or "."
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return shown if len(shown) <= _NAME_LENGTH else shown[:_NAME_LENGTH] + "…"


def fingerprint(changes: Iterable[tuple[bytes, int, bytes]], warnings: Iterable[Warned]) -> bytes:
    """A value that is equal for equal change sets: of (path, mode, blob id; 0 where deleted)."""
    digest = hashlib.sha256()
    for path, mode, object_id in changes:
        digest.update(b"%d %b %d:%b\n" % (mode, object_id.hex().encode(), len(path), path))
    for warning in warnings:
        digest.update(repr((warning.code, warning.message)).encode())
    return digest.digest()
