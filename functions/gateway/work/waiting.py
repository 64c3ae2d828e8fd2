"""What is done with an item for which there is no quota, or no free slot, now."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from claude_run.errors import ClaudeRunError
from gateway.work.hold import Hold
from gateway.work.record import WorkItem

log = structlog.get_logger()

# Then it fails, and is told why.
MAX_WAIT = timedelta(days=3)
# The day's quota may be raised, or its reservations given back, before the day is over.
MAX_PAUSE = timedelta(minutes=10)
PAUSE = timedelta(seconds=30)


def wait_for_quota(
    hold: Hold,
    refusal: ClaudeRunError,
    *,
    now: datetime,
    tell: Callable[[WorkItem, ClaudeRunError], None] = lambda _item, _refusal: None,
) -> None:
    """Put it off, and tell; raises the refusal where it has waited too long."""
    if hold.item.created_at + MAX_WAIT <= now:
        raise refusal
    told = False
    try:
        tell(hold.item, refusal)
        told = True
    except ClaudeRunError as error:
        log.warning("a wait was not told", work=hold.item.key, reason=error.message)
    seconds = refusal.headers.get("Retry-After", "")
    pause = timedelta(seconds=int(seconds)) if seconds.isdigit() else PAUSE
    hold.set_aside(now + min(pause, MAX_PAUSE), counts=False, told_waiting=told)
