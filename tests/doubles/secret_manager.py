"""A Secret Manager on this machine: the service's own messages over gRPC, kept in memory.

What it answers follows https://cloud.google.com/secret-manager/docs/reference/rpc.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.cloud.secretmanager_v1 import types
from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]

SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
THREADS = 8
State = types.SecretVersion.State
# Protobuf's messages, of one base and of the other, have no types.
Message = Any


class RefusedError(Exception):
    """An answer with an error's status."""

    def __init__(self, status: grpc.StatusCode) -> None:
        super().__init__(status)
        self.status = status


NOT_FOUND = RefusedError(grpc.StatusCode.NOT_FOUND)


@dataclass(slots=True)
class Version:
    """One version of a secret."""

    name: str
    data: bytes
    state: Any = State.ENABLED


@dataclass(slots=True)
class SecretManager:
    """What it keeps, what it was asked, and what it refuses."""

    host: str = ""
    secrets: dict[str, list[Version]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    # Every call is answered with this instead; a number of calls, or for good.
    refuses: grpc.StatusCode | None = None
    refuses_times: int = 1_000_000

    def create_secret(self, request: types.CreateSecretRequest) -> types.Secret:
        """A secret without a version."""
        name = f"{request.parent}/secrets/{request.secret_id}"
        if name in self.secrets:
            raise RefusedError(grpc.StatusCode.ALREADY_EXISTS)
        if "automatic" not in request.secret.replication:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT)
        self.secrets[name] = []
        return types.Secret(name=name)

    def delete_secret(self, request: types.DeleteSecretRequest) -> Message:
        """It and all of its versions."""
        self._versions(request.name)
        del self.secrets[request.name]
        return Empty()

    def add_secret_version(self, request: types.AddSecretVersionRequest) -> types.SecretVersion:
        """The newest version."""
        versions = self._versions(request.parent)
        if len(request.payload.data) > 65_536:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT)
        version = Version(f"{request.parent}/versions/{len(versions) + 1}", request.payload.data)
        versions.append(version)
        return types.SecretVersion(name=version.name, state=version.state)

    def access_secret_version(
        self, request: types.AccessSecretVersionRequest
    ) -> types.AccessSecretVersionResponse:
        """The payload of a version, by number or `latest`."""
        secret, _, wanted = request.name.partition("/versions/")
        versions = self._versions(secret)
        number = len(versions) if wanted == "latest" else int(wanted)
        if not 0 < number <= len(versions):
            raise NOT_FOUND
        version = versions[number - 1]
        if version.state != State.ENABLED:
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION)
        return types.AccessSecretVersionResponse(name=version.name, payload={"data": version.data})

    def list_secret_versions(
        self, request: types.ListSecretVersionsRequest
    ) -> types.ListSecretVersionsResponse:
        """All versions, newest first."""
        versions = self._versions(request.parent)
        return types.ListSecretVersionsResponse(
            versions=[{"name": one.name, "state": one.state} for one in reversed(versions)]
        )

    def destroy_secret_version(
        self, request: types.DestroySecretVersionRequest
    ) -> types.SecretVersion:
        """The version stays, its payload is gone."""
        secret, _, number = request.name.partition("/versions/")
        version = self._versions(secret)[int(number) - 1]
        version.state, version.data = State.DESTROYED, b""
        return types.SecretVersion(name=version.name, state=version.state)

    def _versions(self, secret: str) -> list[Version]:
        if secret not in self.secrets:
            raise NOT_FOUND
        return self.secrets[secret]


_METHODS: dict[str, tuple[Callable[[SecretManager, Any], Any], Any]] = {
    "CreateSecret": (SecretManager.create_secret, types.CreateSecretRequest),
    "DeleteSecret": (SecretManager.delete_secret, types.DeleteSecretRequest),
    "AddSecretVersion": (SecretManager.add_secret_version, types.AddSecretVersionRequest),
    "AccessSecretVersion": (SecretManager.access_secret_version, types.AccessSecretVersionRequest),
    "ListSecretVersions": (SecretManager.list_secret_versions, types.ListSecretVersionsRequest),
    "DestroySecretVersion": (
        SecretManager.destroy_secret_version,
        types.DestroySecretVersionRequest,
    ),
}


def _handler(server: SecretManager, name: str) -> grpc.RpcMethodHandler:
    method, request_type = _METHODS[name]

    def answer(request: Message, context: grpc.ServicerContext) -> Message:
        server.calls.append(name)
        if server.refuses is not None and server.refuses_times > 0:
            server.refuses_times -= 1
            context.abort(server.refuses, "refused")
        try:
            return method(server, request)
        except RefusedError as refusal:
            context.abort(refusal.status, "refused")

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=request_type.deserialize,
        response_serializer=lambda message: (
            message.SerializeToString()
            if isinstance(message, Empty)
            else type(message).serialize(message)
        ),
    )


@contextmanager
def secret_manager() -> Iterator[SecretManager]:
    """A server on a free port of this machine."""
    server = SecretManager()
    handlers = {name: _handler(server, name) for name in _METHODS}
    with ThreadPoolExecutor(THREADS) as pool:
        running = grpc.server(
            pool, handlers=[grpc.method_handlers_generic_handler(SERVICE, handlers)]
        )
        server.host = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
        running.start()
        try:
            yield server
        finally:
            running.stop(None).wait()
