"""A real browser for tests: Chromium without a screen, told what to do over DevTools by two pipes.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from servers import kill_group, remove

SECONDS = 60.0
_PIECE = 64 * 1024
_QUIET = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Tests run as root, where Chromium's own sandbox cannot.
    "--no-sandbox",
    "--remote-debugging-pipe",
)
_PROGRAMS = ("chromium", "google-chrome")
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


def require_chromium() -> str:
    """Where it is installed. Where it is not, the test is skipped, and in CI it fails."""
    found = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("there is no chromium here, and CI installs it")
    if found is None:
        pytest.skip("there is no chromium here")
    return found


class Page:
    """One tab. What it waits for has a deadline that no machine needs."""

    def __init__(self, to: int, back: int) -> None:
        self._to = to
        self._back = back
        self._read = b""
        self._last = 0
        self._session: str | None = None
        # What the page has complained of: console messages, refused resources.
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Log", "Runtime"):
            self._call(f"{domain}.enable")

    def go(self, url: str) -> None:
        """Load a page."""
        self._call("Page.navigate", url=url)
        self.until("location.href !== 'about:blank'")

    def press(self, key: str) -> None:
        """Press and release a key, as a person at the keyboard."""
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        fields = {"key": key, "windowsVirtualKeyCode": _KEYS[key], "text": text}
        down = "keyDown" if text else "rawKeyDown"
        self._call("Input.dispatchKeyEvent", type=down, **fields)
        self._call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self._call("Input.insertText", text=text)

    def value(self, expression: str) -> Any:  # noqa: ANN401 - any JSON
        """What an expression is, in the page."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true in a page that is there, over loads of others."""
        whole = f"document.readyState === 'complete' && ({expression})"
        self._until(lambda: self.value(whole) is True, expression)

    def _until(self, is_so: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                if is_so():
                    return
            except NoContextError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"never: {what}\n{self.value('document.body.innerText')}")

    def focused(self) -> str:
        """What has the focus, as a person would name it."""
        found: str = self.value(
            "(e => e === document.body ? '' : e.labels?.[0]?.innerText.trim() || "
            "e.innerText.trim())(document.activeElement)"
        )
        return found

    def until_focused(self, name: str) -> None:
        """Wait until what is called so has the focus, by itself."""
        self._until(lambda: self.focused().startswith(name), name)

    def tab_to(self, name: str) -> None:
        """Press Tab until what is called so has the focus."""
        for _ in range(60):
            if self.focused().startswith(name):
                return
            self.press("Tab")
        raise AssertionError(f"the keyboard does not reach {name!r}")

    def cookies(self) -> dict[str, dict[str, Any]]:
        """All cookies, by name."""
        return {one["name"]: one for one in self._call("Storage.getCookies")["cookies"]}

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """The window's, and what the person prefers."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """The whole page, as a PNG."""
        found = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._last += 1
        message: dict[str, object] = {"id": self._last, "method": method, "params": parameters}
        # Cookies are the browser's, all else is the tab's.
        if self._session is not None and not method.startswith("Storage."):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                break
            self._note(answer)
        if "error" in answer:
            text = str(answer["error"])
            raise NoContextError(text) if "context" in text else AssertionError(text)
        result: dict[str, Any] = answer["result"]
        return result

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Log.entryAdded":
            self.complaints.append(event["params"]["entry"]["text"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._back], [], [], SECONDS)
            piece = os.read(self._back, _PIECE) if ready else b""
            if not piece:
                raise AssertionError("the browser does not answer")
            self._read += piece
        message, _, self._read = self._read.partition(b"\0")
        value: dict[str, Any] = json.loads(message)
        return value


class NoContextError(AssertionError):
    """The page is just being replaced by another one."""


@contextmanager
def browser() -> Iterator[Page]:
    """A new browser that knows nothing; its one tab."""
    program = require_chromium()
    profile = Path(tempfile.mkdtemp(prefix="browser-"))
    # DevTools reads from its descriptor 3 and writes to 4.
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    script = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$0" "$@"'
    process = subprocess.Popen(
        ["/bin/bash", "-c", script, program, *_QUIET, f"--user-data-dir={profile}"],
        pass_fds=(theirs_in, theirs_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(ours_out, ours_in)
    finally:
        kill_group(process.pid)
        process.wait(SECONDS)
        os.close(ours_out)
        os.close(ours_in)
        remove(profile)
