"""From what the runner streams to what a session tells: the runner's events in, ours out. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from claude_run.errors import Code
from claude_run.events import ChangesEvent, ErrorEvent, MessageEvent, RunEvent, WarningEvent
from claude_run.wire import Changes
from gateway.sessions import events
from gateway.sessions.account import Account
from gateway.sessions.bounds import MAX_SHORT
from gateway.sessions.events import SessionEvent
from gateway.sessions.files import FileList
from gateway.sessions.skim import Said

# Names of tools are our own agent's; a model can make up any.
MAX_DENIED = 50
# Part of an answer was sent and then taken back: the connection to the model broke.
TEXT_ABANDONED = "TEXT_ABANDONED"

_UPSTREAM = {
    401: Code.UPSTREAM_AUTH,
    403: Code.UPSTREAM_AUTH,
    429: Code.UPSTREAM_RATE_LIMIT,
    529: Code.UPSTREAM_OVERLOADED,
}


class Translator:
    """Of one turn. Feed it every event of its run, in order.

    `changes` is the change set that the turn began with. What the run came to is remembered:
    its last `result` line and its `error`.
    """

    def __init__(self, *, turn: int, changes: Changes | None = None) -> None:
        self.result: Mapping[str, Any] | None = None
        self.error: ErrorEvent | None = None
        self._turn = turn
        self._account = Account()
        self._told = self._account.to_json()
        self._files = FileList(changes)
        self._workspace = ""
        # The main thread's newest answer, as its deltas name it, and whether any was text: then
        # its complete message, which follows, repeats it.
        self._answer = ""
        self._model = ""
        self._streamed: str | None = None
        self._streamed_block: object = None

    @property
    def usage(self) -> dict[str, Any]:
        """What the turn has used so far, as in the `usage` event."""
        return self._account.to_json()

    @property
    def tokens_so_far(self) -> int:
        """Input and output together, cache reads not counted."""
        return self._account.input_tokens + self._account.output_tokens

    @property
    def succeeded(self) -> bool:
        """Whether the run says so itself."""
        return (
            self.error is None
            and self.result is not None
            and self.result.get("subtype") == "success"
            and self.result.get("is_error") is not True
        )

    @property
    def result_text(self) -> str:
        """Claude's last words, whole."""
        text = self.result.get("result") if self.result is not None else None
        return text if isinstance(text, str) else ""

    @property
    def agent_turns(self) -> int | None:
        """How many turns of its own the agent took, if it says so."""
        turns = self.result.get("num_turns") if self.result is not None else None
        return turns if isinstance(turns, int) else None

    @property
    def denied(self) -> tuple[str, ...]:
        """The tools that it wanted to use and was not allowed to, each once."""
        denials = self.result.get("permission_denials") if self.result is not None else None
        if not isinstance(denials, list):
            return ()
        names = [_text(one, "tool_name") for one in denials if isinstance(one, dict)]
        return tuple(dict.fromkeys(name[:MAX_SHORT] for name in names if name))[:MAX_DENIED]

    def feed(self, event: RunEvent | Said) -> list[SessionEvent]:
        """What a session tells of this; often nothing."""
        match event:
            case Said(text=text, block=block):
                return self._say(text, block)
            case MessageEvent(data=data):
                return self._message(data)
            case WarningEvent(code=code, message=message):
                return [events.status(message, code=code)]
            case ChangesEvent(changes=changes):
                return self._changes(changes)
            case ErrorEvent():
                self.error = event
        return []

    def _message(self, data: Mapping[str, Any]) -> list[SessionEvent]:
        match data:
            case {"type": "stream_event", "event": dict(event)}:
                return [] if data.get("parent_tool_use_id") else self._stream(event, data)
            case {"type": "assistant", "message": {"content": list(content)}}:
                return [*self._assistant(data, content), *self._usage()]
            case {"type": "user", "message": {"content": list(content)}}:
                return list(self._results(content))
            case {"type": "result"}:
                self.result = data
                self._account.result(data)
                return self._usage()
        return self._system(data) if data.get("type") == "system" else []

    # --- what Claude says --------------------------------------------------------------------

    def _say(self, text: str, block: object) -> list[SessionEvent]:
        if text:
            self._streamed, self._streamed_block = self._answer, block
        return events.claude_delta(self._turn, text)

    def _stream(self, event: Mapping[str, Any], line: Mapping[str, Any]) -> list[SessionEvent]:
        match event:
            case {
                "type": "content_block_delta",
                "delta": {"type": "text_delta", "text": str(text)},
            }:
                return self._say(text, event.get("index"))
            case {"type": "message_start", "message": {"id": str(name)}}:
                self._answer, self._model = name, _text(event["message"], "model")
                return self._count(event["message"])
            case {"type": "message_delta"}:
                return self._count(event)
            case {"type": "message_stop"} if "abandoned_blocks" in line:
                return self._abandoned(line["abandoned_blocks"])
        return []

    def _abandoned(self, blocks: object) -> list[SessionEvent]:
        """An answer broke off: its blocks from one on do not count, and are made anew."""
        match blocks, self._streamed_block:
            case {"from_block_index": int(first)}, int(last) if (
                self._streamed == self._answer and last >= first
            ):
                message = "The answer broke off. What follows replaces its unfinished text."
                return [events.status(message, code=TEXT_ABANDONED)]
        return []

    def _assistant(
        self, data: Mapping[str, Any], content: Sequence[object]
    ) -> Iterator[SessionEvent]:
        message = data["message"]
        name, usage = _text(message, "id"), message.get("usage")
        if isinstance(usage, dict):
            self._account.answer(name, _text(message, "model"), usage)
        # Not Claude's words but Claude Code's, about a request that failed for good.
        failed = data.get("is_api_error_message") is True
        code = _upstream_code(data.get("api_error_status"))
        said = not data.get("parent_tool_use_id") and name != self._streamed
        for block in content:
            match block:
                case {"type": "text", "text": str(text)} if failed:
                    yield events.status(text, code=code)
                case {"type": "text", "text": str(text)} if said:
                    yield from events.claude_delta(self._turn, text)
                case {"type": "tool_use", "id": str(tool), "name": str(called), "input": given}:
                    yield events.tool_use(self._turn, tool, called, given)

    def _results(self, content: Sequence[object]) -> Iterator[SessionEvent]:
        for block in content:
            match block:
                case {"type": "tool_result", "tool_use_id": str(tool), **rest}:
                    yield events.tool_result(
                        self._turn,
                        tool,
                        _content(rest.get("content")),
                        is_error=rest.get("is_error") is True,
                    )

    # --- what it used ------------------------------------------------------------------------

    def _count(self, holder: Mapping[str, Any]) -> list[SessionEvent]:
        usage = holder.get("usage")
        if isinstance(usage, dict):
            self._account.answer(self._answer, self._model, usage)
        return self._usage()

    def _usage(self) -> list[SessionEvent]:
        used = self._account.to_json()
        if used == self._told:
            return []
        self._told = used
        return [events.usage(self._turn, used)]

    # --- what else happens -------------------------------------------------------------------

    def _system(self, data: Mapping[str, Any]) -> list[SessionEvent]:
        match data:
            case {"subtype": "init", "cwd": str(workspace)}:
                self._workspace = workspace
            case {"subtype": "api_retry"}:
                return [_retry(data)]
        return []

    def _changes(self, changes: Changes) -> list[SessionEvent]:
        changed = self._files.update(changes)
        if not changed:
            return []
        noun = "file" if len(changed) == 1 else "files"
        message = f"{len(changed):,} {noun} changed"
        return [events.file_change(message, workspace_dir=self._workspace, files=changed)]


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    return text if isinstance(text, str) else ""


def _upstream_code(status: object) -> Code:
    known = _UPSTREAM.get(status) if isinstance(status, int) else None
    return known or Code.UPSTREAM_ERROR


def _retry(data: Mapping[str, Any]) -> SessionEvent:
    status, attempt, most = (data.get(key) for key in ("error_status", "attempt", "max_retries"))
    why = f"HTTP status {status}" if isinstance(status, int) else "the connection broke"
    count = f", {attempt} of {most}" if isinstance(attempt, int) and isinstance(most, int) else ""
    return events.status(
        f"The model did not answer ({why}). It is asked again{count}.",
        code=_upstream_code(status),
    )


def _content(content: object) -> str:
    """A tool's result as text; of what is no text, what it is."""
    if isinstance(content, str):
        return content
    return "\n".join(_block(block) for block in content) if isinstance(content, list) else ""


def _block(block: object) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": str(kind), "source": {"media_type": str(media)}}:
            return f"[{kind}: {media}]"
        case {"type": str(kind)}:
            return f"[{kind}]"
    return ""
