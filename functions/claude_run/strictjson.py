"""JSON from outside, read strictly: what two readers could understand differently is refused.

RFC 8259 leaves duplicate names, the nesting depth and numbers out of range to the reader; a
gateway and a runner that disagreed on them could be played against each other.
"""

import json
import math
from typing import Any

from claude_run.errors import CallerError, Code

# Deeper than any JSON Schema or MCP configuration that we have seen, far from Python's own limit.
MAX_DEPTH = 64


def loads_object(body: bytes) -> dict[str, Any]:
    """Read one JSON object from UTF-8 bytes, or raise `CallerError` naming the rule."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constants,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise _refusal(f"it is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise _refusal(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise _refusal(f"it is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:
        # CPython converts integers of at most 4,300 digits.
        raise _refusal("a number in it is too long") from None
    if not isinstance(value, dict):
        raise _refusal("it must be a JSON object")
    # No deeper than there are brackets: what is nearly always small need not be walked through.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check_depth(value)
    return value


def _refusal(rule: str) -> CallerError:
    return CallerError(
        f"The body cannot be used: {rule}.",
        code=Code.VALIDATION_ERROR,
        details={"field": "body", "rule": rule},
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _refusal("a name appears twice in one object")
    return result


def _no_constants(_name: str) -> Any:  # noqa: ANN401 - json's own signature
    raise _refusal("NaN and Infinity are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _refusal("a number in it is out of range")
    return number


def _check_depth(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise _refusal(f"it is nested deeper than {MAX_DEPTH} levels")
