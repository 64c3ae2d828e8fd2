"""How many examples the tests try that make them up: a few, the same ones each time.

`THOROUGH=20 make test` tries twenty times as many, and others each time. Whoever has changed a
codec or the store should.
"""

import os

from hypothesis import HealthCheck, settings

_FACTOR = int(os.environ.get("THOROUGH", "1"))


def examples(number: int) -> int:
    """So many, or as many times more as were asked for."""
    return number * _FACTOR


# No deadline for one example, and none for making them up: a loaded machine would pass both.
settings.register_profile(
    "suite",
    max_examples=examples(30),
    deadline=None,
    derandomize=_FACTOR == 1,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")
