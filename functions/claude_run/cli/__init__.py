"""The command line: `claude-run`."""

import io
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_run.cli.ending import Streams


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    try:
        return _main(argv)
    except KeyboardInterrupt:
        return 130


def _main(argv: Sequence[str] | None) -> int:
    from claude_run.cli import arguments
    from claude_run.cli.ending import Streams

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that has no such character shows ?; it is no reason to fail.
            stream.reconfigure(errors="replace")
    typed = arguments.parser().parse_args(argv)
    streams = Streams(out=sys.stdout, err=sys.stderr, environ=os.environ)
    match typed.command:
        case "run" | "start" | "send":
            return _with_prompt(typed, streams)
        case "demo":
            from claude_run.cli.demo import demo

            return demo(streams, prompt=typed.prompt)
        case "dev":
            from claude_run.cli.dev import dev

            return dev(streams)
        case "doctor":
            from claude_run.cli.doctor import doctor

            return doctor(
                typed.project,
                typed.region,
                streams,
                api=typed.api,
                try_disconnect=typed.try_disconnect,
            )
        case "deploy" | "destroy":
            from claude_run.cli.infra import script

            return script(typed.command, typed.options, streams)
    return _with_server(typed, streams)


def _with_prompt(typed: Namespace, streams: "Streams") -> int:
    from claude_run.cli import arguments, follow
    from claude_run.cli.complaint import usage_complaint
    from claude_run.cli.ending import USAGE
    from claude_run.cli.run import run
    from claude_run.errors import CallerError

    try:
        order = arguments.order(typed, streams.environ, sys.stdin.buffer)
    except CallerError as error:
        streams.err.write(usage_complaint(error))
        return USAGE
    if typed.command == "run":
        return run(order, streams, as_json=typed.json)
    if typed.command == "start":
        return follow.start(order, streams, as_json=typed.json)
    return follow.send(typed.session, order, streams, as_json=typed.json)


def _with_server(typed: Namespace, streams: "Streams") -> int:
    from claude_run.cli import arguments, follow, look

    url = arguments.base_url(typed, streams.environ)
    match typed.command:
        case "tail":
            after, as_json = typed.after, typed.json
            return follow.tail(typed.session, url, streams, after=after, as_json=as_json)
        case "show":
            return look.show(typed.session, url, streams, as_json=typed.json)
        case "cancel":
            return look.cancel(typed.session, url, streams, as_json=typed.json)
        case "deliveries":
            return _deliveries(typed, url, streams)
        case "sessions":
            return look.sessions(url, streams, limit=typed.limit, as_json=typed.json)
    return look.status(url, streams, as_json=typed.json)


def _deliveries(typed: Namespace, url: str, streams: "Streams") -> int:
    from claude_run.cli import deliveries

    match typed.what:
        case "show":
            return deliveries.shown(typed.delivery, url, streams, as_json=typed.json)
        case "replay":
            return deliveries.replayed(typed.delivery, url, streams, as_json=typed.json)
    return deliveries.listed(url, streams, limit=typed.limit, as_json=typed.json)
