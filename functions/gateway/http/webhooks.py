"""`POST /webhooks/github`: checked in this order: type and size, signature, headers, body."""

import re

from flask import Flask, Response, jsonify, request

from claude_run.errors import CallerError, Code
from claude_run.strictjson import loads_object
from gateway.github import payload
from gateway.github.credentials import webhook_secrets
from gateway.github.signature import HEADER, check_signature
from gateway.http import routes
from gateway.http.body import read_json_body
from gateway.instance import Instance
from gateway.intake import Intake
from gateway.setup.record import Apps
from gateway.work.queue import Queue

# GitHub's own bound.
MAX_BODY_BYTES = 25 * 1024 * 1024
DELIVERY = "X-GitHub-Delivery"
EVENT = "X-GitHub-Event"

_FORM_TYPE = "application/x-www-form-urlencoded"
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

    @app.post(routes.WEBHOOKS)
    def github() -> Response:
        if request.mimetype == _FORM_TYPE:
            raise _form_type()
        body = read_json_body(request, at_most=MAX_BODY_BYTES)
        check_signature(
            body, request.headers.get(HEADER), webhook_secrets(settings.github, instance.vault)
        )
        delivery = _header(DELIVERY, _DELIVERY_ID)
        happened = payload.read(loads_object(body), _header(EVENT, _EVENT_NAME))
        receipt = intake.take(happened, delivery=delivery)
        reason = {"reason": receipt.reason} if receipt.reason is not None else {}
        return jsonify(status=receipt.status, **reason)


def _header(name: str, form: re.Pattern[str]) -> str:
    """The value of a header; of two, a server makes one with a comma, which no form has."""
    value = request.headers.get(name, "")
    if not form.fullmatch(value):
        rule = f"must be there once and match {form.pattern}"
        raise CallerError(f"{name}: {rule}", details={"field": name, "rule": rule})
    return value


def _form_type() -> CallerError:
    return CallerError(
        "The body must be JSON: set the webhook's content type to application/json, "
        "in the settings of the App.",
        code=Code.UNSUPPORTED_MEDIA_TYPE,
        details={"field": "Content-Type", "rule": "must be application/json"},
    )
