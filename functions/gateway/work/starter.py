"""Starting a worker, which then claims its work itself."""

from typing import Protocol


class Starter(Protocol):
    """Starts workers. Safe under threads."""

    def start(self) -> None:
        """See to it that a worker looks for work soon, or raise `ClaudeRunError`.

        Whoever cannot start one loses nothing: what is accepted stays, and the sweep starts it.
        """
