"""The runner's HTTP side: its routes, and the one place where errors become answers."""

import asyncio
import re
from collections.abc import Mapping
from uuid import uuid4

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claude_run import spans, tracing
from claude_run.errors import (
    CallerError,
    ClaudeRunError,
    Code,
    StoppedError,
    error_data,
    wrong_method,
)
from claude_run.identity import AuthSettings, Mode, authenticate, check_local_request
from claude_run.idtoken import Certificates
from claude_run.peers import is_agent
from claude_run.wire import MAX_BODY_BYTES, parse_run_request
from runner.plan import make_plan
from runner.runs import Runs
from runner.serve import serve_object, serve_stream
from runner.settings import Settings

log = structlog.get_logger()

# The largest body, from 1 Mbit/s on.
BODY_SECONDS = 300.0

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ROUTES = {"run": "POST /run", "health": "GET /health"}


class RunEndpoint:
    """`POST /run`, as bare ASGI: it answers over minutes and watches for the caller's leaving."""

    def __init__(self, *, settings: Settings, runs: Runs) -> None:
        self._settings = settings
        self._runs = runs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check everything, then run."""
        request = Request(scope, receive)
        if request.method != "POST":
            raise CallerError("Use POST.", code=Code.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await read_json_body(request)
        except TimeoutError:
            raise StoppedError("The body did not arrive in time.", code=Code.TIMEOUT) from None
        except ClientDisconnect:
            return  # there is nobody to answer
        plan = make_plan(parse_run_request(body), self._settings, own_user=self._runs.own_users)
        serve = serve_object if wants_object(request.headers) else serve_stream
        request_id = scope["state"]["request_id"]
        with spans.span("runner.request", serves=True, request_id=request_id):
            await serve(self._runs, plan, request_id, receive, send)


async def read_json_body(request: Request) -> bytes:
    """The body, checked for type and size before and while it is read. Raises `CallerError`."""
    content_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if (
        len(request.headers.getlist("content-type")) != 1
        or content_type.strip().lower() != "application/json"
        or charset not in ("", "charset=utf-8")
        or request.headers.get("content-encoding", "identity") != "identity"
    ):
        raise CallerError(
            "The body must be JSON: Content-Type: application/json, not compressed.",
            code=Code.UNSUPPORTED_MEDIA_TYPE,
            details={"field": "Content-Type", "rule": "must be application/json"},
        )
    declared = request.headers.get("content-length", "0")
    if len(declared) > 12 or (declared.isdigit() and int(declared) > MAX_BODY_BYTES):
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        parts.append(chunk)
    return b"".join(parts)


def _too_large() -> CallerError:
    return CallerError(
        f"The body is larger than {MAX_BODY_BYTES} bytes.",
        code=Code.PAYLOAD_TOO_LARGE,
        details={"field": "body", "maxBytes": MAX_BODY_BYTES},
    )


def wants_object(headers: Headers) -> bool:
    """Whether the caller asks for one JSON object and not for a stream."""
    accept = headers.get("accept", "").lower().split(",")
    kinds = [kind.partition(";")[0].strip() for kind in accept]
    return "application/json" in kinds and "text/event-stream" not in kinds


async def welcome(_request: Request) -> Response:
    """`GET /`."""
    return JSONResponse({"message": "Claude Code Cloud Run Service", "endpoints": _ROUTES})


async def health(_request: Request) -> Response:
    """`GET /health`."""
    return JSONResponse({"status": "ok"})


class Gatekeeper:
    """Who may call, by the deployment's rule (`claude_run.identity`); an agent of ours never."""

    def __init__(self, settings: AuthSettings, *, port: int, own_users: bool) -> None:
        self._settings = settings
        self._port = port
        self._own_users = own_users
        self._certificates = Certificates() if settings.mode is Mode.VERIFY else None

    async def check(self, method: str, headers: Headers, client: tuple[str, int] | None) -> None:
        """Raise `CallerError` unless this request may be served."""
        # No rule below stops it: on loopback anybody is the local caller, and behind IAM a token
        # that came another way than through IAM is not verified.
        if self._own_users and is_agent(client, self._port):
            raise CallerError("A run may not call its own runner.", code=Code.FORBIDDEN)
        if self._settings.mode is Mode.LOCAL:
            check_local_request(method, headers, self._port)
        elif self._certificates is None:
            authenticate(self._settings, headers)
        else:
            # It may fetch certificates, and blocks meanwhile.
            await asyncio.to_thread(
                authenticate, self._settings, headers, certificates=self._certificates
            )


class Envelope:
    """Around everything: who may call, and the headers that every answer carries."""

    def __init__(self, app: ASGIApp, *, gatekeeper: Gatekeeper, instance_id: str) -> None:
        self._app = app
        self._gatekeeper = gatekeeper
        self._instance_id = instance_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate, then pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        tracing.enter(tracing.from_headers(headers.items()))

        async def send_with_ids(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(raw=message.setdefault("headers", []))
                answer["X-Request-Id"] = request_id
                answer["X-Instance-Id"] = self._instance_id
            await send(message)

        try:
            await self._gatekeeper.check(scope["method"], headers, scope["client"])
        except ClaudeRunError as error:
            await error_answer(error)(scope, receive, send_with_ids)
        else:
            await self._app(scope, receive, send_with_ids)


def error_answer(error: ClaudeRunError) -> Response:
    """An error as an HTTP answer."""
    return JSONResponse(error_data(error), status_code=error.http_status, headers=error.headers)


_BY_STATUS: Mapping[int, tuple[Code, str]] = {
    404: (Code.NOT_FOUND, "There is nothing at this path."),
    405: (Code.METHOD_NOT_ALLOWED, ""),
}


async def _on_error(_request: Request, error: Exception) -> Response:
    if isinstance(error, ClaudeRunError):
        return error_answer(error)
    if isinstance(error, HTTPException) and error.status_code in _BY_STATUS:
        code, message = _BY_STATUS[error.status_code]
        text = message or wrong_method((error.headers or {}).get("Allow"))
        return error_answer(CallerError(text, code=code, headers=error.headers))
    log.error("unexpected error", exc_info=error)
    return error_answer(ClaudeRunError("Something went wrong in the runner."))


def build_app(*, settings: Settings, runs: Runs, port: int, instance_id: str) -> ASGIApp:
    """The application, without its servers."""
    app = Starlette(
        routes=[
            Route("/", welcome, methods=["GET"]),
            Route("/health", health, methods=["GET"]),
            Route("/run", RunEndpoint(settings=settings, runs=runs)),
        ],
        exception_handlers={
            ClaudeRunError: _on_error,
            HTTPException: _on_error,
            Exception: _on_error,
        },
    )
    app.router.redirect_slashes = False
    gatekeeper = Gatekeeper(settings.auth, port=port, own_users=runs.own_users)
    return Envelope(app, gatekeeper=gatekeeper, instance_id=instance_id)
