"""Steps that tests take through the set-up, as a browser would."""

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from doubles.recording_server import RecordingServer
from gateway.instance import Instance
from gateway.setup.setup_code import made

HTML = {"Accept": "text/html,application/xhtml+xml"}
KEY = "sk-ant-api03-planted-key-0123456789"


@dataclass(slots=True)
class Operator:
    """Somebody with the setup code and a browser."""

    client: FlaskClient
    instance: Instance
    code: str = ""
    anthropic: RecordingServer | None = None
    # All that this browser was shown, and all headers.
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.code = made(self.instance.vault)

    def enter(self, code: str | None = None, **headers: str) -> TestResponse:
        """Send the form with the code."""
        return self.post("/gh-setup", {"setupCode": code or self.code}, **headers)

    def get(self, path: str, **headers: str) -> TestResponse:
        """Load a page."""
        return self._seen(self.client.get(path, headers=HTML | _named(headers)))

    def post(self, path: str, fields: dict[str, str], **headers: str) -> TestResponse:
        """Send a form of our pages; redirects are not followed."""
        sent = HTML | {"Origin": "null", "Sec-Fetch-Site": "same-origin"} | _named(headers)
        return self._seen(self.client.post(path, data=fields, headers=sent))

    def store_key(self, key: str = KEY, **headers: str) -> TestResponse:
        """Send the page's form with a Claude key."""
        page = self.get("/gh-setup").get_data(as_text=True)
        token = one(r'name="formToken" value="([^"]+)"', page)
        return self.post("/claude-setup", {"anthropicApiKey": key, "formToken": token}, **headers)

    def state(self, query: str = "create=1") -> str:
        """The `state` that a page would send to GitHub."""
        page = self.get(f"/gh-setup?{query}")
        assert page.status_code == 200, page.get_data(as_text=True)
        return asked_for(page)[1]["state"]

    def _seen(self, answer: TestResponse) -> TestResponse:
        self.shown += [answer.get_data(as_text=True), str(answer.headers)]
        return answer


def asked_for(page: TestResponse) -> tuple[str, dict[str, str], str]:
    """Where the page's form to GitHub goes, with what query, and its manifest."""
    text = page.get_data(as_text=True)
    action = urlsplit(unescape(one(r'<form method="post" action="([^"]+)"', text)))
    where = f"{action.scheme}://{action.netloc}{action.path}"
    manifest = unescape(one(r'name="manifest" value="([^"]+)"', text))
    return where, dict(parse_qsl(action.query)), manifest


def one(pattern: str, text: str) -> str:
    """The one place where it matches."""
    found = re.findall(pattern, text)
    assert len(found) == 1, text
    return str(found[0])


def _named(headers: dict[str, Any]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
