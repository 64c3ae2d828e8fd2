"""`claude-run deploy` and `destroy`: the scripts of the repository, with what was typed."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from claude_run.cli.ending import FAILED, Streams

# Of a copy of the repository; a wheel does not bring it.
INFRA = Path(__file__).parent.parent.parent.parent / "infra"


def script(name: str, options: Sequence[str], streams: Streams) -> int:
    """Run it in this terminal, and end as it does."""
    path = INFRA / f"{name}.sh"
    if not path.is_file():
        streams.err.write(
            "claude-run: the scripts are not installed here: run this in a copy of claude-run's "
            "repository\n"
        )
        return FAILED
    streams.out.flush()
    try:
        return subprocess.run([str(path), *options], check=False).returncode
    except OSError as error:
        streams.err.write(f"claude-run: {path} cannot be run: {error.strerror}\n")
        return FAILED
