"""Lines from chunks, and whom each is for."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import lines
from runner.lines import Kind, LineSplitter, LineTooLongError, classify


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b'{"type":"stream_event","event":{}}', Kind.DELTA),
        (b'{"type":"assistant"}', Kind.MESSAGE),
        (b'{"type":"result"}', Kind.MESSAGE),
        (b'{"type":"of tomorrow"}', Kind.MESSAGE),
        (b' {"type": "stream_event"}', Kind.MESSAGE),
        (b'{"type":"control_request"}', Kind.CONTROL),
        (b'{"type":"control_response"}', Kind.CONTROL),
        (b'{"type":"keep_alive"}', Kind.CONTROL),
        (b'{"type":"system","sdk_host_only":true}', Kind.CONTROL),
        (b'{"type":"system","sdk_host_only":false}', Kind.MESSAGE),
        (b'{"type":"transcript_mirror"}', Kind.TRANSCRIPT),
        (b'{"type":"stream_event","eve', Kind.GARBAGE),
        (b'{"type":7}', Kind.GARBAGE),
        (b'{"a":1}', Kind.GARBAGE),
        (b"[]", Kind.GARBAGE),
        (b"null", Kind.GARBAGE),
        (b"Segmentation fault", Kind.GARBAGE),
        (b"\xff\xfe", Kind.GARBAGE),
        (b"[" * 100_000, Kind.GARBAGE),
    ],
)
def test_whom_a_line_is_for(raw: bytes, kind: Kind) -> None:
    """By its type; what is no JSON object with one is nobody's, and no exception."""
    line = classify(raw)
    assert line.kind is kind
    assert line.raw == raw
    assert (line.value != {}) is (kind not in (Kind.DELTA, Kind.GARBAGE))


@given(st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")), max_size=20),
       st.lists(st.integers(0, 400), max_size=20))  # fmt: skip
def test_lines_are_the_same_however_they_arrive(texts: list[bytes], cuts: list[int]) -> None:
    """Empty ones left out, everything else unchanged: CR, NUL, any bytes."""
    data = b"".join(text + b"\n" for text in texts) + b"rest"
    splitter, found = LineSplitter(), []
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in itertools.pairwise(edges):
        found += splitter.feed(data[begin:end])
    assert found == [text for text in texts if text]
    assert splitter.unfinished() == b"rest"


def test_a_line_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own length counts, not that of the stream."""
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    splitter = LineSplitter()
    for _ in range(50):
        assert splitter.feed(b"x" * 90 + b"\n") == [b"x" * 90]
    splitter.feed(b"x" * 60)
    with pytest.raises(LineTooLongError):
        splitter.feed(b"x" * 60)


def test_a_long_line_takes_linear_time() -> None:
    """Ten megabytes in small chunks are joined once."""
    splitter = LineSplitter()
    for _ in range(100_000):
        assert splitter.feed(b"x" * 100) == []
    [line] = splitter.feed(b"\n")
    assert len(line) == 10_000_000


def test_odd_characters_stay_inside_their_line() -> None:
    """Only LF ends one."""
    text = json.dumps({"type": "assistant", "t": "a\r\u2028\u2029\x85\x0b\x0c\ufeffb"},
                      ensure_ascii=False).encode()  # fmt: skip
    assert LineSplitter().feed(text + b"\r\n") == [text + b"\r"]
    assert classify(text + b"\r").value["t"] == "a\r\u2028\u2029\x85\x0b\x0c\ufeffb"
