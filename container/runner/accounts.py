"""An unprivileged user for each run, where the runner is root, as in the image.

A user is a number: nothing needs an entry in /etc/passwd, and no two runs under way share one.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from claude_run.errors import Code, StoppedError
from runner.agent import User

# Above every system's own accounts and below the ranges that containers map (65,536 and up).
FIRST_UID = 20_000
MAX_USERS = 1_000


class Accounts:
    """The users of the runs under way. Used from the event loop only."""

    def __init__(self, *, privileged: bool) -> None:
        self.privileged = privileged
        self._taken: set[int] = set()

    @contextmanager
    def borrow(self) -> Iterator[User | None]:
        """A user that nobody else has inside the block; None where we may not change users."""
        if not self.privileged:
            yield None
            return
        uid = next(
            (n for n in range(FIRST_UID, FIRST_UID + MAX_USERS) if n not in self._taken), None
        )
        if uid is None:
            raise StoppedError("All users for runs are taken.", code=Code.UNAVAILABLE)
        self._taken.add(uid)
        try:
            yield User(uid=uid, gid=uid)
        finally:
            self._taken.discard(uid)


def may_change_users() -> bool:
    """Whether this process can give each run a user of its own."""
    return sys.platform == "linux" and os.geteuid() == 0
