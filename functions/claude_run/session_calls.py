"""The gateway's session routes, as calls to make, and what their answers mean. Pure."""

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from claude_run import answers
from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from claude_run.session_status import Page, SessionStatus, parse_page, parse_status
from claude_run.transport import Answer, Call
from claude_run.wire import MAX_BODY_BYTES

# As the gateway has them; two words are its own.
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RESERVED = frozenset({"start", "status"})
MAX_PAGE = 100

# Beside the prompt; whatever else is given is one of `options`.
_OF_BODY = frozenset({"anthropicApiKey", "anthropicBaseUrl", "githubToken"})
_NAMES = {"create_pr": "createPR"}
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
    """`POST /interactive/start`. Options are in either spelling; the gateway checks them."""
    body = {"sessionId": checked_id(session_id), **_body(prompt, options)}
    if repository is not None:
        body["repository"] = _repository(repository)
    return _post("/interactive/start", body)


def message(session_id: str, prompt: str, options: Mapping[str, object]) -> Call:
    """`POST /interactive/{id}/message`."""
    return _post(f"/interactive/{session_id}/message", _body(prompt, options))


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
    if not _SESSION_ID.fullmatch(session_id) or session_id in _RESERVED:
        rule = "must be 1 to 64 letters, digits, - or _, and neither `start` nor `status`"
        raise CallerError(f"session_id: {rule}", details={"field": "session_id", "rule": rule})
    return session_id


def _body(prompt: str, given: Mapping[str, object]) -> dict[str, Any]:
    fields = {_NAMES.get(name) or to_camel(name): value for name, value in given.items()}
    fields = {name: value for name, value in fields.items() if value is not None}
    options = {name: value for name, value in fields.items() if name not in _OF_BODY}
    body = {name: value for name, value in fields.items() if name in _OF_BODY}
    return {"prompt": prompt, **body, **({"options": options} if options else {})}


def _repository(given: str | Mapping[str, Any]) -> Any:  # noqa: ANN401 - what the gateway checks
    if isinstance(given, str):
        return {"url" if "://" in given else "name": given}
    return given


def _post(path: str, body: Mapping[str, Any]) -> Call:
    try:
        data = json.dumps(body, separators=(",", ":"), allow_nan=False, default=_json).encode()
    except (TypeError, ValueError, RecursionError):
        raise CallerError("An option is not JSON") from None
    if len(data) > MAX_BODY_BYTES:
        raise CallerError(
            f"The request is larger than {MAX_BODY_BYTES} bytes", code=Code.PAYLOAD_TOO_LARGE
        )
    return Call(method="POST", path=path, headers=_STREAM, body=data)


def _json(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError


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
