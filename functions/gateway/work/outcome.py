"""How the agent's run for an item ended, as the item keeps it. Pure but for the log it reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from claude_run.errors import ClaudeRunError, Code
from claude_run.sse import Decoder
from gateway.sessions import log
from gateway.sessions.bounds import head
from gateway.sessions.driver import Ended
from gateway.sessions.record import Session, Usage
from gateway.store import Store
from gateway.work.record import State, WorkItem

# Ended by somebody or something outside: what was done until then is kept.
_INTERRUPTED = {Code.INTERRUPTED, Code.SHUTDOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`code`: why it failed; None: it did not. `turns` are the agent's own.

    `checkpoint`: it ended early, and what it had changed until then is kept.
    """

    code: Code | None = None
    message: str = ""
    result: str = ""
    usage: Usage = field(default_factory=Usage)
    turns: int | None = None
    seconds: int = 0
    denied: tuple[str, ...] = ()
    checkpoint: bool = False

    @property
    def state(self) -> State:
        """The final state of an item that ended so."""
        if self.code is None:
            return State.DONE
        if self.code is Code.CANCELLED:
            return State.CANCELLED
        return State.INTERRUPTED if self.code in _INTERRUPTED else State.FAILED

    def to_data(self) -> dict[str, Any]:
        """As the item keeps it."""
        return {
            "code": self.code.value if self.code else None,
            "message": _storable(self.message),
            "result": _storable(self.result),
            "usage": self.usage.to_json(),
            "turns": self.turns,
            "seconds": self.seconds,
            "denied": [_storable(name) for name in self.denied],
            "checkpoint": self.checkpoint,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """What `to_data` gave."""
        return cls(
            code=Code(data["code"]) if data["code"] else None,
            message=data["message"],
            result=data["result"],
            usage=Usage.from_json(data["usage"]),
            turns=data["turns"],
            seconds=data["seconds"],
            denied=tuple(data["denied"]),
            checkpoint=data["checkpoint"],
        )

    @classmethod
    def of_failure(cls, error: ClaudeRunError) -> Self:
        """Of what failed beside the agent."""
        return cls(code=error.code, message=error.message)


def _storable(text: str) -> str:
    """Half a surrogate pair, which a model may print, fits into no document."""
    return text.encode("utf-8", "replace").decode()


def of_turn(ended: Ended, item: WorkItem, session: Session, *, changed: bool) -> Outcome:
    """Of a turn that was driven here to its end."""
    failure = ended.failure
    return Outcome(
        code=failure.code if failure else None,
        message=failure.message if failure else "",
        result=head(ended.result),
        usage=ended.usage,
        turns=ended.agent_turns,
        seconds=_seconds(item, session),
        denied=ended.denied,
        checkpoint=failure is not None and changed,
    )


def of_log(store: Store, item: WorkItem, session: Session, *, changed: bool) -> Outcome:
    """Of a turn that somebody drove who went away: what its log says."""
    frame = log.last_frame(store, session.key)
    told = Decoder().feed(frame) if frame else []
    data: Mapping[str, Any] = json.loads(told[0].data) if told else {}
    failed = "code" in data
    before = Usage.from_json(item.facts["before"])
    return Outcome(
        code=Code(data["code"]) if failed else None,
        message=data["message"] if failed else "",
        result=data.get("result", ""),
        usage=Usage(
            input_tokens=session.usage.input_tokens - before.input_tokens,
            output_tokens=session.usage.output_tokens - before.output_tokens,
            cost_usd=round(session.usage.cost_usd - before.cost_usd, 6),
        ),
        seconds=_seconds(item, session),
        checkpoint=failed and changed,
    )


def _seconds(item: WorkItem, session: Session) -> int:
    ended = session.completed_at or session.last_activity_at
    return max(0, round((ended - item.updated_at).total_seconds()))
