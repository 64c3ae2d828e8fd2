"""An unprivileged user for each run, where the runner is root, as in the image.

A user is a number: nothing needs an entry in /etc/passwd. No two runs under way on a machine share
one, also not of two runners, since at the end of a run all that its user has is killed and removed.
"""

import fcntl
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claude_run.errors import Code, StoppedError
from claude_run.peers import AGENT_UIDS
from runner.agent import User

FIRST_UID = AGENT_UIDS.start
MAX_USERS = len(AGENT_UIDS)
# One empty file for each user that was ever lent; whoever has locked it has the user.
LOCKS = Path("/run/claude-run-users")


class Accounts:
    """The users of the runs under way."""

    def __init__(self, *, privileged: bool) -> None:
        self.privileged = privileged

    @contextmanager
    def borrow(self) -> Iterator[User | None]:
        """A user that nobody else has inside the block; None where we may not change users."""
        if not self.privileged:
            yield None
            return
        uid, lock = _lock_one()
        try:
            yield User(uid=uid, gid=uid)
        finally:
            os.close(lock)


def _lock_one() -> tuple[int, int]:
    """A free user and the open file that holds its lock: it is free again when that closes."""
    LOCKS.mkdir(mode=0o700, exist_ok=True)
    # Not the one that was free last: what a user may keep in the kernel out of our reach, such as
    # a keyring, is not for the next run to find.
    first = secrets.randbelow(MAX_USERS)
    for number in range(MAX_USERS):
        uid = FIRST_UID + (first + number) % MAX_USERS
        lock = os.open(LOCKS / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return uid, lock
    raise StoppedError("All users for runs are taken.", code=Code.UNAVAILABLE)


def may_change_users() -> bool:
    """Whether this process can give each run a user of its own."""
    return sys.platform == "linux" and os.geteuid() == 0
