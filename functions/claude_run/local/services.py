"""Which processes make up claude-run on one machine. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

KEYS = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
# Claude Code asks for a key, and the scripted model does not look at it.
SCRIPTED_KEY = "the-scripted-model-needs-no-key"

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


def has_key(environ: Environ) -> bool:
    """Whether the real model can be asked."""
    return any(environ.get(name) for name in KEYS)


def services(environ: Environ, *, port: int) -> list[Service]:
    """The services in the order of their start; the runner listens on `port` (0: any)."""
    runner = Service(
        name="runner",
        module="runner",
        ready=re.compile(r"claude-run runner on (http://\S+)"),
        environ=lambda ours, addresses: _runner_environ(ours, addresses, port),
    )
    return [runner] if has_key(environ) else [_SCRIPTED_MODEL, runner]


_SCRIPTED_MODEL = Service(
    name="model",
    module="runner.scripted",
    arguments=("--port", "0"),
    ready=re.compile(r'\{"url": "(http://[^"]+)"\}'),
    environ=lambda ours, _addresses: dict(ours),
)


def _runner_environ(ours: Environ, addresses: Mapping[str, str], port: int) -> dict[str, str]:
    environ = {**ours, "HOST": "127.0.0.1", "PORT": str(port)}
    if "model" in addresses:
        environ |= {"ANTHROPIC_BASE_URL": addresses["model"], "ANTHROPIC_API_KEY": SCRIPTED_KEY}
    return environ
