"""`claude-run start`, `send` and `tail`: a session of a gateway, shown as it happens."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from claude_run.cli.complaint import OF_SESSION, OF_START, Advice, complaint
from claude_run.cli.ending import FAILED, Streams, guarded
from claude_run.cli.lines import session_line
from claude_run.cli.plain import one_line
from claude_run.cli.run import Order
from claude_run.cli.screen import Screen, is_live
from claude_run.cli.session_show import SessionShow
from claude_run.cli.style import style_for
from claude_run.client import Client
from claude_run.interactive import Session
from claude_run.session_events import SessionErrorEvent, SessionEvent

NOTHING_NEWER = "no newer events"
_LEFT = (
    "left; session {id} goes on. `claude-run tail {id} --after {after}` shows the rest, "
    "`claude-run cancel {id}` stops it."
)


@dataclass(slots=True, kw_only=True)
class _View:
    """How a session is followed; `session` is there once it is known."""

    streams: Streams
    as_json: bool
    cloning: str | None = None
    prompts: bool = False
    after: int | None = None
    timed: bool = True
    stays: bool = True
    session: Session | None = field(default=None)

    def left(self) -> str:
        """What is said after Ctrl-C."""
        if self.session is None:
            return "stopped."
        if not self.stays:
            return "stopped; the session is ended."
        return _LEFT.format(id=self.session.id, after=self.session.last_event_id)


def start(order: Order, streams: Streams, *, as_json: bool = False, stays: bool = True) -> int:
    """Begin a session and follow it; detached, only begin it. The exit status is the turn's.

    `stays`: whether there will be a gateway to speak of the session with.
    """
    view = _View(streams=streams, as_json=as_json, cloning=order.repository, stays=stays)

    def begin(client: Client) -> Session:
        return client.interactive.start(order.prompt, **order.options)

    def detached() -> int:
        with Client(order.base_url) as client:
            streams.out.write(f"{begin(client).id}\n")
        return 0

    if order.options.get("detach"):
        return guarded(detached, streams, stopped=view.left, server=order.base_url, advice=OF_START)
    return _followed(order.base_url, view, begin, advice=OF_START)


def send(session_id: str, order: Order, streams: Streams, *, as_json: bool) -> int:
    """Begin a session's next turn and follow it."""

    def begin(client: Client) -> Session:
        session = client.interactive.get(session_id)
        options: dict[str, Any] = dict(order.options)
        # The environment's token is for repositories; without one it would be refused.
        if "github_token" in options and session.status().repository is None:
            del options["github_token"]
        session.send(order.prompt, **options)
        return session

    return _followed(order.base_url, _View(streams=streams, as_json=as_json), begin)


def tail(session_id: str, base_url: str, streams: Streams, *, after: int, as_json: bool) -> int:
    """Follow a session from an event on, to the end of its newest turn."""
    view = _View(streams=streams, as_json=as_json, prompts=True, after=after, timed=False)
    return _followed(base_url, view, lambda client: client.interactive.get(session_id))


def _followed(
    base_url: str,
    view: _View,
    begin: Callable[[Client], Session],
    *,
    advice: Advice = OF_SESSION,
) -> int:
    work = _json if view.as_json else _shown
    return guarded(
        lambda: work(base_url, view, begin),
        view.streams,
        stopped=view.left,
        server=base_url,
        advice=advice,
    )


def _json(base_url: str, view: _View, begin: Callable[[Client], Session]) -> int:
    def take(event: SessionEvent) -> None:
        view.streams.out.write(session_line(event))
        view.streams.out.flush()

    return _follow(base_url, view, begin, take)


def _shown(base_url: str, view: _View, begin: Callable[[Client], Session]) -> int:
    started = time.monotonic()
    streams = view.streams
    style = style_for(terminal=streams.out.isatty(), environ=streams.environ)
    show = SessionShow(style=style, cloning=view.cloning, prompts=view.prompts)
    live = is_live(streams.out, streams.err, streams.environ)

    with Screen(streams.out, streams.err, live=live, style=style) as screen:
        screen.wait_for(show.waiting_for)

        def take(event: SessionEvent) -> None:
            screen.write(show.feed(event))
            screen.wait_for(show.waiting_for)

        def at_end(session: Session) -> None:
            # Of a log that is read again nobody waited for what it tells.
            seconds = time.monotonic() - started if view.timed else None
            name = style.quiet(f"session {one_line(session.id, 64)}") + "\n" if view.stays else ""
            if show.began:
                screen.write(f"{show.receipt(seconds)}{name}")
            else:
                nothing = f"{style.quiet(NOTHING_NEWER)}\n" if show.error is None else ""
                screen.write(f"{nothing}{name}")

        return _follow(base_url, view, begin, take, at_end=at_end)


def _follow(
    base_url: str,
    view: _View,
    begin: Callable[[Client], Session],
    take: Callable[[SessionEvent], None],
    *,
    at_end: Callable[[Session], None] = lambda _session: None,
) -> int:
    """Hand each event to `take`; the exit status is by how the last turn ended."""
    failure: SessionErrorEvent | None = None
    with Client(base_url) as client:
        session = view.session = begin(client)
        with session.stream(after=view.after) as events:
            for event in events:
                take(event)
                if event.terminal:
                    failure = event if isinstance(event, SessionErrorEvent) else None
        at_end(session)
    if failure is None:
        return 0
    view.streams.err.write(complaint(failure.as_exception(), advice=OF_SESSION))
    return FAILED
