"""A session as a person reads it: the events of its log in, text out. No I/O."""

from claude_run.cli.page import Page
from claude_run.cli.plain import one_line
from claude_run.cli.receipt import ChangedFile, count, receipt, spoken_tokens
from claude_run.cli.show import first_wait
from claude_run.cli.style import Style
from claude_run.session_events import (
    ClaudeDeltaEvent,
    ClaudeEndEvent,
    ClaudeStartEvent,
    CompleteEvent,
    FileChangeEvent,
    SessionErrorEvent,
    SessionEvent,
    StatusEvent,
    ToolResultEvent,
    ToolUseEvent,
    UsageEvent,
)
from claude_run.workspace import from_inside

_MARKS = {"added": "+", "deleted": "-"}
MAX_PROMPT = 200


class SessionShow:
    """What is shown of a session; used as `Show`.

    `prompts`: also what was asked in each turn, for a reader who did not ask it just now.
    """

    def __init__(self, *, style: Style, cloning: str | None = None, prompts: bool = False) -> None:
        self.error: SessionErrorEvent | None = None
        # A turn is over, or Claude has answered in it: there is something to account for.
        self.began = False
        self._page = Page(style, waiting_for=first_wait(cloning))
        self._prompts = prompts
        self._usage: UsageEvent | None = None
        self._agent_turns = 0
        self._files: dict[str, str] = {}

    @property
    def waiting_for(self) -> str | None:
        """What happens now, where the line is free to say so."""
        return self._page.waiting_for

    def feed(self, event: SessionEvent) -> str:  # noqa: PLR0911 - a table, one row an event
        """The text of an event."""
        match event:
            case ClaudeStartEvent(prompt=prompt, turn=turn):
                self._agent_turns = 0
                return self._start(prompt, turn)
            case ClaudeDeltaEvent(content=content):
                return self._page.words(content)
            case ToolUseEvent():
                return self._tool(event)
            case ToolResultEvent(is_error=is_error, content=content):
                self._page.wait_for("waiting for the model")
                return self._page.refusal(str(content)) if is_error else ""
            case UsageEvent():
                self.began = True
                self._usage = event
            case StatusEvent():
                return self._status(event)
            case FileChangeEvent(files=files):
                self._files |= {file.path: file.status for file in files}
            case ClaudeEndEvent():
                self._page.wait_for("collecting the files")
                return self._page.finish_line()
            case CompleteEvent(pr_url=url, agent_turns=turns):
                self.error, self.began = None, True
                self._agent_turns = turns
                return self._page.finish_line() + self._pull_request(url)
            case SessionErrorEvent():
                self.error = event
                return self._page.finish_line()
        return ""

    def receipt(self, seconds: float | None) -> str:
        """The end of the show: the last turn's usage, the files of all turns that were shown."""
        figures = [count(self._agent_turns, "turn")] if self._agent_turns else []
        if (used := self._usage) is not None:
            figures.append(spoken_tokens(used.input_tokens, used.output_tokens))
            figures.append(f"${used.cost_usd:.4f}")
        files = [ChangedFile(_MARKS.get(how, "~"), path) for path, how in self._files.items()]
        return "\n" + receipt(figures, files, seconds=seconds, style=self._page.style)

    def _start(self, prompt: str, turn: int) -> str:
        self._page.wait_for("waiting for the model")
        if not self._prompts:
            return ""
        apart = "\n" if turn > 1 else ""
        line = self._page.style.quiet(f"> {one_line(prompt, MAX_PROMPT)}")
        return f"{self._page.finish_line()}{apart}{self._page.line(line)}\n"

    def _tool(self, event: ToolUseEvent) -> str:
        # One that was too large for the log comes as text.
        given = event.input if isinstance(event.input, dict) else {}
        short = {
            key: from_inside(value[:4096]) if isinstance(value, str) else value
            for key, value in given.items()
        }
        return self._page.tool(event.tool, short, indent="  ", workspace="")

    def _status(self, event: StatusEvent) -> str:
        if event.code is not None:
            return self._page.notice(event.message, event.code)
        self._page.wait_for(one_line(event.message, 60))
        return self._pull_request(event.pr_url)

    def _pull_request(self, url: str | None) -> str:
        return "" if url is None else self._page.line(f"Pull request: {one_line(url, 300)}")
