"""What is read as JSON, what is refused, and that a refusal names the rule and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.errors import CallerError, Code
from claude_run.strictjson import MAX_DEPTH, loads_object

SECRET = "sk-ant-planted"


def nested(depth: int) -> bytes:
    """An object whose innermost value is `depth` levels deep."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(min_value=-(10**15), max_value=10**15)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda values: (
                st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3)
            ),
            max_leaves=10,
        ),
    )
)
def test_every_ordinary_object_is_read(value: dict[str, object]) -> None:
    """What Python writes, escaped or not, is read back."""
    assert loads_object(json.dumps(value).encode()) == value
    assert loads_object(json.dumps(value, ensure_ascii=False).encode()) == value


def test_the_depth_that_is_allowed_is_read() -> None:
    """The bound is where it says it is."""
    assert loads_object(nested(MAX_DEPTH))
    with pytest.raises(CallerError, match="nested deeper"):
        loads_object(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1} {"b": 2}', "not JSON"),
        (b'{"a": "\n"}', "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b'"' + SECRET.encode() + b'"', "must be a JSON object"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a": NaN}', "NaN and Infinity"),
        (b'{"a": -Infinity}', "NaN and Infinity"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": -1e999}', "out of range"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "too long"),
        (b'{"a": 1, "a": 2}', "appears twice"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "appears twice"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 100_000, "nested deeper"),
        (nested(100_000), "nested deeper"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"b": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"\0\0\0{", "not JSON"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(body: bytes, rule: str) -> None:
    """400 with field and rule; the body's own words are not in it."""
    with pytest.raises(CallerError, match=rule) as caught:
        loads_object(body.replace(b'"a"', f'"{SECRET}"'.encode()))
    assert caught.value.code is Code.VALIDATION_ERROR
    assert caught.value.details["field"] == "body"
    assert SECRET not in f"{caught.value} {caught.value.details}"
