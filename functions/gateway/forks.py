"""What must not cross a fork: connections and locks of the parent are no use to a child.

gunicorn imports the application before it forks its worker. Nothing should be open by then; if
something is, the child forgets it and opens its own.
"""

import ctypes
import os
import weakref
from typing import Protocol


class Forgetful(Protocol):
    """Has state that belongs to one process."""

    def forget(self) -> None:
        """In a child, right after the fork: start again with nothing, and close nothing."""


_WATCHED: "weakref.WeakSet[Forgetful]" = weakref.WeakSet()


def forget_after_fork(it: Forgetful) -> None:
    """Call `it.forget()` in every child from now on, for as long as it exists."""
    _WATCHED.add(it)


def keep_for_ever(it: object) -> None:
    """Never collect this object, not even at exit: its end would reach into the parent."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(it))


def _forget_all() -> None:
    for it in list(_WATCHED):
        it.forget()


os.register_at_fork(after_in_child=_forget_all)
