"""What an answer of a model costs at list price, estimated from above. No I/O.

Claude Code counts exactly, and says so when a run is over. This is for the time before, and for
runs that never come to an end of their own.
"""

from collections.abc import Mapping
from typing import Any

# US dollars for a million tokens (input, output) by the first of these words in a model's name:
# the list price of the dearest version that has it. Prices change; a name that is not here, or a
# newer version of one that is, is taken for dear rather than for cheap.
_PRICES = (
    ("haiku", 1.0, 5.0),
    ("sonnet", 3.0, 15.0),
    ("3-opus", 15.0, 75.0),
    ("opus-4-0", 15.0, 75.0),
    ("opus-4-1", 15.0, 75.0),
    ("opus-4-2", 15.0, 75.0),  # the first one is named by its date, 2025…
    ("opus", 5.0, 25.0),
)
_DEAREST = (15.0, 75.0)
# A cache write costs up to twice, a read a tenth of input.
_CACHE_WRITE = 2.0
_CACHE_READ = 0.1


def cost_usd(model: str, usage: Mapping[str, Any]) -> float:
    """The cost of one answer by the usage object that came with it."""
    price_in, price_out = next(
        ((price_in, price_out) for word, price_in, price_out in _PRICES if word in model), _DEAREST
    )
    tokens_in = (
        tokens(usage, "input_tokens")
        + _CACHE_WRITE * tokens(usage, "cache_creation_input_tokens")
        + _CACHE_READ * tokens(usage, "cache_read_input_tokens")
    )
    return (tokens_in * price_in + tokens(usage, "output_tokens") * price_out) / 1_000_000


def tokens(usage: Mapping[str, Any], name: str) -> int:
    """One figure of a usage object; 0 for what is missing or is no count."""
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0
