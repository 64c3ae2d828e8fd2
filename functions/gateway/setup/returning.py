"""Where a browser goes when the App is installed: to a page of an allowed origin. Pure."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from claude_run.errors import CallerError

# What every browser reads as the same URL: no backslash, no space, no control character.
_URL = re.compile(r"https?://[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e%]{1,1990}")
_RULE = "must be the URL of a page whose origin is in ALLOWED_ORIGINS"


def check_return_url(text: str, allowed: Collection[str]) -> str:
    """The URL, or `CallerError`, which does not repeat it."""
    try:
        parts = urlsplit(text)
        origin = f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        origin = ""
    if not _URL.fullmatch(text) or origin not in allowed:
        raise CallerError(
            f"redirect_url: {_RULE}.", details={"field": "redirect_url", "rule": _RULE}
        )
    return text
