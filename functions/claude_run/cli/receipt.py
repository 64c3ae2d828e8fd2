"""What a run came to: turns, tokens, cost, seconds, files. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claude_run.cli.plain import one_line
from claude_run.cli.style import Style
from claude_run.wire import Changes, FileChange

# A change set may hold 20,000 files; a screen holds some.
MAX_FILES_SHOWN = 40
MAX_NAME = 200

_CACHE = ("cache_read_input_tokens", "cache_creation_input_tokens")


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the receipt is made of, as it came in: the last result line and change set."""

    result: Mapping[str, Any] | None = None
    changes: Changes | None = field(default=None, repr=False)

    def text(self, *, seconds: float, style: Style) -> str:
        """The lines of the receipt."""
        files = None if self.changes is None else [_file(change) for change in self.changes.files]
        return receipt(_figures(self.result or {}), files, seconds=seconds, style=style)


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file's path, and `+` new, `-` gone, `~` changed."""

    mark: str
    path: str


def receipt(
    figures: Sequence[str],
    files: Sequence[ChangedFile] | None,
    *,
    seconds: float | None,
    style: Style,
) -> str:
    """The lines of a receipt; without `files` these are not known."""
    waited = [] if seconds is None else [f"{seconds:.1f} s"]
    lines = [style.quiet(" · ".join([*figures, *waited])), *_files(files, style)]
    return "".join(f"{line}\n" for line in lines)


def _figures(result: Mapping[str, Any]) -> list[str]:
    figures = []
    turns, usage, cost = (result.get(key) for key in ("num_turns", "usage", "total_cost_usd"))
    if isinstance(turns, int):
        figures.append(count(turns, "turn"))
    if isinstance(usage, dict):
        figures.append(_tokens(usage))
    if isinstance(cost, int | float):
        figures.append(f"${cost:.4f}")
    return figures


def _tokens(usage: Mapping[str, Any]) -> str:
    cached = [_number(usage, key) for key in _CACHE]
    tokens_in = _number(usage, "input_tokens") + sum(cached)
    kept = f" ({cached[0]:,} of them cached)" if cached[0] else ""
    return spoken_tokens(tokens_in, _number(usage, "output_tokens"), kept=kept)


def spoken_tokens(tokens_in: int, tokens_out: int, *, kept: str = "") -> str:
    """Both figures, as a receipt has them."""
    return f"{tokens_in:,} tokens in{kept}, {tokens_out:,} out"


def _number(usage: Mapping[str, Any], key: str) -> int:
    value = usage.get(key)
    return value if isinstance(value, int) else 0


def _files(files: Sequence[ChangedFile] | None, style: Style) -> list[str]:
    if files is None:
        return [style.quiet("the files that changed are not known")]
    if not files:
        return [style.quiet("no files changed")]
    shown = [_line(file, style) for file in files[:MAX_FILES_SHOWN]]
    hidden = len(files) - len(shown)
    more = [style.quiet(f"  … and {hidden:,} more")] if hidden else []
    return [style.quiet(f"{count(len(files), 'file')} changed:"), *shown, *more]


def _file(change: FileChange) -> ChangedFile:
    mark = "-" if change.deleted else "+" if change.new else "~"
    return ChangedFile(mark, change.raw_path.decode("utf-8", "surrogateescape"))


def _line(file: ChangedFile, style: Style) -> str:
    line = f"  {file.mark} {one_line(file.path, MAX_NAME)}"
    colour = {"-": style.removed, "+": style.added}.get(file.mark, style.changed)
    return colour(line)


def count(number: int, noun: str) -> str:
    """As it is said: 1 file, 2 files."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
