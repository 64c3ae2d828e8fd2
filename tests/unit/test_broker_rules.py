"""What passes the broker, byte for byte."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.broker.rules import (
    QUERIES,
    TARGETS,
    backward_headers,
    onward_headers,
    onward_url,
    permitted,
    run_token,
)


@pytest.mark.parametrize("path", sorted(TARGETS))
@pytest.mark.parametrize("query", sorted(QUERIES))
def test_what_claude_code_needs_is_permitted(path: bytes, query: bytes) -> None:
    """Two paths, with the one query that it sends or none."""
    assert permitted("POST", path, query)
    assert not permitted("GET", path, query)
    assert not permitted("post", path, query)


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_nothing_else_is(path: bytes, query: bytes) -> None:
    """Whatever the bytes are."""
    assert permitted("POST", path, query) is (path in TARGETS and query in QUERIES)


@given(
    st.sampled_from(sorted(TARGETS)),
    st.integers(0, 30),
    st.sampled_from([*string.punctuation, " ", "\t", "\r", "\n", "\0", "%2f", "..", "\xa0"]),
)
def test_a_byte_more_is_another_path(path: bytes, at: int, more: str) -> None:
    """Wherever it stands."""
    assert not permitted("POST", path[:at] + more.encode("latin-1") + path[at:], b"")


def test_a_permitted_request_goes_to_the_upstream() -> None:
    """Behind its base path, with its query."""
    assert onward_url("https://a.example/base", b"/v1/messages", b"beta=true") == (
        "https://a.example/base/v1/messages?beta=true"
    )
    assert onward_url("https://a.example", b"/v1/messages", b"") == "https://a.example/v1/messages"


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([(b"x-api-key", b"run-a")], "run-a"),
        ([(b"X-Api-Key", b"run-a")], "run-a"),
        ([(b"authorization", b"Bearer run-a")], "run-a"),
        ([(b"authorization", b"bearer run-a")], "run-a"),
        ([(b"x-api-key", b"\xff")], "\xff"),
        ([], None),
        ([(b"authorization", b"Basic run-a")], None),
        ([(b"authorization", b"run-a")], None),
        ([(b"x-api-key", b"run-a"), (b"x-api-key", b"run-a")], None),
        ([(b"x-api-key", b"run-a"), (b"authorization", b"Bearer run-a")], None),
    ],
)
def test_a_request_has_one_token(headers: list[tuple[bytes, bytes]], token: str | None) -> None:
    """Two, even the same twice, are none: it is not for us to choose."""
    assert run_token(headers) == token


def test_headers_onward_are_those_of_the_messages_api() -> None:
    """No credential, no cookie, no host, nothing about the connection."""
    kept = [
        (b"accept", b"*/*"),
        (b"content-length", b"2"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"claude-cli"),
        (b"anthropic-version", b"2023-06-01"),
        (b"anthropic-beta", b"x"),
        (b"x-stainless-lang", b"js"),
        (b"x-app", b"cli"),
        (b"x-claude-code-session-id", b"s"),
    ]
    dropped = [
        (name, b"x")
        for name in (
            b"x-api-key", b"authorization", b"proxy-authorization", b"cookie", b"host",
            b"connection", b"transfer-encoding", b"te", b"upgrade", b"expect", b"forwarded",
            b"x-forwarded-for", b"x-forwarded-host", b"via", b"referer", b"content-encoding",
        )
    ]  # fmt: skip
    assert onward_headers([*dropped, *kept]) == kept


def test_headers_backward_are_those_that_steer_claude_code() -> None:
    """Names in lower case; no cookie, no location."""
    headers = [
        (b"Content-Type", b"text/event-stream"),
        (b"Request-Id", b"req_1"),
        (b"Retry-After", b"3"),
        (b"Anthropic-Ratelimit-Tokens-Limit", b"5"),
        (b"Set-Cookie", b"a=b"),
        (b"Location", b"https://evil.example"),
        (b"Content-Length", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"anthropic-organization-id", b"o"),
    ]
    names = [name for name, _ in backward_headers(headers, status=200)]
    assert names == [
        b"content-type", b"request-id", b"retry-after", b"anthropic-ratelimit-tokens-limit",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "final"), [(401, True), (403, True), (429, False), (529, False)]
)
def test_a_refused_credential_is_not_tried_again(status: int, final: bool) -> None:
    """Whatever the upstream says about that."""
    headers = backward_headers([(b"x-should-retry", b"true")], status=status)
    assert headers == [(b"x-should-retry", b"false" if final else b"true")]
