"""Firestore over gRPC: one channel a process, a deadline on every call, errors as the store's.

The generated client, not the friendlier one around it: that one sends a transaction's begin,
commit and rollback without a deadline, and waits a minute for each.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore_v1 import types
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcTransport

from claude_run.errors import ConfigurationError
from gateway.forks import forget_after_fork, keep_for_ever
from gateway.store.errors import StoreUnavailableError
from gateway.store.turns import Turns

_OPTIONS = [
    # Answers are bounded by the limits of queries and documents.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Notice a connection that has died silently; an instance may have slept for minutes.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # gRPC's own is two minutes: that long every call would fail after Firestore is back.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

_SET_UP_WRONGLY = {
    exceptions.PermissionDenied: "the account lacks the role roles/datastore.user",
    exceptions.Unauthenticated: "the credentials are not accepted",
    exceptions.NotFound: "there is no such database",
    exceptions.FailedPrecondition: "an index or the database's mode is missing",
}


@contextmanager
def reported() -> Iterator[None]:
    """Google's errors as the store's."""
    try:
        yield
    except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
        for kind, reason in _SET_UP_WRONGLY.items():
            if isinstance(error, kind):
                raise ConfigurationError(f"STORE_URL: {reason}.") from error
        raise StoreUnavailableError(type(error).__name__) from error


class Connection:
    """The client of one process, made when it is first used."""

    def __init__(self, project: str, database: str, *, emulator: str | None) -> None:
        self.database = f"projects/{project}/databases/{database}"
        self.documents = f"{self.database}/documents"
        self.metadata = [("google-cloud-resource-prefix", self.database)]
        if emulator:
            self.metadata.append(("authorization", "Bearer owner"))
        self._emulator = emulator
        self._lock = threading.Lock()
        self._client: FirestoreClient | None = None
        self.turns = Turns()
        forget_after_fork(self)

    @property
    def client(self) -> FirestoreClient:
        """The client."""
        with self._lock:
            if self._client is None:
                self._client = FirestoreClient(transport=self._transport())
            return self._client

    def commit(self, writes: list[types.Write], *, transaction: bytes, seconds: float) -> None:
        """Write all of this or nothing, in a transaction or (b"") outside one."""
        self.client.commit(
            {"database": self.database, "writes": writes, "transaction": transaction},
            timeout=seconds,
            retry=None,
            metadata=self.metadata,
        )

    def roll_back(self, transaction: bytes, *, seconds: float) -> None:
        """End a transaction without writing."""
        self.client.rollback(
            {"database": self.database, "transaction": transaction},
            timeout=seconds,
            retry=None,
            metadata=self.metadata,
        )

    def close(self) -> None:
        """Close the channel; the next call opens another."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.transport.close()  # type: ignore[no-untyped-call]

    def forget(self) -> None:
        """After a fork: gRPC's threads are not here."""
        keep_for_ever(self._client)
        self._client = None
        self._lock = threading.Lock()
        self.turns = Turns()

    def _transport(self) -> FirestoreGrpcTransport:
        if self._emulator:
            channel = grpc.insecure_channel(self._emulator, options=_OPTIONS)
            return FirestoreGrpcTransport(channel=channel)

        def secure(host: str, **arguments: Any) -> grpc.Channel:  # noqa: ANN401 - gRPC's
            arguments["options"] = _OPTIONS
            return FirestoreGrpcTransport.create_channel(host, **arguments)

        return FirestoreGrpcTransport(channel=secure)
