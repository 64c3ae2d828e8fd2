"""What the rest of the gateway knows of a vault."""

import re
from typing import Protocol

from claude_run.errors import ClaudeRunError, Code, UpstreamError

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
# Secret Manager's bound for a version, values and their wrapping together.
MAX_PAYLOAD_BYTES = 65_536
# What one call may take.
CALL_SECONDS = 5.0
RETRY_AFTER_SECONDS = 2


class Vault(Protocol):
    """Secrets by name (`[a-z][a-z0-9-]{0,62}`). Safe under threads; every call is bounded."""

    def get(self, name: str) -> str | None:
        """The secret, or None."""

    def get_all(self, name: str) -> tuple[str, ...]:
        """All values that are valid now, newest first: two while one replaces the other."""

    def put(self, name: str, value: str, *, keep_previous: bool = False) -> None:
        """A new value; the one before stays valid beside it, or does not."""

    def delete(self, name: str) -> None:
        """No secret; it need not have been there."""


class VaultUsageError(ClaudeRunError):
    """A name or value that no vault takes: a mistake of our code. It never holds the value."""


class VaultUnavailableError(UpstreamError):
    """The vault could not be reached or did not answer in time."""

    code = Code.UNAVAILABLE

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The vault cannot answer at the moment.",
            details={"reason": reason},
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )


def check_name(name: str) -> None:
    """Raise `VaultUsageError` unless the name is one."""
    if not NAME.fullmatch(name):
        raise VaultUsageError("This is not the name of a secret.", details={"name": name[:80]})
