"""What one turn has used, as its stream tells it. Pure.

Tokens are counted from each answer of a model as it comes; cache reads are none. Money is an
estimate from above until Claude Code says what it was, which it does at the end, exactly. A turn
that is killed before has the estimate.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claude_run.prices import cost_usd, tokens

# Answers under way, whose figures may still grow: one for the main thread and each subagent.
MAX_OPEN = 256

_FIGURES = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The highest figures of one answer, and what they cost."""

    figures: Mapping[str, int] = field(default_factory=dict)
    cost: float = 0.0

    @property
    def tokens_in(self) -> int:
        return tokens(self.figures, "input_tokens") + tokens(
            self.figures, "cache_creation_input_tokens"
        )

    @property
    def tokens_out(self) -> int:
        return tokens(self.figures, "output_tokens")


class Account:
    """Of one turn. Its tokens never become fewer; its cost may when the exact one is known."""

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {}
        self._counted = [0, 0]
        self._told = [0, 0]
        self._told_usd = 0.0
        self._estimated_usd = 0.0

    @property
    def input_tokens(self) -> int:
        """Tokens read, cache writes among them and cache reads not."""
        return max(self._counted[0], self._told[0])

    @property
    def output_tokens(self) -> int:
        """Tokens made."""
        return max(self._counted[1], self._told[1])

    def to_json(self) -> dict[str, Any]:
        """As in the `usage` event."""
        return {
            "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens,
            # Beyond a millionth of a dollar there is only what binary fractions add.
            "costUsd": round(self._told_usd + self._estimated_usd, 6),
        }

    def answer(self, name: str, model: str, usage: Mapping[str, Any]) -> None:
        """A report on the answer of this name; the same one is told of several times."""
        before = self._answers.pop(name, _Answer())
        figures = {key: max(tokens(usage, key), tokens(before.figures, key)) for key in _FIGURES}
        now = _Answer(figures, cost_usd(model, figures))
        self._counted[0] += now.tokens_in - before.tokens_in
        self._counted[1] += now.tokens_out - before.tokens_out
        self._estimated_usd += now.cost - before.cost
        self._answers[name] = now
        if len(self._answers) > MAX_OPEN:
            del self._answers[next(iter(self._answers))]

    def result(self, result: Mapping[str, Any]) -> None:
        """The end of the run, or of its first part: a run with background agents has several.

        `total_cost_usd` and `modelUsage` count the earlier turns of a resumed conversation too;
        `model_usage_since_last_result` counts this run alone, subagents included.
        """
        since = result.get("model_usage_since_last_result")
        if isinstance(since, Mapping):
            for used in since.values():
                if isinstance(used, Mapping):
                    self._told[0] += tokens(used, "inputTokens")
                    self._told[0] += tokens(used, "cacheCreationInputTokens")
                    self._told[1] += tokens(used, "outputTokens")
                    self._told_usd += _money(used.get("costUSD"))
        elif "total_cost_usd" in result:
            # A Claude Code without that field: rather too much than too little.
            self._told_usd = max(self._told_usd, _money(result["total_cost_usd"]))
        else:
            return
        # What was estimated so far is among what was told now.
        self._estimated_usd = 0.0


def _money(value: object) -> float:
    if isinstance(value, int | float) and math.isfinite(value) and value > 0:
        return float(value)
    return 0.0
