"""What a client knows of a session that it reads: where it is, and how far it goes. Pure."""

from dataclasses import dataclass, field

from claude_run.errors import CallerError
from claude_run.resumption import Position, Resumption
from claude_run.session_status import SessionStatus


@dataclass(slots=True, kw_only=True)
class Course:
    """`turn` is the newest that is known, `first` the first that its reader asked for."""

    session_id: str
    turn: int = 0
    first: int = 0
    position: Position = field(default_factory=Position)

    def began(self) -> None:
        """The next turn has begun, by our own doing: its reader wants that one."""
        self.turn += 1
        self.first = self.turn

    def seen(self, status: SessionStatus) -> None:
        """Somebody else may have begun turns, too."""
        self.turn = max(self.turn, status.current_turn)

    def resumption(self, after: int | None) -> Resumption:
        """The way from where the last reader was, or from behind an event, to the newest turn."""
        if after is None:
            return Resumption(self.position, first=self.first, last=self.turn)
        if after < 0:
            rule = "must be the id of an event, or 0"
            raise CallerError(f"after: {rule}", details={"field": "after", "rule": rule})
        # In the middle of a log nobody knows of which turn the next event is, until one says so.
        self.position = Position(after=after, turn=None if after else 1)
        return Resumption(self.position, first=0, last=self.turn)
