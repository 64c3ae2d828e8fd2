"""What is remembered has a bound."""

import json

from runner.scripted.record import MAX_BODY, MAX_COUNTERS, MAX_REQUESTS, Record, Strikes


def test_the_record_keeps_the_newest_requests_as_they_came() -> None:
    """At most 200, newest last; targets, odd bytes and repeated headers included."""
    record = Record()
    for number in range(MAX_REQUESTS + 5):
        record.add("GET", b"/%d" % number, [], b"")
    headers = [(b"A", b"1"), (b"a", b"2"), (b"b", b"\xff")]
    record.add("POST", b"//host/%2e?x=\xe9", headers, b"\xff" + b"x" * MAX_BODY)
    requests = json.loads(record.to_json())
    assert len(requests) == MAX_REQUESTS
    assert requests[-2]["path"] == f"/{MAX_REQUESTS + 4}"
    assert requests[-1]["path"] == "//host/%2e?x=é"
    assert requests[-1]["headers"] == {"a": "1, 2", "b": "ÿ"}
    assert requests[-1]["size"] == MAX_BODY + 1
    assert len(requests[-1]["body"]) == MAX_BODY
    record.clear()
    assert json.loads(record.to_json()) == []


def test_a_fault_strikes_as_often_as_it_should() -> None:
    """Its number of times and then no more, for each key; without a number, always."""
    strikes = Strikes()
    assert [strikes.take("a", 2) for _ in range(4)] == [True, True, False, False]
    assert [strikes.take("b", 1) for _ in range(2)] == [True, False]
    assert all(strikes.take("c", None) for _ in range(10))


def test_counters_are_forgotten_when_there_are_too_many() -> None:
    """The oldest key gives way; memory does not grow with the number of conversations."""
    strikes = Strikes()
    for number in range(MAX_COUNTERS + 1):
        strikes.take(str(number), 1)
    assert strikes.take("0", 1)
    assert not strikes.take(str(MAX_COUNTERS), 1)
