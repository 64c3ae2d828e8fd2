"""Which trace a request belongs to, and where that is told on."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
import structlog

from claude_run import spans, tracing
from claude_run.endpoint import Endpoint, Timeouts
from claude_run.tracing import TraceContext, from_headers
from claude_run.transport import Call, Transport
from doubles.recording_server import recording_server

TRACE = "105445aa7843bc8bf206b12000100000"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "span_id", "sampled"),
    [
        (PARENT, SPAN, True),
        (f"00-{TRACE}-{SPAN}-00", SPAN, False),
        (f"00-{TRACE}-{SPAN}-03", SPAN, True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", SPAN, True),
    ],
)
def test_a_traceparent_is_read(text: str, span_id: str, sampled: bool) -> None:
    """As W3C writes it, later versions included."""
    expected = TraceContext(trace_id=TRACE, span_id=span_id, sampled=sampled)
    assert from_headers([("Traceparent", text)]) == expected


@pytest.mark.parametrize(
    ("text", "span_id", "sampled"),
    [
        (f"{TRACE}/12345;o=1", "0000000000003039", True),
        (f"{TRACE}/12345;o=0", "0000000000003039", False),
        (f"{TRACE.upper()}/12345", "0000000000003039", False),
        (f"{TRACE}/18446744073709551615", "f" * 16, False),
        (f"{TRACE}/18446744073709551616", None, False),
        (f"{TRACE}/0;o=1", None, True),
        (TRACE, None, False),
    ],
)
def test_googles_header_is_read(text: str, span_id: str | None, sampled: bool) -> None:
    """TRACE_ID/SPAN_ID;o=OPTIONS, whose span is decimal and may be missing."""
    expected = TraceContext(trace_id=TRACE, span_id=span_id, sampled=sampled)
    assert from_headers([("x-cloud-trace-context", text)]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        PARENT.upper(),
        f"{PARENT}-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"{TRACE}/12345;o=x",
        f"{TRACE}/-1",
        f"{'0' * 32}/1",
        f"{TRACE}/1\n;o=1",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 1000}",
        "٣" * 32,
    ],
)
def test_what_is_neither_is_nothing(text: str) -> None:
    """A header that cannot be read is as one that is not there."""
    assert from_headers([("traceparent", text), ("X-Cloud-Trace-Context", text)]) is None


def test_w3c_comes_first_and_nothing_counts_twice() -> None:
    """Cloud Run sends both. Two of one kind are none."""
    google = ("X-Cloud-Trace-Context", f"{TRACE}/1")
    both = from_headers([google, ("traceparent", PARENT)])
    assert both is not None
    assert both.span_id == SPAN
    assert both.traceparent == PARENT
    assert from_headers([("traceparent", PARENT), ("TraceParent", PARENT)]) is None


def test_a_trace_without_a_span_is_logged_and_not_told_on() -> None:
    """W3C has no way to write it."""
    context = TraceContext(trace_id=TRACE, span_id=None)
    assert context.traceparent is None
    assert context.log_fields("p") == {"logging.googleapis.com/trace": f"projects/p/traces/{TRACE}"}


@pytest.mark.parametrize(
    ("project", "name"), [("my-project", f"projects/my-project/traces/{TRACE}"), (None, TRACE)]
)
def test_a_line_names_its_trace(
    capsys: pytest.CaptureFixture[str],
    configure_logs: Callable[..., None],
    project: str | None,
    name: str,
) -> None:
    """Cloud Logging finds it by the project; a laptop has none. Outside of one there is none."""
    configure_logs(project=project)
    token = tracing.enter(from_headers([("traceparent", PARENT)]))
    structlog.get_logger().info("inside")
    tracing.leave(token)
    structlog.get_logger().info("outside")
    inside, outside = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert inside["logging.googleapis.com/trace"] == name
    assert inside["logging.googleapis.com/spanId"] == SPAN
    assert inside["logging.googleapis.com/trace_sampled"] is True
    assert not [key for key in outside if "trace" in key]


def test_what_we_ask_belongs_to_our_trace() -> None:
    """The transport carries it on; outside of a trace it adds nothing."""
    with recording_server() as server:
        transport = Transport(Endpoint.parse(server.url), None, Timeouts())
        token = tracing.enter(from_headers([("traceparent", PARENT)]))
        transport.fetch(Call(method="GET", path="/"))
        tracing.leave(token)
        transport.fetch(Call(method="GET", path="/"))
        transport.close()
    assert [asked.all("traceparent") for asked in server.asked] == [[PARENT], []]


def test_unconfigured_a_span_is_nothing() -> None:
    """One object that does nothing for all, the trace we are in stays, errors pass."""
    spans.start("test", {})
    token = tracing.enter(from_headers([("traceparent", PARENT)]))
    with spans.span("test.step", turn=1) as span:
        assert span is spans.span("test.other")
        span.set(status=200)
        assert tracing.traceparent() == PARENT
    with pytest.raises(ZeroDivisionError), spans.span("test.step"):
        _ = 1 / 0
    assert tracing.traceparent() == PARENT
    tracing.leave(token)
    spans.stop()


def test_unconfigured_nothing_of_opentelemetry_is_loaded() -> None:
    """It costs no start-up time, and need not be installed."""
    program = (
        "import sys; from claude_run import logs, spans, transport; logs.configure()\n"
        "spans.start('test', {})\n"
        "with spans.span('test.step'): pass\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"


def test_without_the_extra_work_goes_on() -> None:
    """Configured and not installed: it is logged once, and a span is nothing."""
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from claude_run import logs, spans; logs.configure()\n"
        "spans.start('test', {'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:1'})\n"
        "with spans.span('test.step'): print('work')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "work\n"
    assert "OpenTelemetry is not installed" in json.loads(done.stderr)["message"]
