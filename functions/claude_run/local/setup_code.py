"""The setup code of this machine's gateway, which knows how it is kept."""

import subprocess
import sys
from pathlib import Path

from claude_run.local.services import Environ, vault_url
from claude_run.local.stack import StackError

SECONDS = 30.0


def setup_code(environ: Environ, state: Path) -> str:
    """The code, made if there is none; `StackError` where the vault cannot be used."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gateway.setup.setup_code"],
            env={**environ, "VAULT_URL": vault_url(state)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"The setup code was not told within {SECONDS:g} s.") from None
    if done.returncode != 0:
        raise StackError("The setup code cannot be told.", done.stderr.splitlines())
    return done.stdout.strip()
