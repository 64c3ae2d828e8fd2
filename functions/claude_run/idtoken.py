"""Google's identity tokens (JWT, RS256): read, checked, and the certificates to check them with.

`google.oauth2.id_token.verify_token` is not used: it fetches the certificates anew for every
token, checks no issuer, no audience unless told, tries every key where the token names none, and
lets a claim of the wrong type escape as a TypeError. Its signature check is what is used here.
"""

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from claude_run.errors import CallerError, Code, UpstreamError

ISSUERS = ("accounts.google.com", "https://accounts.google.com")
CERTIFICATES_URL = "https://www.googleapis.com/oauth2/v1/certs"

# Google's are about 1 KiB; nobody makes us decode megabytes before we know who it is.
MAX_TOKEN_CHARACTERS = 16_384
CLOCK_SKEW_SECONDS = 10.0

# Google rotates its keys over days and publishes them before use. Certificates are renewed
# hourly, and at once for a key that is not among them, but not more often than strangers' tokens
# may make us ask; while Google cannot be asked, those we have hold for six hours.
CERTIFICATES_RENEW_SECONDS = 3600.0
CERTIFICATES_MAX_AGE_SECONDS = 6 * 3600.0
CERTIFICATES_PAUSE_SECONDS = 10.0
CERTIFICATES_TIMEOUT_SECONDS = 10.0


def unauthorized(reason: str) -> CallerError:
    """The 401 of a caller without a usable token; `reason` repeats nothing of it."""
    return CallerError(
        f"The identity token cannot be used: {reason}",
        code=Code.UNAUTHORIZED,
        headers={"WWW-Authenticate": "Bearer"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdToken:
    """A token taken apart; nothing about it is verified yet."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: str = field(repr=False)

    @classmethod
    def parse(cls, token: str) -> "IdToken":
        """Take a token apart, or raise `CallerError` (UNAUTHORIZED)."""
        if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
            raise unauthorized("it is no JSON Web Token")
        parts = token.split(".")
        if len(parts) != 3:
            raise unauthorized("it is no JSON Web Token")
        header, claims, signature = parts
        return cls(
            header=_segment(header),
            claims=_segment(claims),
            signed=f"{header}.{claims}".encode(),
            signature=signature,
        )


def _segment(text: str) -> dict[str, Any]:
    try:
        value = json.loads(_base64url(text))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise unauthorized("it is no JSON Web Token")
    return value


def _base64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def check_claims(claims: Mapping[str, Any], *, audience: str, now: float) -> None:
    """Issuer, lifetime and audience, or `CallerError` (UNAUTHORIZED); `now` is a Unix time."""
    if claims.get("iss") not in ISSUERS:
        raise unauthorized("Google did not issue it")
    issued, expires = claims.get("iat"), claims.get("exp")
    if not (_is_time(issued) and _is_time(expires)):
        raise unauthorized("it does not say when it is valid")
    if now < issued - CLOCK_SKEW_SECONDS:
        raise unauthorized("it is not valid yet")
    if now > expires + CLOCK_SKEW_SECONDS:
        raise unauthorized("it has expired")
    if claims.get("aud") != audience:
        raise unauthorized("it was made for another audience")


def _is_time(value: object) -> TypeGuard[float]:
    # The bounds keep out what compares oddly: NaN, which is neither before nor after anything.
    return isinstance(value, int | float) and 0 < value < 1e12


def check_signature(token: IdToken, certificates: Callable[[str], str | None]) -> None:
    """Verify the signature with the certificate of the key that the token names, or raise.

    RS256 and nothing else, whatever the token asks for: with `none` or an HMAC over a public key
    anybody could sign.
    """
    if token.header.get("alg") != "RS256":
        raise unauthorized("it is not signed with RS256")
    key_id = token.header.get("kid")
    certificate = certificates(key_id) if isinstance(key_id, str) else None
    if certificate is None:
        raise unauthorized("it is signed with a key that is not Google's")
    try:
        signature = _base64url(token.signature)
    except binascii.Error:
        raise unauthorized("its signature is wrong") from None
    from google.auth.crypt import RSAVerifier

    verifier = RSAVerifier.from_string(certificate)  # type: ignore[no-untyped-call]
    if not verifier.verify(token.signed, signature):
        raise unauthorized("its signature is wrong")


class Certificates:
    """Google's certificates by key id, kept within the bounds above; safe under threads."""

    def __init__(
        self,
        fetch: Callable[[], Mapping[str, str]] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch or fetch_certificates
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Mapping[str, str] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")

    def __call__(self, key_id: str) -> str | None:
        """The certificate of a key, None if it is not Google's; may block for a fetch.

        Raises `UpstreamError` (UNAVAILABLE) while Google cannot be asked and those known are old.
        """
        with self._lock:
            now = self._clock()
            fresh = now - self._fetched < CERTIFICATES_RENEW_SECONDS
            if not (fresh and key_id in self._known):
                self._renew(now)
            return self._known.get(key_id)

    def _renew(self, now: float) -> None:
        usable = now - self._fetched < CERTIFICATES_MAX_AGE_SECONDS
        if now - self._tried < CERTIFICATES_PAUSE_SECONDS:
            if not usable:
                raise _no_certificates()
            return
        self._tried = now
        try:
            self._known = dict(self._fetch())
        except UpstreamError:
            if not usable:
                raise
        else:
            self._fetched = now


def fetch_certificates() -> Mapping[str, str]:
    """Google's certificates, PEM by key id, or `UpstreamError` (UNAVAILABLE)."""
    from google.auth import exceptions
    from google.auth.transport.requests import Request

    try:
        answer = Request()(CERTIFICATES_URL, timeout=CERTIFICATES_TIMEOUT_SECONDS)
        value = json.loads(answer.data)
    except (exceptions.TransportError, ValueError) as error:
        raise _no_certificates() from error
    if answer.status != 200 or not isinstance(value, dict):
        raise _no_certificates()
    return {key: text for key, text in value.items() if isinstance(text, str)}


def _no_certificates() -> UpstreamError:
    return UpstreamError("Google's certificates cannot be fetched", code=Code.UNAVAILABLE)
