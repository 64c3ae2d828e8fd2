"""The gateway's session routes, as calls to make, and what their answers mean. Pure."""

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from claude_run import answers
from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from claude_run.session_status import Page, SessionStatus, parse_page, parse_status
from claude_run.transport import Answer, Call
from claude_run.wire import MAX_BODY_BYTES, build
from claude_run.wire_sessions import (
    RESERVED_SESSION_IDS,
    SESSION_ID_PATTERN,
    MessageRequest,
    SessionOptions,
    StartRequest,
    TurnRequest,
)

# The largest that the gateway gives.
MAX_PAGE = 100
_STREAM = {"Accept": "text/event-stream"}

# The server's clock in a `Date` header counts seconds, and two instances' differ a little.
_CLOCK_SLACK = timedelta(seconds=5)
# Answers of the platform after which nobody knows how far the request came.
_LEFT_OPEN = frozenset({500, 502, 504})


def start(
    prompt: str,
    *,
    session_id: str,
    repository: str | Mapping[str, Any] | None,
    options: Mapping[str, object],
) -> Call:
    """`POST /interactive/start`, or `CallerError`. Options and fields are in either spelling."""
    given: dict[str, object] = {"session_id": session_id, **options}
    if isinstance(repository, str):
        given["repository"] = {"url" if "://" in repository else "name": repository}
    elif repository is not None:
        given["repository"] = repository
    return _post("/interactive/start", _request(StartRequest, prompt, given))


def message(session_id: str, prompt: str, options: Mapping[str, object]) -> Call:
    """`POST /interactive/{id}/message`, or `CallerError`."""
    return _post(f"/interactive/{session_id}/message", _request(MessageRequest, prompt, options))


def events(session_id: str, *, after: int) -> Call:
    """`GET /interactive/{id}/events`, behind an event; 0: from the first."""
    last = {"Last-Event-ID": str(after)} if after else {}
    return Call(method="GET", path=f"/interactive/{session_id}/events", headers=_STREAM | last)


def status(session_id: str) -> Call:
    """`GET /interactive/{id}`."""
    return Call(method="GET", path=f"/interactive/{session_id}")


def cancel(session_id: str) -> Call:
    """`DELETE /interactive/{id}`."""
    return Call(method="DELETE", path=f"/interactive/{session_id}")


def page(*, limit: int, token: str | None) -> Call:
    """`GET /interactive`."""
    query = {"limit": str(min(limit, MAX_PAGE))} | ({"pageToken": token} if token else {})
    return Call(method="GET", path=f"/interactive?{urlencode(query)}")


def checked_id(session_id: str) -> str:
    """The id, if it is one: it becomes part of a path."""
    if not re.fullmatch(SESSION_ID_PATTERN, session_id) or session_id in RESERVED_SESSION_IDS:
        rule = "is none that a session can have"
        raise CallerError(f"id: {rule}", details={"field": "id", "rule": rule})
    return session_id


def _request(model: type[TurnRequest], prompt: str, given: Mapping[str, object]) -> TurnRequest:
    """What a Python caller gave side by side, as the API nests it."""
    fields = {name: value for name, value in given.items() if not _is_option(name)}
    options = {name: value for name, value in given.items() if _is_option(name)}
    if options:
        # By itself, so that a refusal names the option as its caller did.
        fields["options"] = build(SessionOptions, options)
    return build(model, {"prompt": prompt, **fields})


def _is_option(name: str) -> bool:
    fields = SessionOptions.model_fields
    return name in fields or any(name == field.alias for field in fields.values())


def _post(path: str, request: TurnRequest) -> Call:
    data = json.dumps(request.to_json(), separators=(",", ":")).encode()
    if len(data) > MAX_BODY_BYTES:
        raise CallerError(
            f"The request is larger than {MAX_BODY_BYTES} bytes", code=Code.PAYLOAD_TOO_LARGE
        )
    return Call(method="POST", path=path, headers=_STREAM, body=data)


# --- answers ------------------------------------------------------------------------------------


def refused(answer: Answer) -> ClaudeRunError:
    """What an answer without a stream means, where a stream was asked for."""
    return answers.no_stream(answer.status, answer.headers, answer.body)


def read_status(answer: Answer) -> SessionStatus:
    """The session of an answer, or what it is instead."""
    return parse_status(_object(answer))


def read_page(answer: Answer) -> Page:
    """The page of an answer, or what it is instead."""
    return parse_page(_object(answer))


def following(page: Page, token: str | None) -> str | None:
    """The token of the page behind `page`, which `token` led to; None: that was the last."""
    if page.next_token is not None and page.next_token == token:
        raise UpstreamError("The server's list of sessions goes round in a circle")
    return page.next_token


def check_done(answer: Answer) -> None:
    """Raise what an answer that is no success means."""
    if not 200 <= answer.status < 300:
        raise answers.refusal(answer.status, answer.headers, answer.body)


def _object(answer: Answer) -> dict[str, Any]:
    check_done(answer)
    return answers.object_of(answer.status, answer.headers, answer.body)


# --- did it begin? ------------------------------------------------------------------------------


def left_open(error: ClaudeRunError) -> bool:
    """Whether a POST that failed like this may have begun something."""
    if not isinstance(error, UpstreamError):
        return False
    if error.status is None:
        return error.code is Code.INTERRUPTED
    return error.status in _LEFT_OPEN and error.request_id is None


def has_begun(answer: Answer, *, turn: int, ours: bool, elapsed: float) -> bool:
    """Whether the session's turn is there, by an answer to `status`.

    `ours`: nobody else can have chosen the session's id. A first turn under an id that somebody
    chose may be of an earlier session, so it counts only if it was made in the `elapsed` seconds
    since we asked, by the server's own clock.
    """
    if answer.status != 200:
        return False
    found = read_status(answer)
    if found.current_turn < turn:
        return False
    if ours:
        return True
    now = _date(answer)
    asked = now - timedelta(seconds=elapsed) - _CLOCK_SLACK if now else None
    return asked is not None and found.created_at is not None and found.created_at >= asked


def _date(answer: Answer) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers.get("date", ""))
    except (TypeError, ValueError):
        return None


def unknown(error: ClaudeRunError, session_id: str) -> UpstreamError:
    """That a POST broke, and nothing was seen of what it asked for."""
    return UpstreamError(
        f"{error.message}: session {session_id} shows nothing of it yet",
        code=error.code,
        details={"sessionId": session_id},
        status=error.status,
        request_id=error.request_id,
    )
