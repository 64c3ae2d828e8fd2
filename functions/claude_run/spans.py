"""The steps of a request as OpenTelemetry spans, exported over OTLP where that is configured.

    with spans.span("session.turn", turn=1) as span:
        ...

Where `OTEL_EXPORTER_OTLP_ENDPOINT` is not set nothing of OpenTelemetry is imported, and a span is
an object that does nothing. Names are constants; an attribute is a number, an id or a code of
ours, never text of a caller or a message of an error. Where we are in a trace is `tracing`'s to
know, not OpenTelemetry's: logs and onward headers need it without any export, too.
"""

import atexit
import logging
import threading
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from claude_run import __version__, tracing
from claude_run.tracing import TraceContext

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span as Recorded
    from opentelemetry.trace import Tracer

log = structlog.get_logger()

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
# For what is left at the end: Cloud Run kills 10 s after SIGTERM, and runs come first.
STOP_SECONDS = 0.8

Attribute = str | int | float | bool


class _Exporting:
    """OpenTelemetry in this process. Not before a fork: it has a thread that would not cross."""

    def __init__(self, service: str, environ: Mapping[str, str]) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = environ.get("OTEL_SERVICE_NAME") or environ.get("K_SERVICE") or service
        # Not the global provider: what other libraries would trace has never been looked at.
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": name, "service.version": __version__}),
            shutdown_on_exit=False,  # it would wait for a collector as long as that takes
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer: Tracer = self._provider.get_tracer("claude_run", __version__)
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        # Started now, for an interpreter that is ending starts no threads.
        threading.Thread(target=self._stop, name="spans", daemon=True).start()

    def stop(self) -> None:
        """Export what is left, as far as that goes in time."""
        self._stopping.set()
        self._stopped.wait(STOP_SECONDS)

    def _stop(self) -> None:
        self._stopping.wait()
        self._provider.shutdown()
        self._stopped.set()


class _ToStructlog(logging.Handler):
    """A collector that cannot be reached is told as everything else is: one JSON line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell it."""
        log.warning("traces are not exported", reason=record.getMessage()[:500])


_exporting: _Exporting | None = None


def start(service: str, environ: Mapping[str, str]) -> None:
    """Export spans of this process from now on, if `environ` says where to.

    Call it once, in the process that serves. `service` is the name unless the environment has one.
    """
    global _exporting  # noqa: PLW0603 - one for each process, as logs are
    if not environ.get(ENDPOINT) or _exporting is not None:
        return
    try:
        _exporting = _Exporting(service, environ)
    except ImportError as error:
        # Work goes on without being watched.
        log.error("OpenTelemetry is not installed: the extra [otel]", module=error.name)
        return
    watched = logging.getLogger("opentelemetry")
    watched.propagate = False
    watched.addHandler(_ToStructlog(logging.WARNING))
    atexit.register(stop)


def stop() -> None:
    """Export what is left, within `STOP_SECONDS`; again is nothing."""
    if _exporting is not None:
        _exporting.stop()


class Span:
    """A step under way; within `with`, what is logged and asked belongs to it."""

    __slots__ = ("_recorded", "_token")

    def __init__(self, recorded: "Recorded | None") -> None:
        self._recorded = recorded
        self._token: Token[TraceContext | None] | None = None

    def enter(self) -> None:
        """Be in this step from now on, without a way back: for a thread that serves a request."""
        if self._recorded is not None:
            self._token = tracing.enter(_context(self._recorded))

    def set(self, **attributes: Attribute | None) -> None:
        """What has become known; None says nothing."""
        if self._recorded is not None:
            self._recorded.set_attributes(_named(attributes))

    def fail(self, error: str) -> None:
        """The step fails with this code, or class of an error."""
        if self._recorded is not None:
            from opentelemetry.trace import StatusCode

            self._recorded.set_attribute("error.type", error)
            self._recorded.set_status(StatusCode.ERROR)

    def end(self) -> None:
        """The step is over."""
        if self._recorded is not None:
            self._recorded.end()

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            tracing.leave(self._token)
        if kind is not None:
            self.fail(kind.__name__)  # not its message, which may quote what a caller sent
        self.end()


_NOTHING = Span(None)


def span(name: str, *, serves: bool = False, **attributes: Attribute | None) -> Span:
    """Begin a step below the one that we are in. `serves`: on behalf of another process."""
    if _exporting is None:
        return _NOTHING
    from opentelemetry.trace import SpanKind

    return Span(
        _exporting.tracer.start_span(
            name,
            context=_parent(tracing.current()),
            kind=SpanKind.SERVER if serves else SpanKind.INTERNAL,
            attributes=_named(attributes),
            record_exception=False,
        )
    )


def _named(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {f"claude_run.{key}": value for key, value in attributes.items() if value is not None}


def _parent(context: TraceContext | None) -> "Context":
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    if context is None or context.span_id is None:
        return Context()
    known = SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT),
    )
    return set_span_in_context(NonRecordingSpan(known), Context())


def _context(recorded: "Recorded") -> TraceContext:
    known = recorded.get_span_context()
    return TraceContext(
        trace_id=f"{known.trace_id:032x}",
        span_id=f"{known.span_id:016x}",
        sampled=known.trace_flags.sampled,
    )
