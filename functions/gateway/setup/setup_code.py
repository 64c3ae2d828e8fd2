"""The operator's setup code, and the ticket that a browser gets for it.

    python -m gateway.setup.setup_code

prints the code of the vault at `VAULT_URL`, and makes one where there is none.
"""

import os
import re
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from gateway.setup.seal import equal, is_sealed, seal
from gateway.vault import Vault

SETUP_CODE = "setup-code"
# What 128 bits take in base64; whatever is shorter somebody has thought up.
MIN_LENGTH = 22
TICKET_TIME = timedelta(hours=2)

_TICKET = re.compile(r"([A-Za-z0-9_-]{22})\.([0-9]{10})\.([A-Za-z0-9_-]{43})")

NO_CODE = "There is no setup code yet, so nobody can enter it."


def new_code() -> str:
    """128 bits, as text that can be read out."""
    return secrets.token_hex(16)


def made(vault: Vault) -> str:
    """The code of a vault, made if there is none."""
    if not vault.get(SETUP_CODE):
        vault.put(SETUP_CODE, new_code())
    # Read again: somebody else may have made another at the same moment.
    return codes(vault)[0]


def codes(vault: Vault) -> tuple[str, ...]:
    """The codes that are valid now, newest first; UNAVAILABLE without one."""
    found = tuple(code for code in vault.get_all(SETUP_CODE) if len(code) >= MIN_LENGTH)
    if not found:
        raise UpstreamError(NO_CODE, code=Code.UNAVAILABLE, details={"secret": SETUP_CODE})
    return found


def check(given: str, valid: tuple[str, ...]) -> None:
    """Raise `CallerError` FORBIDDEN unless it is one of the codes."""
    # All are compared, whichever it is.
    if not any([equal(given.strip(), code) for code in valid]):  # noqa: C419
        raise CallerError(
            "This is not the setup code.", code=Code.FORBIDDEN, details={"field": "setupCode"}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a browser shows instead of the code: of no use once the code has changed.

    `browser` is a random number that tells it from other browsers.
    """

    browser: str
    expires_at: datetime

    @classmethod
    def new(cls, now: datetime) -> "Ticket":
        """For a browser that has just shown the code."""
        return cls(browser=secrets.token_urlsafe(16), expires_at=now + TICKET_TIME)

    def renewed(self, now: datetime) -> "Ticket":
        """For the same browser, good for the whole time again."""
        return Ticket(browser=self.browser, expires_at=now + TICKET_TIME)

    def text(self, code: str) -> str:
        """The cookie's value."""
        until = str(int(self.expires_at.timestamp()))
        return f"{self.browser}.{until}.{seal(code.encode(), 'ticket', self.browser, until)}"

    @classmethod
    def parse(cls, text: str, valid: tuple[str, ...], now: datetime) -> "Ticket":
        """The ticket of a cookie, or `CallerError` UNAUTHORIZED."""
        found = _TICKET.fullmatch(text)
        if found is not None:
            browser, until, mark = found.groups()
            expires_at = datetime.fromtimestamp(int(until), UTC)
            keys = [code.encode() for code in valid]
            if is_sealed(mark, keys, "ticket", browser, until) and now < expires_at:
                return cls(browser=browser, expires_at=expires_at)
        raise CallerError("Enter the setup code first.", code=Code.UNAUTHORIZED)

    def form_token(self, code: str) -> str:
        """What our forms send along: another site's form cannot know it."""
        return seal(code.encode(), "form", self.browser)

    def check_form(self, given: str, valid: tuple[str, ...]) -> None:
        """Raise `CallerError` FORBIDDEN unless one of our forms was sent."""
        if not is_sealed(given, [code.encode() for code in valid], "form", self.browser):
            raise CallerError(
                "This form is not from this browser's page: load the page again.",
                code=Code.FORBIDDEN,
            )


def main() -> int:
    """The command."""
    from gateway.settings import vault_url
    from gateway.vault import open_vault

    try:
        print(made(open_vault(vault_url(os.environ))))  # noqa: T201
    except ClaudeRunError as error:
        sys.stderr.write(f"The setup code cannot be told: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
