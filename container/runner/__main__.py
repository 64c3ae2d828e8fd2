"""`python -m runner`: the service, and the broker beside it on a port of its own."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from uuid import uuid4

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from claude_run import logs, spans
from claude_run.credential import CredentialKind
from claude_run.errors import ConfigurationError
from runner.accounts import Accounts, may_change_users
from runner.app import build_app
from runner.broker.app import Broker, upstream_client
from runner.broker.grants import Grants
from runner.launch import PR_SET_DUMPABLE, prctl
from runner.protocol import protocol
from runner.runs import Runs
from runner.settings import Settings

# Cloud Run gives 10 s after SIGTERM: for the streams to end, and for runs that nobody reads.
DRAIN_SECONDS = 7
IDLE_SECONDS = 1.5


class QuietServer(uvicorn.Server):
    """A server that leaves signals to us: uvicorn would raise them again, and end us by them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(settings: Settings) -> None:
    """Serve until told to stop."""
    grants = Grants()
    runs = Runs(settings=settings, accounts=Accounts(privileged=may_change_users()), grants=grants)
    listener = listen(settings.host, settings.port)
    instance_id = uuid4().hex
    app = build_app(
        settings=settings, runs=runs, port=listener.getsockname()[1], instance_id=instance_id
    )
    broker_listener = listen("127.0.0.1", 0)
    runs.broker_url = f"http://127.0.0.1:{broker_listener.getsockname()[1]}"
    async with upstream_client() as client:
        broker = QuietServer(_config(Broker(grants=grants, client=client)))
        server = QuietServer(_config(app, http=protocol(instance_id), drain=DRAIN_SECONDS))

        def leave() -> None:
            runs.shut_down()
            server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, leave)
        serving = asyncio.create_task(broker.serve(sockets=[broker_listener]))
        print(  # noqa: T201 - the line that whoever starts us waits for
            f"claude-run runner on http://{settings.host}:{listener.getsockname()[1]}", flush=True
        )
        await server.serve(sockets=[listener])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runs.wait_idle(), IDLE_SECONDS)
        broker.should_exit = broker.force_exit = True
        await serving


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(1024)
    return listener


def _config(
    app: ASGIApp, *, http: type[H11Protocol] = H11Protocol, drain: int | None = None
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,  # h11 keeps a request's target as it was sent; the broker decides by it
        ws="none",
        lifespan="off",
        # An agent is known by its end of the connection. uvicorn would believe X-Forwarded-For of
        # whoever is on loopback, and an agent is.
        proxy_headers=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain,
        timeout_keep_alive=75,
    )


def main() -> int:
    """Entry point. Exit status 78 (EX_CONFIG) when the environment is wrong."""
    logs.configure(project=os.environ.get("GOOGLE_CLOUD_PROJECT"))
    try:
        settings = Settings.from_environ(os.environ)
    except ConfigurationError as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - said before there is a service
        return 78
    # The agent may run as the same user: it must not read our memory and environment in /proc.
    prctl(PR_SET_DUMPABLE, 0)
    for kind in CredentialKind:
        os.environ.pop(kind.value, None)
    spans.start("claude-run-runner", os.environ)
    asyncio.run(serve(settings))
    spans.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
