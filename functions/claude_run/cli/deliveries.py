"""`claude-run deliveries`: what GitHub has told a gateway, and what became of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from claude_run.cli.complaint import OF_DELIVERIES
from claude_run.cli.ending import Streams, guarded
from claude_run.cli.plain import one_line
from claude_run.cli.session_text import ago, coloured
from claude_run.cli.style import Style, style_for
from claude_run.client import Client

_CARD = (
    ("delivery", "id"),
    ("repository", "repository"),
    ("issue", "issue"),
    ("asked by", "author"),
    ("trigger", "trigger"),
)
_WORK = (
    ("work", "id"),
    ("attempts", "attempts"),
    ("session", "sessionId"),
    ("branch", "branch"),
    ("pull", "prUrl"),
    ("code", "code"),
    ("message", "message"),
    ("joined to", "joinedTo"),
    ("replays", "replays"),
)


def listed(base_url: str, streams: Streams, *, limit: int, as_json: bool) -> int:
    """The newest ones."""

    def look(client: Client) -> str:
        found = list(client.deliveries.list(limit=limit))
        if as_json:
            return "".join(map(_line, found))
        return table(found, now=datetime.now(UTC), style=_style(streams))

    return _asked(base_url, streams, look)


def shown(delivery_id: str, base_url: str, streams: Streams, *, as_json: bool) -> int:
    """One as it stands."""

    def look(client: Client) -> str:
        found = client.deliveries.get(delivery_id)
        return _line(found) if as_json else card(found, style=_style(streams))

    return _asked(base_url, streams, look)


def replayed(delivery_id: str, base_url: str, streams: Streams, *, as_json: bool) -> int:
    """Its work is done now, or again."""

    def look(client: Client) -> str:
        found = client.deliveries.replay(delivery_id)
        return _line(found) if as_json else card(found, style=_style(streams))

    return _asked(base_url, streams, look)


def table(found: Sequence[Mapping[str, Any]], *, now: datetime, style: Style) -> str:
    """One line for each delivery."""
    if not found:
        return style.quiet("no deliveries") + "\n"
    return "".join(f"{_row(one, now, style)}\n" for one in found)


def _row(one: Mapping[str, Any], now: datetime, style: Style) -> str:
    at = one.get("receivedAt")
    moment = datetime.fromtimestamp(at / 1000, UTC) if isinstance(at, int) else None
    cells = [
        _text(one, "id", 64).ljust(36),
        coloured(_text(one, "state", 40), style, width=11),
        ago(moment, now).ljust(14),
        f"{_text(one, 'repository', 60)}#{_text(one, 'issue', 12)}",
        f"{_text(one, 'trigger', 20)} by {_text(one, 'author', 40)}",
    ]
    return "  ".join(cells).rstrip()


def card(one: Mapping[str, Any], *, style: Style) -> str:
    """All that is known of one delivery."""
    rows = {label: _text(one, name, 300) for label, name in _CARD}
    rows["state"] = coloured(_text(one, "state", 40), style)
    work = one.get("work")
    if isinstance(work, dict):
        rows |= {label: _text(work, name, 600) for label, name in _WORK}
    return "".join(f"{label:<11} {value}\n" for label, value in rows.items() if value)


def _text(one: Mapping[str, Any], name: str, most: int) -> str:
    value = one.get(name)
    return "" if value is None else one_line(str(value), most)


def _asked(base_url: str, streams: Streams, look: Callable[[Client], str]) -> int:
    def work() -> int:
        with Client(base_url) as client:
            streams.out.write(look(client))
        streams.out.flush()
        return 0

    return guarded(work, streams, stopped=lambda: "stopped.", server=base_url, advice=OF_DELIVERIES)


def _style(streams: Streams) -> Style:
    return style_for(terminal=streams.out.isatty(), environ=streams.environ)


def _line(value: Mapping[str, Any]) -> str:
    """In ASCII, as every line for programs."""
    return json.dumps(value, separators=(",", ":")) + "\n"
