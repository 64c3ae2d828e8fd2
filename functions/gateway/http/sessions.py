"""`/interactive…`: sessions, their streams and their messages."""

from flask import Flask, Response, g, jsonify, request
from werkzeug.routing import BaseConverter

from gateway.http import routes, stream
from gateway.http.body import read_json_body
from gateway.paging import page_token
from gateway.requests import (
    parse_last_event_id,
    parse_list,
    parse_message,
    parse_session_id,
    parse_start,
    parse_status,
)
from gateway.service import Gateway
from gateway.sessions.reader import LogReader
from gateway.sessions.record import Session


class SessionConverter(BaseConverter):
    """One part of a path that is no other route's; what is no session's id is 404 in the view."""

    regex = r"(?!(?:start|status)(?:/|$))[^/]{1,256}"


def install(app: Flask, gateway: Gateway) -> None:
    """Add the routes."""
    app.url_map.converters["session"] = SessionConverter

    @app.post(routes.START)
    def start() -> Response:
        body = parse_start(read_json_body(request))
        if body.options.detach:
            return _accepted(gateway.start_detached(g.caller, body))
        return _stream(gateway.start(g.caller, body))

    @app.post(routes.rule(routes.MESSAGE))
    def message(session_id: str) -> Response:
        known = parse_session_id(session_id)
        body = parse_message(read_json_body(request))
        if body.options.detach:
            return _accepted(gateway.message_detached(g.caller, known, body))
        return _stream(gateway.message(g.caller, known, body))

    @app.get(routes.rule(routes.EVENTS))
    def events(session_id: str) -> Response:
        after = parse_last_event_id(request.headers.get("Last-Event-ID"))
        reader = gateway.read(g.caller, parse_session_id(session_id), after=after)
        return Response(status=204) if reader.nothing_left() else _stream(reader)

    @app.get(routes.LIST)
    def sessions() -> Response:
        page = parse_list(request.args.to_dict(flat=False))
        found = gateway.registry.list(g.caller.sub, limit=page.limit, after=page.after)
        more = len(found) == page.limit
        return jsonify(
            sessions=[session.public() for session in found],
            nextPageToken=page_token(found[-1].created_at, found[-1].key) if more else None,
        )

    @app.get(routes.STATUS)
    def status() -> Response:
        session_id = parse_status(request.args.to_dict(flat=False))
        return jsonify(gateway.find(g.caller, session_id).public())

    @app.get(routes.rule(routes.SESSION))
    def session(session_id: str) -> Response:
        return jsonify(gateway.find(g.caller, parse_session_id(session_id)).public())

    @app.delete(routes.rule(routes.SESSION))
    def cancel(session_id: str) -> Response:
        return jsonify(gateway.cancel(g.caller, parse_session_id(session_id)).public())


def _accepted(session: Session) -> Response:
    answer = jsonify(sessionId=session.session_id)
    answer.status_code = 202
    answer.headers["X-Session-Id"] = session.session_id
    return answer


def _stream(reader: LogReader) -> Response:
    return stream.answer(reader.stream(), {"X-Session-Id": reader.session_id})
