"""A run and the caller who waits for it: a stream or one object, ended when the caller leaves."""

import asyncio
from contextlib import AsyncExitStack

import structlog
from starlette.responses import Response
from starlette.types import Receive, Send

from claude_run.errors import ClaudeRunError, error_data
from claude_run.sse import OPEN, encode_event
from runner.cancellation import to_the_end
from runner.outlet import Outlet
from runner.plan import Plan
from runner.run import Run
from runner.runs import Runs
from runner.sinks import Frame, ObjectSink, Sink, StreamSink

log = structlog.get_logger()

# After the end of a run, how long a client may read nothing of what is left before it is given up.
STALL_SECONDS = 120.0

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


async def serve_stream(
    runs: Runs, plan: Plan, request_id: str, receive: Receive, send: Send
) -> None:
    """Answer with the events of a run as they happen."""
    outlet = Outlet()
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(runs.admit(plan))
        sink = StreamSink(outlet)
        producer = asyncio.create_task(_produce(stack.pop_all(), run, sink, outlet))
    writer = asyncio.create_task(_pump(outlet, plan.session_id, send))
    leaving = asyncio.create_task(_disconnected(receive))
    first = asyncio.FIRST_COMPLETED
    try:
        await asyncio.wait({writer, leaving, producer}, return_when=first)
        # What is left once the run is over, for as long as it is being read.
        taken = -1
        while taken != outlet.taken and not (writer.done() or leaving.done()):
            taken = outlet.taken
            await asyncio.wait({writer, leaving}, return_when=first, timeout=STALL_SECONDS)
        if writer.done():
            await writer
    finally:
        for task in (leaving, writer, producer):
            task.cancel()
        await to_the_end(asyncio.wait({leaving, writer, producer}))
        outlet.close()
        log.info("stream ended", session_id=plan.session_id, request_id=request_id)


async def _produce(stack: AsyncExitStack, run: Run, sink: Sink, outlet: Outlet) -> None:
    """Everything a run says; its folders are gone before `done`."""
    error: ClaudeRunError | None = None
    try:
        async with stack:
            error = await run.execute(sink)
    except Exception:
        log.exception("unexpected error in a run", session_id=run.plan.session_id)
        error = ClaudeRunError("Something went wrong in the runner.")
    sink.finish()
    if error is not None:
        await sink.write([Frame.of("error", error_data(error))])
    await outlet.send(encode_event(b"[DONE]", event="done"))
    outlet.end()


async def _pump(outlet: Outlet, session_id: str, send: Send) -> None:
    headers = [*_HEADERS, (b"x-session-id", session_id.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    # At once, so that proxies and callers see the stream open before Claude says a word.
    await send({"type": "http.response.body", "body": OPEN, "more_body": True})
    async for chunk in outlet.chunks():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def serve_object(
    runs: Runs, plan: Plan, request_id: str, receive: Receive, send: Send
) -> None:
    """Answer with one object when the run is over."""
    sink = ObjectSink()

    async def whole_run() -> ClaudeRunError | None:
        async with runs.admit(plan) as run:
            return await run.execute(sink)

    working = asyncio.create_task(whole_run())
    leaving = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return
        error = await working
    finally:
        for task in (leaving, working):
            task.cancel()
        await to_the_end(asyncio.wait({leaving, working}))
    body = {
        "requestId": request_id,
        "sessionId": plan.session_id,
        "result": sink.result,
        "changes": sink.changes,
        "error": error_data(error) if error else None,
    }
    status = error.http_status if error else 200
    # By `Frame`, not by `JSONResponse`: Claude Code's words may hold half a surrogate pair.
    answer = Response(
        Frame.of("", body).data,
        status_code=status,
        headers={"X-Session-Id": plan.session_id},
        media_type="application/json",
    )
    await answer({"type": "http", "method": "POST", "headers": []}, receive, send)
