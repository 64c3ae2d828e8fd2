"""`python -m gateway.worker`: does what was accepted, until nothing is due. Only wiring."""

import os
import sys

from claude_run import logs, spans
from claude_run.errors import ConfigurationError
from gateway.settings import RunSettings
from gateway.work.ending import Ending
from gateway.work.opening import open_worker


def main() -> None:
    """Work; ends the process with a message where it cannot."""
    try:
        settings = RunSettings.from_environ(os.environ)
        logs.configure(project=settings.project)
        worker = open_worker(settings)
    except ConfigurationError as error:
        sys.exit(f"The worker cannot start: {error.message}")
    spans.start("claude-run-worker", os.environ)
    Ending(worker).install()
    try:
        worker.run()
    finally:
        spans.stop()


if __name__ == "__main__":
    main()
