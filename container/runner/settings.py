"""What the runner is told by its environment, read once."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from claude_run.errors import ClaudeRunError, ConfigurationError
from claude_run.identity import AuthSettings
from claude_run.loopback import is_loopback
from claude_run.wire import SECRET_PATTERN, PermissionMode, ToolRule
from runner.credential import Credential, credential_from_environ
from runner.options import Defaults

DEFAULT_UPSTREAM = "https://api.anthropic.com"
DEFAULT_GITHUB = "https://github.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the runner.

    `credential` is its own, as on a laptop. `cli` is another Claude Code than the SDK's own.
    """

    host: str
    port: int
    on_cloud_run: bool
    auth: AuthSettings
    credential: Credential | None
    upstream: str
    allowed_model_hosts: frozenset[str]
    allowed_git_hosts: frozenset[str]
    github_server_url: str
    defaults: Defaults
    path: str
    cli: Path | None

    @property
    def allow_loopback_http(self) -> bool:
        """http is for servers on the same laptop."""
        return not self.on_cloud_run

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read all of it, or raise `ConfigurationError` naming everything that is wrong."""
        wrong: list[str] = []
        on_cloud_run = "K_SERVICE" in environ
        host = environ.get("HOST") or ("0.0.0.0" if on_cloud_run else "127.0.0.1")  # noqa: S104
        try:
            auth = AuthSettings.from_environ(environ, loopback=is_loopback(host))
        except ClaudeRunError as error:
            wrong.append(error.message)
        port = environ.get("PORT") or "8080"
        if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
            wrong.append("PORT must be a number from 0 to 65535.")
        upstream = (environ.get("ANTHROPIC_BASE_URL") or DEFAULT_UPSTREAM).rstrip("/")
        if not _is_base_url(upstream):
            wrong.append("ANTHROPIC_BASE_URL must be an https:// or http:// address.")
        github = (environ.get("GITHUB_SERVER_URL") or DEFAULT_GITHUB).rstrip("/")
        if not _is_base_url(github):
            wrong.append("GITHUB_SERVER_URL must be an https:// or http:// address.")
        credential = credential_from_environ(environ)
        if credential and not SECRET_PATTERN.fullmatch(credential.secret.get_secret_value()):
            wrong.append(f"{credential.kind.value} must be 8 to 4096 visible ASCII characters.")
        tools = _tools(environ.get("ALLOWED_TOOLS"), wrong)
        mode = _mode(environ.get("PERMISSION_MODE"), wrong)
        if wrong:
            raise ConfigurationError("The runner cannot start: " + " ".join(wrong))
        return cls(
            host=host,
            port=int(port),
            on_cloud_run=on_cloud_run,
            auth=auth,
            credential=credential,
            upstream=upstream,
            allowed_model_hosts=_hosts(environ.get("ALLOWED_MODEL_HOSTS"), DEFAULT_UPSTREAM),
            allowed_git_hosts=_hosts(environ.get("ALLOWED_GIT_HOSTS"), github),
            github_server_url=github,
            defaults=Defaults(allowed_tools=tools, permission_mode=mode),
            path=environ.get("PATH") or "/usr/local/bin:/usr/bin:/bin",
            cli=Path(environ["CLAUDE_CLI"]) if environ.get("CLAUDE_CLI") else None,
        )


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is looked at here, and may be none
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and not parts.query
        and not parts.fragment
    )


def _hosts(text: str | None, default_url: str) -> frozenset[str]:
    if not text:
        return frozenset({urlsplit(default_url).netloc.lower()})
    return frozenset(host.strip().lower() for host in text.split(",") if host.strip())


def _tools(text: str | None, wrong: list[str]) -> tuple[str, ...] | None:
    if not text:
        return None
    try:
        return tuple(TypeAdapter(list[ToolRule]).validate_python(json.loads(text), strict=True))
    except (ValueError, ValidationError):
        wrong.append('ALLOWED_TOOLS must be a JSON array of tool names, such as ["Read"].')
        return None


def _mode(text: str | None, wrong: list[str]) -> PermissionMode:
    try:
        return PermissionMode(text or PermissionMode.ACCEPT_EDITS)
    except ValueError:
        wrong.append(f"PERMISSION_MODE must be one of {', '.join(PermissionMode)}.")
        return PermissionMode.ACCEPT_EDITS
