"""`claude-run sessions`, `show`, `cancel` and `status`: asked once, answered once."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from claude_run.cli import session_text
from claude_run.cli.complaint import OF_SESSION
from claude_run.cli.ending import FAILED, Streams, guarded
from claude_run.cli.plain import one_line
from claude_run.cli.style import Style, style_for
from claude_run.client import Client


def sessions(base_url: str, streams: Streams, *, limit: int, as_json: bool) -> int:
    """The caller's sessions, newest first."""

    def look(client: Client) -> int:
        found = list(client.interactive.list(limit=limit))
        if as_json:
            streams.out.writelines(_line(one.data) for one in found)
        else:
            streams.out.write(
                session_text.table(found, now=datetime.now(UTC), style=_style(streams))
            )
        return 0

    return _asked(base_url, streams, look)


def show(session_id: str, base_url: str, streams: Streams, *, as_json: bool) -> int:
    """One session as it stands."""

    def look(client: Client) -> int:
        found = client.interactive.get(session_id).status()
        if as_json:
            streams.out.write(_line(found.data))
        else:
            text = session_text.card(found, now=datetime.now(UTC), style=_style(streams))
            streams.out.write(text)
        return 0

    return _asked(base_url, streams, look)


def cancel(session_id: str, base_url: str, streams: Streams, *, as_json: bool) -> int:
    """Stop a session; one that is over stays as it is."""

    def look(client: Client) -> int:
        session = client.interactive.get(session_id)
        before = session.status()
        session.cancel()
        if as_json:
            streams.out.write(_line(session.status().data))
        else:
            name, status = one_line(session.id, 64), one_line(before.status, 40)
            how = f"was over: {status}" if before.over else "is being stopped"
            streams.out.write(f"{name} {how}.\n")
        return 0

    return _asked(base_url, streams, look)


def status(base_url: str, streams: Streams, *, as_json: bool) -> int:
    """How the server is; 1 where it says that it is unhealthy."""

    def look(client: Client) -> int:
        said = client.health()
        text = _line(said) if as_json else session_text.health(said, style=_style(streams))
        streams.out.write(text)
        return 0 if session_text.is_well(said) else FAILED

    return _asked(base_url, streams, look)


def _asked(base_url: str, streams: Streams, look: Callable[[Client], int]) -> int:
    def work() -> int:
        with Client(base_url) as client:
            done = look(client)
        streams.out.flush()
        return done

    return guarded(work, streams, stopped=lambda: "stopped.", server=base_url, advice=OF_SESSION)


def _style(streams: Streams) -> Style:
    return style_for(terminal=streams.out.isatty(), environ=streams.environ)


def _line(value: Mapping[str, Any]) -> str:
    """In ASCII, as every line for programs."""
    return json.dumps(value, separators=(",", ":")) + "\n"
