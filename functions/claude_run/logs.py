"""Logs of every deployable: one JSON line for an event, on standard error, as Cloud Logging reads.

Messages are constant, facts are fields, secrets are in neither.
"""

import logging
import sys

import structlog

from claude_run import tracing


def configure(*, project: str | None = None) -> None:
    """Set structlog up for this process. Call it once, from an entry point.

    `project`: Google Cloud's, by which Cloud Logging finds a line's trace; None on a laptop.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            traced(project),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.EventRenamer("message"),
            _severity,
            # Not `dict_tracebacks`: it shows every frame's local variables, and a token is one.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries log comes out in the same form; without this, as plain text over many lines.
    logging.basicConfig(handlers=[_Forward(logging.WARNING)], force=True)


class _Forward(logging.Handler):
    """From the standard library's logging to ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )


def traced(project: str | None) -> structlog.typing.Processor:
    """Add the trace that a line was written in, if it was in one."""

    def add(
        _logger: object, _name: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        context = tracing.current()
        if context is not None:
            event.update(context.log_fields(project))
        return event

    return add


def _severity(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Cloud Logging calls the level `severity`."""
    event["severity"] = str(event.pop("level", "info")).upper()
    return event
