"""What both clients share and no network is needed for: base URLs, waits, refusals, events."""

import json
from datetime import UTC, datetime

import pytest

from claude_run.answers import is_stream, refusal
from claude_run.endpoint import Endpoint, Timeouts
from claude_run.errors import (
    AgentError,
    CallerError,
    ClaudeRunError,
    Code,
    ConfigurationError,
    StoppedError,
    UpstreamError,
)
from claude_run.events import ErrorEvent, MessageEvent, parse_event
from claude_run.loopback import is_loopback
from claude_run.retry import MAX_ATTEMPTS, wait_after_answer, wait_to_reconnect

SECRET = "planted-0123456789"
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


# --- base URLs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "base", "loopback"),
    [
        ("https://api-x.run.app", "https://api-x.run.app", False),
        ("https://api-x.run.app/", "https://api-x.run.app", False),
        ("https://r-p.cloudfunctions.net/api/", "https://r-p.cloudfunctions.net/api", False),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443", True),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", True),
        ("http://localhost:8080", "http://localhost:8080", True),
        ("http://LOCALHOST:8080", "http://localhost:8080", True),
        ("http://[::1]:8080", "http://[::1]:8080", True),
    ],
)
def test_a_base_url_is_an_audience(url: str, base: str, loopback: bool) -> None:
    """Without a slash at its end, as Google's tokens name it."""
    assert Endpoint.parse(url) == Endpoint(base_url=base, loopback=loopback)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.test",
        "//api.test",
        "ftp://api.test",
        "file:///etc/passwd",
        "https://",
        "https:///run",
        f"https://user:{SECRET}@api.test",
        f"https://{SECRET}@api.test",
        f"https://api.test?key={SECRET}",
        f"https://api.test#{SECRET}",
        f"https://api.test:{SECRET}",
        f"https://[{SECRET}",
        f"http://{SECRET}.test",
        "http://10.0.0.1:8080",
        "http://0.0.0.0:8080",
        "http://127.0.0.1.evil.test",
        "http://localhost.evil.test",
        "http://127.1",
        "http://2130706433",
        f"http://127.0.0.1:80@{SECRET}.test",
        f"http://127.0.0.1\\@{SECRET}.test",
        f"http://{SECRET}.test\\@127.0.0.1",
        "http://127.0.0.1\n.evil.test",
    ],
)
def test_a_base_url_that_could_leak_is_refused(url: str) -> None:
    """Plain HTTP to anybody but this machine, credentials, other schemes; it is not repeated."""
    with pytest.raises(ConfigurationError) as caught:
        Endpoint.parse(url)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("host", ["localhost", "Localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_known(host: str) -> None:
    """The name, the whole of 127/8, and ::1."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "a", "localhost.", "0.0.0.1", "::", "10.0.0.1", "[::1]"])
def test_nothing_else_is_loopback(host: str) -> None:
    """What binds everywhere is not; what may resolve to anything is not."""
    assert not is_loopback(host)


def test_reading_waits_longer_than_two_pings() -> None:
    """The server's are 15 seconds apart; one may be lost in a pause."""
    assert Timeouts().read > 2 * 15
    assert Timeouts().connect == 10


# --- waits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (503, {}, 1.0),
        (429, {}, 1.0),
        (503, {"retry-after": "0"}, 0.0),
        (503, {"retry-after": "7"}, 7.0),
        (503, {"retry-after": "30"}, 30.0),
        (503, {"retry-after": "31"}, None),
        (503, {"retry-after": "9" * 5_000}, None),
        (503, {"retry-after": "Sun, 22 Nov 2026 12:00:05 GMT"}, 5.0),
        (503, {"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        (503, {"retry-after": "Sun, 22 Nov 2026 13:00:00 GMT"}, None),
        (503, {"retry-after": "soon"}, 1.0),
        (503, {"retry-after": "-1"}, 1.0),
        (503, {"retry-after": "٣"}, 1.0),
        (503, {"retry-after": "Sun, 22 Nov 2026 12:00:05"}, 1.0),
        (503, {"x-request-id": "ours"}, None),
        (429, {"x-request-id": "ours", "retry-after": "0"}, None),
        (200, {}, None),
        (400, {}, None),
        (500, {"retry-after": "0"}, None),
        (502, {}, None),
        (504, {}, None),
    ],
)
def test_only_the_platforms_refusal_may_be_asked_again(
    status: int, headers: dict[str, str], wait: float | None
) -> None:
    """After what it says, or a second; not after more than half a minute; never ours."""
    assert wait_after_answer(status, headers, 0, NOW) == wait


def test_attempts_are_bounded() -> None:
    """Three in all, whatever is said, further apart each time."""
    first, second = wait_to_reconnect(0), wait_to_reconnect(1)
    assert first is not None
    assert second is not None
    assert first < second
    for attempt in (MAX_ATTEMPTS - 1, MAX_ATTEMPTS, 1_000):
        assert wait_to_reconnect(attempt) is None
        assert wait_after_answer(503, {"retry-after": "0"}, attempt, NOW) is None


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "branch", "code"),
    [
        (
            400,
            {"error": "no", "code": "VALIDATION_ERROR", "details": {}},
            CallerError,
            "VALIDATION_ERROR",
        ),
        (408, {"error": "no", "code": "TIMEOUT", "details": {}}, StoppedError, "TIMEOUT"),
        (500, {"error": "no", "code": "AGENT_FAILED"}, AgentError, "AGENT_FAILED"),
        (
            503,
            {"error": "no", "code": "UNAVAILABLE", "details": None},
            UpstreamError,
            "UNAVAILABLE",
        ),
        (404, {"error": "NOT_FOUND", "message": "no", "timestamp": "t"}, CallerError, "NOT_FOUND"),
        (500, {"error": "INTERNAL_ERROR", "message": "no"}, UpstreamError, "INTERNAL_ERROR"),
        (418, {"error": "no", "code": "TEAPOT"}, UpstreamError, "UPSTREAM_ERROR"),
    ],
)
def test_an_envelope_becomes_the_exception_of_whose_fault_it_is(
    status: int, body: dict[str, object], branch: type[ClaudeRunError], code: str
) -> None:
    """Runner's and gateway's alike."""
    error = refusal(status, {"x-request-id": "r"}, json.dumps(body).encode())
    assert type(error) is branch
    assert (error.message, error.code, error.status, error.request_id) == ("no", code, status, "r")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        SECRET.encode(),
        b"<html>" + SECRET.encode(),
        b"[]",
        b"{}",
        b'"' + SECRET.encode() + b'"',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"error": 1, "code": "VALIDATION_ERROR"}',
        b'{"error": "' + SECRET.encode() + b'"}',
        b'{"error": {"code": 403, "message": "x"}}',
        b'{"code": "VALIDATION_ERROR", "message": "x"}',
    ],
)
@pytest.mark.parametrize("status", [400, 404, 500, 502, 503])
def test_a_body_that_is_not_ours_is_told_by_its_status(status: int, body: bytes) -> None:
    """Nothing of it is repeated."""
    error = refusal(status, {}, body)
    assert (type(error), error.status) == (UpstreamError, status)
    assert str(status) in error.message
    assert SECRET not in f"{error!r} {error.details}"


