"""`claude-run run`: send a prompt, show what comes, tell how it ended."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from claude_run.cli.complaint import complaint
from claude_run.cli.ending import FAILED, Streams, guarded
from claude_run.cli.lines import json_line
from claude_run.cli.screen import Screen, is_live
from claude_run.cli.show import Show
from claude_run.cli.style import style_for
from claude_run.client import Client
from claude_run.events import ErrorEvent, RunEvent


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


def run(order: Order, streams: Streams, *, as_json: bool = False) -> int:
    """Run, and return the exit status. Ctrl-C closes the connection, which ends the run."""
    work = _json_run if as_json else _shown_run
    return guarded(
        lambda: work(order, streams),
        streams,
        stopped=lambda: "stopped; the run is ended.",
        server=order.base_url,
    )


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
            if show.began:
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
