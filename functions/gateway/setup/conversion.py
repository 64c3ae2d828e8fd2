"""From GitHub's one-time code to the App that it stands for.

https://docs.github.com/en/rest/apps/apps#create-a-github-app-from-a-manifest
"""

import re
import time
from typing import Annotated

import httpx2
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from claude_run import __version__
from claude_run.errors import CallerError, Code, UpstreamError
from gateway.github.settings import API_VERSION

SECONDS = 20.0
CONNECT_SECONDS = 5.0
# An answer has a key of 2 KB and some URLs.
MAX_ANSWER_BYTES = 256 * 1024
RETRY_AFTER_SECONDS = 10
MAX_RETRY_AFTER_SECONDS = 3_600

_CODE = re.compile(r"[A-Za-z0-9_-]{1,200}")
# What becomes part of a path, a page or a mention. GitHub's own names; owners of managed accounts
# have an underscore.
_LOGIN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
_AGAIN = "Create the App again."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Owner(_Strict):
    """Whose App it is."""

    login: Annotated[str, StringConstraints(pattern=_LOGIN)]
    type: str = "User"


class NewApp(_Strict):
    """What GitHub says of an App once; no secret of it shows in its text.

    `webhook_secret` is None for an App without a webhook.
    """

    id: Annotated[int, Field(gt=0, lt=10**20)]
    slug: Annotated[str, StringConstraints(pattern=_LOGIN)]
    html_url: Annotated[str, StringConstraints(max_length=500)] = ""
    owner: Owner
    pem: Annotated[SecretStr, Field(max_length=16_384)]
    webhook_secret: Annotated[SecretStr, Field(min_length=1, max_length=1_024)] | None = None
    client_secret: Annotated[SecretStr, Field(min_length=1, max_length=1_024)] | None = None


def check_code(text: str) -> str:
    """The code of a callback, or `CallerError`."""
    if not _CODE.fullmatch(text):
        raise _refused("it is not one of GitHub's")
    return text


def convert(api_url: str, code: str) -> NewApp:
    """Ask GitHub, once: it gives an App's key to the first who asks.

    `CallerError` where the code is of no use, `UpstreamError` UNAVAILABLE where GitHub does not
    answer as it should.
    """
    limits = httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS)
    headers = {
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": API_VERSION,
        "User-Agent": f"claude-run/{__version__}",
    }
    try:
        with (
            httpx2.Client(timeout=limits, headers=headers, follow_redirects=False) as client,
            client.stream("POST", f"{api_url}/app-manifests/{code}/conversions") as answer,
        ):
            if answer.status_code != 201:
                raise _failure(answer)
            body = _bounded(answer)
    except httpx2.HTTPError as error:
        # Not its text: it names the URL, and so the code.
        raise _unavailable(type(error).__name__) from None
    return parse(body)


def parse(body: bytes) -> NewApp:
    """The App of an answer, or `UpstreamError`."""
    try:
        app = NewApp.model_validate_json(body)
    except ValidationError as error:
        # Not what it had read: that may be a key.
        where = {".".join(map(str, found["loc"])) or "body" for found in error.errors()}
        raise _unavailable(f"unexpected {', '.join(sorted(where))}") from None
    if not app.pem.get_secret_value().lstrip().startswith("-----BEGIN "):
        raise _unavailable("unexpected pem")
    return app


def _bounded(answer: httpx2.Response) -> bytes:
    body = bytearray()
    end = time.monotonic() + SECONDS
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > MAX_ANSWER_BYTES or time.monotonic() > end:
            raise _unavailable("the answer is too large or too slow")
    return bytes(body)


def _failure(answer: httpx2.Response) -> CallerError | UpstreamError:
    status = answer.status_code
    if status in (404, 410, 422):
        return _refused("GitHub does not know it: it was used already, or is older than an hour")
    return _unavailable(f"HTTP {status}", answer.headers.get("retry-after", ""))


def _refused(rule: str) -> CallerError:
    return CallerError(f"code: {rule}. {_AGAIN}", details={"field": "code", "rule": rule})


def _unavailable(reason: str, retry_after: str = "") -> UpstreamError:
    is_number = retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6
    seconds = int(retry_after) if is_number else RETRY_AFTER_SECONDS
    return UpstreamError(
        "GitHub did not hand over the App. Load this page again in a moment.",
        code=Code.UNAVAILABLE,
        details={"reason": reason},
        headers={"Retry-After": str(min(seconds, MAX_RETRY_AFTER_SECONDS))},
    )
