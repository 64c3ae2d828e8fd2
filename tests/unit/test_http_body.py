"""Bodies that do not come, or come too slowly: over a real connection, read as gunicorn reads."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from flask import Request
from gunicorn.http.body import (  # type: ignore[import-untyped]
    Body,
    ChunkedReader,
    LengthReader,
)
from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]
from werkzeug.test import EnvironBuilder

from claude_run.errors import CallerError
from gateway.http import body as bodies
from gateway.http import patience
from gateway.http.body import read_form, read_json_body

# Of which a test waits a part.
LONG = 60.0


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The sender's end and ours."""
    listener = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listener.getsockname())
    ours, _ = listener.accept()
    yield theirs, ours
    for one in (theirs, ours, listener):
        one.close()


def request(ours: socket.socket, *, length: int | None, kind: str = "application/json") -> Request:
    """As gunicorn makes it; without a length it is chunked."""
    unreader = SocketUnreader(ours)
    reader = ChunkedReader(None, unreader) if length is None else LengthReader(unreader, length)
    environ = EnvironBuilder(method="POST", content_type=kind).get_environ()
    told = {"HTTP_TRANSFER_ENCODING": "chunked"} if length is None else {}
    environ |= {
        "wsgi.input": Body(reader),
        "wsgi.input_terminated": True,
        "gunicorn.socket": ours,
        "CONTENT_LENGTH": "" if length is None else str(length),
        **told,
    }
    return Request(environ)


@pytest.mark.parametrize("length", [100, None])
def test_who_says_nothing_more_is_not_waited_for(
    line: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    """Refused after a silence; the connection is as it was."""
    theirs, ours = line
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 0.2)
    theirs.sendall(b"64\r\n{")
    began = time.monotonic()
    with pytest.raises(CallerError):
        read_json_body(request(ours, length=length), within=LONG)
    assert time.monotonic() - began < LONG / 4
    assert ours.gettimeout() is None


@pytest.mark.parametrize("length", [10_000, None])
def test_a_byte_now_and_then_does_not_hold_a_thread(
    line: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    """Never silent for long, and refused all the same; it can be answered."""
    theirs, ours = line
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.05)
    over = threading.Event()

    def drip() -> None:
        theirs.sendall(b"2710\r\n")
        while not over.wait(0.02):
            theirs.sendall(b"x")

    sender = threading.Thread(target=drip)
    sender.start()
    began = time.monotonic()
    try:
        with pytest.raises(CallerError):
            read_json_body(request(ours, length=length), within=0.3)
    finally:
        over.set()
        sender.join()
    assert 0.3 <= time.monotonic() - began < LONG / 4
    ours.sendall(b"no")
    assert theirs.recv(2) == b"no"


def test_a_form_that_drips_is_ended_too(
    line: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has shown the setup code yet."""
    theirs, ours = line
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(bodies, "FORM_SECONDS", 0.2)
    theirs.sendall(b"a=b")
    asked = request(ours, length=100, kind="application/x-www-form-urlencoded")
    began = time.monotonic()
    with pytest.raises(CallerError):
        read_form(asked, at_most=1_000)
    assert time.monotonic() - began < bodies.SILENCE_SECONDS / 2


def test_a_form_has_few_fields(line: tuple[socket.socket, socket.socket]) -> None:
    """Each once; of thousands none is looked at."""
    theirs, ours = line
    kind = "application/x-www-form-urlencoded"
    for text, is_taken in (
        (b"&".join(b"a%d=" % number for number in range(bodies.MAX_FORM_FIELDS)), True),
        (b"&".join(b"a%d=" % number for number in range(bodies.MAX_FORM_FIELDS + 1)), False),
        (b"a=1&a=1", False),
    ):
        theirs.sendall(text)
        asked = request(ours, length=len(text), kind=kind)
        if is_taken:
            assert len(read_form(asked, at_most=1_000)) == bodies.MAX_FORM_FIELDS
        else:
            with pytest.raises(CallerError):
                read_form(asked, at_most=1_000)


def test_what_comes_in_time_is_read_whole(line: tuple[socket.socket, socket.socket]) -> None:
    """One body after the other on one connection, as long as each is in time."""
    theirs, ours = line
    for text in (b"{}", b"x" * 200_000):
        sender = threading.Thread(target=theirs.sendall, args=(text,))
        sender.start()
        assert read_json_body(request(ours, length=len(text))) == text
        sender.join()
