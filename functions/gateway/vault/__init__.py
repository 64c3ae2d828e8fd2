"""Secrets by name, in files or in Secret Manager; no other module knows in which.

    vault = open_vault("file:///home/me/.claude-run/vault")
    vault.put("github-webhook-secret", new, keep_previous=True)
    for secret in vault.get_all("github-webhook-secret"): ...
"""

from gateway.vault.interface import Vault, VaultUnavailableError, VaultUsageError
from gateway.vault.opening import open_vault

__all__ = ["Vault", "VaultUnavailableError", "VaultUsageError", "open_vault"]
