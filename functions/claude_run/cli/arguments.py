"""The command line as it is typed, and the order that it stands for."""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from claude_run import __version__
from claude_run.cli.run import Order
from claude_run.errors import CallerError
from claude_run.wire import MAX_BODY_BYTES, PermissionMode

DEFAULT_BASE_URL = "http://127.0.0.1:8080"

# The fields of a request that are options of the same name.
_FIELDS = (
    "system_prompt", "append_system_prompt", "allowed_tools", "disallowed_tools",
    "permission_mode", "max_turns", "model", "fallback_model", "timeout_minutes",
    "max_budget_usd",
)  # fmt: skip
# Secrets come from the environment: an argument is visible to every process of the machine.
_API_KEY = "CLAUDE_RUN_ANTHROPIC_API_KEY"
_GITHUB_TOKEN = "CLAUDE_RUN_GITHUB_TOKEN"  # noqa: S105 - the variable's name
# A comma inside parentheses belongs to its rule.
_BETWEEN_TOOLS = re.compile(r",(?![^()]*\))")

_EPILOG = f"""\
environment:
  CLAUDE_RUN_URL        the server, where --base-url is not given
  {_API_KEY}
                        sent as the key of this run, instead of the server's own
  {_GITHUB_TOKEN}
                        sent for cloning the repository, and for nothing else
exit status: 0 success, 1 the run failed, 2 wrong usage, 130 stopped with Ctrl-C
"""


def parser() -> argparse.ArgumentParser:
    """The parser of `claude-run`."""
    top = argparse.ArgumentParser(prog="claude-run", description="Claude Code as a service.")
    top.add_argument("--version", action="version", version=f"claude-run {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="run|demo|dev")
    _add_run(commands.add_parser(
        "run",
        help="run a prompt and show it as it happens",
        description="Run a prompt on a server and show it as it happens.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ))  # fmt: skip
    demo = commands.add_parser("demo", help="start everything here, run one prompt, end everything")
    demo.add_argument("prompt", nargs="?", help="default: PROMPT of the environment")
    commands.add_parser("dev", help="start everything here, on PORT (8080), until Ctrl-C")
    return top


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("prompt", metavar="PROMPT", help="what to do; - reads standard input")
    run.add_argument("--base-url", metavar="URL", help=f"the server (default: {DEFAULT_BASE_URL})")
    run.add_argument("--json", action="store_true", help="one JSON line for each event")
    work = run.add_argument_group("what it works on")
    work.add_argument("--repo", metavar="OWNER/NAME|URL", help="cloned before Claude Code starts")
    work.add_argument("--branch", help="instead of the default branch")
    work.add_argument("--commit", metavar="SHA", help="this very commit")
    agent = run.add_argument_group("how it works")
    agent.add_argument("--model")
    agent.add_argument("--fallback-model", metavar="MODEL")
    agent.add_argument("--system-prompt", metavar="TEXT", help="replaces Claude Code's own")
    agent.add_argument("--append-system-prompt", metavar="TEXT", help="is added to it")
    agent.add_argument("--mcp-config", metavar="FILE", help="MCP servers, as Claude Code has them")
    allowed = run.add_argument_group("what it may do")
    examples = {"--allowed-tools": 'Read,Edit,"Bash(git *)"', "--disallowed-tools": "WebFetch"}
    for option, example in examples.items():
        allowed.add_argument(option, metavar="TOOLS", type=_tools, help=f"such as {example}")
    modes = [mode.value for mode in PermissionMode]
    allowed.add_argument("--permission-mode", choices=modes, metavar="MODE", help=", ".join(modes))
    allowed.add_argument("--max-turns", type=int, metavar="N")
    allowed.add_argument("--timeout-minutes", type=float, metavar="MINUTES")
    allowed.add_argument("--max-budget-usd", type=float, metavar="USD")


def order(typed: argparse.Namespace, environ: Mapping[str, str], stdin: BinaryIO) -> Order:
    """The order, or `CallerError` for what cannot be one."""
    options = {name: given for name in _FIELDS if (given := getattr(typed, name)) is not None}
    if repository := _repository(typed):
        options["repository"] = repository
        if token := environ.get(_GITHUB_TOKEN):
            options["github_token"] = token
    if key := environ.get(_API_KEY):
        options["anthropic_api_key"] = key
    if typed.mcp_config is not None:
        options["mcp_config_json"] = _mcp_config(Path(typed.mcp_config))
    return Order(
        base_url=typed.base_url or environ.get("CLAUDE_RUN_URL") or DEFAULT_BASE_URL,
        prompt=_standard_input(stdin) if typed.prompt == "-" else typed.prompt,
        options=options,
    )


def _tools(text: str) -> list[str]:
    return [rule.strip() for rule in _BETWEEN_TOOLS.split(text) if rule.strip()]


def _repository(typed: argparse.Namespace) -> dict[str, str]:
    if typed.repo is None:
        if typed.branch is not None or typed.commit is not None:
            raise CallerError("--branch and --commit need --repo")
        return {}
    where = "url" if "://" in typed.repo else "name"
    wanted = {where: typed.repo, "branch": typed.branch, "commit": typed.commit}
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
