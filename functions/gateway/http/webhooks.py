"""`POST /webhooks/github`: checked in this order: type and size, signature, headers, body."""

import re
import threading

from flask import Flask, Request, Response, jsonify, request

from claude_run.errors import CallerError, Code, StoppedError
from claude_run.strictjson import loads_object
from gateway.github import payload
from gateway.github.credentials import webhook_secrets
from gateway.github.signature import HEADER, check_signature
from gateway.http import routes
from gateway.http.body import is_form, read_json_body
from gateway.instance import Instance
from gateway.intake import Intake
from gateway.setup.record import Apps
from gateway.work.queue import Queue

# GitHub's own bound.
MAX_BODY_BYTES = 25 * 1024 * 1024
# Twice what an issue of the longest text makes, every character of it escaped. Nothing that we
# subscribe to is larger, and whoever sends more before a signature is looked at fills our memory.
LARGE_BYTES = 2 * 1024 * 1024
MAX_LARGE = 2
LARGE_RETRY_SECONDS = 5
# GitHub itself gives up after ten.
BODY_SECONDS = 15.0
DELIVERY = "X-GitHub-Delivery"
EVENT = "X-GitHub-Event"

# GitHub's are UUIDs; they become the names of documents.
_DELIVERY_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_EVENT_NAME = re.compile(r"[a-z0-9_]{1,64}")


def install(app: Flask, instance: Instance) -> None:
    """Add the route."""
    settings, store, clock = instance.settings, instance.store, instance.clock
    intake = Intake(
        settings=settings.triggers,
        queue=Queue(store=store, clock=clock),
        apps=Apps(store, clock, app_id=settings.github.app_id),
        counters=instance.metrics,
        starter=instance.starter,
        clock=clock,
    )

    large = threading.BoundedSemaphore(MAX_LARGE)

    @app.post(routes.WEBHOOKS)
    def github() -> Response:
        if is_form(request):
            raise _form_type()
        if _is_small(request):
            return taken(LARGE_BYTES)
        if not large.acquire(blocking=False):
            raise _busy()
        try:
            return taken(MAX_BODY_BYTES)
        finally:
            large.release()

    def taken(at_most: int) -> Response:
        body = read_json_body(request, at_most=at_most, within=BODY_SECONDS)
        check_signature(
            body, request.headers.get(HEADER), webhook_secrets(settings.github, instance.vault)
        )
        delivery = _header(DELIVERY, _DELIVERY_ID)
        happened = payload.read(loads_object(body), _header(EVENT, _EVENT_NAME))
        receipt = intake.take(happened, delivery=delivery)
        reason = {"reason": receipt.reason} if receipt.reason is not None else {}
        return jsonify(status=receipt.status, **reason)


def _is_small(request: Request) -> bool:
    """Whether its length says so; GitHub always tells one."""
    length = request.content_length
    return length is not None and length <= LARGE_BYTES


def _header(name: str, form: re.Pattern[str]) -> str:
    """The value of a header; of two, a server makes one with a comma, which no form has."""
    value = request.headers.get(name, "")
    if not form.fullmatch(value):
        rule = f"must be there once and match {form.pattern}"
        raise CallerError(f"{name}: {rule}", details={"field": name, "rule": rule})
    return value


def _busy() -> StoppedError:
    return StoppedError(
        "No further delivery of this size is taken in at the moment.",
        code=Code.UNAVAILABLE,
        headers={"Retry-After": str(LARGE_RETRY_SECONDS)},
    )


def _form_type() -> CallerError:
    return CallerError(
        "The body must be JSON: set the webhook's content type to application/json, "
        "in the settings of the App.",
        code=Code.UNSUPPORTED_MEDIA_TYPE,
        details={"field": "Content-Type", "rule": "must be application/json"},
    )
