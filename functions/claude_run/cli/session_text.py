"""What a gateway tells of sessions and of itself, as a person reads it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from claude_run.cli.plain import one_line
from claude_run.cli.receipt import count, spoken_tokens
from claude_run.cli.style import Style
from claude_run.session_status import SessionStatus

# In seconds, the largest first.
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_GOOD = ("ok", "healthy", "operational", "configured", "completed", "done", "joined")
_PASSING = (
    *("processing", "degraded", "not configured"),
    *("accepted", "claimed", "running", "produced", "published"),
)


# What the API calls them in the words of another platform.
_PARTS = {
    "durableObjects": "store",
    "containers": "runner",
    "githubApp": "GitHub App",
    "claudeConfig": "Claude key",
    "rateLimit": "rate limit",
}


def part_name(name: str) -> str:
    """A part of the server, as a person calls it."""
    return _PARTS.get(name, one_line(name, 20))


def table(sessions: Sequence[SessionStatus], *, now: datetime, style: Style) -> str:
    """One line for each session."""
    if not sessions:
        return style.quiet("no sessions") + "\n"
    width = max(len(one_line(one.session_id, 64)) for one in sessions)
    return "".join(f"{_row(one, width, now, style)}\n" for one in sessions)


def _row(one: SessionStatus, width: int, now: datetime, style: Style) -> str:
    cells = [
        one_line(one.session_id, 64).ljust(width),
        coloured(one.status, style, width=10),
        count(one.current_turn, "turn").ljust(8),
        ago(one.last_activity_at, now).ljust(14),
        one_line(one.repository or "", 60),
    ]
    return "  ".join(cells).rstrip()


def card(one: SessionStatus, *, now: datetime, style: Style) -> str:
    """All that is known of one session."""
    rows = {
        "session": one_line(one.session_id, 64),
        "status": coloured(one.status, style),
        "turns": f"{one.current_turn:,}",
        "repository": one_line(one.repository, 300) if one.repository else "",
        "started": _when(one.created_at, now),
        "active": _when(one.last_activity_at, now),
        "ended": _when(one.completed_at, now),
        "used": _used(one.data.get("usage")),
        "error": one_line(one.error_message, 600) if one.error_message else "",
    }
    return "".join(f"{name:<11} {value}\n" for name, value in rows.items() if value)


def health(said: Mapping[str, Any], *, style: Style) -> str:
    """How a server is; of a runner only that it is there."""
    head = [coloured(str(said.get("status")), style)]
    if isinstance(version := said.get("version"), str):
        head.append(f"version {one_line(version, 40)}")
    lines = [" · ".join(head), *_components(said.get("components"), style)]
    if isinstance(quota := said.get("quota"), dict):
        lines += _quota(quota)
    return "".join(f"{line}\n" for line in lines)


def is_well(said: Mapping[str, Any]) -> bool:
    """Whether a server that answered this can be used."""
    return said.get("status") != "unhealthy"


def _components(components: object, style: Style) -> Iterator[str]:
    for name, part in components.items() if isinstance(components, dict) else ():
        if isinstance(part, dict):
            status, message = str(part.get("status")), part.get("message")
            shown = f"  {part_name(str(name)):<11} {coloured(status, style, width=15)}"
            yield f"{shown} {one_line(message, 200) if isinstance(message, str) else ''}".rstrip()


def _quota(quota: Mapping[str, Any]) -> Iterator[str]:
    match quota:
        case {
            "dailyTokens": int(tokens),
            "maxDailyTokens": int(most_tokens),
            "dailyCost": int() | float() as cost,
            "maxDailyCost": int() | float() as most_cost,
            "activeSessions": int(active),
            "maxConcurrentSessions": int(most),
        }:
            yield (
                f"today: {tokens:,} of {most_tokens:,} tokens · ${cost:,.2f} of ${most_cost:,.2f}"
                f" · {active} of {count(most, 'session')} running"
            )


def coloured(status: str, style: Style, *, width: int = 0) -> str:
    """A status in the colour of how good that is."""
    word = one_line(status, 40).ljust(width)
    if status in _GOOD:
        return style.added(word)
    return style.changed(word) if status in _PASSING else style.removed(word)


def _used(usage: object) -> str:
    match usage:
        case {
            "inputTokens": int(used),
            "outputTokens": int(made),
            "costUsd": int() | float() as cost,
        }:
            return f"{spoken_tokens(used, made)} · ${cost:.4f}"
    return ""


def _when(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return ""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {ago(moment, now)}"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago that was, in one unit."""
    if moment is None:
        return ""
    seconds = int((now - moment).total_seconds())
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{count(seconds // size, unit)} ago"
    return "just now"
