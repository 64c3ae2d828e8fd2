"""Stands between the real client and the emulator, and loses what a network loses.

Speaks gRPC in whole messages and passes their bytes on unread.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc  # type: ignore[import-untyped]

COMMIT = "/google.firestore.v1.Firestore/Commit"
THREADS = 8
CALL_SECONDS = 10.0


@dataclass(slots=True)
class Proxy:
    """Where it listens, what it has seen, and what is to be lost."""

    host: str = ""
    calls: list[str] = field(default_factory=list)
    # Called with each method's name, before and after it was passed on; may raise `LostError`.
    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None


class LostError(Exception):
    """The connection breaks here."""


def once(method: str) -> Callable[[str], None]:
    """Lose the first call of a method."""
    lost: list[str] = []

    def lose(called: str) -> None:
        if called == method and not lost:
            lost.append(called)
            raise LostError

    return lose


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, proxy: Proxy, channel: grpc.Channel) -> None:
        self._proxy = proxy
        self._channel = channel

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = details.method
        metadata = [
            (key, value)
            for key, value in details.invocation_metadata
            if key in ("authorization", "google-cloud-resource-prefix")
        ]

        def answer(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            # A call of one answer is, on the wire, a stream of one.
            call = self._channel.unary_stream(method)
            try:
                self._proxy.calls.append(method)
                self._proxy.before(method)
                answers = list(call(request, metadata=metadata, timeout=CALL_SECONDS))
                self._proxy.after(method)
            except LostError:
                context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            yield from answers

        return grpc.unary_stream_rpc_method_handler(answer)


@contextmanager
def firestore_proxy(emulator: str) -> Iterator[Proxy]:
    """A proxy on a free port in front of an emulator."""
    proxy = Proxy()
    with grpc.insecure_channel(emulator) as channel, ThreadPoolExecutor(THREADS) as pool:
        server = grpc.server(pool, handlers=[_Handler(proxy, channel)])
        proxy.host = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield proxy
        finally:
            server.stop(None).wait()
