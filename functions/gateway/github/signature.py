"""Whether GitHub has signed a delivery. Pure.

https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

import hmac
import re
from collections.abc import Iterable

from claude_run.errors import CallerError, Code

HEADER = "X-Hub-Signature-256"

# One only: a server joins two of a name with a comma.
_FORM = re.compile(r"sha256=([0-9a-fA-F]{64})")


def check_signature(body: bytes, given: str | None, secrets: Iterable[bytes]) -> None:
    """Raise `CallerError` (UNAUTHORIZED) unless one of the secrets has signed these bytes.

    Without a secret nothing is signed.
    """
    found = _FORM.fullmatch(given) if given is not None else None
    if found is None:
        raise _refusal(f"the header {HEADER} must be there once, as sha256= and 64 hex digits")
    signature = bytes.fromhex(found[1])
    # All of them, in constant time each: how long it takes tells nothing of any.
    matches = [
        hmac.compare_digest(hmac.digest(secret, body, "sha256"), signature) for secret in secrets
    ]
    if not any(matches):
        raise _refusal("it is not signed with the secret of this App")


def _refusal(rule: str) -> CallerError:
    return CallerError(
        f"The delivery is not GitHub's: {rule}.",
        code=Code.UNAUTHORIZED,
        details={"field": HEADER, "rule": rule},
    )
