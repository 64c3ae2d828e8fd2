"""What to do next when a log is followed over connections that end: without any connection."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.course import Course
from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError, error_for
from claude_run.resumption import (
    HEALTHY_SECONDS,
    MAX_FRUITLESS_ATTEMPTS,
    MAX_SILENCE_SECONDS,
    MAX_WAIT_SECONDS,
    Moment,
    Position,
    Resumption,
)
from claude_run.session_events import ClaudeStartEvent, SessionEvent
from claude_run.sse import Decoder, ServerSentEvent
from doubles.session_gateway import frame, turn_log

BROKEN = UpstreamError("The connection broke", code=Code.INTERRUPTED)


def at(seconds: float = 0.0, chance: float = 0.0) -> Moment:
    return Moment(seconds=seconds, utc=datetime(2026, 11, 22, tzinfo=UTC), chance=chance)


def events(data: bytes) -> list[ServerSentEvent]:
    return list(Decoder().feed(data))


def whole_log(turns: int, gap: int = 1) -> dict[int, bytes]:
    log: dict[int, bytes] = {}
    for turn in range(1, turns + 1):
        texts = ["a\u2028b", "\n\nid: 999\n\n", "日本"]
        error = "INTERRUPTED" if turn % 2 == 0 else None
        log |= turn_log(turn, max(log, default=0) + gap, *texts, error=error)
    return log


def follow(
    resumption: Resumption, log: dict[int, bytes], cuts: list[int], *, overlap: int = 0
) -> list[SessionEvent]:
    """A reader whose connections are cut after these many bytes, and then no more."""
    got: list[SessionEvent] = []
    cuts = list(cuts)
    while not resumption.over:
        after = resumption.position.after
        frames = [data for number, data in log.items() if number > after - overlap]
        if all(number <= after for number in log):
            resumption.nothing_left()
            break
        data = b"".join(frames)
        cut = cuts.pop() if cuts else len(data)
        resumption.connected(at())
        for event in events(data[:cut]):
            if (found := resumption.take(event, at())) is not None:
                got.append(found)
            if resumption.over:
                break
        else:
            wait = (
                resumption.failed(BROKEN, at())
                if cut < len(data)
                else resumption.ended(at(), retry_ms=None)
            )
            assert 0 <= wait <= MAX_WAIT_SECONDS
    return got


@given(
    turns=st.integers(1, 3),
    gap=st.sampled_from([1, 7, 4096]),
    # Fewer in a row than are given up on, wherever they fall.
    cuts=st.lists(st.integers(0, 1_500), max_size=MAX_FRUITLESS_ATTEMPTS),
    overlap=st.sampled_from([0, 1, 3]),
)
def test_wherever_it_is_cut_the_reader_gets_the_log(
    turns: int, gap: int, cuts: list[int], overlap: int
) -> None:
    """Every event, once, in order; also where the server sends some again."""
    log = whole_log(turns, gap)
    resumption = Resumption(Position(), first=0, last=turns)
    got = follow(resumption, log, cuts, overlap=overlap * gap)
    assert [event.id for event in got] == list(log)
    assert resumption.over
    assert resumption.position == Position(after=max(log), turn=turns + 1)


@given(
    first=st.integers(1, 3),
    seen=st.integers(0, 14),
    cuts=st.lists(st.integers(0, 1_500), max_size=MAX_FRUITLESS_ATTEMPTS),
)
def test_a_reader_of_a_new_turn_gets_that_turn(first: int, seen: int, cuts: list[int]) -> None:
    """From its first event to its last, wherever in the log the reader was."""
    log = whole_log(3)
    starts = [n for n, data in log.items() if b"event: claude_start\n" in data]
    begins = dict(zip((1, 2, 3), (1, *starts[1:]), strict=True))
    position = Position()
    for event in events(b"".join(log.values()))[:seen]:
        passing = Resumption(position, first=0, last=9)
        passing.take(event, at())
        position = passing.position
    got = follow(Resumption(position, first=first, last=first), log, cuts)
    ends = begins.get(first + 1, max(log) + 1)
    assert [e.id for e in got] == [n for n in range(begins[first], ends) if n > position.after]


@given(after=st.integers(0, 14))
def test_from_the_middle_of_a_log_to_its_end(after: int) -> None:
    """Of which turn an event is shows in what follows; else the server's 204 is the end."""
    log = whole_log(2)
    resumption = Course(session_id="s", turn=2).resumption(after)
    assert [event.id for event in follow(resumption, log, [])] == [n for n in log if n > after]
    assert resumption.over


