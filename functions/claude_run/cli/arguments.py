"""The command line as it is typed, and the order that it stands for."""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from claude_run import __version__
from claude_run.cli.run import Order
from claude_run.errors import CallerError
from claude_run.wire import MAX_BODY_BYTES, PermissionMode

DEFAULT_BASE_URL = "http://127.0.0.1:8080"

# The fields of a request that are options of the same name.
_FIELDS = (
    "system_prompt", "append_system_prompt", "allowed_tools", "disallowed_tools",
    "permission_mode", "max_turns", "model", "fallback_model", "timeout_minutes",
    "max_budget_usd", "session_id", "detach", "create_pr",
)  # fmt: skip
# Secrets come from the environment: an argument is visible to every process of the machine.
_API_KEY = "CLAUDE_RUN_ANTHROPIC_API_KEY"
_GITHUB_TOKEN = "CLAUDE_RUN_GITHUB_TOKEN"  # noqa: S105 - the variable's name
# A comma inside parentheses belongs to its rule.
_BETWEEN_TOOLS = re.compile(r",(?![^()]*\))")

# argparse has no public name for it.
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001

_FIRST_STEPS = """\
first steps:
  claude-run demo "Say hello"     all of it on this machine, once
  claude-run dev                  the same, to stay; then from another terminal:
  claude-run run "Say hello"

claude-run COMMAND --help tells more of a command.
"""
_WHICH = "as `claude-run sessions` lists it"
_EPILOG = f"""\
environment:
  CLAUDE_RUN_URL        the server, where --base-url is not given
  {_API_KEY}
                        sent as the key of this run, instead of the server's own
  {_GITHUB_TOKEN}
                        sent for cloning the repository, and for the pull request of --create-pr
exit status: 0 success, 1 it failed, 2 wrong usage, 130 stopped with Ctrl-C, which ends
a run, and leaves a session to itself
"""


