"""`claude-run run`: send a prompt, show what comes, tell how it ended."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from claude_run.cli.complaint import complaint, usage_complaint
from claude_run.cli.lines import json_line
from claude_run.cli.screen import Screen, is_live
from claude_run.cli.show import Show
from claude_run.cli.style import style_for
from claude_run.client import Client
from claude_run.errors import CallerError, ClaudeRunError, Code, ConfigurationError
from claude_run.events import ErrorEvent, RunEvent

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells say it

# What is found before anything is sent; the same codes from a server carry its status.
_USAGE_CODES = (Code.VALIDATION_ERROR, Code.PAYLOAD_TOO_LARGE, Code.INTERNAL_ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run where; `options` are `RunRequest`'s fields and may hold secrets."""

    base_url: str
    prompt: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def repository(self) -> str | None:
        """What will be cloned, by the name that the user gave."""
        wanted = self.options.get("repository") or {}
        return wanted.get("name") or wanted.get("url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Where output goes, and the environment that says how it may look."""

    out: TextIO
    err: TextIO
    environ: Mapping[str, str]


def run(order: Order, streams: Streams, *, as_json: bool = False) -> int:
    """Run, and return the exit status. Ctrl-C closes the connection, which ends the run."""
    try:
        return _json_run(order, streams) if as_json else _shown_run(order, streams)
    except KeyboardInterrupt:
        streams.err.write("\nclaude-run: stopped; the run is ended.\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on (`| head`). What is still buffered must not fail a second time at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), streams.out.fileno())
        return FAILED
    except ClaudeRunError as error:
        usage = _is_usage(error)
        streams.err.write(usage_complaint(error) if usage else complaint(error))
        return USAGE if usage else FAILED


def _is_usage(error: ClaudeRunError) -> bool:
    ours = isinstance(error, CallerError | ConfigurationError) and error.status is None
    return ours and error.code in _USAGE_CODES


def _json_run(order: Order, streams: Streams) -> int:
    def take(event: RunEvent) -> None:
        streams.out.write(json_line(event))
        streams.out.flush()

    return _follow(order, streams, take)


def _shown_run(order: Order, streams: Streams) -> int:
    started = time.monotonic()
    style = style_for(terminal=streams.out.isatty(), environ=streams.environ)
    show = Show(style=style, cloning=order.repository)
    live = is_live(streams.out, streams.err, streams.environ)

    with Screen(streams.out, streams.err, live=live, style=style) as screen:
        screen.wait_for(show.waiting_for)

        def take(event: RunEvent) -> None:
            screen.write(show.feed(event))
            screen.wait_for(show.waiting_for)

        def receipt() -> None:
            screen.write(show.receipt(time.monotonic() - started))

        return _follow(order, streams, take, at_end=receipt)


def _follow(
    order: Order,
    streams: Streams,
    take: Callable[[RunEvent], None],
    *,
    at_end: Callable[[], None] = lambda: None,
) -> int:
    """Hand each event to `take`; the exit status is by whether there was an error event."""
    failure: ErrorEvent | None = None
    with Client(order.base_url) as client, client.run(order.prompt, **order.options) as events:
        for event in events:
            take(event)
            if isinstance(event, ErrorEvent):
                failure = event
        at_end()
        if failure is None:
            return 0
        error = failure.as_exception(request_id=events.request_id)
    streams.err.write(complaint(error))
    return FAILED
