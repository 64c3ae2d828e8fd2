"""A run as a person reads it: events in, text out. No I/O."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from claude_run.cli.plain import one_line, plain
from claude_run.cli.receipt import Tally
from claude_run.cli.style import Style
from claude_run.events import (
    ChangesEvent,
    DoneEvent,
    ErrorEvent,
    MessageEvent,
    RunEvent,
    WarningEvent,
)

MAX_SUMMARY = 100
# Of a tool's input the one thing that says what it does, in the order of preference.
_TELLING = (
    "file_path", "notebook_path", "command", "pattern", "path", "url", "query", "subject",
    "description", "prompt", "skill",
)  # fmt: skip


class Show:
    """What is shown of one run.

    Give it every event in order; each call returns the text to write, often none. `waiting_for`
    is what a status line may say meanwhile, None while words are on their way.
    """

    def __init__(self, *, style: Style, cloning: str | None = None) -> None:
        self.tally = Tally()
        self.error: ErrorEvent | None = None
        self._style = style
        self._waiting_for = f"cloning {one_line(cloning, 60)}" if cloning else "starting"
        self._fresh_line = True
        self._workspace = ""
        # The message whose words came in deltas; its whole text follows and is not said again.
        self._streamed: object = None

    @property
    def waiting_for(self) -> str | None:
        """What happens now, where the line is free to say so."""
        return self._waiting_for if self._fresh_line else None

    def feed(self, event: RunEvent) -> str:
        """The text of an event."""
        match event:
            case MessageEvent(data=data):
                return self._message(data)
            case WarningEvent(code=code, message=message):
                line = f"! {one_line(message, 300)} ({one_line(code, 40)})"
                return self._line(self._style.changed(line))
            case ChangesEvent(changes=changes):
                self.tally.changes = changes
            case ErrorEvent():
                self.error = event
            case DoneEvent():
                return self._finish_line()
        return ""

    def receipt(self, seconds: float) -> str:
        """The end of the show; `seconds` are what the caller has waited."""
        return f"\n{self.tally.text(seconds=seconds, style=self._style)}"

    def _message(self, data: Mapping[str, Any]) -> str:
        match data:
            case {"type": "system", "subtype": "init"}:
                cwd = data.get("cwd")
                self._workspace = f"{cwd}/" if isinstance(cwd, str) else ""
                self._waiting_for = "waiting for the model"
            case {"type": "stream_event", "event": dict(event)}:
                # A subagent's words are its own; what it does is seen in its tools.
                return "" if data.get("parent_tool_use_id") else self._stream(event)
            case {"type": "assistant", "message": {"content": list(content), **message}}:
                return self._assistant(content, message.get("id"), data.get("parent_tool_use_id"))
            case {"type": "user", "message": {"content": list(content)}}:
                self._waiting_for = "waiting for the model"
                return "".join(self._refusals(content))
            case {"type": "result"}:
                self.tally.result = data
                self._waiting_for = "collecting the files"
        return ""

    def _stream(self, event: Mapping[str, Any]) -> str:
        match event:
            case {"type": "message_start", "message": {"id": str(message)}}:
                self._streamed = message
                return self._finish_line()
            case {
                "type": "content_block_delta",
                "delta": {"type": "text_delta", "text": str(text)},
            }:
                return self._words(text)
            case {"type": "content_block_start", "content_block": {"type": "thinking"}}:
                self._waiting_for = "thinking"
        return ""

    def _assistant(self, content: Sequence[object], message: object, parent: object) -> str:
        shown = []
        for block in content:
            match block:
                case {"type": "text", "text": str(text)} if (
                    not parent and message != self._streamed
                ):
                    shown.append(self._finish_line() + self._words(text))
                case {"type": "tool_use", "name": str(name), "input": dict(given)}:
                    shown.append(self._tool(name, given, indent="    " if parent else "  "))
        return "".join(shown)

    def _tool(self, name: str, given: Mapping[str, object], indent: str) -> str:
        self._waiting_for = f"running {one_line(name, 40)}"
        texts = (given.get(key) for key in _TELLING)
        telling = next((text for text in texts if isinstance(text, str) and text), "")
        if self._workspace:
            telling = telling[:4096].replace(self._workspace, "")
        line = f"{indent}▸ {one_line(name, 60)} {one_line(telling, MAX_SUMMARY)}"
        return self._line(self._style.quiet(line.rstrip()))

    def _refusals(self, content: Sequence[object]) -> Iterator[str]:
        for block in content:
            match block:
                case {"type": "tool_result", "is_error": True, "content": said}:
                    text = said if isinstance(said, str) else _first_text(said)
                    yield self._line(self._style.removed(f"    ✗ {one_line(text, MAX_SUMMARY)}"))

    def _words(self, text: str) -> str:
        safe = plain(text)
        if safe:
            self._fresh_line = safe.endswith("\n")
        return safe

    def _line(self, line: str) -> str:
        return f"{self._finish_line()}{line}\n"

    def _finish_line(self) -> str:
        unfinished, self._fresh_line = not self._fresh_line, True
        return "\n" if unfinished else ""


def _first_text(content: object) -> str:
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)}:
                return text
    return ""
