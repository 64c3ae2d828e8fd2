"""Which trace a request belongs to: read from its headers, written to logs and onward headers.

Two spellings of one thing: https://www.w3.org/TR/trace-context/ and the older one of Google's
front ends, https://cloud.google.com/trace/docs/trace-context#legacy-http-header. No I/O.
"""

import re
from collections.abc import Iterable
from contextvars import ContextVar, Token
from dataclasses import dataclass

# Version 00, and what a later version must begin with.
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# TRACE_ID/SPAN_ID;o=OPTIONS, the span in decimal.
_GOOGLE = re.compile(r"([0-9a-fA-F]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]))?")
# Longer is nobody's; it is not searched.
_MAX_HEADER = 200

_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """A place in a trace. `span_id` is None where only the trace is known."""

    trace_id: str
    span_id: str | None
    sampled: bool = False

    @property
    def traceparent(self) -> str | None:
        """As W3C writes it; None without a span, which it cannot do without."""
        if self.span_id is None:
            return None
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def log_fields(self, project: str | None) -> dict[str, object]:
        """The fields by which Cloud Logging puts a line beside its trace."""
        trace = f"projects/{project}/traces/{self.trace_id}" if project else self.trace_id
        fields: dict[str, object] = {"logging.googleapis.com/trace": trace}
        if self.span_id is not None:
            fields["logging.googleapis.com/spanId"] = self.span_id
            fields["logging.googleapis.com/trace_sampled"] = self.sampled
        return fields


HEADERS = ("traceparent", "x-cloud-trace-context")


def from_headers(headers: Iterable[tuple[str, str]]) -> TraceContext | None:
    """The trace that a request belongs to; None where it names none, or names it wrongly.

    A trace is no reason to refuse anything: what cannot be read, or is there twice, is not there.
    """
    found: dict[str, list[str]] = {name: [] for name in HEADERS}
    for name, value in headers:
        if (values := found.get(name.lower())) is not None:
            values.append(value)
    parent, google = (values[0] if len(values) == 1 else "" for values in found.values())
    return _parent(parent) or _google(google)


def _parent(text: str) -> TraceContext | None:
    found = _PARENT.fullmatch(text.strip()) if len(text) <= _MAX_HEADER else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE:
        return None
    if span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id=trace_id, span_id=span_id, sampled=bool(int(flags, 16) & 1))


def _google(text: str) -> TraceContext | None:
    found = _GOOGLE.fullmatch(text.strip()) if len(text) <= _MAX_HEADER else None
    if found is None or found[1] == _NO_TRACE:
        return None
    span = int(found[2] or 0)
    return TraceContext(
        trace_id=found[1].lower(),
        span_id=f"{span:016x}" if 0 < span < 2**64 else None,
        sampled=bool(int(found[3] or 0) & 1),
    )


_CURRENT: ContextVar[TraceContext | None] = ContextVar("claude_run_trace", default=None)


def current() -> TraceContext | None:
    """Where we are: set for a request, and for each step of it that is traced."""
    return _CURRENT.get()


def enter(context: TraceContext | None) -> "Token[TraceContext | None]":
    """Be there from now on, in this thread or task and in tasks that it starts."""
    return _CURRENT.set(context)


def leave(token: "Token[TraceContext | None]") -> None:
    """Be again where `enter` found us."""
    _CURRENT.reset(token)


def traceparent() -> str | None:
    """What a request or a process that we start is told, so that it belongs to our trace."""
    context = current()
    return context.traceparent if context is not None else None