def test_a_turn_that_only_failed_is_a_turn() -> None:
    """Its driver died before it wrote anything: there is one event, without a turn's number."""
    log = turn_log(1, 1, "a") | {4200: frame(4200, "error", message="Gone.", code="INTERRUPTED")}
    for after in (0, 2, 5):
        position = Position(after=after, turn=2 if after == 5 else 1)
        assert [e.id for e in follow(Resumption(position, first=2, last=2), log, [])] == [4200]


def test_what_answers_a_message_is_of_its_turn() -> None:
    """Even where the first event does not say so, and the reader had not read the turn before."""
    resumption = Resumption(Position(after=2, turn=1), first=2, last=2)
    resumption.connected(at(), turn=2)
    failed = frame(90, "error", message="No.", code="QUOTA_EXCEEDED")
    assert resumption.take(events(failed)[0], at()) is not None
    assert resumption.over


def test_such_an_answer_that_broke_at_once_tells_nothing_of_what_follows() -> None:
    """The next connection begins where the reader was, in the turn before."""
    log = whole_log(2)
    resumption = Resumption(Position(after=2, turn=1), first=2, last=2)
    resumption.connected(at(), turn=2)
    resumption.failed(BROKEN, at())
    got = follow(resumption, log, [])
    assert isinstance(got[0], ClaudeStartEvent)
    assert [event.id for event in got] == list(log)[7:]


def test_nothing_is_asked_behind_the_end() -> None:
    """The turn that was read to its end is over."""
    assert Resumption(Position(after=9, turn=2), first=1, last=1).over
    assert not Resumption(Position(after=9, turn=2), first=2, last=2).over


@pytest.mark.parametrize("number", ["", "x", "-1", "1.5", "٣", "9" * 20])
def test_an_event_without_a_number_is_no_event_of_a_log(number: str) -> None:
    """Somebody else's stream: told, and not asked for again."""
    resumption = Resumption(Position(), first=0, last=1)
    with pytest.raises(UpstreamError, match="no number") as caught:
        resumption.take(ServerSentEvent(data="{}", id=number), at())
    with pytest.raises(UpstreamError) as again:
        resumption.failed(caught.value, at())
    assert again.value is caught.value


# --- waits and ends -----------------------------------------------------------------------------


def test_waits_grow_and_the_attempts_end() -> None:
    """Doubled each time up to a bound, half of each by chance; then the error, with its facts."""
    for chance, part in ((0.0, 0.5), (0.999999, 1.0)):
        resumption = Resumption(Position(after=7), first=1, last=1)
        waits = [
            resumption.failed(BROKEN, at(chance=chance)) for _ in range(MAX_FRUITLESS_ATTEMPTS)
        ]
        full = [min(0.25 * 2**n, MAX_WAIT_SECONDS) * part for n in range(MAX_FRUITLESS_ATTEMPTS)]
        assert waits == pytest.approx(full, rel=1e-3)
        with pytest.raises(UpstreamError) as caught:
            resumption.failed(BROKEN, at())
        assert caught.value.code is Code.INTERRUPTED
        assert caught.value.details == {"lastEventId": 7}


