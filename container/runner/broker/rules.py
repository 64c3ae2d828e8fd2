"""What the agent may ask the broker for, and what travels on. No I/O.

Everything is an allow-list: the agent can send any bytes it likes to the broker's port.
"""

from collections.abc import Iterable

# What Claude Code (2.1) needs of the Messages API, byte for byte. Absolute-form, authority-form
# (CONNECT), `//host/…`, dot segments and percent-encodings are other bytes and so not on the list.
TARGETS = frozenset({b"/v1/messages", b"/v1/messages/count_tokens"})
QUERIES = frozenset({b"", b"beta=true"})

_REQUEST_HEADERS = frozenset({b"accept", b"content-length", b"content-type", b"user-agent"})
_REQUEST_PREFIXES = (b"anthropic-", b"x-stainless-", b"x-app", b"x-claude-")
_RESPONSE_HEADERS = frozenset({b"content-type", b"request-id", b"retry-after", b"x-should-retry"})
_RESPONSE_PREFIXES = (b"anthropic-ratelimit-",)

Header = tuple[bytes, bytes]


def permitted(method: str, raw_path: bytes, query: bytes) -> bool:
    """Whether a request line is one that Claude Code needs."""
    return method == "POST" and raw_path in TARGETS and query in QUERIES


def onward_url(upstream: str, raw_path: bytes, query: bytes) -> str:
    """Where a permitted request goes: the agent's bytes only ever come after the upstream's."""
    return upstream + raw_path.decode("ascii") + (f"?{query.decode('ascii')}" if query else "")


def run_token(headers: Iterable[Header]) -> str | None:
    """The token a request carries, the way Claude Code sends a key or an OAuth token."""
    found = []
    for name, value in headers:
        if name.lower() == b"x-api-key":
            found.append(value)
        elif name.lower() == b"authorization" and value[:7].lower() == b"bearer ":
            found.append(value[7:])
    return found[0].decode("latin-1") if len(found) == 1 else None


def onward_headers(headers: Iterable[Header]) -> list[Header]:
    """The request headers that travel to the upstream; never a credential, a cookie, a Host."""
    return [
        (name, value)
        for name, value in headers
        if name in _REQUEST_HEADERS or name.startswith(_REQUEST_PREFIXES)
    ]


def backward_headers(headers: Iterable[Header], *, status: int) -> list[Header]:
    """The response headers that travel to the agent."""
    kept = [
        (name.lower(), value)
        for name, value in headers
        if name.lower() in _RESPONSE_HEADERS or name.lower().startswith(_RESPONSE_PREFIXES)
    ]
    if status in (401, 403):
        # A wrong credential does not get better: Claude Code would try ten times.
        kept = [*((n, v) for n, v in kept if n != b"x-should-retry"), (b"x-should-retry", b"false")]
    return kept
