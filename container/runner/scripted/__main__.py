"""`python -m runner.scripted`: serve the scripted model, and say where on standard output."""

import argparse
import json
import logging
import socket
import sys
from pathlib import Path

import uvicorn

from claude_run.errors import CallerError
from runner.scripted.app import create_app
from runner.scripted.scenario import Library, parse_library

BACKLOG = 1024
SHUTDOWN_SECONDS = 1


def main(argv: list[str] | None = None) -> None:
    """Listen, print `{"url": "http://…"}` as one line, serve until a signal."""
    parser = argparse.ArgumentParser(prog="runner.scripted", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any that is free")
    parser.add_argument("--scenario", type=Path, help="a JSON object from name to scenario")
    options = parser.parse_args(argv)
    try:
        library = _library(options.scenario)
    except (CallerError, OSError) as error:
        parser.error(f"--scenario: {error}")
    listening = socket.create_server((options.host, options.port), backlog=BACKLOG)
    host, port = listening.getsockname()[:2]
    sys.stdout.write(json.dumps({"url": f"http://{host}:{port}"}) + "\n")
    sys.stdout.flush()
    # A request that is broken on purpose is nothing to complain about.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    uvicorn.Server(configuration(library)).run(sockets=[listening])


def configuration(library: Library) -> uvicorn.Config:
    """How the scripted model is served; logging is its process's to set up, and stays as it is."""
    return uvicorn.Config(
        create_app(library),
        # h11 hands on the request target as it was received; the tests of the broker read it.
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def _library(path: Path | None) -> Library:
    return {} if path is None else parse_library(path.read_bytes())


if __name__ == "__main__":
    main()
