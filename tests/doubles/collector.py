"""An OpenTelemetry collector: takes spans over OTLP/HTTP, and keeps them."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from doubles.recording_server import RecordingServer, recording_server

ARRIVAL_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One span that arrived; ids in hex, `parent_id` empty at a root."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: dict[str, str | int | bool]


@dataclass(slots=True)
class Collector:
    """What has arrived so far."""

    server: RecordingServer

    @property
    def environ(self) -> dict[str, Any]:
        """What a process is told to export here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.server.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    @property
    def raw(self) -> bytes:
        """All of it, as it came."""
        return b"".join(asked.body for asked in self.server.asked)

    def spans(self) -> list[Exported]:
        """Every span, decoded."""
        return [
            span
            for asked in self.server.asked
            if asked.line.startswith("POST /v1/traces ")
            for span in _decoded(asked.body)
        ]

    def wait_for(self, enough: Callable[[list[Exported]], bool]) -> list[Exported]:
        """The spans, once they are enough."""
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while not enough(found := self.spans()):
            assert time.monotonic() < deadline, [span.name for span in found]
            time.sleep(0.05)
        return found


def _decoded(body: bytes) -> Iterator[Exported]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _plain(resource.resource.attributes)["service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield Exported(
                service=str(service),
                name=span.name,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                failed=span.status.code == span.status.STATUS_CODE_ERROR,
                attributes=_plain(span.attributes),
            )


def _plain(attributes: Iterable[KeyValue]) -> dict[str, str | int | bool]:
    kinds = [(item.key, item.value, item.value.WhichOneof("value")) for item in attributes]
    return {key: getattr(value, kind) for key, value, kind in kinds if kind is not None}


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port."""
    with recording_server() as server:
        yield Collector(server)
