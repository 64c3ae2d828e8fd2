"""Where the App's deliveries go and where Claude keys are tried. Read once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from claude_run.endpoint import Endpoint
from claude_run.errors import ConfigurationError
from gateway.requests import STORED_KEY_UPSTREAM

WEBHOOK = "/webhooks/github"

# It goes into the App's manifest, and GitHub posts to it what is in private repositories.
_WEBHOOK_URL = re.compile(
    r"(https://[A-Za-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupSettings:
    """`webhook_url`: where GitHub is to send deliveries; None: to this origin. A URL that is only
    an origin means the webhook's path there.

    `anthropic_url`: the upstream of the stored key, as the runner has it.
    """

    webhook_url: str | None = None
    anthropic_url: str = STORED_KEY_UPSTREAM

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "SetupSettings":
        """Read both, or raise `ConfigurationError` naming everything that is wrong."""
        wrong: list[str] = []
        webhook = environ.get("WEBHOOK_URL", "").strip() or None
        if webhook is not None and not _WEBHOOK_URL.fullmatch(webhook):
            wrong.append("WEBHOOK_URL must be an https URL, or http on loopback")
        elif webhook is not None and urlsplit(webhook).path in ("", "/"):
            webhook = webhook.rstrip("/") + WEBHOOK
        anthropic = environ.get("ANTHROPIC_BASE_URL", "").strip() or STORED_KEY_UPSTREAM
        try:
            anthropic = Endpoint.parse(anthropic).base_url
        except ConfigurationError as error:
            wrong.append(f"ANTHROPIC_BASE_URL: {error.message}")
        if wrong:
            raise ConfigurationError("; ".join(wrong), details={"settings": wrong})
        return cls(webhook_url=webhook, anthropic_url=anthropic)
