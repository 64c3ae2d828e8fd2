"""What a browser sends and keeps for the set-up: its cookies, its origin, its address."""

import re

from flask import Response, request

from claude_run.errors import CallerError, Code
from gateway.setup.setup_code import TICKET_TIME

RETURN_SECONDS = 3_600

_HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,39}\])(?::[0-9]{1,5})?")
_TICKET = "claude-run-setup"
_RETURN = "claude-run-return"


class Browser:
    """Reads requests, writes cookies."""

    def __init__(self, *, on_cloud: bool) -> None:
        self._on_cloud = on_cloud

    def origin(self) -> str:
        """Ours, as the browser knows it; `CallerError` without a Host that can stand in a URL."""
        if not _HOST.fullmatch(request.host):
            raise CallerError("Host: it is not a host's name.", details={"field": "Host"})
        return f"{'https' if self._is_secure() else 'http'}://{request.host}"

    def check_same_origin(self) -> None:
        """Raise `CallerError` FORBIDDEN for what a page of another site has sent."""
        # Our own pages' forms come with `Origin: null`, because they tell no referrer.
        origin = request.headers.get("Origin", "null")
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if origin not in ("null", self.origin()) or site not in ("same-origin", "none"):
            raise CallerError("This was sent by a page of another site.", code=Code.FORBIDDEN)

    def address(self) -> str:
        """Whose tries are counted together."""
        forwarded = request.headers.get("X-Forwarded-For", "")
        if self._on_cloud and forwarded:
            # The last one is Google's; those before it are the caller's to write.
            return forwarded.rpartition(",")[2].strip()[:64]
        return request.remote_addr or ""

    def ticket(self) -> str | None:
        """The text of its ticket."""
        return request.cookies.get(self._name(_TICKET))

    def keep_ticket(self, answer: Response, text: str) -> None:
        """Let it show this ticket from now on."""
        self._set(answer, _TICKET, text, int(TICKET_TIME.total_seconds()))

    def return_url(self) -> str | None:
        """Where it wants to go in the end; nobody has checked it."""
        return request.cookies.get(self._name(_RETURN))

    def keep_return_url(self, answer: Response, url: str | None) -> None:
        """Remember where it wants to go, or forget it."""
        self._set(answer, _RETURN, url or "", RETURN_SECONDS if url else 0)

    def _set(self, answer: Response, name: str, value: str, seconds: int) -> None:
        secure = self._is_secure()
        answer.set_cookie(
            self._name(name),
            value,
            max_age=seconds,
            path="/",
            secure=secure,
            httponly=True,
            # Coming back from GitHub it must be sent, with another site's form it must not.
            samesite="Lax",
        )

    def _name(self, name: str) -> str:
        # With the prefix no other host, and nobody on the way, can set it.
        return f"__Host-{name}" if self._is_secure() else name

    def _is_secure(self) -> bool:
        # Google's front end speaks TLS, and plain HTTP to us.
        return self._on_cloud or request.is_secure
