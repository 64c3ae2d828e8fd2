"""How often somebody may try a setup code.

Guessing 128 bits is hopeless; the limits are for what trying costs. They are exact in the store,
for each address; what it has refused is refused here without asking it again, so that a flood
from one address costs nothing and takes nothing from the others.
"""

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime

from claude_run.errors import CallerError, Code
from gateway.limit_settings import LimitSettings
from gateway.limits import Limits
from gateway.store import Store

PER_ADDRESS = LimitSettings(per_minute=10, per_hour=60, per_day=200)
# Of all addresses together, in one instance: each costs a transaction.
PER_MINUTE = 120
MINUTE_SECONDS = 60.0
MAX_REFUSED = 1_000


class Attempts:
    """One for each process; safe under threads."""

    def __init__(self, store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limits = Limits(store, PER_ADDRESS)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._recent: deque[float] = deque(maxlen=PER_MINUTE)
        # Until when; the sentence that the store's limits had for it.
        self._refused: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def take(self, address: str, now: datetime) -> None:
        """Count a try, or raise `CallerError` RATE_LIMIT_EXCEEDED; `StoreUnavailableError`."""
        self._take_here(address)
        try:
            self._limits.take(f"setup-code {address}", now)
        except CallerError as error:
            self._remember(address, error)
            raise

    def _take_here(self, address: str) -> None:
        moment = self._monotonic()
        with self._lock:
            until, why = self._refused.get(address, (moment, ""))
            if moment < until:
                raise _refusal(why, until - moment)
            if len(self._recent) == PER_MINUTE and moment - self._recent[0] < MINUTE_SECONDS:
                left = self._recent[0] + MINUTE_SECONDS - moment
                raise _refusal("Too many tries of the setup code, by all together.", left)
            self._recent.append(moment)

    def _remember(self, address: str, error: CallerError) -> None:
        until = self._monotonic() + float(error.headers["Retry-After"])
        with self._lock:
            self._refused[address] = until, error.message.partition(". ")[0] + "."
            self._refused.move_to_end(address)
            if len(self._refused) > MAX_REFUSED:
                self._refused.popitem(last=False)


def _refusal(why: str, seconds: float) -> CallerError:
    whole = max(1, math.ceil(seconds))
    return CallerError(
        f"{why} Try again in {whole} s.",
        code=Code.RATE_LIMIT_EXCEEDED,
        headers={"Retry-After": str(whole)},
    )
