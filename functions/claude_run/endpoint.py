"""Where a client's requests go, checked before anything is sent there."""

import re
from dataclasses import dataclass

import httpx2

from claude_run.errors import ConfigurationError
from claude_run.loopback import is_loopback

# A name or an address, in the form that goes over the wire.
_HOST = re.compile(rb"[A-Za-z0-9._:-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds; `read` is between two pieces of an answer, not for the whole of it."""

    connect: float = 10.0
    # A stream is never silent for longer than the server's pings, 15 s apart, but the first byte
    # may have to wait until an instance has started.
    read: float = 60.0
    write: float = 30.0
    pool: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server's base URL, without a slash at its end, which is also its tokens' audience."""

    base_url: str
    loopback: bool

    @classmethod
    def parse(cls, base_url: str) -> "Endpoint":
        """Check a base URL; `ConfigurationError`, which does not repeat it, if it cannot be used.

        Parsed by the library that will connect: two parsers may see two hosts in one URL.
        """
        try:
            url = httpx2.URL(base_url)
        except httpx2.InvalidURL:
            raise ConfigurationError("The base URL is not a URL") from None
        if url.scheme not in ("http", "https") or not _HOST.fullmatch(url.raw_host):
            raise ConfigurationError(
                "The base URL must start with https:// (http:// for this machine) and name a host"
            )
        if url.userinfo or url.query or url.fragment:
            raise ConfigurationError("The base URL may hold no user, query or fragment")
        loopback = is_loopback(url.host)
        if url.scheme == "http" and not loopback:
            # The request carries an identity token, and often an API key.
            raise ConfigurationError("The base URL must be https, unless it is this machine's own")
        return cls(base_url=str(url).rstrip("/"), loopback=loopback)
