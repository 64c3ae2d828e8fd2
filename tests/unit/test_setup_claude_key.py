"""A Claude key is stored when it looks like one and works."""

import pytest

from claude_run.errors import CallerError, ClaudeRunError, Code
from doubles.recording_server import Asked, recording_server
from gateway.setup.claude_key import OAUTH_BETA, check_form, check_works

KEY = "sk-ant-api03-planted-0123456789_ABC"
TOKEN = "sk-ant-oat01-planted-0123456789_ABC"
MODELS = b'{"data": [], "has_more": false, "first_id": null, "last_id": null}'


def http(status: int, body: bytes, *headers: str) -> bytes:
    """An answer, as bytes."""
    head = [f"HTTP/1.1 {status} X", "Content-Type: application/json", *headers]
    return "\r\n".join([*head, f"Content-Length: {len(body)}"]).encode() + b"\r\n\r\n" + body


def refusal(status: int, message: str, *headers: str) -> bytes:
    """As Anthropic refuses; the key may well stand in it."""
    body = f'{{"type":"error","error":{{"type":"x","message":"{message} {KEY}"}}}}'
    return http(status, body.encode(), *headers)


def asked_with(key: str, answer: bytes) -> tuple[list[Asked], ClaudeRunError | None]:
    """What Anthropic is asked, and what that meant; no error tells the key."""
    with recording_server(lambda _asked, send: send(answer)) as server:
        error: ClaudeRunError | None = None
        try:
            check_works(key, server.url)
        except ClaudeRunError as raised:
            error = raised
    if error is not None:
        # Nor what a log would show of where it came from.
        told = f"{error!r} {error.message} {error.details} {error.__cause__!r}"
        assert "planted" not in told
        assert error.__context__ is None or error.__suppress_context__
    return server.asked, error


@pytest.mark.parametrize(
    "text", ["", "sk-ant-", "sk-ant-short", "sk-proj-0123456789abcdef", f"{KEY} x", f"{KEY}é"]
)
def test_what_is_no_key(text: str) -> None:
    """The sentence names the field and the rule, and not what was sent."""
    for wrong in (text, text + "\x00", KEY + "x" * 5_000):
        with pytest.raises(
            CallerError, match=r'^anthropicApiKey: must begin with "sk-ant-"'
        ) as got:
            check_form(wrong)
        assert "planted" not in got.value.message


def test_what_may_be_one() -> None:
    """A key or a token, as somebody has pasted it."""
    assert check_form(f" {KEY}\r\n") == KEY
    assert check_form(TOKEN) == TOKEN


def test_a_key_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for with itself alone, whatever the environment says."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-other")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "sk-ant-oat-other")
    asked, error = asked_with(KEY, http(200, MODELS))
    assert error is None
    assert [one.line.partition("?")[0] for one in asked] == ["GET /v1/models"]
    # How a key is presented is the client's to know; both headers are Anthropic's.
    shown = [*asked[0].all("x-api-key"), *asked[0].all("authorization")]
    assert [one.removeprefix("Bearer ") for one in shown] == [KEY]
    assert asked[0].all("anthropic-beta") == []


def test_a_token_that_works() -> None:
    """It goes where tokens go, with what Anthropic wants beside it."""
    asked, error = asked_with(TOKEN, http(200, MODELS))
    assert error is None
    assert asked[0].all("authorization") == [f"Bearer {TOKEN}"]
    assert asked[0].all("anthropic-beta") == [OAUTH_BETA]
    assert asked[0].all("x-api-key") == []


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "OAuth token does not meet scope requirement user:profile"),
        (400, "This credential is only authorized for use with Claude Code"),
    ],
)
def test_a_token_for_claude_code_alone(status: int, message: str) -> None:
    """It may not list models, which says that it is known; no key has such a reason."""
    assert asked_with(TOKEN, refusal(status, message))[1] is None
    assert asked_with(KEY, refusal(status, message))[1] is not None


@pytest.mark.parametrize("key", [KEY, TOKEN])
@pytest.mark.parametrize("status", [401, 402, 403])
def test_one_that_does_not_work(key: str, status: int) -> None:
    """It is the caller's fault."""
    asked, error = asked_with(key, refusal(status, "no"))
    assert isinstance(error, CallerError)
    assert error.http_status == 400
    assert len(asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        refusal(429, "slow down"),
        refusal(500, "oops"),
        refusal(529, "overloaded"),
        refusal(404, "no"),
        http(307, b"", "Location: /elsewhere"),
        http(200, b"<html>"),
        http(200, b"[]"),
        b"nonsense",
        b"",
    ],
)
def test_whether_it_works_cannot_be_said(answer: bytes) -> None:
    """Then nothing is stored: 503, and when to come back. It is asked once, and goes nowhere."""
    asked, error = asked_with(KEY, answer)
    assert error is not None
    assert (error.code, error.http_status) == (Code.UNAVAILABLE, 503)
    assert error.headers["Retry-After"]
    assert len(asked) == 1


def test_nobody_there() -> None:
    """Anthropic cannot be reached."""
    with recording_server() as server:
        url = server.url
    with pytest.raises(ClaudeRunError) as caught:
        check_works(KEY, url)
    assert caught.value.code is Code.UNAVAILABLE
