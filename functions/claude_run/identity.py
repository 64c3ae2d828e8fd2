"""Who calls: the rule of a deployment (`AUTH`), and the caller of a request.

| `AUTH` | where | the caller |
|---|---|---|
| `iam` | on Cloud Run, IAM in front | the claims of the token that IAM has verified |
| `verify` | anywhere | the claims of a token verified here, its e-mail on a list |
| unset | bound to loopback only | `local`, an operator; requests from elsewhere are refused |

Anything else does not start.
"""

import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from claude_run.errors import CallerError, Code, ConfigurationError
from claude_run.idtoken import (
    Certificates,
    IdToken,
    check_claims,
    check_signature,
    unauthorized,
)
from claude_run.loopback import is_loopback

_EMAIL = re.compile(r"[^@\s,]+@[^@\s,]+")
# Methods whose request body, if any, nobody reads.
_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


class Mode(StrEnum):
    """How callers are known."""

    IAM = "iam"
    VERIFY = "verify"
    LOCAL = "local"


class HeaderItems(Protocol):
    """Request headers of any framework: pairs, of which one name may have several."""

    def items(self) -> Iterable[tuple[str, str]]:
        """All pairs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent a request; `sub` is what sessions are owned by."""

    sub: str
    email: str | None
    operator: bool


LOCAL_CALLER = Caller(sub="local", email=None, operator=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """The rule. `audience` and `allowed_callers` are for `verify`; e-mails are in lower case."""

    mode: Mode
    audience: str | None = None
    allowed_callers: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, loopback: bool) -> "AuthSettings":
        """Read `AUTH`, `AUTH_AUDIENCE`, `AUTH_ALLOWED_CALLERS` and `OPERATORS`.

        `loopback`: whether the server will be bound to a loopback address only. The lists are
        e-mail addresses, separated by commas or spaces. `ConfigurationError` names all that is
        wrong.
        """
        wrong: list[str] = []
        mode = _mode(environ, loopback, wrong)
        audience = environ.get("AUTH_AUDIENCE", "").strip() or None
        callers = _emails(environ, "AUTH_ALLOWED_CALLERS", wrong)
        operators = _emails(environ, "OPERATORS", wrong)
        if mode is Mode.VERIFY and audience is None:
            wrong.append("AUTH_AUDIENCE is missing: AUTH=verify needs it")
        if mode is Mode.VERIFY and not environ.get("AUTH_ALLOWED_CALLERS", "").strip():
            wrong.append("AUTH_ALLOWED_CALLERS is missing: AUTH=verify needs it")
        if mode is None or wrong:
            raise ConfigurationError("; ".join(wrong), details={"settings": wrong})
        return cls(mode=mode, audience=audience, allowed_callers=callers, operators=operators)


def _mode(environ: Mapping[str, str], loopback: bool, wrong: list[str]) -> Mode | None:
    on_cloud = bool(environ.get("K_SERVICE") or environ.get("CLOUD_RUN_JOB"))
    match environ.get("AUTH", ""):
        case "verify":
            return Mode.VERIFY
        case "iam" if environ.get("K_SERVICE"):
            return Mode.IAM
        case "iam":
            # Nobody has verified the claims then, and they would be believed.
            wrong.append("AUTH=iam holds on Cloud Run only (K_SERVICE is not set)")
        case "" if on_cloud:
            wrong.append("AUTH is missing: on Cloud Run it must be iam or verify")
        case "" if loopback:
            return Mode.LOCAL
        case "":
            wrong.append("AUTH is missing: without it the server may be bound to loopback only")
        case _:
            wrong.append("AUTH must be iam or verify, or unset on loopback")
    return None


def _emails(environ: Mapping[str, str], name: str, wrong: list[str]) -> frozenset[str]:
    emails = environ.get(name, "").replace(",", " ").split()
    if not all(_EMAIL.fullmatch(email) for email in emails):
        wrong.append(f"{name} must be a list of e-mail addresses")
    return frozenset(email.lower() for email in emails)


