"""The manifest that asks GitHub for an App: what it may do, what it hears of. Pure.

https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from claude_run.errors import CallerError
from claude_run.loopback import is_loopback
from gateway.github.settings import SERVER_URL

CALLBACK = "/gh-setup/callback"

# Branches and commits, comments and reactions, pull requests; metadata is what GitHub insists on.
# Not `workflows`: what the agent writes must not change what the repository's CI does.
PERMISSIONS: Mapping[str, str] = {
    "contents": "write",
    "issues": "write",
    "metadata": "read",
    "pull_requests": "write",
}
# GitHub tells every App of its installations, and refuses a manifest that asks for it.
EVENTS = ("issues", "issue_comment", "pull_request_review", "pull_request_review_comment")

# GitHub's own bound.
MAX_NAME = 34
_NAME = "claude-run"
_ORGANISATION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An App to ask for.

    `origin`: ours, without a slash at its end. `organisation`: whose it shall be; None: of the
    person who is logged in. `webhook_url`: None where GitHub could reach nothing of ours. `suffix`
    makes the name one that nobody has; empty where the organisation's does.
    """

    origin: str
    server_url: str
    organisation: str | None
    webhook_url: str | None
    suffix: str

    @property
    def action(self) -> str:
        """Where the form goes; `state` is still to be added."""
        if self.organisation is None:
            return f"{self.server_url}/settings/apps/new"
        return f"{self.server_url}/organizations/{self.organisation}/settings/apps/new"

    @property
    def name(self) -> str:
        """What it shall be called, unless the person thinks otherwise; nobody's else may be."""
        tail = f"-{self.suffix}" if self.suffix else ""
        name = f"{_NAME}-{self.organisation}" if self.organisation else _NAME
        return name[: MAX_NAME - len(tail)].rstrip("-") + tail

    def manifest(self) -> dict[str, Any]:
        """What the form asks for."""
        manifest: dict[str, Any] = {
            "name": self.name,
            "description": "Turns issues into pull requests with Claude Code.",
            "url": f"{self.origin}/gh-setup",
            "redirect_url": self.origin + CALLBACK,
            "setup_url": f"{self.origin}/gh-setup",
            "setup_on_update": True,
            "public": False,
            "default_permissions": dict(PERMISSIONS),
        }
        if self.webhook_url is not None:
            # Without a URL GitHub takes neither a hook, not even an inactive one, nor events.
            manifest["hook_attributes"] = {"url": self.webhook_url, "active": True}
            manifest["default_events"] = list(EVENTS)
        return manifest

    def to_json(self) -> str:
        """The form's field."""
        return json.dumps(self.manifest())


def organisation_of(text: str) -> str:
    """An organisation's name as somebody has typed it, or `CallerError`."""
    if not _ORGANISATION.fullmatch(text):
        rule = "must be an organisation's name on GitHub: letters, digits and single hyphens"
        raise CallerError(f"organization: {rule}.", details={"field": "organization", "rule": rule})
    return text


def webhook_url_for(origin: str, path: str, server_url: str) -> str | None:
    """Where GitHub reaches our webhook at this origin; None where it cannot.

    GitHub refuses the URL of a machine that is not on the Internet, and the manifest with it.
    """
    ours = is_loopback(urlsplit(origin).hostname or "")
    theirs = is_loopback(urlsplit(server_url).hostname or "")
    return None if ours and not theirs else origin + path


def settings_url(server_url: str, *, owner: str, slug: str, is_organisation: bool) -> str:
    """Where the owner changes or deletes an App."""
    whose = f"organizations/{owner}/settings" if is_organisation else "settings"
    return f"{server_url}/{whose}/apps/{slug}"


def app_url(server_url: str, *, slug: str, told: str = "") -> str:
    """An App's page: as GitHub has told it, if it is GitHub's."""
    # It becomes a link of a page of ours.
    if re.fullmatch(re.escape(server_url) + r"/[A-Za-z0-9._~/-]{1,200}", told):
        return told
    return f"{server_url}/{'apps' if server_url == SERVER_URL else 'github-apps'}/{slug}"
