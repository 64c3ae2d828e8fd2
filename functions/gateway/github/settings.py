"""Where GitHub is, and an App that somebody brings along. Read once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from claude_run.errors import ConfigurationError

API_URL = "https://api.github.com"
SERVER_URL = "https://github.com"
API_VERSION = "2022-11-28"

_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?")
_APP_ID = re.compile(r"[0-9]{1,20}")
_LOOPBACK = re.compile(r"http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?(/.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubSettings:
    """`api_url` and `server_url` without a slash at the end.

    `app_id`, `private_key` and `webhook_secret` stand in for what the setup has stored, each alone.
    """

    api_url: str = API_URL
    server_url: str = SERVER_URL
    app_id: str | None = None
    private_key: str | None = field(default=None, repr=False)
    webhook_secret: str | None = field(default=None, repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "GitHubSettings":
        """Read all of it, or raise `ConfigurationError` naming everything that is wrong."""
        wrong: list[str] = []
        server = _url(environ, "GITHUB_SERVER_URL", SERVER_URL, wrong)
        # An Enterprise Server has its API below itself.
        own_api = API_URL if server == SERVER_URL else f"{server}/api/v3"
        api = _url(environ, "GITHUB_API_URL", own_api, wrong)
        app_id = environ.get("GITHUB_APP_ID", "").strip() or None
        if app_id is not None and not _APP_ID.fullmatch(app_id):
            wrong.append("GITHUB_APP_ID must be the App's number")
        # What passes through files of variables often has its line feeds written out.
        key = environ.get("GITHUB_PRIVATE_KEY", "").replace("\\n", "\n").strip() or None
        if key is not None and not key.startswith("-----BEGIN "):
            wrong.append("GITHUB_PRIVATE_KEY must be a private key in PEM")
        if wrong:
            raise ConfigurationError("; ".join(wrong), details={"settings": wrong})
        return cls(
            api_url=api,
            server_url=server,
            app_id=app_id,
            private_key=key,
            webhook_secret=environ.get("GITHUB_WEBHOOK_SECRET", "").strip() or None,
        )


def _url(environ: Mapping[str, str], name: str, usual: str, wrong: list[str]) -> str:
    url = (environ.get(name, "").strip() or usual).rstrip("/")
    if not _URL.fullmatch(url) or (url.startswith("http:") and not _LOOPBACK.fullmatch(url)):
        wrong.append(f"{name} must be an https URL, or http on loopback")
    return url
