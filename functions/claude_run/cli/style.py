"""Colours, where the terminal has them and nobody asked for none."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How the kinds of text look; without `colour` all of them stay as they are."""

    colour: bool = False

    def quiet(self, text: str) -> str:
        """What accompanies the words."""
        return self._wrapped("2", text)

    def added(self, text: str) -> str:
        """What is new."""
        return self._wrapped("32", text)

    def changed(self, text: str) -> str:
        """What was written, and what asks for attention."""
        return self._wrapped("33", text)

    def removed(self, text: str) -> str:
        """What is gone, and what went wrong."""
        return self._wrapped("31", text)

    def _wrapped(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


def style_for(*, terminal: bool, environ: Mapping[str, str]) -> Style:
    """The style of an output; NO_COLOR, of any value but none, is https://no-color.org."""
    dumb = environ.get("TERM", "dumb") == "dumb"
    return Style(colour=terminal and not dumb and not environ.get("NO_COLOR"))
