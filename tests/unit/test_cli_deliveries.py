"""`claude-run deliveries`: what is shown of them, and how it is asked for."""

import io
import json
from datetime import UTC, datetime

import pytest

from claude_run.cli import arguments
from claude_run.cli.deliveries import card, listed, replayed, shown, table
from claude_run.cli.ending import Streams
from claude_run.cli.style import Style
from doubles.recording_server import Asked, Script, recording_server

PLAIN = Style()
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ONE = {
    "id": "d-1",
    "receivedAt": int(NOW.timestamp() * 1000) - 120_000,
    "repository": "o/r",
    "issue": 5,
    "trigger": "opened",
    "author": "an\x1bn",
    "state": "done",
}
WORK = {"id": "w", "attempts": 1, "sessionId": "issue-7-5", "prUrl": "https://x.test/9"}


def answering(*bodies: object) -> Script:
    """Answer each request with the next of these."""
    left = list(bodies)

    def script(_asked: Asked, send: object) -> None:
        body = json.dumps(left.pop(0)).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
        send(head.encode() + body)  # type: ignore[operator]

    return script


def test_a_line_for_each() -> None:
    """State, age, where and by whom; nothing of it can move the cursor."""
    line = f"d-1{' ' * 33}  done         2 minutes ago   o/r#5  opened by an␛n\n"
    assert table([ONE], now=NOW, style=PLAIN) == line
    assert table([], now=NOW, style=PLAIN) == "no deliveries\n"


def test_one_with_its_work() -> None:
    """Row by row, and no row for what there is not."""
    text = card({**ONE, "work": WORK}, style=PLAIN)
    rows = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert rows["session"].strip() == "issue-7-5"
    assert rows["pull"].strip() == "https://x.test/9"
    assert "replays" not in rows


def test_pages_are_asked_for_as_they_are_needed() -> None:
    """Until as many are there as were wanted."""
    pages = [
        {"deliveries": [{**ONE, "id": f"d-{n}"} for n in range(100)], "nextPageToken": "7"},
        {"deliveries": [{**ONE, "id": "last"}], "nextPageToken": "8"},
    ]
    with recording_server(answering(*pages)) as server:
        out = io.StringIO()
        streams = Streams(out=out, err=io.StringIO(), environ={})
        assert listed(server.url, streams, limit=101, as_json=True) == 0
    assert [asked.line.split()[1] for asked in server.asked] == [
        "/deliveries?limit=100",
        "/deliveries?limit=1&pageToken=7",
    ]
    assert json.loads(out.getvalue().splitlines()[-1])["id"] == "last"


def test_one_is_shown_or_replayed() -> None:
    """By its id, which is checked before anything is sent."""
    with recording_server(answering({**ONE, "work": WORK}, ONE)) as server:
        out, err = io.StringIO(), io.StringIO()
        streams = Streams(out=out, err=err, environ={})
        assert shown("d-1", server.url, streams, as_json=False) == 0
        assert replayed("d-1", server.url, streams, as_json=True) == 0
        assert replayed("../x", server.url, streams, as_json=True) == 2
    assert [asked.line.split()[:2] for asked in server.asked] == [
        ["GET", "/deliveries/d-1"],
        ["POST", "/deliveries/d-1/replay"],
    ]
    assert "is none that a delivery can have" in err.getvalue()


@pytest.mark.parametrize(
    ("typed", "what"),
    [
        (["deliveries"], (None, 20)),
        (["deliveries", "list", "--limit", "3"], ("list", 3)),
        (["deliveries", "show", "d-1"], ("show", 20)),
        (["deliveries", "replay", "d-1", "--json"], ("replay", 20)),
    ],
)
def test_how_it_is_typed(typed: list[str], what: tuple[str | None, int]) -> None:
    """Alone it lists."""
    parsed = arguments.parser().parse_args(typed)
    assert (parsed.what, parsed.limit) == what
