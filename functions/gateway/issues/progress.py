"""Keeps the comment of a run true while it goes on, in a thread of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from claude_run.errors import ClaudeRunError, Code
from gateway.issues.pacing import interval
from gateway.issues.standing import Standing
from gateway.sessions.events import SessionEvent

log = structlog.get_logger()

# A last edit under way is waited for, with all its tries: after the receipt it would undo it.
CLOSE_SECONDS = 170.0
# `Condition.wait` takes no infinity.
LONGEST_WAIT = 3600.0
# Then it is not looked at again in this run: somebody has deleted it, or the App was removed.
_GONE = (Code.NOT_FOUND, Code.FORBIDDEN)


class Progress:
    """One run's. `edit` writes the comment, `render` makes its text, `runs` counts what runs."""

    def __init__(
        self,
        *,
        edit: Callable[[str], None],
        render: Callable[[Standing, timedelta], str],
        runs: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._edit = edit
        self._render = render
        self._runs = runs
        self._monotonic = monotonic
        self._began = monotonic()
        self._changed = threading.Condition()
        self._standing = Standing()
        self._shown = self._standing
        self._closed = False
        self._thread = threading.Thread(target=self._keep, name="progress", daemon=True)
        self._thread.start()

    def watch(self, events: Sequence[SessionEvent]) -> None:
        """What has happened; never waits for GitHub."""
        with self._changed:
            before = self._standing
            for event in events:
                self._standing = self._standing.after(event)
            if self._standing is not before:
                self._changed.notify()

    def close(self) -> None:
        """No more of it; an edit that is under way is waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)

    def _keep(self) -> None:
        due = self._monotonic()
        while (standing := self._news(due)) is not None:
            due = self._monotonic() + max(
                self._pause(), self._told(self._render(standing, self._elapsed()))
            )
            self._shown = standing

    def _news(self, due: float) -> Standing | None:
        """How it stands, once that is another than is shown and the time has come; None: closed."""
        with self._changed:
            while not self._closed:
                wait = due - self._monotonic()
                if self._standing is self._shown:
                    self._changed.wait()
                elif wait > 0:
                    self._changed.wait(min(wait, LONGEST_WAIT))
                else:
                    return self._standing
            return None

    def _told(self, body: str) -> float:
        """Write it; how long to leave it then, in seconds."""
        try:
            self._edit(body)
        except ClaudeRunError as error:
            # It matters less than the run: whoever reads it then sees the receipt.
            log.warning("a progress comment was not written", reason=error.message)
            after = error.headers.get("Retry-After", "")
            return float("inf") if error.code in _GONE else float(after if after.isdigit() else 0)
        return 0.0

    def _pause(self) -> float:
        try:
            runs = self._runs()
        except ClaudeRunError:
            runs = 1
        return interval(self._elapsed().total_seconds(), runs)

    def _elapsed(self) -> timedelta:
        return timedelta(seconds=self._monotonic() - self._began)
