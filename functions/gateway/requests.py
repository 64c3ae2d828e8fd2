"""What callers ask of the gateway, checked whole, and what that means for the runner. Pure.

Every refusal is a `CallerError` that names the field and the rule.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic.alias_generators import to_camel

from claude_run.errors import CallerError, Code
from claude_run.strictjson import loads_object
from claude_run.wire import Wire, parse
from claude_run.wire_deliveries import DELIVERY_ID_PATTERN
from claude_run.wire_sessions import (
    BASE_URL,
    RESERVED_SESSION_IDS,
    SESSION_ID_PATTERN,
    MessageRequest,
    SessionId,
    SessionOptions,
    StartRequest,
    TurnRequest,
)
from gateway.paging import place_of
from gateway.store import Cursor

__all__ = [
    "ListQuery",
    "MessageRequest",
    "StartRequest",
    "parse_delivery_id",
    "parse_last_event_id",
    "parse_list",
    "parse_message",
    "parse_session_id",
    "parse_start",
    "parse_status",
    "to_run_options",
]

DEFAULT_PAGE = 20
MAX_PAGE = 100
# The largest number that a store and a JavaScript client's 64-bit integer both take.
MAX_EVENT_ID = 2**63 - 1
# Where a stored key belongs. Whoever wants another upstream brings the key for it.
STORED_KEY_UPSTREAM = "https://api.anthropic.com"

# The others are the gateway's own business.
_PASSED_ON = tuple(
    name for name in SessionOptions.model_fields if name not in ("create_pr", "detach")
)
_EVENT_ID = re.compile(r"[0-9]{1,19}")
_PAGE_LIMIT = re.compile(r"[0-9]{1,3}")
_DELIVERY_ID = re.compile(DELIVERY_ID_PATTERN.removeprefix("^").removesuffix("$"))
_SESSION_ID = re.compile(SESSION_ID_PATTERN.removeprefix("^").removesuffix("$"))

Query = Mapping[str, Sequence[str]]
T = TypeVar("T", bound=TurnRequest)


def parse_start(body: bytes) -> StartRequest:
    """The body of `POST /interactive/start`."""
    return _checked(parse(StartRequest, loads_object(body)))


def parse_message(body: bytes) -> MessageRequest:
    """The body of `POST /interactive/{id}/message`."""
    return _checked(parse(MessageRequest, loads_object(body)))


def _checked(request: T) -> T:
    for name in ("anthropic_api_key", "github_token"):
        if request.options.detach and getattr(request, name) is not None:
            raise _refusal(
                to_camel(name), "cannot be given with options.detach: it would have to be stored"
            )
    return request


class _StatusQuery(Wire):
    session_id: SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """A page: so many entries behind a place; from the newest without one."""

    limit: int
    after: Cursor | None


def parse_status(query: Query) -> str:
    """The session's id of `GET /interactive/status`."""
    return parse(_StatusQuery, _single(query)).session_id


def parse_list(query: Query) -> ListQuery:
    """The page that `GET /interactive` is asked for."""
    given = _single(query)
    if unknown := given.keys() - {"limit", "pageToken"}:
        raise _refusal(min(unknown)[:200], "is not known")
    limit, token = given.get("limit", str(DEFAULT_PAGE)), given.get("pageToken")
    if not _PAGE_LIMIT.fullmatch(limit) or not 1 <= int(limit) <= MAX_PAGE:
        raise _refusal("limit", f"must be a number from 1 to {MAX_PAGE}")
    try:
        after = place_of(token) if token is not None else None
    except ValueError:
        raise _refusal("pageToken", "is none that this gateway gave") from None
    return ListQuery(limit=int(limit), after=after)


def parse_flag(name: str, query: Query) -> bool:
    """The one parameter that a query may have: `true`, `false`, or not there."""
    given = _single(query)
    if unknown := given.keys() - {name}:
        raise _refusal(min(unknown)[:200], "is not known")
    if (text := given.get(name, "false")) not in ("true", "false"):
        raise _refusal(name, "must be true or false")
    return text == "true"


def parse_session_id(text: str) -> str:
    """The session's id of a path; NOT_FOUND for what no session can be called."""
    if not _SESSION_ID.fullmatch(text) or text in RESERVED_SESSION_IDS:
        raise CallerError("There is no such session.", code=Code.NOT_FOUND)
    return text


def parse_delivery_id(text: str) -> str:
    """The delivery's id of a path; NOT_FOUND for what no delivery can be called."""
    if not _DELIVERY_ID.fullmatch(text):
        raise CallerError("There is no such delivery.", code=Code.NOT_FOUND)
    return text


def parse_last_event_id(header: str | None) -> int:
    """The number after which a stream goes on; 0 for all of it."""
    if header is None:
        return 0
    if not _EVENT_ID.fullmatch(header) or int(header) > MAX_EVENT_ID:
        raise _refusal("Last-Event-ID", "must be the id of an event, a decimal number")
    return int(header)


def to_run_options(
    request: TurnRequest,
    *,
    earlier: Mapping[str, Any],
    repository: Mapping[str, Any] | None,
    resume: Mapping[str, Any] | None,
    changes: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The options for `Client.run`: those of a `RunRequest`, by their Python names.

    `earlier` is what `kept_options` gave for the turns before, `repository` the session's. The
    caller's secrets are among the options, as `SecretStr`; the stored key is the caller's to add
    where `anthropic_api_key` is missing.
    """
    kept = request.kept_options(earlier)
    base_url = kept.pop(BASE_URL, None)
    if isinstance(request, StartRequest):
        repository = request.public_repository()
    if request.github_token is not None and repository is None:
        raise _refusal("githubToken", "is given, and the session has no repository")
    if base_url is not None and not request.own_key and base_url.rstrip("/") != STORED_KEY_UPSTREAM:
        raise CallerError(
            "anthropicBaseUrl: the stored key is not for this server. Send anthropicApiKey too.",
            code=Code.NO_CREDENTIAL,
            details={"field": "anthropicApiKey"},
        )
    options = SessionOptions.model_validate(kept, extra="ignore")
    given = {
        **{name: getattr(options, name) for name in _PASSED_ON},
        "anthropic_base_url": base_url,
        "anthropic_api_key": request.anthropic_api_key,
        "github_token": request.github_token,
        "repository": repository,
        "resume": resume,
        "changes": changes,
    }
    return {
        "want_transcript": True,
        **{name: value for name, value in given.items() if value is not None},
    }


def _single(query: Query) -> dict[str, str]:
    for name, values in query.items():
        if len(values) != 1:
            raise _refusal(name[:200], "may be given only once")
    return {name: values[0] for name, values in query.items()}


def _refusal(field: str, rule: str) -> CallerError:
    return CallerError(f"{field}: {rule}", details={"field": field, "rule": rule})
