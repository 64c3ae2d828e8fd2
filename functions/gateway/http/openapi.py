"""`/openapi.json`: the routes, with the schemas of the models that check and make the bodies."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from claude_run import __version__
from claude_run.wire import Changes, RunRequest, RunResult, TranscriptPart
from claude_run.wire_deliveries import (
    DELIVERY_ID_PATTERN,
    DeliveryDetail,
    DeliveryList,
    ReplayRequest,
    SweepView,
)
from claude_run.wire_sessions import (
    EVENT_DATA,
    RESERVED_SESSION_IDS,
    SESSION_ID_PATTERN,
    ErrorAnswer,
    MessageRequest,
    SessionAccepted,
    SessionList,
    SessionView,
    StartRequest,
)
from gateway.http import routes, shapes
from gateway.paging import PAGE_PATTERN
from gateway.requests import MAX_EVENT_ID, MAX_PAGE

_REF = "#/components/schemas/{model}"
_STREAM = "text/event-stream"
_JSON = "application/json"
_TEXT = "text/plain"

_REASONS: Mapping[int, str] = {
    200: "As asked.",
    202: "Accepted: a worker does it.",
    204: "Over, and nothing newer.",
    400: "The request is wrong: the message names the field and the rule.",
    401: "No valid identity token.",
    403: "The caller, the Host or the Origin is not allowed.",
    404: "There is nothing here for this caller.",
    405: "Another method.",
    408: "The run took too long.",
    409: "It exists, or is still processing.",
    413: "The body, or the answer, is too large.",
    415: "The body is not application/json.",
    429: "Too many requests, or the quota is exhausted: see Retry-After.",
    500: "Something went wrong; of a run: it failed.",
    503: "Not now: see Retry-After.",
}
_NOT_IN_IDS = str.maketrans({"/": "-", "{": None, "}": None})
# Before any route is reached.
_ALWAYS = (400, 401, 403, 405, 415, 429, 500, 503)
_WITH_BODY = (413,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `answers`: content types of 200, with a model or a mere text.

    `accepted`: the body of 202.
    """

    method: str
    path: str
    summary: str
    answers: Mapping[str, type[BaseModel] | None]
    body: type[BaseModel] | None = None
    parameters: tuple[dict[str, Any], ...] = ()
    accepted: type[BaseModel] | None = None
    also: tuple[int, ...] = ()
    errors: tuple[type[BaseModel], ...] = (ErrorAnswer,)


_SESSION_EVENTS: Mapping[str, type[BaseModel] | None] = EVENT_DATA
# `message` is what Claude Code prints, and its own.
_RUN_EVENTS: Mapping[str, type[BaseModel] | None] = {
    "message": None,
    "warning": shapes.RunWarning,
    "transcript": TranscriptPart,
    "changes": Changes,
    "error": shapes.RunError,
    "done": None,
}


def _query(name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


_ID = {
    "type": "string",
    "pattern": SESSION_ID_PATTERN,
    "not": {"enum": sorted(RESERVED_SESSION_IDS)},
}
_PATH_ID = {"name": "id", "in": "path", "required": True, "schema": _ID}
_PAGE = (
    _query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}),
    _query("pageToken", {"type": "string", "pattern": PAGE_PATTERN}),
)
_PATH_DELIVERY_ID = {
    "name": "deliveryId",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": DELIVERY_ID_PATTERN},
}
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event received: the stream goes on after it.",
    "schema": {"type": "integer", "minimum": 0, "maximum": MAX_EVENT_ID},
}

OPERATIONS = (
    Operation(
        method="post",
        path=routes.START,
        summary="Start a session and stream it",
        body=StartRequest,
        answers={_STREAM: None},
        accepted=SessionAccepted,
        also=(409,),
    ),
    Operation(
        method="post",
        path=routes.MESSAGE,
        summary="Send a session its next prompt and stream the turn",
        body=MessageRequest,
        answers={_STREAM: None},
        accepted=SessionAccepted,
        parameters=(_PATH_ID,),
        also=(404, 409),
    ),
    Operation(
        method="get",
        path=routes.EVENTS,
        summary="Stream a session's events, from Last-Event-ID on",
        answers={_STREAM: None},
        parameters=(_PATH_ID, _LAST_EVENT_ID),
        also=(204, 404),
    ),
    Operation(
        method="get",
        path=routes.LIST,
        summary="The caller's sessions, newest first",
        answers={_JSON: SessionList},
        parameters=_PAGE,
    ),
    Operation(
        method="get",
        path=routes.STATUS,
        summary="A session's status",
        answers={_JSON: SessionView},
        parameters=(_query("sessionId", _ID, required=True),),
        also=(404,),
    ),
    Operation(
        method="get",
        path=routes.SESSION,
        summary="A session",
        answers={_JSON: SessionView},
        parameters=(_PATH_ID,),
        also=(404,),
    ),
    Operation(
        method="delete",
        path=routes.SESSION,
        summary="Stop a session; its log is kept",
        answers={_JSON: SessionView},
        parameters=(_PATH_ID,),
        also=(404,),
    ),
    Operation(
        method="post",
        path=routes.RUN,
        summary="One run, without a session: the runner's answer",
        body=RunRequest,
        answers={_STREAM: None, _JSON: RunResult},
        also=(408, 409),
        errors=(shapes.RunError, RunResult),
    ),
    Operation(
        method="get",
        path=routes.HEALTH,
        summary="How the service is",
        answers={_JSON: shapes.HealthView},
        errors=(ErrorAnswer, shapes.HealthView),
    ),
    Operation(
        method="get",
        path=routes.METRICS,
        summary="Counters of the deployment",
        answers={_JSON: shapes.MetricsView},
    ),
    Operation(
        method="get",
        path=routes.PROMETHEUS,
        summary="The same for Prometheus",
        answers={_TEXT: None},
    ),
    Operation(
        method="get",
        path=routes.GITHUB_STATUS,
        summary="What is configured; with `check`, for operators, what GitHub says of the App",
        parameters=(_query("check", {"type": "boolean"}),),
        answers={_JSON: shapes.ConfigurationView},
    ),
    Operation(
        method="get",
        path=routes.CONTAINER,
        summary="Whether the runner answers",
        answers={_TEXT: None},
    ),
    Operation(
        method="get",
        path=routes.LOAD_BALANCED,
        summary="Which instance of the runner answers, and how fast",
        answers={_JSON: shapes.ProbeView},
    ),
    Operation(
        method="get",
        path=routes.SINGLETON,
        summary="Which instance of the runner answers, and how fast",
        answers={_JSON: shapes.ProbeView},
    ),
    Operation(
        method="get",
        path=routes.DELIVERIES,
        summary="GitHub's deliveries that brought work, newest first; for operators",
        answers={_JSON: DeliveryList},
        parameters=_PAGE,
    ),
    Operation(
        method="get",
        path=routes.DELIVERY,
        summary="A delivery and its work; for operators",
        answers={_JSON: DeliveryDetail},
        parameters=(_PATH_DELIVERY_ID,),
        also=(404,),
    ),
    Operation(
        method="post",
        path=routes.REPLAY,
        summary="Do a delivery's work now, or again; for operators",
        answers={},
        accepted=DeliveryDetail,
        parameters=(_PATH_DELIVERY_ID,),
        also=(404, 409),
    ),
    Operation(
        method="post",
        path=routes.PROCESS_ISSUE,
        summary="The same",
        body=ReplayRequest,
        answers={},
        accepted=DeliveryDetail,
        also=(404, 409),
    ),
    Operation(
        method="post",
        path=routes.SWEEP,
        summary="Take up what was left lying; for the scheduler and operators",
        answers={_JSON: SweepView},
    ),
    Operation(
        method="get",
        path=routes.OPENAPI,
        summary="This description",
        answers={_JSON: None},
    ),
)


