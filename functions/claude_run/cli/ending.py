"""How a command ends: its exit status, and what is said where it did not do what it should."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

from claude_run.cli.complaint import OF_RUN, Advice, complaint, usage_complaint
from claude_run.errors import CallerError, ClaudeRunError, Code, ConfigurationError

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells say it

# What is found before anything is sent; the same codes from a server carry its status.
_USAGE_CODES = (Code.VALIDATION_ERROR, Code.PAYLOAD_TOO_LARGE, Code.INTERNAL_ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Where output goes, and the environment that says how it may look."""

    out: TextIO
    err: TextIO
    environ: Mapping[str, str]


def guarded(
    work: Callable[[], int],
    streams: Streams,
    *,
    stopped: Callable[[], str],
    server: str,
    advice: Advice = OF_RUN,
) -> int:
    """The exit status of `work`, or of what it raised; `stopped` is said after Ctrl-C.

    `server` was asked; `advice` is what to do about an error.
    """
    try:
        return work()
    except KeyboardInterrupt:
        streams.err.write(f"\nclaude-run: {stopped()}\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on (`| head`). What is still buffered must not fail a second time at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), streams.out.fileno())
        return FAILED
    except ClaudeRunError as error:
        usage = _is_usage(error)
        said = usage_complaint(error) if usage else complaint(error, advice=advice, server=server)
        streams.err.write(said)
        return USAGE if usage else FAILED


def _is_usage(error: ClaudeRunError) -> bool:
    ours = isinstance(error, CallerError | ConfigurationError) and error.status is None
    return ours and error.code in _USAGE_CODES
