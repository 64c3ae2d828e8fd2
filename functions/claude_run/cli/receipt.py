"""What a run came to: turns, tokens, cost, seconds, files. Pure."""

from collections.abc import Mapping
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
        figures = [*_figures(self.result or {}), f"{seconds:.1f} s"]
        lines = [style.quiet(" · ".join(figures)), *_files(self.changes, style)]
        return "".join(f"{line}\n" for line in lines)


def _figures(result: Mapping[str, Any]) -> list[str]:
    figures = []
    turns, usage, cost = (result.get(key) for key in ("num_turns", "usage", "total_cost_usd"))
    if isinstance(turns, int):
        figures.append(_count(turns, "turn"))
    if isinstance(usage, dict):
        figures.append(_tokens(usage))
    if isinstance(cost, int | float):
        figures.append(f"${cost:.4f}")
    return figures


def _tokens(usage: Mapping[str, Any]) -> str:
    cached = [_number(usage, key) for key in _CACHE]
    tokens_in = _number(usage, "input_tokens") + sum(cached)
    kept = f" ({cached[0]:,} of them cached)" if cached[0] else ""
    return f"{tokens_in:,} tokens in{kept}, {_number(usage, 'output_tokens'):,} out"


def _number(usage: Mapping[str, Any], key: str) -> int:
    value = usage.get(key)
    return value if isinstance(value, int) else 0


def _files(changes: Changes | None, style: Style) -> list[str]:
    if changes is None:
        return [style.quiet("the files that changed are not known")]
    if not changes.files:
        return [style.quiet("no files changed")]
    shown = [_file(change, style) for change in changes.files[:MAX_FILES_SHOWN]]
    hidden = len(changes.files) - len(shown)
    more = [style.quiet(f"  … and {hidden:,} more")] if hidden else []
    return [style.quiet(f"{_count(len(changes.files), 'file')} changed:"), *shown, *more]


def _file(change: FileChange, style: Style) -> str:
    """`+` new, `-` gone, `~` changed."""
    name = one_line(change.raw_path.decode("utf-8", "surrogateescape"), MAX_NAME)
    if change.deleted:
        return style.removed(f"  - {name}")
    return style.added(f"  + {name}") if change.new else style.changed(f"  ~ {name}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
