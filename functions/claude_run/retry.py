"""When a request may be sent again: only where it is certain that nothing has started.

A run costs money and changes things, and a connection that breaks after the request was sent
leaves open whether it runs. So two cases are left: the connection was never made, or the platform
in front of the service turned the request away. Its 429 and 503 carry no `X-Request-Id`; ours do.
(The platform also answers 503 when an instance dies before it has answered. The runner answers
with headers before it starts anything, so even then nothing has.)
"""

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

MAX_ATTEMPTS = 3
# Whoever says "later than this" is not waited for: the caller decides.
MAX_WAIT_SECONDS = 30.0
_CONNECT_BACKOFF_SECONDS = (0.2, 0.5)
_PLATFORM_BACKOFF_SECONDS = (1.0, 3.0)


def wait_to_reconnect(attempt: int) -> float | None:
    """Seconds to wait after the `attempt`th (from 0) failed connect; None: give up."""
    return _backoff(_CONNECT_BACKOFF_SECONDS, attempt)


def wait_after_answer(
    status: int, headers: Mapping[str, str], attempt: int, now: datetime
) -> float | None:
    """Seconds until the request may be sent again after this answer; None: it stands.

    `headers` are looked up case-insensitively or in lower case, `now` is aware.
    """
    if status not in (429, 503) or "x-request-id" in headers:
        return None
    backoff = _backoff(_PLATFORM_BACKOFF_SECONDS, attempt)
    asked = retry_after(headers.get("retry-after", ""), now)
    if backoff is None or asked is None:
        return backoff
    return asked if asked <= MAX_WAIT_SECONDS else None


def _backoff(waits: tuple[float, ...], attempt: int) -> float | None:
    return waits[attempt] if attempt < min(len(waits), MAX_ATTEMPTS - 1) else None


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3); None where it is none."""
    if value.isascii() and value.isdigit():
        # A wait of ten digits is none that anybody waits for, and int() has a limit.
        return float(value) if len(value) < 10 else float("inf")
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (TypeError, ValueError):
        return None
