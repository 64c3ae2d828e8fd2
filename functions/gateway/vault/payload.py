"""What is stored under a secret's name: its values in one piece.

Ours is a JSON array of strings, newest first, so that a rotation is one write and every reader
sees both values or one. Anything else is a single value as it stands: what an operator has put
there with `gcloud secrets versions add` or an editor.
"""

import json

from claude_run.errors import ConfigurationError
from gateway.vault.interface import MAX_PAYLOAD_BYTES, VaultUsageError

MAX_VALUES = 2


def encode(name: str, values: tuple[str, ...]) -> bytes:
    """The payload of the newest values, or `VaultUsageError`."""
    try:
        payload = json.dumps(values[:MAX_VALUES], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise VaultUsageError("The secret is not text.", details={"name": name}) from None
    if not values[0] or len(payload) > MAX_PAYLOAD_BYTES:
        rule = f"1 to {MAX_PAYLOAD_BYTES} bytes with its wrapping"
        raise VaultUsageError(
            "The secret has the wrong size.", details={"name": name, "rule": rule}
        )
    return payload


def decode(name: str, payload: bytes) -> tuple[str, ...]:
    """The values of a payload, newest first; none of an empty one."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"The secret {name} is not UTF-8 text.") from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
        return tuple(found[:MAX_VALUES])
    # An editor and `echo` end with a line feed that is not part of the secret.
    value = text.rstrip("\r\n")
    return (value,) if value else ()
