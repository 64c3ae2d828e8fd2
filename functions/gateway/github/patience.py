"""When a request to GitHub is made again, and after how long. Pure.

https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from claude_run.retry import retry_after

# All tries of one call together; what asks for longer is not waited for: who called decides.
PATIENCE_SECONDS = 90.0
MAX_ATTEMPTS = 4
# After a failure of GitHub's or of the network between.
BACKOFF_SECONDS = (1.0, 3.0, 9.0)
# "Wait for at least one minute" where a limit names no time.
LIMITED_SECONDS = 60.0

# A POST that makes the same again, or something that nobody sees until it is named: objects of
# git are known by their content. Any other might leave a second comment behind.
_HARMLESS = re.compile(r".*/(git/(blobs|trees|commits)|access_tokens|reactions)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What became of a request. `status` None: no answer came; `sent`: it may have arrived.

    `headers` are looked up in lower case, or case-insensitively.
    """

    method: str
    path: str
    status: int | None = None
    headers: Mapping[str, str]
    sent: bool = True

    @property
    def limited(self) -> bool:
        """Whether GitHub refused it for how often it was asked; then it did nothing."""
        if self.status not in (403, 429):
            return False
        left = self.headers.get("x-ratelimit-remaining")
        return self.status == 429 or "retry-after" in self.headers or left == "0"

    @property
    def repeatable(self) -> bool:
        """Whether a second request does no harm if the first one was obeyed."""
        path = self.path.partition("?")[0]
        return not self.sent or self.method != "POST" or _HARMLESS.fullmatch(path) is not None


def pause(failure: Failure, attempt: int, now: datetime) -> float | None:
    """Seconds until the request may be made again, after its `attempt`th (from 0); None: never."""
    if failure.limited:
        return limited_for(failure.headers, now)
    broken = failure.status is None or failure.status >= 500
    if not broken or not failure.repeatable or attempt >= len(BACKOFF_SECONDS):
        return None
    asked = retry_after(failure.headers.get("retry-after", ""), now)
    return max(BACKOFF_SECONDS[attempt], asked or 0.0)


def limited_for(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds for which GitHub wants to be left alone."""
    asked = retry_after(headers.get("retry-after", ""), now)
    if asked is not None:
        return asked
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and re.fullmatch(r"[0-9]{1,12}", reset):
        # One more: nobody knows when in that second.
        return max(0.0, int(reset) - now.timestamp()) + 1.0
    return LIMITED_SECONDS
