"""A run as a person reads it: events in, text out. No I/O."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from claude_run.cli.page import Page
from claude_run.cli.plain import one_line
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


class Show:
    """What is shown of one run.

    Give it every event in order; each call returns the text to write, often none. `waiting_for`
    is what a status line may say meanwhile, None while words are on their way.
    """

    def __init__(self, *, style: Style, cloning: str | None = None) -> None:
        self.tally = Tally()
        self.error: ErrorEvent | None = None
        # Claude Code has said something: there is something to account for.
        self.began = False
        self._page = Page(style, waiting_for=first_wait(cloning))
        self._workspace = ""
        # The message whose words came in deltas; its whole text follows and is not said again.
        self._streamed: object = None

    @property
    def waiting_for(self) -> str | None:
        """What happens now, where the line is free to say so."""
        return self._page.waiting_for

    def feed(self, event: RunEvent) -> str:
        """The text of an event."""
        match event:
            case MessageEvent(data=data):
                self.began = True
                return self._message(data)
            case WarningEvent(code=code, message=message):
                return self._page.notice(message, code)
            case ChangesEvent(changes=changes):
                self.tally.changes = changes
            case ErrorEvent():
                self.error = event
            case DoneEvent():
                return self._page.finish_line()
        return ""

    def receipt(self, seconds: float) -> str:
        """The end of the show; `seconds` are what the caller has waited."""
        return f"\n{self.tally.text(seconds=seconds, style=self._page.style)}"

    def _message(self, data: Mapping[str, Any]) -> str:
        match data:
            case {"type": "system", "subtype": "init"}:
                cwd = data.get("cwd")
                self._workspace = f"{cwd}/" if isinstance(cwd, str) else ""
                self._page.wait_for("waiting for the model")
            case {"type": "stream_event", "event": dict(event)}:
                # A subagent's words are its own; what it does is seen in its tools.
                return "" if data.get("parent_tool_use_id") else self._stream(event)
            case {"type": "assistant", "message": {"content": list(content), **message}}:
                return self._assistant(content, message.get("id"), data.get("parent_tool_use_id"))
            case {"type": "user", "message": {"content": list(content)}}:
                self._page.wait_for("waiting for the model")
                return "".join(self._refusals(content))
            case {"type": "result"}:
                self.tally.result = data
                self._page.wait_for("collecting the files")
        return ""

    def _stream(self, event: Mapping[str, Any]) -> str:
        match event:
            case {"type": "message_start", "message": {"id": str(message)}}:
                self._streamed = message
                return self._page.finish_line()
            case {"type": "content_block_start", "content_block": {"type": "tool_use", **block}}:
                # Its input may be a whole file: until all of it is there something is to be seen.
                self._page.wait_for(f"preparing {one_line(str(block.get('name')), 40)}")
                return self._page.finish_line()
            case {
                "type": "content_block_delta",
                "delta": {"type": "text_delta", "text": str(text)},
            }:
                return self._page.words(text)
            case {"type": "content_block_start", "content_block": {"type": "thinking"}}:
                self._page.wait_for("thinking")
        return ""

    def _assistant(self, content: Sequence[object], message: object, parent: object) -> str:
        shown = []
        for block in content:
            match block:
                case {"type": "text", "text": str(text)} if (
                    not parent and message != self._streamed
                ):
                    shown.append(self._page.finish_line() + self._page.words(text))
                case {"type": "tool_use", "name": str(name), "input": dict(given)}:
                    shown.append(self._tool(name, given, indent="    " if parent else "  "))
        return "".join(shown)

    def _tool(self, name: str, given: Mapping[str, object], indent: str) -> str:
        return self._page.tool(name, given, indent=indent, workspace=self._workspace)

    def _refusals(self, content: Sequence[object]) -> Iterator[str]:
        for block in content:
            match block:
                case {"type": "tool_result", "is_error": True, "content": said}:
                    text = said if isinstance(said, str) else _first_text(said)
                    yield self._page.refusal(text)


def first_wait(cloning: str | None) -> str:
    """What happens before the first event."""
    return f"cloning {one_line(cloning, 60)}" if cloning else "starting"


def _first_text(content: object) -> str:
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)}:
                return text
    return ""
