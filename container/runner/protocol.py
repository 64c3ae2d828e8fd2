"""What the runner says to bytes that are no HTTP: the same as to any other bad request."""

import json
from uuid import uuid4

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from claude_run.errors import CallerError, error_data


def protocol(instance_id: str) -> type[H11Protocol]:
    """uvicorn's own HTTP, whose refusals carry the ids that every answer carries."""

    class Protocol(H11Protocol):
        def send_400_response(self, msg: str) -> None:
            """Refuse what could not be parsed, and close: where a next request begins is unknown.

            The application, and with it `Envelope`, never hears of it.
            """
            body = json.dumps(error_data(CallerError(msg))).encode()
            headers = {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "X-Request-Id": uuid4().hex,
                "X-Instance-Id": instance_id,
                "Connection": "close",
            }
            for event in (
                h11.Response(status_code=400, headers=list(headers.items()), reason="Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Protocol
