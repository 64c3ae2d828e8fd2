"""GitHub's Markdown, as far as one has to know what of it is code, what HTML and what text."""

from gateway.issues.markdown.blocks import Parsed, parse
from gateway.issues.markdown.inline import Kind, Token, definition

__all__ = ["Kind", "Parsed", "Token", "definition", "parse"]
