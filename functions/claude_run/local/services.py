"""Which processes make up claude-run on one machine. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

KEYS = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
# Claude Code asks for a key, and the scripted model does not look at it.
SCRIPTED_KEY = "the-scripted-model-needs-no-key"
# Beside the packages, as the functions have it; a wheel does not bring it.
ENTRY_POINTS = Path(__file__).parent.parent.parent / "main.py"

Environ = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process: `module` of Python with `arguments`.

    The line of its output that matches `ready` holds its address. `environ` gives its variables
    from ours and the addresses of the services before it.
    """

    name: str
    module: str
    ready: re.Pattern[str]
    environ: Callable[[Environ, Mapping[str, str]], dict[str, str]]
    arguments: tuple[str, ...] = ()


def vault_url(state: Path) -> str:
    """Where the gateway of a state folder keeps its secrets."""
    return f"file://{state}/vault"


def has_key(environ: Environ) -> bool:
    """Whether the real model can be asked."""
    return any(environ.get(name) for name in KEYS)


def services(environ: Environ, *, port: int, state: Path) -> list[Service]:
    """The services in the order of their start.

    The gateway listens on `port` (0: any), and what it keeps is in the folder `state`.
    """
    gateway = Service(
        name="gateway",
        module="functions_framework",
        arguments=(
            *("--source", str(ENTRY_POINTS), "--target", "gateway", "--signature-type", "http"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ),
        # gunicorn's, and nobody else's: what we log is JSON.
        ready=re.compile(r"\[[^]]+\] \[\d+\] \[INFO\] Listening at: (http://\S+) \(\d+\)"),
        environ=lambda ours, addresses: _gateway_environ(ours, addresses, state),
    )
    return [_RUNNER, gateway] if has_key(environ) else [_SCRIPTED_MODEL, _RUNNER, gateway]


_SCRIPTED_MODEL = Service(
    name="model",
    module="runner.scripted",
    arguments=("--port", "0"),
    ready=re.compile(r'\{"url": "(http://[^"]+)"\}'),
    environ=lambda ours, _addresses: dict(ours),
)


def _runner_environ(ours: Environ, addresses: Mapping[str, str]) -> dict[str, str]:
    # Any port: callers speak to the gateway, and there is one port less to be taken.
    environ = {**ours, "HOST": "127.0.0.1", "PORT": "0"}
    if "model" in addresses:
        environ |= {"ANTHROPIC_BASE_URL": addresses["model"], "ANTHROPIC_API_KEY": SCRIPTED_KEY}
    return environ


_RUNNER = Service(
    name="runner",
    module="runner",
    ready=re.compile(r"claude-run runner on (http://\S+)"),
    environ=_runner_environ,
)

# functions-framework's: its development server has one thread and reloads; the other is checked
# against the command line.
_NOT_FOR_THE_GATEWAY = (*KEYS, "DEBUG", "FUNCTION_SIGNATURE_TYPE")
# Nobody pays the scripted model, and a day of trying things out is soon over a day's quota.
_UNPAID = {"MAX_DAILY_TOKENS": "1000000000000", "MAX_DAILY_COST_USD": "1000000"}


def _gateway_environ(ours: Environ, addresses: Mapping[str, str], state: Path) -> dict[str, str]:
    environ = {name: ours[name] for name in ours if name not in _NOT_FOR_THE_GATEWAY}
    if "model" in addresses:
        # A key that is stored would go there: there it is tried.
        environ = {**_UNPAID, **environ, "ANTHROPIC_BASE_URL": addresses["model"]}
    return environ | {
        "RUNNER_URL": addresses["runner"],
        "STORE_URL": f"sqlite://{state}/gateway.db",
        "VAULT_URL": vault_url(state),
        # The line that tells the port is of this level.
        "GUNICORN_LOG_LEVEL": "info",
    }
