"""A gateway's deliveries from GitHub, for its operators: `client.deliveries`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from claude_run import answers
from claude_run.errors import CallerError, UpstreamError
from claude_run.transport import Answer, Call, Transport
from claude_run.wire_deliveries import DELIVERY_ID_PATTERN

# The largest that the gateway gives.
MAX_PAGE = 100


class Deliveries:
    """What GitHub has told the gateway, and what became of it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None) -> Iterator[Mapping[str, Any]]:
        """Deliveries as the gateway shows them, newest first."""
        token: str | None = None
        left = limit
        while left is None or left > 0:
            size = MAX_PAGE if left is None else min(left, MAX_PAGE)
            query = {"limit": str(size)} | ({"pageToken": token} if token else {})
            page = self._object(Call(method="GET", path=f"/deliveries?{urlencode(query)}"))
            found = page.get("deliveries")
            if not isinstance(found, list):
                raise UpstreamError("The server's list of deliveries is none")
            yield from found
            left = None if left is None else left - len(found)
            following = page.get("nextPageToken")
            if not isinstance(following, str) or following == token:
                return
            token = following

    def get(self, delivery_id: str) -> Mapping[str, Any]:
        """One with its work, or `CallerError` NOT_FOUND."""
        return self._object(Call(method="GET", path=f"/deliveries/{_checked(delivery_id)}"))

    def replay(self, delivery_id: str) -> Mapping[str, Any]:
        """Have its work done now, or again if it is over; the delivery as it is then."""
        path = f"/deliveries/{_checked(delivery_id)}/replay"
        return self._object(Call(method="POST", path=path))

    def _object(self, call: Call) -> dict[str, Any]:
        answer: Answer = self._transport.fetch(call)
        if not 200 <= answer.status < 300:
            raise answers.refusal(answer.status, answer.headers, answer.body)
        return answers.object_of(answer.status, answer.headers, answer.body)


def _checked(delivery_id: str) -> str:
    """The id, if it is one: it becomes part of a path."""
    if not re.fullmatch(DELIVERY_ID_PATTERN, delivery_id):
        rule = "is none that a delivery can have"
        raise CallerError(f"id: {rule}", details={"field": "id", "rule": rule})
    return delivery_id
