"""A pull request for what a turn has changed: opened in a thread, while its driver keeps the lease.

Whatever becomes of it, the turn has its result.
"""

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass

import structlog

from claude_run.errors import ClaudeRunError, Code, UpstreamError
from claude_run.wire import Changes

log = structlog.get_logger()

# After which no further request is made. Each of them is bounded by itself.
PROPOSE_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What became of it, in a sentence; `code` where it failed."""

    message: str
    url: str | None = None
    code: str | None = None


# Is given the turn's last change set, what Claude said in the end, and what it has to call before
# each request, which may raise what ends it.
Propose = Callable[[Changes | None, str, Callable[[], None]], Proposal]


class Proposing:
    """One pull request on its way. When it is over, `proposal` is there."""

    def __init__(
        self,
        propose: Propose,
        *,
        changes: Changes | None,
        result: str,
        stopped: Callable[[], ClaudeRunError | None],
        seconds: float = PROPOSE_SECONDS,
    ) -> None:
        self.proposal: Proposal | None = None
        self._propose = propose
        self._changes = changes
        self._result = result
        self._stopped = stopped
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._over = threading.Event()

    def start(self, *, name: str) -> None:
        """Begin. Nobody waits for the thread's end: a request that hangs is left to itself."""
        threading.Thread(
            target=copy_context().run, args=(self._run,), name=name, daemon=True
        ).start()

    def wait(self, seconds: float) -> bool:
        """Wait so long for its end; whether it is over."""
        return self._over.wait(max(0.0, seconds))

    def _run(self) -> None:
        try:
            proposal = self._propose(self._changes, self._result, self._proceed)
        except ClaudeRunError as error:
            log.warning("no pull request", code=str(error.code), reason=error.message)
            proposal = _failed(error.message, error.code)
        except Exception:
            log.exception("no pull request")
            proposal = _failed("Something went wrong in the gateway.", Code.INTERNAL_ERROR)
        self.proposal = proposal
        self._over.set()

    def _proceed(self) -> None:
        if (reason := self._stopped()) is not None:
            raise reason
        if time.monotonic() > self._deadline:
            raise UpstreamError(
                f"GitHub did not take the changes within {self._seconds:.0f} seconds.",
                code=Code.TIMEOUT,
            )


def _failed(reason: str, code: Code) -> Proposal:
    return Proposal(message=f"There is no pull request: {reason}", code=code)
