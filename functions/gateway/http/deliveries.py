"""`/deliveries…` and `/container/process-issue`: for operators."""

from flask import Flask, Response, g, jsonify, request

from claude_run.errors import CallerError, Code
from claude_run.strictjson import loads_object
from claude_run.wire import Wire, parse
from claude_run.wire_deliveries import ReplayRequest
from gateway.http import routes
from gateway.http.body import read_json_body
from gateway.paging import page_token
from gateway.requests import parse_delivery_id, parse_list
from gateway.service import Gateway


def install(app: Flask, gateway: Gateway) -> None:
    """Add the routes."""
    deliveries = gateway.deliveries

    @app.get(routes.DELIVERIES)
    def page() -> Response:
        check_operator()
        asked = parse_list(request.args.to_dict(flat=False))
        found = deliveries.page(limit=asked.limit, after=asked.after)
        more = len(found) == asked.limit
        return jsonify(
            deliveries=[_json(deliveries.view(one)) for one in found],
            nextPageToken=page_token(found[-1].received_at, found[-1].id) if more else None,
        )

    @app.get(routes.rule(routes.DELIVERY))
    def delivery(delivery_id: str) -> Response:
        check_operator()
        return jsonify(_json(deliveries.detail(parse_delivery_id(delivery_id))))

    @app.post(routes.rule(routes.REPLAY))
    def replay(delivery_id: str) -> Response:
        check_operator()
        return _accepted(deliveries.replay(parse_delivery_id(delivery_id)))

    @app.post(routes.PROCESS_ISSUE)
    def process_issue() -> Response:
        check_operator()
        body = parse(ReplayRequest, loads_object(read_json_body(request)))
        return _accepted(deliveries.replay(body.delivery_id))


def check_operator() -> None:
    """Raise FORBIDDEN for everybody else."""
    if not g.caller.operator:
        raise CallerError("Operators only.", code=Code.FORBIDDEN)


def _accepted(view: Wire) -> Response:
    answer = jsonify(_json(view))
    answer.status_code = 202
    return answer


def _json(view: Wire) -> object:
    return view.model_dump(mode="json", by_alias=True)
