"""Texts that come back from a browser, and that only we can have made. Pure."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable


def seal(key: bytes, purpose: str, *parts: str) -> str:
    """The mark of these parts: 43 characters that fit into a cookie and a URL."""
    # Parts of different lengths must not run into each other; none of ours holds a NUL.
    text = "\0".join(("claude-run", purpose, *parts)).encode()
    return urlsafe_b64encode(hmac.digest(key, text, "sha256")).rstrip(b"=").decode()


def is_sealed(given: str, keys: Iterable[bytes], purpose: str, *parts: str) -> bool:
    """Whether it is the mark of these parts with one of the keys; in constant time."""
    return any(equal(given, seal(key, purpose, *parts)) for key in keys)


def equal(one: str, other: str) -> bool:
    """Whether two texts are the same, in a time that tells nothing of where they differ."""
    # As bytes: for texts that are not ASCII `compare_digest` raises.
    return hmac.compare_digest(
        one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape")
    )
