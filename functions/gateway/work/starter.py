"""Starting a worker, which then claims its work itself."""

import os
from typing import TYPE_CHECKING, Protocol

import structlog

from claude_run.errors import ClaudeRunError

if TYPE_CHECKING:
    from gateway.settings import CommonSettings

log = structlog.get_logger()


class Starter(Protocol):
    """Starts workers. Safe under threads."""

    def start(self) -> None:
        """See to it that a worker looks for work soon, or raise `ClaudeRunError`.

        Whoever cannot start one loses nothing: what is accepted stays, and the sweep starts it.
        """

    def close(self) -> None:
        """End what was started here and lives no longer than this process."""


def open_starter(settings: "CommonSettings") -> Starter:
    """Of a Cloud Run job where there is one, else of processes beside this one."""
    if settings.worker_job is not None:
        from gateway.work.jobs import JobStarter

        return JobStarter.parse(settings.worker_job)
    from gateway.work.children import ProcessStarter

    return ProcessStarter(os.environ)


def try_to_start(starter: Starter) -> bool:
    """Whether one is started. If not, what is accepted stays, and the sweep starts one."""
    try:
        starter.start()
    except ClaudeRunError as error:
        log.warning("no worker was started", reason=error.message, code=error.code)
        return False
    return True
