"""A checked request: all that is known before anything starts. No I/O."""

from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

from claude_run.errors import CallerError
from claude_run.loopback import is_loopback
from claude_run.wire import PermissionMode, RunRequest
from runner.credential import Credential, choose
from runner.git.source import CloneSource, resolve_source
from runner.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is going to do."""

    request: RunRequest
    session_id: str
    credential: Credential
    upstream: str
    source: CloneSource | None
    permission_mode: PermissionMode


def make_plan(request: RunRequest, settings: Settings, *, own_user: bool) -> Plan:
    """Check what the wire model cannot: the operator's lists. Raises `CallerError`."""
    mode = request.permission_mode or settings.defaults.permission_mode
    if mode is PermissionMode.BYPASS_PERMISSIONS and not own_user:
        raise CallerError(
            "permissionMode: bypassPermissions needs a runner that gives each run a user of its "
            "own (the image does; a runner that is not started as root cannot).",
            details={"field": "permissionMode", "rule": "needs an unprivileged user of its own"},
        )
    upstream, source = _upstream(request, settings), _source(request, settings)
    return Plan(
        request=request,
        session_id=request.resume.session_id if request.resume else str(uuid4()),
        # With an upstream of its own a request brings its own key: ours goes to ours only.
        credential=choose(
            request.anthropic_api_key,
            settings.credential if request.anthropic_base_url is None else None,
        ),
        upstream=upstream,
        source=source,
        permission_mode=mode,
    )


def _upstream(request: RunRequest, settings: Settings) -> str:
    url = request.anthropic_base_url
    if url is None:
        return settings.upstream
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong_upstream("its host or its port is none") from None
    host = (parts.hostname or "").rstrip(".")
    shown = f"{host}:{port}" if port else host
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise _wrong_upstream("it must not hold credentials")
    if parts.query or parts.fragment or "\\" in url:
        raise _wrong_upstream("it must not hold a query or a fragment")
    if host not in settings.allowed_model_hosts and shown not in settings.allowed_model_hosts:
        raise _wrong_upstream("its host is not on the operator's list (ALLOWED_MODEL_HOSTS)")
    if parts.scheme != "https" and not (settings.allow_loopback_http and is_loopback(host)):
        raise _wrong_upstream("it must begin with https://")
    return url.rstrip("/")


def _wrong_upstream(rule: str) -> CallerError:
    return CallerError(
        f"anthropicBaseUrl: {rule}", details={"field": "anthropicBaseUrl", "rule": rule}
    )


def _source(request: RunRequest, settings: Settings) -> CloneSource | None:
    if request.repository is None:
        if request.changes is not None and request.changes.base is not None:
            rule = "there is no repository that it could be a commit of"
            raise CallerError(
                f"changes.base: {rule}", details={"field": "changes.base", "rule": rule}
            )
        return None
    return resolve_source(
        request.repository,
        request.changes,
        server_url=settings.github_server_url,
        allowed_hosts=settings.allowed_git_hosts,
        allow_loopback_http=settings.allow_loopback_http,
    )