def authenticate(
    settings: AuthSettings,
    headers: HeaderItems,
    *,
    certificates: Certificates | None = None,
    now: float | None = None,
) -> Caller:
    """The caller of a request, or `CallerError`: UNAUTHORIZED without a valid token, FORBIDDEN.

    With `verify` it needs the process's one `Certificates`, may block for a fetch (so not in an
    event loop), and raises `UpstreamError` where Google cannot be asked. `now` is a Unix time.
    """
    if settings.mode is Mode.LOCAL:
        return LOCAL_CALLER
    token = IdToken.parse(_bearer(headers))
    if settings.mode is Mode.IAM:
        return caller_of(settings, token.claims)
    if certificates is None or settings.audience is None:
        raise ConfigurationError("AUTH=verify needs certificates and an audience")
    check_signature(token, certificates)
    check_claims(token.claims, audience=settings.audience, now=time.time() if now is None else now)
    return caller_of(settings, token.claims)


def caller_of(settings: AuthSettings, claims: Mapping[str, object]) -> Caller:
    """The caller that verified claims speak of, or `CallerError`."""
    sub, email = claims.get("sub"), claims.get("email")
    if not isinstance(sub, str) or not sub:
        raise unauthorized("it names no subject")
    # An address that nobody has verified may be anybody's.
    known = (
        email.lower() if isinstance(email, str) and claims.get("email_verified") is True else None
    )
    if settings.mode is Mode.VERIFY and known not in settings.allowed_callers:
        raise CallerError("This account may not call the service", code=Code.FORBIDDEN)
    return Caller(sub=sub, email=known, operator=known in settings.operators)


def _bearer(headers: HeaderItems) -> str:
    # "If both headers are provided, only the X-Serverless-Authorization header is checked":
    # https://cloud.google.com/run/docs/authenticating/service-to-service. Whoever read the other
    # one would believe a token that IAM has not seen.
    value = _single(headers, "x-serverless-authorization", Code.UNAUTHORIZED)
    if value is None:
        value = _single(headers, "authorization", Code.UNAUTHORIZED)
    scheme, _, token = (value or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("there is no bearer token")
    return token.strip()


def _single(headers: HeaderItems, name: str, code: Code) -> str | None:
    """The one value of a header. Of two, whoever is in front may have looked at the other."""
    values = [value for key, value in headers.items() if key.lower() == name]
    if len(values) > 1 and code is Code.UNAUTHORIZED:
        raise unauthorized(f"the header {name} is there twice")
    if len(values) > 1:
        raise CallerError(f"The header {name} is there twice", code=code)
    return values[0] if values else None


def check_local_request(
    method: str,
    headers: HeaderItems,
    port: int,
    *,
    allowed_origins: Collection[str] = (),
) -> None:
    """Refuse what a web page in the user's browser could send to a server without authentication.

    `port` is the server's own. A foreign Host is a rebound DNS name, a foreign Origin is another
    site's script (FORBIDDEN); a body that is not `application/json` is what a plain form can send
    without asking first (UNSUPPORTED_MEDIA_TYPE).
    """
    host = _single(headers, "host", Code.FORBIDDEN)
    if host is None or not _is_ours(f"http://{host}", port):
        raise CallerError("The Host header is not this server's", code=Code.FORBIDDEN)
    origin = _single(headers, "origin", Code.FORBIDDEN)
    if origin is not None and origin not in allowed_origins and not _is_ours(origin, port):
        raise CallerError("The Origin header is another site's", code=Code.FORBIDDEN)
    if method not in _WITHOUT_BODY and _has_body(headers) and not _is_json(headers):
        raise CallerError(
            "The body must be JSON: send the header Content-Type: application/json",
            code=Code.UNSUPPORTED_MEDIA_TYPE,
        )


def _is_ours(origin: str, port: int) -> bool:
    try:
        parts = urlsplit(origin)
        own = parts.hostname is not None and is_loopback(parts.hostname)
        return (
            own
            and parts.scheme == "http"
            and (parts.port or 80) == port
            and not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
        )
    except ValueError:
        return False


def _has_body(headers: HeaderItems) -> bool:
    length = _single(headers, "content-length", Code.VALIDATION_ERROR)
    chunked = _single(headers, "transfer-encoding", Code.VALIDATION_ERROR)
    return chunked is not None or length not in (None, "", "0")


def _is_json(headers: HeaderItems) -> bool:
    kind = _single(headers, "content-type", Code.UNSUPPORTED_MEDIA_TYPE) or ""
    return kind.partition(";")[0].strip().lower() == "application/json"
