"""The gateway's application inside a test: real routes, a real SQLite store, no server."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from claude_run.errors import ClaudeRunError
from gateway.http.app import create_app
from gateway.http.targets import Target, open_target, read_settings
from gateway.instance import Instance
from gateway.service import Gateway
from gateway.store import StoreUnavailableError
from gateway.work.starter import Starter

# Nobody listens on port 1: the runner cannot be reached.
NO_RUNNER = "http://127.0.0.1:1"
# Nor there: no worker is started.
NO_JOB = "projects/p/locations/l/jobs/worker?endpoint=127.0.0.1:1"
IAM = {"K_SERVICE": "api", "AUTH": "iam", "WORKER_JOB": NO_JOB}


@contextmanager
def open_app(folder: Path, **environ: str) -> Iterator[tuple[FlaskClient, Gateway]]:
    """A client of the application with all routes, and what is behind it."""
    with open_function(Target.GATEWAY, folder, RUNNER_URL=NO_RUNNER, **environ) as (client, opened):
        assert isinstance(opened, Gateway)
        yield client, opened


@contextmanager
def open_function(
    target: Target, folder: Path, starter: Starter | None = None, /, **environ: str
) -> Iterator[tuple[FlaskClient, Instance]]:
    """The same of any of the functions. Workers are started by `starter`, else by none."""
    known = {
        "STORE_URL": f"sqlite://{folder}/gateway.db",
        "VAULT_URL": f"file://{folder}/vault",
        "WORKER_JOB": NO_JOB,
    }
    instance = open_target(target, read_settings(target, known | environ, loopback=True))
    instance.starter = starter or instance.starter
    try:
        with create_app(instance, target).test_client() as client:
            yield client, instance
    finally:
        instance.drain()
        instance.store.close()


def token(sub: str, **claims: object) -> dict[str, str]:
    """The header of a token as IAM passes it on: verified, and its signature removed."""
    parts = [{"alg": "RS256"}, {"sub": sub, **claims}]
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    joined = ".".join(text.rstrip("=") for text in texts)
    return {"Authorization": f"Bearer {joined}.SIGNATURE_REMOVED_BY_GOOGLE"}


class Started:
    """A starter of workers that only counts."""

    def __init__(self) -> None:
        self.times = 0
        self.error: ClaudeRunError | None = None

    def start(self) -> None:
        """One more, or the error."""
        self.times += 1
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """There is nothing to end."""


class NoStore:
    """A store that never answers."""

    def _refuse(self, *_arguments: object, **_options: object) -> Any:  # noqa: ANN401 - never
        raise StoreUnavailableError("nobody is there")

    get = query = write = transact = close = _refuse
