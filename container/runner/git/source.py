"""Which repository may be cloned from where. Pure: no name is resolved, nothing is fetched."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from claude_run.errors import CallerError
from claude_run.wire import Changes, Repository

MAX_URL = 2048
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_AUTHORITY = re.compile(r"(?P<host>[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[::1\])(:(?P<port>[0-9]{1,5}))?")
_PATH = re.compile(r"(/([A-Za-z0-9._~+@-]|%[0-9A-Fa-f]{2})+)+/?")
_DEFAULT_PORT = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneSource:
    """What to clone: a checked URL without credentials, and a branch, a commit, or neither."""

    url: str
    origin: str
    branch: str | None = None
    commit: str | None = None


def check_clone_url(
    url: str,
    *,
    allowed_hosts: frozenset[str],
    allow_loopback_http: bool,
    field: str = "repository.url",
) -> CloneSource:
    """The source of a URL that may be cloned from, or `CallerError` naming `field` and the rule.

    `allowed_hosts` are lower-case hosts, with `:port` where it is not 443. Plain http is for
    loopback only, where an entry without a port stands for every port.
    """
    scheme, authority, path = _split(url, field)
    match = _AUTHORITY.fullmatch(authority.lower())
    if match is None or ".." in authority:
        raise _refusal(field, "it names no host that can be on the list")
    host, port = match["host"], int(match["port"] or _DEFAULT_PORT[scheme])
    loopback = scheme == "http" and host in LOOPBACK
    if scheme == "http" and not (allow_loopback_http and loopback):
        raise _refusal(field, "it must be https")
    name = host if port == _DEFAULT_PORT[scheme] else f"{host}:{port}"
    if name not in allowed_hosts and not (loopback and host in allowed_hosts):
        raise _refusal(field, "its host is not one that this runner may clone from")
    segments = unquote(path).split("/")[1:]
    if not _PATH.fullmatch(path) or not _plain(segments):
        raise _refusal(field, "its path is not that of a repository")
    origin = f"{scheme}://{name}"
    return CloneSource(url=origin + path, origin=origin)


def _split(url: str, field: str) -> tuple[str, str, str]:
    if len(url) > MAX_URL:
        raise _refusal(field, f"it is longer than {MAX_URL} characters")
    if not re.fullmatch(r"[\x21-\x7e]+", url) or "\\" in url:
        raise _refusal(field, "it must be visible ASCII (write the host as xn--…)")
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else ""
    if match is None or scheme not in _DEFAULT_PORT:
        raise _refusal(field, "it must be https")
    if "?" in url or "#" in url:
        raise _refusal(field, "it must have neither query nor fragment")
    authority, slash, path = url[match.end() :].partition("/")
    if "@" in authority:
        raise _refusal(field, "it must hold no credentials: githubToken is for them")
    return scheme, authority, slash + path


def _plain(segments: list[str]) -> bool:
    """Whether no part, once decoded, means something else than a name."""
    return not any(
        part in (".", "..") or part.startswith("-") or re.search(r"[\x00-\x1f\x7f\\%]", part)
        for part in segments
    )


def _refusal(field: str, rule: str) -> CallerError:
    return CallerError(f"{field}: {rule}", details={"field": field, "rule": rule})


def resolve_source(
    repository: Repository,
    changes: Changes | None,
    *,
    server_url: str,
    allowed_hosts: frozenset[str],
    allow_loopback_http: bool,
) -> CloneSource:
    """What a request asks to be cloned, at the commit that its change set was made against.

    A `url` wins over a `name`, which is looked for on `server_url`, the operator's own choice
    and therefore allowed. A branch moves on between two turns of a conversation: with `changes`
    and without `commit`, the change set's base is checked out.
    """
    if repository.url is not None:
        source = check_clone_url(
            repository.url, allowed_hosts=allowed_hosts, allow_loopback_http=allow_loopback_http
        )
    else:
        server = server_url.rstrip("/")
        source = check_clone_url(
            f"{server}/{repository.name}",
            allowed_hosts=allowed_hosts | {server.partition("://")[2].partition("/")[0].lower()},
            allow_loopback_http=allow_loopback_http,
            field="repository.name",
        )
    commit = repository.commit
    if changes is not None:
        commit = commit or changes.base
        if changes.base is None or changes.base != commit:
            raise _refusal("changes.base", "it must be the commit that is checked out")
    return CloneSource(
        url=source.url, origin=source.origin, branch=repository.branch, commit=commit
    )
