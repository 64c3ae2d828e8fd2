"""Claude Code as a service: the SDK, the command line and what gateway and runner share."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_run.client import AsyncClient, Client

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> object:
    # The client brings HTTP and models along; a process that serves does not pay for them here.
    if name in __all__:
        from claude_run import client

        value: object = getattr(client, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
