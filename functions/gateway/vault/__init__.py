"""Secrets by name, in files or in Secret Manager; no other module knows in which.

`get_all` is for a secret that is being replaced: put with `keep_previous`, both values hold.
"""

from gateway.vault.interface import Vault, VaultUnavailableError, VaultUsageError
from gateway.vault.opening import open_vault

__all__ = ["Vault", "VaultUnavailableError", "VaultUsageError", "open_vault"]
