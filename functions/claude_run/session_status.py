"""What the gateway tells of a session, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from claude_run.errors import UpstreamError

PROCESSING = "processing"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """A session as it stood; `status` is `processing`, `completed`, `error` or `cancelled`.

    `current_turn` counts prompts. `data` is all that the gateway said, as it said it.
    """

    session_id: str
    status: str
    current_turn: int
    repository: str | None
    created_at: datetime | None
    last_activity_at: datetime | None
    completed_at: datetime | None
    error_message: str | None
    data: Mapping[str, Any] = field(repr=False)

    @property
    def over(self) -> bool:
        """Whether its newest turn has ended."""
        return self.status != PROCESSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of a caller's sessions, newest first, and where the next ones begin."""

    sessions: tuple[SessionStatus, ...]
    next_token: str | None


def parse_status(value: Mapping[str, Any]) -> SessionStatus:
    """The status in an answer's object; `UpstreamError` for nonsense."""
    match value:
        case {"sessionId": str(session_id), "status": str(status), "currentTurn": int(turn)}:
            pass
        case _:
            raise UpstreamError("What the server says of a session cannot be understood")
    return SessionStatus(
        session_id=session_id,
        status=status,
        current_turn=turn,
        repository=_repository(value.get("repository")),
        created_at=_moment(value.get("createdAt")),
        last_activity_at=_moment(value.get("lastActivityAt")),
        completed_at=_moment(value.get("completedAt")),
        error_message=_text(value.get("errorMessage")),
        data=value,
    )


def parse_page(value: Mapping[str, Any]) -> Page:
    """The page in an answer's object; `UpstreamError` for nonsense."""
    sessions = value.get("sessions")
    if not isinstance(sessions, list) or not all(isinstance(one, dict) for one in sessions):
        raise UpstreamError("The server's list of sessions cannot be understood")
    return Page(
        sessions=tuple(map(parse_status, sessions)),
        next_token=_text(value.get("nextPageToken")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _repository(value: object) -> str | None:
    """By its name, or its URL where it has none."""
    if not isinstance(value, dict):
        return None
    return _text(value.get("name")) or _text(value.get("url"))


def _moment(value: object) -> datetime | None:
    """Milliseconds since 1970."""
    if not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
