"""What was measured, beside the bound that it is to keep."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Row:
    """Two columns of seconds, the second at most `bound` times the first."""

    name: str
    columns: tuple[str, str]
    bound: float
    first: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)

    def add(self, first: float, second: float) -> None:
        """One measurement of each."""
        self.first.append(first)
        self.second.append(second)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number, and the bound that it is to keep."""

    name: str
    value: float
    bound: float
    least: bool = False

    @property
    def over(self) -> bool:
        """Whether it does not keep it."""
        return self.value < self.bound if self.least else self.value > self.bound


def report(rows: Sequence[Row], figures: Sequence[Figure]) -> int:
    """Print medians, ratios and figures. Returns the exit status."""
    failed = False
    found: dict[str, dict[str, float]] = {}
    print(f"{'median seconds':<16}{'':>8}{'':>10}{'ratio':>8}{'bound':>8}")
    for row in rows:
        plain, other = statistics.median(row.first), statistics.median(row.second)
        ratio = other / plain
        failed |= ratio > row.bound
        mark = "" if ratio <= row.bound else "  over"
        times = f"{row.columns[0]} {plain:.2f}", f"{row.columns[1]} {other:.2f}"
        print(f"{row.name:<16}{times[0]:>12}{times[1]:>14}{ratio:>8.2f}{row.bound:>8.2f}{mark}")
        name = f"{row.name}, {row.columns[1]}"
        found[name] = {row.columns[0]: plain, row.columns[1]: other, "ratio": ratio}
    for figure in figures:
        failed |= figure.over
        side, mark = "≥" if figure.least else "≤", "  over" if figure.over else ""
        print(f"{figure.name:<36}{figure.value:>10.1f}  {side} {figure.bound:g}{mark}")
        found[figure.name] = {"value": figure.value}
    print(json.dumps(found))
    return int(failed)
