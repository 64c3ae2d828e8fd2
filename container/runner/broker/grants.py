"""Who may use the broker: one grant for each run, found by the token that only its agent has."""

import asyncio
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runner.broker.meter import Meter
from runner.credential import Credential

# A run's subagents ask in parallel; Claude Code starts at most ten of them.
MAX_PARALLEL = 32
# Both directions together. A long run with full contexts moves some hundred megabytes.
MAX_BYTES = 4 * 1024**3


@dataclass(slots=True, kw_only=True)
class Grant:
    """What one run may do: one upstream, one credential, and how much."""

    upstream: str  # a base URL without a trailing slash
    credential: Credential
    budget_usd: float | None
    meter: Meter = field(default_factory=Meter)
    bytes_moved: int = 0
    under_way: "set[asyncio.Task[None]]" = field(default_factory=set)

    def refusal(self) -> str | None:
        """Why the next request may not go out; None when it may."""
        if self.meter.spent(self.budget_usd):
            return "the budget of this run is spent"
        if self.bytes_moved > MAX_BYTES:
            return "this run has moved too many bytes"
        if len(self.under_way) >= MAX_PARALLEL:
            return "this run has too many requests under way"
        return None


class Grants:
    """The grants of the runs under way, by the hash of their tokens."""

    def __init__(self) -> None:
        self._grants: dict[bytes, Grant] = {}

    @contextmanager
    def issue(self, grant: Grant) -> Iterator[str]:
        """A fresh token that stands for `grant` inside the block, and for nothing after it.

        What is still under way then is cancelled: an answer that nobody reads costs money too.
        """
        token = f"run-{secrets.token_urlsafe(32)}"
        key = _key(token)
        self._grants[key] = grant
        try:
            yield token
        finally:
            del self._grants[key]
            for task in grant.under_way:
                task.cancel()

    def find(self, token: str) -> Grant | None:
        """The grant of a token. Looked up by hash, so the time tells nothing about a token."""
        return self._grants.get(_key(token))


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