@cache
def document() -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "claude-run", "version": __version__},
        "paths": paths,
        "security": [{"identityToken": []}, {}],
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "identityToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _id(operation),
        "parameters": list(operation.parameters),
        "responses": _responses(operation),
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": _ref(operation.body)}},
        }
    return described


def _id(operation: Operation) -> str:
    return f"{operation.method}{operation.path}".translate(_NOT_IN_IDS)


def _links() -> dict[str, Any]:
    """What can be asked of a session that has been started."""
    return {
        _id(operation): {
            "operationId": _id(operation),
            "parameters": {parameter["name"]: "$response.header.X-Session-Id"},
        }
        for operation in OPERATIONS
        for parameter in operation.parameters
        if parameter["schema"] is _ID
    }


def _responses(operation: Operation) -> dict[str, Any]:
    contents = {
        kind: {"schema": _ref(model) if model is not None else _free(kind, operation)}
        for kind, model in operation.answers.items()
    }
    answers: dict[str, Any] = {}
    if contents:
        answers["200"] = _answer(200) | {"content": contents}
    if operation.accepted is not None:
        schema = _ref(operation.accepted)
        answers["202"] = _answer(202) | {"content": {_JSON: {"schema": schema}}}
    if _STREAM in operation.answers and operation.path != routes.RUN:
        answers["200"]["headers"]["X-Session-Id"] = {"schema": {"type": "string"}}
    if operation.path == routes.START:
        answers["200"]["links"] = _links()
    refused = [_ref(model) for model in operation.errors]
    schema = refused[0] if len(refused) == 1 else {"anyOf": refused}
    body = _WITH_BODY if operation.body is not None else ()
    for status in sorted({*_ALWAYS, *body, *operation.also}):
        answers[str(status)] = _answer(status)
        if status != 204:
            answers[str(status)]["content"] = {_JSON: {"schema": schema}}
    return answers


def _answer(status: int) -> dict[str, Any]:
    string = {"schema": {"type": "string"}}
    headers = {"X-Request-Id": string}
    if status in (429, 503):
        headers["Retry-After"] = string
    if status == 405:
        headers["Allow"] = string
    return {"description": _REASONS[status], "headers": headers}


def _free(kind: str, operation: Operation) -> dict[str, Any]:
    if kind == _STREAM:
        events = _RUN_EVENTS if operation.path == routes.RUN else _SESSION_EVENTS
        return {"oneOf": [_event(name, model) for name, model in events.items()]}
    return {"type": "object"} if kind == _JSON else {"type": "string"}


def _event(name: str, model: type[BaseModel] | None) -> dict[str, Any]:
    """One event of a stream, as an object of its fields."""
    data: dict[str, Any] = {"type": "string"}
    if model is not None:
        data |= {"contentMediaType": _JSON, "contentSchema": _ref(model)}
    return {
        "type": "object",
        "properties": {"event": {"const": name}, "id": {"type": "string"}, "data": data},
        "required": ["event", "data"],
    }


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REF.format(model=model.__name__)}


def _models(operation: Operation) -> tuple[type[BaseModel] | None, ...]:
    answers = (*operation.answers.values(), operation.accepted, *operation.errors)
    return (operation.body, *answers)


def _schemas() -> dict[str, Any]:
    models: dict[str, type[BaseModel]] = {
        model.__name__: model
        for operation in OPERATIONS
        for model in _models(operation)
        if model is not None
    }
    events = (*_SESSION_EVENTS.values(), *_RUN_EVENTS.values())
    models |= {model.__name__: model for model in events if model is not None}
    _, found = models_json_schema(
        [(model, "validation") for model in models.values()], by_alias=True, ref_template=_REF
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas
