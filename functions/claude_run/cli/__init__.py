"""The command line: `claude-run`."""

import io
import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    try:
        return _main(argv)
    except KeyboardInterrupt:
        return 130


def _main(argv: Sequence[str] | None) -> int:
    from claude_run.cli import arguments
    from claude_run.cli.complaint import usage_complaint
    from claude_run.cli.run import USAGE, Streams, run
    from claude_run.errors import CallerError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that has no such character shows ?; it is no reason to fail.
            stream.reconfigure(errors="replace")
    typed = arguments.parser().parse_args(argv)
    streams = Streams(out=sys.stdout, err=sys.stderr, environ=os.environ)
    if typed.command == "run":
        try:
            order = arguments.order(typed, os.environ, sys.stdin.buffer)
        except CallerError as error:
            sys.stderr.write(usage_complaint(error))
            return USAGE
        return run(order, streams, as_json=typed.json)
    if typed.command == "demo":
        from claude_run.cli.demo import demo

        return demo(streams, prompt=typed.prompt)
    from claude_run.cli.dev import dev

    return dev(streams)
