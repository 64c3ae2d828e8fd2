"""The gateway with named mechanisms taken out: `python weakened_gateway.py NAME… -- ARGUMENTS`.

The arguments are functions-framework's. A test of a fault that passes against the gateway shows
nothing until it has failed against this. Some names only make a time short enough for a test; they
take nothing out.
"""

import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from types import ModuleType

# First of all: what is imported after it takes the lease from it.
from gateway.sessions import record

SHORT_LEASE = timedelta(seconds=3)


def short_lease() -> None:
    """Nothing taken out: a lease is 3 s, and renewed every second."""
    _put(record, LEASE=SHORT_LEASE)
    from gateway.sessions import driver

    _put(driver, RENEW_SECONDS=1.0)


def no_renewal() -> None:
    """A lease is not renewed."""
    from gateway.sessions import driver

    _put(driver, RENEW_SECONDS=3600.0)


def no_cancel_flag() -> None:
    """The driver does not look whether another instance was asked to cancel."""
    from gateway.sessions.driver import Driver

    _put(Driver, _heed=lambda _self, _asked: None)


def no_drain() -> None:
    """SIGTERM ends nothing that is driven."""
    from gateway.service import Gateway

    _put(Gateway, drain=lambda _self: None)


def no_gap() -> None:
    """Whoever finalises goes on behind the last event that is stored."""
    _put(record, ID_GAP=1)


def no_finalising() -> None:
    """An expired lease is nobody's business."""
    from gateway.sessions.record import Session

    _put(Session, orphaned=lambda _self, _now: False)


def bound_to_reader() -> None:
    """A run ends with the connection of its caller."""
    from gateway.sessions.reader import LogReader

    told = LogReader.stream

    def stream(reader: LogReader) -> Iterator[bytes]:
        feed = reader.feeds.find(reader.key)
        try:
            yield from told(reader)
        finally:
            if feed is not None:
                feed.cancel()

    _put(LogReader, stream=stream)


def whole_batches() -> None:
    """A replay begins with the batch that holds the last event seen."""
    from gateway.sessions import log
    from gateway.sessions.log import Stored
    from gateway.store import Document

    def stored(document: Document, _after: int) -> Stored:
        return Stored(last=document.data["last"], data=document.data["frames"])

    _put(log, _stored=stored)


def endless() -> None:
    """A stream does not end itself."""
    from gateway.sessions import reader

    _put(reader, MAX_STREAM_BYTES=10**12)


def common() -> None:
    """A session's id alone names it, whoever asks."""
    known = record.key_of
    _put(record, key_of=lambda _owner, session_id: known("everybody", session_id))


def kept_key() -> None:
    """The caller's own key is kept with the session's options."""
    from claude_run.wire_sessions import StartRequest

    keep = StartRequest.kept_options

    def kept_options(
        request: StartRequest, earlier: Mapping[str, object] | None = None
    ) -> dict[str, object]:
        secret = request.anthropic_api_key
        return keep(request, earlier) | {"key": secret.get_secret_value() if secret else None}

    _put(StartRequest, kept_options=kept_options)


# Ends with its parent, even where that was killed.
_IDLE = "import os, time\nparent = os.getppid()\nwhile os.getppid() == parent: time.sleep(0.2)"


def idle_workers() -> None:
    """Nothing taken out: workers are started, and only stay."""
    from gateway.work import children

    init = children.ProcessStarter.__init__

    def idle(starter: children.ProcessStarter, environ: Mapping[str, str]) -> None:
        init(starter, environ, arguments=("-c", _IDLE))

    _put(children.ProcessStarter, __init__=idle)


def impatient() -> None:
    """Nothing taken out: who sends a delivery slowly is waited for for a moment only."""
    from gateway.http import webhooks

    _put(webhooks, BODY_SECONDS=1.0)


def _put(target: ModuleType | type, **replacements: object) -> None:
    for name, value in replacements.items():
        assert hasattr(target, name), f"{target.__name__} has no {name}: nothing is taken out"
        setattr(target, name, value)


WEAKNESSES: Mapping[str, Callable[[], None]] = {
    weakness.__name__.replace("_", "-"): weakness
    for weakness in (
        no_gap, common, short_lease, no_renewal, no_cancel_flag, no_drain, no_finalising,
        bound_to_reader, whole_batches, endless, kept_key, idle_workers, impatient,
    )
}  # fmt: skip


if __name__ == "__main__":
    separator = sys.argv.index("--")
    names = sys.argv[1:separator]
    # In this order: what others take from `record` is replaced before they do.
    for name, weaken in WEAKNESSES.items():
        if name in names:
            names.remove(name)
            weaken()
    assert not names, f"no weakness is called {names}"
    sys.argv[1:] = sys.argv[separator + 1 :]
    runpy.run_module("functions_framework", run_name="__main__", alter_sys=True)
