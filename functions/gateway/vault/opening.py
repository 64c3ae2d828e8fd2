"""From `VAULT_URL` to a vault."""

import re
from pathlib import Path

from claude_run.errors import ConfigurationError
from gateway.vault.interface import Vault

# `?endpoint=` is for a server on this machine: there is no TLS to it.
_SECRET_MANAGER = re.compile(
    r"(?P<project>([a-z0-9.-]{1,100}:)?[a-z][a-z0-9-]{2,61}[a-z0-9])"
    r"(\?endpoint=(?P<endpoint>(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}))?"
)


def open_vault(url: str) -> Vault:
    """The vault at `file:///DIR` (absolute) or `secretmanager://PROJECT`, or `ConfigurationError`.

    Nothing is opened yet, so this may run before a fork.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "file" and rest.startswith("/") and rest.strip("/"):
        from gateway.vault.files import FileVault

        return FileVault(Path(rest))
    if scheme == "secretmanager" and (found := _SECRET_MANAGER.fullmatch(rest)):
        from gateway.vault.cached import CachedVault
        from gateway.vault.secret_manager import SecretManagerVault

        return CachedVault(SecretManagerVault(found["project"], endpoint=found["endpoint"]))
    raise ConfigurationError(
        "VAULT_URL must be file:///DIR or secretmanager://PROJECT.",
        details={"setting": "VAULT_URL"},
    )