def test_an_event_makes_patience_new() -> None:
    """A connection that breaks after each event is slow, and gets there."""
    log = {number: frame(number, "status", message="x") for number in range(1, 40)}
    resumption = Resumption(Position(), first=0, last=1)
    for data in log.values():
        resumption.connected(at())
        assert resumption.take(events(data)[0], at()) is not None
        assert resumption.failed(BROKEN, at()) < 0.25


def test_a_stream_that_ends_by_itself_is_asked_for_at_once() -> None:
    """After an event; one that ends without any is a failure like others."""
    resumption = Resumption(Position(), first=0, last=1)
    resumption.connected(at())
    resumption.take(events(frame(1, "status", message="x"))[0], at())
    assert resumption.ended(at(), retry_ms=None) == 0
    resumption.connected(at())
    assert resumption.ended(at(), retry_ms=None) > 0
    for _ in range(MAX_FRUITLESS_ATTEMPTS - 1):
        resumption.ended(at(), retry_ms=None)
    with pytest.raises(UpstreamError, match="without an event"):
        resumption.ended(at(), retry_ms=None)


def test_a_connection_that_lived_counts_as_good() -> None:
    """A silent agent behind a proxy that cuts what is silent; but not for ever."""
    resumption = Resumption(Position(), first=0, last=1)
    now = 0.0
    resumption.connected(at(now))
    while now + HEALTHY_SECONDS <= MAX_SILENCE_SECONDS:
        now += HEALTHY_SECONDS
        resumption.failed(BROKEN, at(now))
        resumption.connected(at(now))
    with pytest.raises(UpstreamError):
        resumption.failed(BROKEN, at(now + HEALTHY_SECONDS))


@pytest.mark.parametrize(
    ("retry_ms", "expected"), [(0, 0.0), (1_500, 1.5), (10**12, MAX_WAIT_SECONDS)]
)
def test_retry_is_obeyed_within_bounds(retry_ms: int, expected: float) -> None:
    """At least that long, after an end and after a failure."""
    resumption = Resumption(Position(), first=0, last=1)
    resumption.connected(at())
    resumption.take(events(frame(1, "status", message="x"))[0], at())
    assert resumption.ended(at(), retry_ms=retry_ms) == expected
    assert resumption.failed(BROKEN, at(), retry_ms=retry_ms) == max(expected, 0.125)


@pytest.mark.parametrize(("value", "expected"), [("0", 0.125), ("7", 7.0), ("120", 120.0)])
def test_retry_after_is_obeyed(value: str, expected: float) -> None:
    """Of 429 and 503, ours or the platform's."""
    for code, status in (("RATE_LIMIT_EXCEEDED", 429), ("UNAVAILABLE", 503)):
        error = error_for(code, "Later.", status=status, headers={"Retry-After": value})
        assert Resumption(Position(), first=0, last=1).failed(error, at()) == expected


@pytest.mark.parametrize(
    "error",
    [
        error_for("NOT_FOUND", "None such.", status=404),
        error_for("UNAUTHORIZED", "Who?", status=401),
        error_for("VALIDATION_ERROR", "after", status=400),
        error_for("RATE_LIMIT_EXCEEDED", "x", status=429, headers={"Retry-After": "3600"}),
        error_for("UNAVAILABLE", "x", status=503, headers={"Retry-After": "9" * 50}),
        UpstreamError("The data of a status event cannot be understood"),
        CallerError("x"),
    ],
)
def test_what_does_not_pass_is_raised_at_once(error: ClaudeRunError) -> None:
    """As it is: asking again would give the same."""
    with pytest.raises(ClaudeRunError) as caught:
        Resumption(Position(), first=0, last=1).failed(error, at())
    assert caught.value is error


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_waited_for(status: int) -> None:
    """Reading a log is free."""
    error = UpstreamError("x", status=status)
    assert Resumption(Position(), first=0, last=1).failed(error, at()) == 0.125


def test_a_negative_place_is_refused() -> None:
    """By the argument's name."""
    with pytest.raises(CallerError, match="after"):
        Course(session_id="s", turn=1).resumption(-1)
