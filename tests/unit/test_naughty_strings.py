"""Strings that break programs, wherever the gateway takes one: refused, and nothing is kept."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from gateway.http.routes import LIST, RUN, START, STATUS
from gateway_app import open_app

NAUGHTY = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\r\nSet-Cookie: a=b",
    "\x1b[31m",
    "\x7f",
    "\ufeff",
    "\ufffe",
    "\u2028",
    "\ud83d",
    "\u202e\u2066evil",
    "\u0661\u0662\u0663",
    "\uff11\uff12\uff13",
    "👩‍👩‍👧‍👦",
    "Ω≈ç√∫",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    ".",
    "..",
    "/",
    "__proto__",
    "--version",
    "-rf",
    "$(id)",
    "`id`",
    "'; DROP TABLE documents; --",
    "%n%s%x",
    "%00",
    "{0.__class__}",
    "${jndi:ldap://127.0.0.1/a}",
    "<script>alert(1)</script>",
    "NaN",
    "null",
    "1e400",
    "9" * 5000,
    "A" * 70_000,
    "http://169.254.169.254/computeMetadata/v1/",
    "file:///etc/passwd",
    "http://[::1",
    "http://user:secret@github.com/o/r",
)
# Nothing of these would be taken as it is, in any of these places.
OPTIONS = (
    "maxTurns",
    "permissionMode",
    "createPR",
    "maxBudgetUsd",
    "timeoutMinutes",
    "allowedTools",
    "disallowedTools",
    "detach",
)
RUN_FIELDS = (
    "allowedTools",
    "disallowedTools",
    "permissionMode",
    "mcpConfigJson",
    "maxTurns",
    "useNamedPipe",
    "timeoutMinutes",
    "maxBudgetUsd",
    "outputSchema",
    "resume",
    "changes",
    "wantTranscript",
)
# A refused request is counted like any other.
COUNTED = ("limits", "metrics")
REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Watched:
    """The gateway, and how many documents its store holds."""

    def __init__(self, client: FlaskClient, store: Path) -> None:
        self.client = client
        self._store = store

    def documents(self) -> list[tuple[str, str]]:
        """All that is kept, but for the counts of requests."""
        with closing(sqlite3.connect(self._store)) as connection:
            return connection.execute(
                "SELECT collection, id FROM documents WHERE family NOT IN (?, ?) ORDER BY 1, 2",
                COUNTED,
            ).fetchall()

    def post(self, path: str, body: dict[str, Any]) -> TestResponse:
        """A body as JSON; lone surrogates escaped, as JSON can carry them."""
        return self.client.post(path, data=json.dumps(body), content_type="application/json")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A laptop's gateway; whatever got past its checks would need the runner, and be 503."""
    many = {f"RATE_LIMIT_PER_{window}": "1000000" for window in ("MINUTE", "HOUR", "DAY")}
    with open_app(tmp_path, **many) as (client, _):
        assert client.get(LIST).status_code == 200  # the store comes to be
        yield Watched(client, tmp_path / "gateway.db")


def test_in_every_field_of_a_session(watched: Watched) -> None:
    """400 with the page's envelope; no session, no event, no reservation."""
    bodies: list[dict[str, Any]] = []
    for text in NAUGHTY:
        bodies += [{"prompt": "x", "options": {name: text}} for name in OPTIONS]
        bodies += [{"prompt": "x", "options": text}, {"prompt": "x", "repository": text}]
        bodies += [{"prompt": "x", "githubToken": text}, {"prompt": [text]}, {text: "x"}]
        bodies += [{"prompt": "x", f"z{text}": 1}, {"prompt": "x", "options": {f"z{text}": 1}}]
        bodies += [{"prompt": "x", "repository": {field: text}} for field in ("branch", "commit")]
    _all_refused(watched, START, bodies)
    _all_refused(watched, "/interactive/none/message", bodies, also=(404,))


def test_in_every_field_of_a_run(watched: Watched) -> None:
    """400 with the runner's body; nothing is reserved."""
    bodies: list[dict[str, Any]] = []
    for text in NAUGHTY:
        bodies += [{"prompt": "x", name: text} for name in RUN_FIELDS]
        bodies += [{"prompt": [text]}, {"prompt": "x", f"z{text}": 1}]
        bodies += [{"prompt": "x", "resume": {"sessionId": text, "transcript": []}}]
    _all_refused(watched, RUN, bodies)


def _all_refused(
    watched: Watched, path: str, bodies: list[dict[str, Any]], *, also: tuple[int, ...] = ()
) -> None:
    before = watched.documents()
    for body in bodies:
        answer = watched.post(path, body)
        assert answer.status_code in (400, *also), (path, str(body)[:200], answer.text[:200])
        assert answer.get_json()["error"]
    assert watched.documents() == before


def test_where_some_of_them_are_harmless(watched: Watched) -> None:
    """A dash is a session's id, `NaN` a model's name: with them, what is refused stays refused."""
    bodies: list[dict[str, Any]] = []
    for text in NAUGHTY:
        options = ({"model": text}, {"appendSystemPrompt": text}, {"allowedTools": [text]})
        bodies += [{"prompt": " ", "options": option} for option in options]
        names = ("sessionId", "anthropicApiKey", "anthropicBaseUrl", "githubToken")
        bodies += [{"prompt": " ", name: text} for name in names]
        bodies += [{"prompt": " ", "repository": {"url": text, "name": text}}]
    _all_refused(watched, START, bodies)


def test_in_every_path_and_parameter(watched: Watched) -> None:
    """Nothing there, or refused; never a failure."""
    before = watched.documents()
    for text in NAUGHTY:
        part = quote(text.encode("utf-8", "surrogatepass"), safe="")
        for method, path in (
            ("GET", f"{LIST}/{part}"),
            ("DELETE", f"{LIST}/{part}"),
            ("GET", f"{LIST}/{part}/events"),
            ("POST", f"{LIST}/{part}/message"),
            ("GET", f"/{part}"),
        ):
            answer = watched.client.open(
                path, method=method, data='{"prompt":"x"}', content_type="application/json"
            )
            assert answer.status_code in (404, 405), (path[:200], answer.text[:200])
            assert answer.get_json()["error"] in ("NOT_FOUND", "METHOD_NOT_ALLOWED")
        for path in (
            f"{STATUS}?sessionId={part}",
            f"{LIST}?limit={part}",
            f"{LIST}?pageToken={part}",
            f"{LIST}?{part}=1",
        ):
            answer = watched.client.get(path)
            assert answer.status_code in (400, 404), (path[:200], answer.text[:200])
            assert answer.get_json()["error"] in ("VALIDATION_ERROR", "NOT_FOUND")
    assert watched.documents() == before


@pytest.mark.parametrize(
    "header",
    ["X-Request-Id", "X-Cloud-Trace-Context", "Authorization", "Accept", "Last-Event-ID"],
)
def test_in_every_header(watched: Watched, header: str) -> None:
    """As far as a header can carry them."""
    before = watched.documents()
    for text in NAUGHTY:
        value = text.encode("utf-8", "surrogatepass").decode("latin-1")
        if "\r" in value or "\n" in value or "\x00" in value:
            continue
        answer = watched.client.get(f"{LIST}/none/events", headers={header: value})
        assert answer.status_code in (400, 404), (text[:200], answer.text[:200])
        assert REQUEST_ID.fullmatch(answer.headers["X-Request-Id"])
    assert watched.documents() == before
