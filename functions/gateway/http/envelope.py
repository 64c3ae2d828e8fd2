"""The API reference's form of an error, and the answer to what is no request at all."""

import json
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

from claude_run.errors import Code
from gateway.timestamp import iso

_NO_REQUEST = "This is no HTTP request that can be understood."
_WRONG = "Something went wrong in the gateway."


def envelope(code: str, message: str, now: datetime) -> dict[str, str]:
    """The body of an error."""
    return {"error": code, "message": message, "timestamp": iso(now)}


class Connection(Protocol):
    """A socket, as far as an answer needs one."""

    def setblocking(self, flag: bool, /) -> None:
        """Whether to wait for the other side."""

    def sendall(self, data: bytes, /) -> None:
        """Send this."""


def answer_unparsed(connection: Connection, status: int, reason: str, _message: str) -> None:
    """Instead of gunicorn's `util.write_error`: nothing is repeated of what was sent."""
    code, message = Code.VALIDATION_ERROR, _NO_REQUEST
    if status == 501:
        # An unknown transfer coding, which is the sender's fault; gunicorn says it is ours.
        status, reason = 400, "Bad Request"
    elif status >= 500:
        code, message = Code.INTERNAL_ERROR, _WRONG
    body = json.dumps(envelope(code, message, datetime.now(UTC))).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/json\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"X-Request-Id: {uuid4().hex}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    # As it does: who sent this is not waited for.
    connection.setblocking(False)
    connection.sendall(head.encode() + body)
