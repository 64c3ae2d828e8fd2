"""The SSE codec, against the specification's examples, a plain reference, and any chunking."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.errors import UpstreamError
from claude_run.sse import Decoder, ServerSentEvent, encode_comment, encode_event

# What decides anything in a stream, and a few characters of two, three and four bytes.
ODD = "\r\n\0: \ufeff\u2028\u0085é€𝄞 0aditevnr"
STREAMS = st.lists(
    st.sampled_from(
        [
            "data",
            "id",
            "event",
            "retry",
            ":",
            ": ",
            " ",
            "\r",
            "\n",
            "\r\n",
            "\n\n",
            "\r\r",
            "é𝄞",
            "\0",
            "\ufeff",
            "12",
            "\u2028",
            "data:",
            "data: x",
            "id: 7",
            "event: e",
            "retry: 10",
        ]
    )
).map(lambda parts: "".join(parts).encode())


def feed(stream: bytes, *cuts: int) -> list[ServerSentEvent]:
    return [event for piece in pieces(stream, *cuts) for event in piece]


def pieces(stream: bytes, *cuts: int) -> list[list[ServerSentEvent]]:
    decoder = Decoder()
    borders = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [decoder.feed(stream[a:b]) for a, b in pairwise(borders)]


def decode(decoder: Decoder, chunks: list[bytes]) -> list[ServerSentEvent]:
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def reference(stream: bytes) -> list[ServerSentEvent]:
    """The specification's algorithm, sentence by sentence, on the whole decoded text."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    events: list[ServerSentEvent] = []
    data, name, last_id = "", "", ""
    for line in lines:
        if line == "":
            if data != "":
                events.append(ServerSentEvent(event=name or "message", data=data[:-1], id=last_id))
            data, name = "", ""
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data += value + "\n"
            elif field == "event":
                name = value
            elif field == "id" and "\0" not in value:
                last_id = value
    return events


def message(data: str, last_id: str = "") -> ServerSentEvent:
    return ServerSentEvent(data=data, id=last_id)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("data: YHOO\ndata: +2\ndata: 10\n\n", [message("YHOO\n+2\n10")]),
        (
            (
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
                "data:  third event\n\n"
            ),
            [message("first event", "1"), message("second event"), message(" third event")],
        ),
        ("data\n\ndata\ndata\n\ndata:", [message(""), message("\n")]),
        ("data:test\n\ndata: test\n\n", [message("test"), message("test")]),
        (
            "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
            [
                ServerSentEvent(event="add", data="73857293"),
                ServerSentEvent(event="remove", data="2153"),
            ],
        ),
    ],
)
def test_examples_of_the_specification(stream: str, events: list[ServerSentEvent]) -> None:
    """Each example of the WHATWG page gives the events that the page says."""
    assert feed(stream.encode()) == events
    assert feed(stream.replace("\n", "\r\n").encode()) == events
    assert feed(stream.replace("\n", "\r").encode()) == events


@given(st.one_of(STREAMS, st.binary()), st.lists(st.integers(min_value=0), max_size=8))
def test_any_stream_in_any_chunks_equals_the_reference(stream: bytes, cuts: list[int]) -> None:
    """Broken UTF-8, CR LF and BOM across borders: the chunks never matter."""
    assert feed(stream, *cuts) == reference(stream)
    assert feed(stream, *range(len(stream))) == reference(stream)


@given(
    st.one_of(st.text(), st.text(ODD)),
    st.one_of(st.none(), st.text(ODD.replace("\r", "").replace("\n", "").replace("\0", ""))),
    st.lists(st.integers(min_value=0), max_size=4),
)
def test_any_text_makes_the_round_trip(text: str, name: str | None, cuts: list[int]) -> None:
    """No text can end its event, start another or change its name; only CR becomes LF."""
    stream = encode_event(text, event=name, id="7") + encode_event("next")
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    # One space after the colon is the encoder's; the name's own spaces survive.
    assert feed(stream, *cuts) == [
        ServerSentEvent(event=name or "message", data=plain, id="7"),
        message("next", "7"),
    ]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\0"])
def test_only_cr_and_lf_end_a_line(character: str) -> None:
    """What `str.splitlines` breaks at arrives as text."""
    text = f"a{character}data: b"
    assert feed(encode_event(text)) == [message(text)]


def test_a_bom_is_dropped_at_the_start_only() -> None:
    """One leading BOM, also in three chunks, is no text; a second and a later one are."""
    assert feed(b"\xef\xbb\xbfdata: a\n\n", 1, 2) == [message("a")]
    assert feed("\ufeff\ufeffdata: a\n\n".encode()) == []
    assert feed("data: \ufeffa\n\n".encode()) == [message("\ufeffa")]


