"""Text that comes within a moment is one event; nothing is lost, doubled or out of order."""

from datetime import UTC, datetime
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sessions import events
from gateway.sessions.bounds import MAX_VALUE_BYTES, size
from gateway.sessions.events import SessionEvent
from gateway.sessions.joiner import JOIN_SECONDS, Joiner

ROUNDING = 1e-9  # of a monotonic clock, which is a float
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
STATUS = events.status("between")
# Text that grows in JSON, half a surrogate pair, and pieces of which few make a whole event.
TEXTS = st.one_of(
    st.text(st.characters(), min_size=1, max_size=9),
    st.sampled_from(["\0", "\ud800", "\udc00", "é" * 20_000, "\n" * 30_000, "a" * 70_000]),
)
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.004, JOIN_SECONDS, 1.0]), st.one_of(TEXTS, st.none()))
)


def delta(text: str) -> SessionEvent:
    [event] = events.claude_delta(1, text)
    return event


def contents(found: list[SessionEvent]) -> list[str]:
    return [event.data["content"] for event in found if event.name == "claude_delta"]


def joined(found: list[SessionEvent]) -> list[tuple[bool, str]]:
    """The text between the other events, as one, and how many of those there were."""
    return [
        (is_text, "".join(contents(run)) if is_text else str(len(run)))
        for is_text, group in groupby(found, lambda event: event.name == "claude_delta")
        for run in [list(group)]
    ]


@given(STEPS)
def test_text_and_order_are_kept(steps: list[tuple[float, str | None]]) -> None:
    """Whatever comes when: joined, it is what came, each other event between the same words."""
    joiner, now = Joiner(), 100.0
    came: list[SessionEvent] = []
    out: list[SessionEvent] = []
    for pause, text in steps:
        now += pause
        pushed = [STATUS] if text is None else events.claude_delta(1, text)
        came += pushed
        out += joiner.push(pushed, now)
        due = joiner.due(now)
        assert due is None or 0 <= due <= JOIN_SECONDS + ROUNDING
    out += joiner.flush()
    assert joiner.due(now) is None
    assert joined(out) == joined(came)
    assert all(size(text) <= MAX_VALUE_BYTES for text in contents(out))


@given(STEPS)
def test_no_text_waits_longer_than_it_may(steps: list[tuple[float, str | None]]) -> None:
    """Who asks when it is due gets every text within its time, and one more event in a window."""
    joiner, now = Joiner(), 0.0
    waiting_since: float | None = None
    for pause, text in steps:
        now += pause
        if waiting_since is not None and now >= waiting_since + JOIN_SECONDS + ROUNDING:
            assert joiner.due(now) == 0
            assert len(joiner.flush()) == 1
        joiner.push([STATUS] if text is None else events.claude_delta(1, text), now)
        due = joiner.due(now)
        waiting_since = None if due is None else now + due - JOIN_SECONDS


def test_a_turns_first_text_goes_at_once() -> None:
    """Somebody waits for it; the next ones wait for each other."""
    joiner = Joiner()
    assert joiner.push([STATUS], 0.0) == [STATUS]
    assert contents(joiner.push([delta("a")], 0.0)) == ["a"]
    assert joiner.push([delta("b")], 0.001) == []
    assert joiner.push([delta("c")], 0.002) == []
    assert joiner.due(0.002) == pytest.approx(JOIN_SECONDS - 0.001)
    assert contents(joiner.flush()) == ["bc"]


def test_a_stream_without_a_pause_still_goes() -> None:
    """Text that keeps coming is due every 10 ms, however much there is."""
    joiner = Joiner()
    sent = []
    for number in range(1_001):
        sent.append(joiner.push([delta("x")], number / 1_000))
        sent.append(joiner.flush_due(number / 1_000))
    assert 90 <= sum(map(len, sent)) <= 102
    assert max(len(text) for found in sent for text in contents(found)) <= 12


def test_other_events_do_not_overtake_text() -> None:
    """What waits goes before them, in the same call."""
    joiner = Joiner()
    joiner.push([delta("a")], 0.0)
    out = joiner.push([delta("b"), STATUS, delta("c")], 0.001)
    assert [event.name for event in out] == ["claude_delta", "status"]
    assert contents(joiner.flush()) == ["c"]


def test_halves_of_a_character_meet() -> None:
    """A pair of surrogates that came in two deltas is a character again in the joined text."""
    joiner = Joiner()
    joiner.push([delta("first")], 0.0)
    joiner.push([delta("\ud83d"), delta("\ude00")], 0.001)
    [event] = joiner.flush()
    assert events.encode(event, id=1, timestamp=MOMENT).count(b"\\ud83d\\ude00") == 1
