"""GitHub's Markdown, as far as one has to know what of it is code, what HTML and what text."""

from gateway.issues.markdown.blocks import parse
from gateway.issues.markdown.inline import TAG, definition
from gateway.issues.markdown.tokens import Kind, Token

__all__ = ["TAG", "Kind", "Token", "definition", "parse"]