def test_bytes_go_out_as_they_are() -> None:
    """A line that Claude Code printed is not decoded on its way, and arrives if it is UTF-8."""
    assert encode_event("é".encode()) == "data: é\n\n".encode()
    assert feed(encode_event(b"\xff")) == [message("\ufffd")]
    assert encode_event("\ud800") == b"data: ?\n\n"


def test_an_event_is_given_out_by_the_chunk_that_ends_it() -> None:
    """A CR ends a line at once: waiting for an LF after it would hold the event back."""
    assert pieces(b"data: a\r\rdata: b\r\n\r\n", 9) == [[message("a")], [message("b")]]


def test_ids_persist_and_those_with_nul_are_ignored() -> None:
    """`id` holds until the next one; a NUL in it makes the line void; an empty one resets."""
    decoder = Decoder()
    stream = b"id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid: 3\n\n"
    assert [event.id for event in decoder.feed(stream)] == ["1", "1", "1"]
    assert decoder.last_event_id == "3"
    decoder.feed(b"id: 4\ndata: unfinished\n")
    assert decoder.last_event_id == "3"
    decoder.feed(b"\nid\n\n")
    assert decoder.last_event_id == ""


@pytest.mark.parametrize("value", ["", "-1", "1.5", "1e3", "٣", " 1", "9" * 5000])
def test_a_retry_that_is_not_digits_is_ignored(value: str) -> None:
    """Only ASCII digits set it, and no number of them is an exception."""
    decoder = Decoder()
    decoder.feed(f"retry: 2500\n\nretry: {value}\n\n".encode())
    assert decoder.retry == 2500


def test_an_event_without_data_is_not_dispatched_and_leaves_no_name() -> None:
    """Its name does not stick to the next event."""
    assert feed(b"event: a\n\ndata: b\n\n") == [message("b")]


def test_encoder_refuses_what_breaks_out_of_a_field() -> None:
    """CR, LF and NUL in a name or an id, and a negative time."""
    for bad in ("a\rb", "a\nb", "a\0b"):
        with pytest.raises(ValueError, match="event may not"):
            encode_event("x", event=bad)
        with pytest.raises(ValueError, match="id may not"):
            encode_event("x", id=bad)
    with pytest.raises(ValueError, match="negative"):
        encode_event("x", retry=-1)


def test_all_fields_are_written() -> None:
    """The bytes of an event with every field, and of a comment."""
    assert encode_event("a\r\nb\r", event="e", id="1", retry=10) == (
        b"event: e\nid: 1\nretry: 10\ndata: a\ndata: b\ndata: \n\n"
    )
    assert encode_comment("ping") == b": ping\n\n"
    assert feed(encode_comment("a\n\ndata: forged\r\rdata: forged")) == []


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 200,
        b"data: xxxxxxxxx\n" * 20,
        b"data:\n" * 101,
        b": " + b"x" * 200,
        b"event: " + b"x" * 200 + b"\n",
    ],
)
def test_an_event_above_the_bound_is_refused_in_any_chunks(stream: bytes) -> None:
    """Nothing that is kept grows past the bound: lines, their number, names, comments."""
    for size in (1, 7, len(stream)):
        chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
        with pytest.raises(UpstreamError, match="larger than 100 bytes"):
            decode(Decoder(max_event_bytes=100), chunks)


def test_the_bound_is_one_events_not_a_chunks() -> None:
    """Many small events in one chunk, and the start of the next, are no large event."""
    decoder = Decoder(max_event_bytes=100)
    chunk = (b"data: " + b"x" * 80 + b"\n\n") * 3 + b"data: " + b"y" * 70
    assert len(decoder.feed(chunk)) == 3
    assert decoder.feed(b"\n\n") == [message("y" * 70)]


def test_many_small_events_are_fast() -> None:
    """20,000 deltas, as Claude Code prints them; the bound is twice what is promised."""
    line = b'{"type":"stream_event","event":{"delta":{"type":"text_delta","text":"word "}}}'
    stream = encode_event(line, event="message", id="1") * 20_000
    decoder, events = Decoder(), 0
    start = time.process_time()
    for begin in range(0, len(stream), 65_536):
        events += len(decoder.feed(stream[begin : begin + 65_536]))
    assert time.process_time() - start < 0.6
    assert events == 20_000


def test_one_huge_line_is_linear() -> None:
    """10 MB without a line end in 64 KB chunks, and in chunks of 1 KB, are no quadratic work."""
    stream = encode_event("x" * 10_000_000)
    for size in (65_536, 1_024):
        decoder, events = Decoder(), list[ServerSentEvent]()
        start = time.process_time()
        for begin in range(0, len(stream), size):
            events += decoder.feed(stream[begin : begin + size])
        assert time.process_time() - start < 0.6
        assert len(events[0].data) == 10_000_000
