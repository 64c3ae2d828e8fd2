"""GitHub's failures as ours, by whose fault they are. The only place that translates them."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from traceback import extract_tb
from typing import Any, TypeVar

from github import BadAttributeException, GithubException, RateLimitExceededException
from requests import RequestException

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from gateway.github.patience import Failure, limited_for

T = TypeVar("T")

# After which a failure that names no time is worth another try.
RETRY_AFTER_SECONDS = 30
MAX_SAID = 200

# What GitHub says is shown to whoever may act on it. A long word might be a token sent back.
_LONG = re.compile(r"[^\s/]{40,}")
_ODD = re.compile(r"[^ -~]+")
# PyGithub asserts what it expects of an answer, and stumbles over one of another shape, such as a
# proxy's page; a redirect elsewhere, or in circles, is a RuntimeError.
_NONSENSE = (
    *(BadAttributeException, AssertionError, RuntimeError),
    *(ValueError, TypeError, KeyError, AttributeError),
)


@contextmanager
def translated(clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Iterator[None]:
    """Raise `claude_run.errors` for whatever PyGithub and its transport raise meanwhile.

    CallerError NOT_FOUND (not there, or not shown to us), FORBIDDEN (a permission is missing),
    CONFLICT (GitHub refuses what it was sent); UpstreamError UPSTREAM_AUTH (the credential is
    not accepted), UPSTREAM_RATE_LIMIT and UNAVAILABLE (both with Retry-After), UPSTREAM_ERROR.
    """
    try:
        yield
    except GithubException as error:
        raise _refused(error, clock()) from None
    except RequestException as error:
        raise _unavailable({"reason": type(error).__name__}) from None
    except _NONSENSE as error:
        # Where it was, and not what it says: that may quote the answer.
        at = extract_tb(error.__traceback__)[-1]
        raise _nonsense(f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}") from None


def given(value: T | None) -> T:
    """What an answer has to have; `UpstreamError` where it has not.

    PyGithub gives None for whatever is missing, and an answer is not always GitHub's: a proxy
    between may say 200 with a page of its own.
    """
    if value is None:
        raise _nonsense("incomplete")
    return value


def mapping(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - GitHub's
    """An answer that has to be an object, or `UpstreamError`."""
    if not isinstance(answer, dict):
        raise _nonsense(type(answer).__name__)
    return answer


def listing(answer: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - GitHub's
    """An answer that has to be a list of objects, or `UpstreamError`."""
    if not isinstance(answer, list):
        raise _nonsense(type(answer).__name__)
    return [mapping(one) for one in answer]


def said(error: GithubException) -> str:
    """What GitHub says of it, in one line of plain characters without anything secret."""
    data = error.data if isinstance(error.data, dict) else {}
    errors = data.get("errors")
    more = [
        one.get("message")
        for one in (errors if isinstance(errors, list) else [])
        if isinstance(one, dict)
    ]
    texts = [text for text in (data.get("message"), *more) if isinstance(text, str)]
    return _LONG.sub("…", _ODD.sub(" ", "; ".join(texts)))[:MAX_SAID]


def _nonsense(reason: str) -> UpstreamError:
    return UpstreamError("GitHub's answer cannot be understood.", details={"reason": reason})


def _refused(error: GithubException, now: datetime) -> ClaudeRunError:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    status = error.status
    facts = {"status": status, "github": said(error)}
    failure = Failure(method="", path="", status=status, headers=headers)
    if failure.limited or isinstance(error, RateLimitExceededException):
        return _limited(limited_for(headers, now), facts)
    if status >= 500:
        return _unavailable(facts)
    if status == 401:
        return UpstreamError(
            "GitHub does not accept the credential.",
            code=Code.UPSTREAM_AUTH,
            details=facts,
            status=status,
        )
    code, sentence = _CALLERS.get(status, (Code.CONFLICT, "GitHub refuses the request."))
    return CallerError(sentence, code=code, details=facts, status=status)


_CALLERS = {
    403: (Code.FORBIDDEN, "GitHub does not permit this."),
    404: (Code.NOT_FOUND, "GitHub has no such thing, or does not show it."),
    451: (Code.FORBIDDEN, "GitHub may not show this."),
}


def _limited(seconds: float, facts: dict[str, object]) -> UpstreamError:
    return UpstreamError(
        "GitHub was asked too often.",
        code=Code.UPSTREAM_RATE_LIMIT,
        details=facts,
        headers={"Retry-After": str(math.ceil(min(seconds, 1e9)))},
    )


def _unavailable(facts: dict[str, object]) -> UpstreamError:
    return UpstreamError(
        "GitHub cannot answer at the moment.",
        code=Code.UNAVAILABLE,
        details=facts,
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
