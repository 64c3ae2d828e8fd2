"""Anthropic's two kinds of credential, and how one is told from the other. Pure."""

from enum import Enum

# How Anthropic's OAuth tokens (`claude setup-token`) begin; everything else is an API key.
_OAUTH_PREFIX = "sk-ant-oat"


class CredentialKind(Enum):
    """The two kinds; each value is the variable by which Claude Code takes it."""

    API_KEY = "ANTHROPIC_API_KEY"
    OAUTH = "CLAUDE_CODE_OAUTH_TOKEN"

    @classmethod
    def of(cls, text: str) -> "CredentialKind":
        """The kind of one that came without it."""
        return cls.OAUTH if text.startswith(_OAUTH_PREFIX) else cls.API_KEY
