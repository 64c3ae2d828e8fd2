"""Logs of every deployable: one JSON line for an event, on standard error, as Cloud Logging reads.

Messages are constant, facts are fields, secrets are in neither.
"""

import sys

import structlog


def configure() -> None:
    """Set structlog up for this process. Call it once, from an entry point."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
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


def _severity(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Cloud Logging calls the level `severity`."""
    event["severity"] = str(event.pop("level", "info")).upper()
    return event
