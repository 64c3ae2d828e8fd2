"""Which web pages may read answers: those of origins that the operator names, and our own.

Browsers send no identity token with a preflight, so behind IAM none gets as far as here.
"""

from collections.abc import Collection

from flask import Request, Response

from claude_run.errors import CallerError, Code

METHODS = "GET, POST, DELETE"
# The API reference's, and what a page needs to take a stream up again.
REQUEST_HEADERS = "Content-Type, Authorization, X-Requested-With, Last-Event-ID"
ANSWER_HEADERS = (
    "X-Request-Id, X-Session-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "Retry-After"
)
PREFLIGHT_SECONDS = 600


def is_preflight(request: Request) -> bool:
    """Whether a browser asks what a page may do."""
    return (
        request.method == "OPTIONS"
        and "Origin" in request.headers
        and "Access-Control-Request-Method" in request.headers
    )


def preflight(request: Request, allowed: Collection[str], *, local: bool) -> Response:
    """The answer to a preflight; FORBIDDEN for an origin that is not allowed."""
    if not _may_read(request, allowed, local=local):
        raise CallerError("This origin is not allowed.", code=Code.FORBIDDEN)
    answer = Response(status=204)
    answer.headers["Access-Control-Allow-Methods"] = METHODS
    answer.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
    answer.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    return answer


def allow(request: Request, answer: Response, allowed: Collection[str], *, local: bool) -> None:
    """Let the page that asked read the answer, if its origin is allowed. Never with cookies."""
    answer.headers.add("Vary", "Origin")
    if _may_read(request, allowed, local=local):
        answer.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        answer.headers["Access-Control-Expose-Headers"] = ANSWER_HEADERS


def _may_read(request: Request, allowed: Collection[str], *, local: bool) -> bool:
    # On a laptop whoever got past the guard is allowed: a foreign origin does not.
    return "Origin" in request.headers and (local or request.headers["Origin"] in allowed)
