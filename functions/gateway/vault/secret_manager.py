"""The vault of a deployment: Secret Manager, over gRPC as Firestore is."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc  # type: ignore[import-untyped]
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud.secretmanager_v1 import SecretManagerServiceClient, SecretVersion
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceGrpcTransport,
)

from claude_run.errors import ConfigurationError
from gateway.backoff import Backoff
from gateway.forks import forget_after_fork, keep_for_ever
from gateway.vault import payload
from gateway.vault.interface import CALL_SECONDS, VaultUnavailableError, check_name

T = TypeVar("T")

ACCESSOR = "roles/secretmanager.secretAccessor"
ADMIN = "roles/secretmanager.admin"
# "latest" may for a while still mean the version before (only access by number is strongly
# consistent, https://cloud.google.com/secret-manager/docs/secret-versions), so that one must live.
KEPT_VERSIONS = 2
MAX_VERSIONS = 100
# One is usual; more come from somebody else's hand, and go with the next writes.
MAX_DESTROYED = 5
# A call that found nobody is made this often.
ATTEMPTS = 4
_OPTIONS = [
    # Notice a connection that has died silently; an instance may have slept for minutes.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # gRPC's own is two minutes: that long every call would fail after the service is back.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class SecretManagerVault:
    """Secrets of one project. Nothing is connected before the first call.

    `endpoint`: a server without TLS on this machine, instead of Google's.
    """

    def __init__(self, project: str, *, endpoint: str | None = None) -> None:
        self._project = project
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._client: SecretManagerServiceClient | None = None
        forget_after_fork(self)

    def __repr__(self) -> str:
        return f"SecretManagerVault({self._project!r})"

    def get(self, name: str) -> str | None:
        """The secret, or None."""
        return next(iter(self.get_all(name)), None)

    def get_all(self, name: str) -> tuple[str, ...]:
        """All values that are valid now, newest first."""
        check_name(name)
        version = f"{self._path(name)}/versions/latest"
        with _reported(name, ACCESSOR):
            try:
                answer = self._call(lambda client: client.access_secret_version, {"name": version})
            except exceptions.NotFound:
                return ()
            except exceptions.FailedPrecondition:
                # The newest version was disabled or destroyed, by an operator: taken away.
                return ()
        return payload.decode(name, answer.payload.data)

    def put(self, name: str, value: str, *, keep_previous: bool = False) -> None:
        """A new value in a new version; versions before the last one are destroyed."""
        check_name(name)
        payload.encode(name, (value,))
        kept = self.get_all(name) if keep_previous else ()
        older = tuple(one for one in kept if one != value)
        content = payload.encode(name, (value, *older))
        with _reported(name, ADMIN):
            self._add(name, content)
            self._destroy_old(name)

    def delete(self, name: str) -> None:
        """No secret, and none of its versions."""
        check_name(name)
        with _reported(name, ADMIN):
            try:
                self._call(lambda client: client.delete_secret, {"name": self._path(name)})
            except exceptions.NotFound:
                return

    def forget(self) -> None:
        """After a fork: gRPC's threads are not here."""
        keep_for_ever(self._client)
        self._client = None
        self._lock = threading.Lock()

    def _add(self, name: str, content: bytes) -> None:
        request = {"parent": self._path(name), "payload": {"data": content}}
        try:
            self._call(lambda client: client.add_secret_version, request, attempts=1)
        except exceptions.NotFound:
            secret: dict[str, Any] = {"replication": {"automatic": {}}}
            parent = f"projects/{self._project}"
            self._call(
                lambda client: client.create_secret,
                {"parent": parent, "secret_id": name, "secret": secret},
                attempts=1,
            )
            self._call(lambda client: client.add_secret_version, request, attempts=1)

    def _destroy_old(self, name: str) -> None:
        request = {"parent": self._path(name), "page_size": MAX_VERSIONS}
        pager = self._call(lambda client: client.list_secret_versions, request)
        # One page: newest first, and what is not on it was destroyed long ago.
        page = next(pager.pages)
        living = [one for one in page.versions if one.state != SecretVersion.State.DESTROYED]
        for version in living[KEPT_VERSIONS : KEPT_VERSIONS + MAX_DESTROYED]:
            self._call(lambda client: client.destroy_secret_version, {"name": version.name})

    def _path(self, name: str) -> str:
        return f"projects/{self._project}/secrets/{name}"

    def _call(
        self,
        method: Callable[[SecretManagerServiceClient], Callable[..., T]],
        request: dict[str, Any],
        *,
        attempts: int = ATTEMPTS,
    ) -> T:
        call = method(self._connected())
        last: Exception = exceptions.DeadlineExceeded("no time left")  # type: ignore[no-untyped-call]
        for left in Backoff(attempts=attempts).tries(CALL_SECONDS):
            try:
                return call(request, timeout=left, retry=None)
            except exceptions.ServiceUnavailable as error:
                last = error
        raise last

    def _connected(self) -> SecretManagerServiceClient:
        with self._lock:
            if self._client is None:
                self._client = SecretManagerServiceClient(transport=self._transport())
            return self._client

    def _transport(self) -> SecretManagerServiceGrpcTransport:
        if self._endpoint:
            return SecretManagerServiceGrpcTransport(
                channel=grpc.insecure_channel(self._endpoint, options=_OPTIONS)
            )

        def secure(host: str, **arguments: Any) -> grpc.Channel:  # noqa: ANN401 - gRPC's
            arguments["options"] = _OPTIONS
            return SecretManagerServiceGrpcTransport.create_channel(host, **arguments)

        return SecretManagerServiceGrpcTransport(channel=secure)


@contextmanager
def _reported(name: str, role: str) -> Iterator[None]:
    """Google's errors as the vault's. Their texts stay out: no rule says what is in them."""
    try:
        yield
    except exceptions.PermissionDenied:
        # Google says the same of a secret that is not there to an account that may see only some.
        raise ConfigurationError(
            f"VAULT_URL: the account lacks {role} on the secret {name}, or there is no such secret."
        ) from None
    except (exceptions.Unauthenticated, GoogleAuthError) as error:
        reason = type(error).__name__
        raise ConfigurationError(
            f"VAULT_URL: the credentials are not accepted ({reason})."
        ) from None
    except exceptions.GoogleAPICallError as error:
        raise VaultUnavailableError(type(error).__name__) from None
