"""A change set as the trees API takes it: in how many requests, and what needs a blob. Pure.

https://docs.github.com/en/rest/git/trees#create-a-tree
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from claude_run.wire import FileChange

# Longer text goes up as a blob of its own, so that one request stays small.
INLINE_BYTES = 100_000
# Of one request; GitHub ends those that take it longer than ten seconds.
MAX_ENTRIES = 500
MAX_INLINE_BYTES = 1_000_000
# What a deletion's mode is does not matter, but there must be one.
FILE = "100644"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path. Text is written in the request itself, other content is a blob; neither: gone."""

    path: str
    mode: str = FILE
    text: str | None = None
    blob: bytes | None = None

    @property
    def deleted(self) -> bool:
        """Whether it goes."""
        return self.text is None and self.blob is None


def entry(change: FileChange) -> Entry:
    """What a change is in the request. Its name is UTF-8."""
    path = change.raw_path.decode()
    if change.deleted:
        return Entry(path=path)
    mode, content = change.mode or FILE, change.raw_content
    text = _text(content)
    if text is None:
        return Entry(path=path, mode=mode, blob=content)
    return Entry(path=path, mode=mode, text=text)


def requests(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The entries of each request; each is made on the tree that the one before gave.

    Where a file takes the place of a folder, or a folder that of a file, everything that goes is
    gone before anything comes: in one request the order would be GitHub's to choose.
    """
    ordered = sorted(entries, key=lambda one: one.path)
    if not _change_places(ordered):
        return [*_chunks(ordered)]
    gone = [one for one in ordered if one.deleted]
    come = [one for one in ordered if not one.deleted]
    return [*_chunks(gone), *_chunks(come)]


def parents(path: str) -> Iterator[str]:
    """The folders that a path is in."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _text(content: bytes) -> str | None:
    # Empty text might be taken for none at all.
    if not content or len(content) > INLINE_BYTES or b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _change_places(entries: Iterable[Entry]) -> bool:
    gone = {one.path for one in entries if one.deleted}
    come = {one.path for one in entries if not one.deleted}
    return any(parent in gone for path in come for parent in parents(path)) or any(
        parent in come for path in gone for parent in parents(path)
    )


def _chunks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    chunk, size = list[Entry](), 0
    for one in entries:
        length = len(one.text or "")
        if chunk and (len(chunk) >= MAX_ENTRIES or size + length > MAX_INLINE_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += length
    if chunk:
        yield chunk
