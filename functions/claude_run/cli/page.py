"""Text on its way to a terminal, line by line and word by word: what is on the last line. Pure."""

from collections.abc import Mapping

from claude_run.cli.plain import one_line, plain
from claude_run.cli.style import Style

MAX_SUMMARY = 100
# Of a tool's input the one thing that says what it does, in the order of preference.
_TELLING = (
    "file_path", "notebook_path", "command", "pattern", "path", "url", "query", "subject",
    "description", "prompt", "skill",
)  # fmt: skip


class Page:
    """Each call returns the text to write; `waiting_for` is what happens meanwhile."""

    def __init__(self, style: Style, *, waiting_for: str) -> None:
        self.style = style
        self._waiting_for = waiting_for
        self._fresh_line = True

    @property
    def waiting_for(self) -> str | None:
        """What happens now, where the line is free to say so."""
        return self._waiting_for if self._fresh_line else None

    def wait_for(self, what: str) -> None:
        """What happens from now on."""
        self._waiting_for = what

    def words(self, text: str) -> str:
        """Text that goes on where the last stopped."""
        safe = plain(text)
        if safe:
            self._fresh_line = safe.endswith("\n")
        return safe

    def line(self, line: str) -> str:
        """A line of its own."""
        return f"{self.finish_line()}{line}\n"

    def finish_line(self) -> str:
        """The end of a line that was begun."""
        unfinished, self._fresh_line = not self._fresh_line, True
        return "\n" if unfinished else ""

    def tool(self, name: str, given: Mapping[str, object], *, indent: str, workspace: str) -> str:
        """A tool that is used, on one line; paths in `workspace` without it."""
        self._waiting_for = f"running {one_line(name, 40)}"
        texts = (given.get(key) for key in _TELLING)
        telling = next((text for text in texts if isinstance(text, str) and text), "")
        if workspace:
            telling = telling[:4096].replace(workspace, "")
        line = f"{indent}▸ {one_line(name, 60)} {one_line(telling, MAX_SUMMARY)}"
        return self.line(self.style.quiet(line.rstrip()))

    def refusal(self, text: str) -> str:
        """What a tool said in place of its result."""
        return self.line(self.style.removed(f"    ✗ {one_line(text, MAX_SUMMARY)}"))

    def notice(self, message: str, code: str) -> str:
        """What the reader should know."""
        return self.line(self.style.changed(f"! {one_line(message, 300)} ({one_line(code, 40)})"))
