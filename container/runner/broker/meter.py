"""What a run has used, read from the answers on their way to the agent. No I/O.

Claude Code counts exactly and keeps `maxBudgetUsd` itself. This count is the backstop for code that
the agent runs and that talks to the broker directly: it need not be exact, it must be there.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from claude_run.prices import cost_usd, tokens

# The prices are estimates, so the backstop leaves Claude Code room to stop first.
HEADROOM = 2.0
# What an answer has cost when its end, and with it the count, never came: a delta has at least a
# hundred bytes around a few tokens.
_BYTES_PER_TOKEN = 16
# A line that reports usage has some hundred bytes; a longer one is an answer's text.
_MAX_LINE = 256 * 1024


@dataclass(slots=True)
class Meter:
    """The running sum of one run, over all its requests."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def spent(self, budget_usd: float | None) -> bool:
        """Whether a further request must be refused."""
        return budget_usd is not None and self.cost_usd >= budget_usd * HEADROOM

    def add(self, model: str, usage: dict[str, Any]) -> None:
        """Count the usage object of one finished request."""
        self.input_tokens += tokens(usage, "input_tokens")
        self.input_tokens += tokens(usage, "cache_creation_input_tokens")
        self.output_tokens += tokens(usage, "output_tokens")
        self.cost_usd += cost_usd(model, usage)


@dataclass(slots=True)
class UsageReader:
    """Finds the usage in one answer, streamed or whole, without parsing what it says."""

    model: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    _tail: bytes = b""
    _bytes: int = 0
    _complete: bool = False

    def feed(self, chunk: bytes) -> None:
        """Look at a chunk that passes by."""
        self._bytes += len(chunk)
        data = self._tail + chunk
        end = data.rfind(b"\n") + 1
        # Inside a text of the model the quotes would be escaped, so this finds only keys.
        if data.find(b'"usage"', 0, end) >= 0:
            for line in data[:end].split(b"\n"):
                if b'"usage"' in line:
                    self._read(line.removeprefix(b"data:").strip())
        self._tail = data[end:] if len(data) - end <= _MAX_LINE else b""

    def finish(self, meter: Meter) -> None:
        """The answer is over, whole or not: count what it reported, or what it must have cost."""
        if b'"usage"' in self._tail:
            self._read(self._tail.removeprefix(b"data:").strip())
        if not self.usage:
            return
        if not self._complete:
            least = self._bytes // _BYTES_PER_TOKEN
            self.usage["output_tokens"] = max(tokens(self.usage, "output_tokens"), least)
        meter.add(self.model, self.usage)

    def _read(self, line: bytes) -> None:
        try:
            value = json.loads(line)
        except ValueError:
            return
        if not isinstance(value, dict):
            return
        # message_start nests the message; message_delta and a whole answer carry usage on top,
        # and each later report holds the sums so far.
        self._complete = self._complete or value.get("type") != "message_start"
        for holder in (value, value.get("message")):
            if isinstance(holder, dict):
                if isinstance(holder.get("model"), str):
                    self.model = holder["model"]
                if isinstance(holder.get("usage"), dict):
                    self.usage |= holder["usage"]
