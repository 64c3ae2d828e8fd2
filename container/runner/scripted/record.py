"""What a server that keeps no conversations still remembers, each within a bound."""

import json
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

MAX_REQUESTS = 200
# Claude Code's own requests start at about 50 KB; a prompt of some length still fits.
MAX_BODY = 256 * 1024
MAX_COUNTERS = 4_096


class Record:
    """The last requests, newest last, for tests that ask what really arrived."""

    def __init__(self) -> None:
        self._requests: deque[dict[str, Any]] = deque(maxlen=MAX_REQUESTS)

    def add(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Keep one request; `target` is as it stood in the request line."""
        named: dict[str, str] = {}
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            named[name] = f"{named[name]}, {value}" if name in named else value
        self._requests.append(
            {
                "method": method,
                "path": target.decode("latin-1"),
                "headers": named,
                "body": body[:MAX_BODY].decode("utf-8", "replace"),
                "size": len(body),
            }
        )

    def clear(self) -> None:
        """Forget all of them."""
        self._requests.clear()

    def to_json(self) -> bytes:
        """A JSON array of `{method, path, headers, body, size}`; `body` is text, cut at 256 KiB."""
        return json.dumps(list(self._requests)).encode()


class Strikes:
    """How often a fault with a number of `times` has struck, by the key of its turn."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def take(self, key: str, times: int | None) -> bool:
        """Whether the fault strikes once more; `None` means always."""
        if times is None:
            return True
        count = self._counts.pop(key, 0)
        self._counts[key] = min(count + 1, times + 1)
        if len(self._counts) > MAX_COUNTERS:
            self._counts.popitem(last=False)
        return count < times
