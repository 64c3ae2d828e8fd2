"""Where a run is shown: words on standard output, and a live line on standard error meanwhile."""

import shutil
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self, TextIO

from claude_run.cli.style import Style

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TICK_SECONDS = 0.1
# What is over sooner needs no line that says so.
_PATIENCE_SECONDS = 0.2
_CLEAR_LINE = "\r\x1b[2K"


def is_live(out: TextIO, err: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether somebody watches: both are terminals, of a kind that can clear a line."""
    return out.isatty() and err.isatty() and environ.get("TERM", "dumb") != "dumb"


class Screen:
    """Two streams that may be one terminal. Inside a `with` block the live line is drawn."""

    def __init__(self, out: TextIO, err: TextIO, *, live: bool, style: Style) -> None:
        self._out = out
        self._err = err
        self._style = style
        self._lock = threading.Lock()
        self._label: str | None = None
        self._since = self._started = time.monotonic()
        self._drawn = False
        self._closing = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True) if live else None

    def write(self, text: str) -> None:
        """Show text at once."""
        if text:
            with self._lock:
                self._erase()
                self._out.write(text)
                self._out.flush()

    def wait_for(self, label: str | None) -> None:
        """What the live line says from now on; None: nothing."""
        with self._lock:
            if label != self._label:
                self._label, self._since = label, time.monotonic()
            if label is None:
                self._erase()

    def __enter__(self) -> Self:
        if self._ticker is not None:
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        if self._ticker is not None:
            self._ticker.join(1.0)
        self.wait_for(None)

    def _tick(self) -> None:
        frame = 0
        while not self._closing.wait(_TICK_SECONDS):
            frame += 1
            with self._lock:
                self._draw(_FRAMES[frame % len(_FRAMES)])

    def _draw(self, frame: str) -> None:
        now = time.monotonic()
        if self._label is None or now - self._since < _PATIENCE_SECONDS:
            return
        line = f"{frame} {self._label} · {now - self._started:.0f} s"
        # A line that wraps could not be cleared.
        width = shutil.get_terminal_size().columns - 1
        self._err.write(_CLEAR_LINE + self._style.quiet(line[:width]))
        self._err.flush()
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._err.write(_CLEAR_LINE)
            self._err.flush()
            self._drawn = False
