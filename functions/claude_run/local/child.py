"""One process of ours: in a session of its own, its output read, ended as a group."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

# What is kept of the output, to be shown where the process fails.
MAX_KEPT_LINES = 30
MAX_LINE = 8 * 1024
_READER_SECONDS = 1.0

OnLine = Callable[[str], None]


class Child:
    """A running Python process.

    `on_line` gets each line of its output, `on_ready` what `ready` found in one of them, `on_end`
    its exit status, as `subprocess` has it; all are called in threads of the child's own.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str],
        ready: re.Pattern[str],
        on_line: OnLine,
        on_ready: Callable[[str], None],
        on_end: Callable[[int], None],
    ) -> None:
        self._kept: deque[str] = deque(maxlen=MAX_KEPT_LINES)
        # A session of its own: Ctrl-C in the terminal reaches us alone, and we end it in order.
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(
            target=self._read, args=(ready, on_line, on_ready), daemon=True
        )
        self._watcher = threading.Thread(target=self._watch, args=(on_end,), daemon=True)
        self._reader.start()
        self._watcher.start()

    def last_lines(self) -> list[str]:
        """The end of its output; where the process has ended, all that it said."""
        if not self._watcher.is_alive():
            self._reader.join(_READER_SECONDS)
        return list(self._kept)

    def ask_to_end(self) -> None:
        """SIGTERM, if it still runs."""
        if self._watcher.is_alive():
            self._process.send_signal(signal.SIGTERM)

    def end(self, seconds: float) -> None:
        """Wait so long, then kill whatever is left of its group."""
        self._watcher.join(max(0.0, seconds))
        # Until it is waited for here the process keeps its id: the group is nobody else's.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._watcher.join()
        self._process.wait()
        self._reader.join(_READER_SECONDS)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def _read(
        self, ready: re.Pattern[str], on_line: OnLine, on_ready: Callable[[str], None]
    ) -> None:
        waiting = True
        while self._process.stdout and (raw := self._process.stdout.readline(MAX_LINE)):
            line = raw.decode("utf-8", "replace").rstrip("\n")
            self._kept.append(line)
            on_line(line)
            if waiting and (found := ready.fullmatch(line)):
                waiting = False
                on_ready(found[1])

    def _watch(self, on_end: Callable[[int], None]) -> None:
        # WNOWAIT leaves the id taken; see `end`.
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        if ended is not None:
            exited = ended.si_code == os.CLD_EXITED
            on_end(ended.si_status if exited else -ended.si_status)
