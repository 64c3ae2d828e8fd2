"""`make dev` with a GitHub of its own: the `emulate` server, an App, and one repository.

    make dev-github

It prints how to open an issue there, and where to see what becomes of it.
"""

import os
import shlex
import sys
import tempfile
from pathlib import Path

from claude_run.cli.dev import DEFAULT_PORT, dev
from claude_run.cli.ending import Streams
from doubles.emulate import PROGRAM
from doubles.github import GitHub, Repository, serve_github, user_token

_TOLD = """\
GitHub is played by emulate at {url}, with the repository {name}.
Open an issue there:

  {opening}

and see what is said on it while Claude works, and then the pull request:

  curl -s {api}/issues/1/comments | {bodies}
  curl -s {api}/pulls | {bodies}

Its files can be cloned: git clone {url}/{name}

"""
# What a person would read there: the texts, out of GitHub's JSON.
_BODIES = 'import json, sys; print(*(one["body"] for one in json.load(sys.stdin)), sep="\\n\\n")'
_ISSUE = '{"title": "Say hello", "body": "Please leave a note for whoever finds this."}'


def main() -> int:
    """All of it, until Ctrl-C; the exit status."""
    if not PROGRAM.exists():
        sys.stderr.write(
            "emulate is not installed here: it needs node and npm, then make emulate\n"
        )
        return 1
    with (
        tempfile.TemporaryDirectory(prefix="claude-run-dev-") as folder,
        serve_github(Path(folder)) as github,
    ):
        repository = github.create({"README.md": "# Hello\n"})
        port = os.environ.get("PORT") or DEFAULT_PORT
        repository.hook(f"http://127.0.0.1:{port}/webhooks/github")
        environ = {
            **os.environ,
            **github.environ(),
            # Of this GitHub nothing is left afterwards: neither is what was stored of it, for the
            # next one has other issues under the same numbers.
            "CLAUDE_RUN_HOME": f"{folder}/state",
            "ALLOWED_GIT_HOSTS": "localhost,github.com",
        }
        # What it prints as a command is the one beside our Python.
        sys.argv[0] = str(Path(sys.executable).with_name("claude-run"))
        streams = Streams(out=sys.stdout, err=sys.stderr, environ=environ)
        return dev(streams, more=_told(github, repository))


def _told(github: GitHub, repository: Repository) -> str:
    api = f"{github.url}/repos/{repository.name}"
    token = f"Authorization: token {user_token('writer')}"
    opening = f"curl -s {api}/issues -H {shlex.quote(token)} -d {shlex.quote(_ISSUE)} -o /dev/null"
    bodies = f"{shlex.quote(sys.executable)} -c {shlex.quote(_BODIES)}"
    return _TOLD.format(
        url=github.url, name=repository.name, api=api, opening=opening, bodies=bodies
    )


if __name__ == "__main__":
    sys.exit(main())