@pytest.mark.parametrize(("status", "code"), [(401, Code.UNAUTHORIZED), (403, Code.FORBIDDEN)])
def test_clouds_own_refusal_says_what_is_missing(status: int, code: Code) -> None:
    """The page that a caller without a grant gets is not ours, but it is their answer."""
    error = refusal(status, {}, b"<html><title>403 Forbidden</title>")
    assert (type(error), error.code) == (CallerError, code)
    assert "identity token" in error.message


def test_a_message_is_bounded() -> None:
    """A server cannot fill a log with one error."""
    error = refusal(400, {}, json.dumps({"error": "x" * 60_000, "code": "CONFLICT"}).encode())
    assert len(error.message) == 2_000


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (200, "text/event-stream", True),
        (200, "Text/Event-Stream; charset=utf-8", True),
        (200, "text/event-streams", False),
        (200, "application/json", False),
        (200, "", False),
        (206, "text/event-stream", False),
        (500, "text/event-stream", False),
    ],
)
def test_a_stream_is_known_by_status_and_type(status: int, kind: str, expected: bool) -> None:
    """Both: an error page that calls itself a stream is none."""
    assert is_stream(status, {"content-type": kind}) is expected


# --- events -------------------------------------------------------------------------------------


def test_a_message_keeps_its_line() -> None:
    """`raw` is what Claude Code printed, to the byte; `data` is for reading."""
    raw = '{ "type":"assistant",  "n": 1.0, "s": "\\ud800\u2028" }'
    assert parse_event("message", raw) == MessageEvent(data=json.loads(raw), raw=raw)


@pytest.mark.parametrize(
    ("code", "branch"),
    [("TIMEOUT", StoppedError), ("MAX_TURNS", AgentError), ("UPSTREAM_AUTH", UpstreamError)],
)
def test_an_error_event_can_be_raised(code: str, branch: type[ClaudeRunError]) -> None:
    """For whoever wants exceptions: with code, details and the request's id."""
    event = parse_event("error", json.dumps({"error": "no", "code": code, "details": {"a": 1}}))
    assert isinstance(event, ErrorEvent)
    error = event.as_exception(request_id="r")
    assert type(error) is branch
    assert (error.code, error.message, error.details, error.request_id) == (
        code,
        "no",
        {"a": 1},
        "r",
    )


def test_an_error_event_without_its_parts_is_still_an_error() -> None:
    """It must not be lost because something is missing in it."""
    empty = ErrorEvent(error="", code=Code.UPSTREAM_ERROR, details={})
    assert parse_event("error", "{}") == empty
    assert parse_event("error", '{"error": 1, "code": [], "details": "x"}') == empty
