"""What bounds a caller who sends or reads nothing, and what an odd end of a run is told as."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.types import Message

from claude_run.errors import Code, StoppedError
from claude_run.wire import RunRequest, build_run_request
from runner import app, serve
from runner.agent import Limits
from runner.broker.grants import Grants
from runner.folders import Folders
from runner.git.snapshot import Snapshot
from runner.plan import Plan, make_plan
from runner.run import Run
from runner.runs import Runs
from runner.settings import Settings
from runner.sinks import Frame, Sink

SETTINGS = Settings.from_environ({"ANTHROPIC_API_KEY": "sk-the-runners-own"})


def plan(**fields: object) -> Plan:
    request: RunRequest = build_run_request("x", fields)
    return make_plan(request, SETTINGS, own_user=False)


async def never() -> Message:
    """A caller who stays and says nothing."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


class Ended:
    """Runs that are over at once."""

    plan = plan()

    @asynccontextmanager
    async def admit(self, _plan: Plan) -> AsyncIterator["Ended"]:
        """This one."""
        yield self

    async def execute(self, sink: Sink) -> None:
        """Say one thing."""
        await sink.write([Frame.of("message", {"type": "result"})])


def test_a_caller_who_stopped_reading_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one who stopped before the run ended: the run's end is when the time begins."""
    monkeypatch.setattr(serve, "STALL_SECONDS", 0.05)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) > 1:
            await asyncio.Event().wait()

    async def story() -> None:
        async with asyncio.timeout(5):
            await serve.serve_stream(cast("Runs", Ended()), plan(), "id", never, send)

    asyncio.run(story())
    assert [message.get("more_body") for message in sent] == [None, True]


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """TIMEOUT, which is 408."""
    monkeypatch.setattr(app, "BODY_SECONDS", 0.05)
    endpoint = app.RunEndpoint(settings=SETTINGS, runs=cast("Runs", Ended()))
    scope = {
        "type": "http",
        "method": "POST",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"9")],
    }

    async def send(_message: Message) -> None:
        raise AssertionError("nothing is answered here")

    with pytest.raises(StoppedError) as caught:
        asyncio.run(endpoint(scope, never, send))
    assert caught.value.code is Code.TIMEOUT


@dataclass(slots=True)
class Kept:
    """A sink that keeps what it is given."""

    frames: list[Frame] = field(default_factory=list)

    async def write(self, frames: Sequence[Frame]) -> None:
        """Keep them."""
        self.frames.extend(frames)

    def finish(self) -> None:
        """Nothing waits."""


class FullDisk:
    """A snapshot that has nowhere to put its notes."""

    async def changes(self, *, final: bool = False) -> Any:  # noqa: ANN401 - it never returns
        """Fail."""
        raise OSError(28, "No space left on device", str(final))

    def forget(self) -> None:
        """It has told nothing."""


def test_a_full_disk_does_not_hide_how_a_run_ended() -> None:
    """The run's own error stays; that files are missing is a warning."""
    run = Run(
        plan=plan(timeoutMinutes=0.001),
        settings=SETTINGS,
        folders=cast("Folders", Path("/nonexistent")),
        grants=Grants(),
        broker_url="",
        limits=Limits(),
    )
    run._snapshot = cast("Snapshot", FullDisk())
    run.stop(StoppedError("The runner is shutting down.", code=Code.SHUTDOWN))

    async def waiting(_sink: Sink) -> None:
        await asyncio.Event().wait()

    run_work = Run._work
    sink = Kept()
    try:
        Run._work = cast("Any", lambda _run, sink: waiting(sink))  # type: ignore[method-assign]
        error = asyncio.run(run.execute(sink))
    finally:
        Run._work = run_work  # type: ignore[method-assign]
    assert error is not None
    assert error.code is Code.SHUTDOWN
    assert [frame.event for frame in sink.frames] == ["warning"]
    assert b"CHANGES_INCOMPLETE" in sink.frames[0].data