def parser() -> argparse.ArgumentParser:
    """The parser of `claude-run`."""
    top = argparse.ArgumentParser(
        prog="claude-run",
        description="Claude Code as a service.",
        epilog=_FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"claude-run {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _told(commands, "run", "run a prompt and show it as it happens")
    _add_prompt(run)
    _add_work(run)
    _add_agent(run)
    _add_run_only(run)
    _add_limits(run, turns="6", minutes="10")
    _add_sessions(commands)
    demo = _command(commands, "demo", "start everything here, run one prompt, end everything")
    demo.add_argument("prompt", nargs="?", help="default: PROMPT of the environment")
    _command(commands, "dev", "start everything here, on PORT (8080), until Ctrl-C")
    _add_cloud(commands)
    return top


def _add_cloud(commands: _Commands) -> None:
    told = {
        "deploy": "put it on Google Cloud, or bring what is there up to date",
        "destroy": "take away what `deploy` has made",
    }
    for name, what in told.items():
        # The scripts read their options themselves, --help too: none of them is one here.
        script = commands.add_parser(name, help=what, prefix_chars="\0", add_help=False)
        script.add_argument("options", nargs="*")
    doctor = _command(commands, "doctor", "look at a deployment, and say what to do")
    doctor.add_argument("--project", required=True, metavar="PROJECT", help="its Google project")
    doctor.add_argument("--region", required=True, metavar="REGION", help="such as us-central1")
    doctor.add_argument("--api", metavar="URL", help="the API, where it is not Cloud Run's own URL")
    doctor.add_argument(
        "--try-disconnect",
        action="store_true",
        help="begin a run and leave it, which costs a few cents",
    )


def _command(commands: _Commands, name: str, what: str) -> argparse.ArgumentParser:
    """A command that says in its own help what it says in the list."""
    return commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")


def _told(commands: _Commands, name: str, what: str) -> argparse.ArgumentParser:
    """A command that takes a prompt, and secrets from the environment."""
    return commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_sessions(commands: _Commands) -> None:
    start = _told(commands, "start", "start a session of a gateway, and follow it")
    _add_prompt(start)
    start.add_argument("--session-id", metavar="ID", help="chosen for you, where not given")
    start.add_argument("--detach", action="store_true", default=None, help="only print its id")
    start.add_argument(
        "--create-pr", action="store_true", default=None, help="a pull request of what it changed"
    )
    _add_work(start)
    send = _told(commands, "send", "send a session its next message, and follow what comes of it")
    send.add_argument("session", metavar="ID", help=_WHICH)
    _add_prompt(send)
    for parser, turns, minutes in ((start, "10", "10"), (send, "as before", "as before")):
        _add_agent(parser)
        _add_limits(parser, turns=turns, minutes=minutes)
    tail = _command(commands, "tail", "a session's events from its first on, until it ends")
    tail.add_argument("session", metavar="ID", help=_WHICH)
    tail.add_argument(
        "--after", type=_whole, default=0, metavar="N", help="only those behind event N"
    )
    _add_server(tail, each="event")
    show = _command(commands, "show", "how a session stands")
    cancel = _command(commands, "cancel", "stop a session, and keep what it has done")
    for parser in (show, cancel):
        parser.add_argument("session", metavar="ID", help=_WHICH)
        _add_server(parser)
    sessions = _command(commands, "sessions", "your sessions, newest first")
    sessions.add_argument(
        "--limit", type=_whole, default=20, metavar="N", help="at most (default 20)"
    )
    _add_server(sessions, each="session")
    _add_deliveries(commands)
    _add_server(_command(commands, "status", "how the server is, and what of the day is used"))


def _add_deliveries(commands: _Commands) -> None:
    parser = _command(commands, "deliveries", "what GitHub has sent, and what became of it")
    parser.set_defaults(limit=20, base_url=None, json=False)
    kinds = parser.add_subparsers(dest="what", metavar="WHAT")
    listed = _command(kinds, "list", "the newest ones")
    listed.add_argument(
        "--limit", type=_whole, default=20, metavar="N", help="at most (default 20)"
    )
    _add_server(listed, each="delivery")
    for name, what in {
        "show": "one, and its work",
        "replay": "have its work done now, or again if it is over",
    }.items():
        one = _command(kinds, name, what)
        one.add_argument("delivery", metavar="ID", help="as `claude-run deliveries` lists it")
        _add_server(one)


def _add_server(parser: argparse.ArgumentParser, *, each: str = "") -> None:
    where = f"the server (default: {DEFAULT_BASE_URL})"
    parser.add_argument("--base-url", metavar="URL", help=where)
    lines = f"one JSON line for each {each}" if each else "as JSON"
    parser.add_argument("--json", action="store_true", help=lines)


def _add_prompt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", metavar="PROMPT", help="what to do; - reads standard input")
    _add_server(parser, each="event")


def _add_work(parser: argparse.ArgumentParser) -> None:
    work = parser.add_argument_group("what it works on")
    work.add_argument("--repo", metavar="OWNER/NAME|URL", help="cloned before Claude Code starts")
    work.add_argument("--branch", help="instead of the default branch")
    work.add_argument("--commit", metavar="SHA", help="this very commit")


def _add_agent(parser: argparse.ArgumentParser) -> None:
    agent = parser.add_argument_group("how it works")
    agent.add_argument("--model", help="instead of Claude Code's own choice")
    agent.add_argument("--append-system-prompt", metavar="TEXT", help="added to Claude Code's own")


def _add_run_only(parser: argparse.ArgumentParser) -> None:
    agent = parser.add_argument_group("how it works, in more detail")
    agent.add_argument("--fallback-model", metavar="MODEL", help="where that is overloaded")
    agent.add_argument("--system-prompt", metavar="TEXT", help="replaces Claude Code's own")
    agent.add_argument("--mcp-config", metavar="FILE", help="MCP servers, as Claude Code has them")


def _add_limits(parser: argparse.ArgumentParser, *, turns: str, minutes: str) -> None:
    allowed = parser.add_argument_group("what it may do")
    examples = {"--allowed-tools": 'Read,Edit,"Bash(git *)"', "--disallowed-tools": "WebFetch"}
    for option, example in examples.items():
        allowed.add_argument(option, metavar="TOOLS", type=_tools, help=f"such as {example}")
    modes = [mode.value for mode in PermissionMode]
    allowed.add_argument("--permission-mode", choices=modes, metavar="MODE", help=", ".join(modes))
    limits = (
        ("--max-turns", int, "N", f"answers of the model (default: {turns})"),
        ("--timeout-minutes", float, "MINUTES", f"at most 50 (default: {minutes})"),
        ("--max-budget-usd", float, "USD", "it ends when it has cost this much"),
    )
    for option, kind, metavar, what in limits:
        allowed.add_argument(option, type=kind, metavar=metavar, help=what)


def base_url(typed: argparse.Namespace, environ: Mapping[str, str]) -> str:
    """The server: the option's, the environment's, or this machine's."""
    return typed.base_url or environ.get("CLAUDE_RUN_URL") or DEFAULT_BASE_URL


def order(typed: argparse.Namespace, environ: Mapping[str, str], stdin: BinaryIO) -> Order:
    """The order of `run`, `start` or `send`, or `CallerError` for what cannot be one."""
    given = vars(typed)
    options = {name: given[name] for name in _FIELDS if given.get(name) is not None}
    repository = _repository(given)
    if options.get("create_pr") and not repository:
        raise CallerError("--create-pr needs --repo: a pull request of what?")
    if repository:
        options["repository"] = repository
    # A session that is sent to has its repository from its start.
    cloned = bool(repository) or typed.command == "send"
    if cloned and (token := environ.get(_GITHUB_TOKEN)):
        options["github_token"] = token
    if key := environ.get(_API_KEY):
        options["anthropic_api_key"] = key
    if given.get("mcp_config") is not None:
        options["mcp_config_json"] = _mcp_config(Path(typed.mcp_config))
    return Order(
        base_url=base_url(typed, environ),
        prompt=_standard_input(stdin) if typed.prompt == "-" else typed.prompt,
        options=options,
    )


def _tools(text: str) -> list[str]:
    return [rule.strip() for rule in _BETWEEN_TOOLS.split(text) if rule.strip()]


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise argparse.ArgumentTypeError("must be a whole number")
    return int(text)


def _repository(given: Mapping[str, Any]) -> dict[str, str]:
    repo, branch, commit = (given.get(name) for name in ("repo", "branch", "commit"))
    if repo is None:
        if branch is not None or commit is not None:
            raise CallerError("--branch and --commit need --repo")
        return {}
    where = "url" if "://" in repo else "name"
    wanted = {where: repo, "branch": branch, "commit": commit}
    return {name: given for name, given in wanted.items() if given is not None}


def _standard_input(stdin: BinaryIO) -> str:
    data = stdin.read(MAX_BODY_BYTES + 1)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise CallerError("The prompt on standard input is not UTF-8") from None


def _mcp_config(path: Path) -> Any:  # noqa: ANN401 - any JSON: the request's model checks it
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise CallerError(f"--mcp-config cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CallerError("--mcp-config is not a file of JSON") from None
