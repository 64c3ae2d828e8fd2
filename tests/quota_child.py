"""What tests of limits and quota do in processes: `python -m quota_child WHAT URL WHICH TIMES`.

It says that it is ready, waits for a line, and says how often it was let through.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from gateway.limits import Limits
from gateway.sessions.record import Usage
from gateway.store import ping
from quota_steps import NOON, TEN_A_MINUTE, THREE_SESSIONS, is_taken, opened, renew, start

THREADS = 4


def main() -> None:
    """Do it."""
    what, url, which, times = sys.argv[1:]
    store = opened(url)
    ping(store, seconds=5)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    limits = Limits(store, TEN_A_MINUTE)

    def work(number: int) -> bool:
        if what == "take":
            return is_taken(limits, NOON)
        return start(store, THREE_SESSIONS, f"{what}-{which}-{number}") is not None

    with ThreadPoolExecutor(THREADS) as pool:
        passed = list(pool.map(work, range(int(times))))
    if what == "crash":
        for number in (number for number, is_passed in enumerate(passed) if is_passed):
            used = Usage(output_tokens=5, cost_usd=1.25)
            renew(store, THREE_SESSIONS, f"{what}-{which}-{number}", used)
    sys.stdout.write(f"{sum(passed)}\n")
    sys.stdout.flush()
    if what == "crash":
        os._exit(1)  # nothing is ended, nothing is closed


if __name__ == "__main__":
    main()
