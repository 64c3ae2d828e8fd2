"""The set-up as it is deployed: the real functions, a browser, and GitHub's side of it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from browser import browser
from doubles.github_apps import (
    PLANTED_CLIENT_SECRET,
    PLANTED_WEBHOOK_SECRET,
    GitHubApps,
    serve_apps,
)
from gateway.github.credentials import PRIVATE_KEY
from gateway.setup.setup_code import SETUP_CODE, Ticket, new_code
from gateway.setup.states import STATE_KEY, State
from gateway.vault.files import FileVault
from servers import Server, running_gateway

pytestmark = pytest.mark.e2e

NOBODY = "http://127.0.0.1:1"
HOOK = "https://webhook.example/webhooks/github"
KEY = "sk-ant-api03-planted-key-0123456789"
HTML = {"Accept": "text/html"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A running function, its vault, and GitHub."""

    server: Server
    vault: FileVault
    github: GitHubApps

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:  # noqa: ANN401
        """One request."""
        with httpx2.Client(timeout=60, trust_env=False) as client:
            return client.request(method, self.server.url + path, **options)

    def ticket(self) -> tuple[Ticket, dict[str, str]]:
        """A browser that has entered the code, and its cookie."""
        ticket = Ticket.new(datetime.now(UTC))
        code = self.vault.get(SETUP_CODE) or ""
        return ticket, {**HTML, "Cookie": f"claude-run-setup={ticket.text(code)}"}

    def created(self, cookie: dict[str, str]) -> tuple[str, str]:
        """Code and state of an App that GitHub has made as the page asks."""
        page = self.ask("GET", "/gh-setup?create=1", headers=cookie).text
        action = re.search(r'<form method="post" action="([^"]+)"', page)
        manifest = re.search(r'name="manifest" value="([^"]+)"', page)
        assert action
        assert manifest
        state = parse_qs(urlsplit(unescape(action[1])).query)["state"][0]
        return self.github.create("octo", json.loads(unescape(manifest[1]))), state

    def callback(self, cookie: dict[str, str], code: str, state: str) -> int:
        """What the callback answers."""
        path = f"/gh-setup/callback?code={code}&state={state}"
        return self.ask("GET", path, headers=cookie).status_code


@pytest.fixture
def apps() -> Iterator[GitHubApps]:
    """GitHub, where Apps are created."""
    with serve_apps() as github:
        yield github


@pytest.fixture
def deployed(tmp_path: Path, apps: GitHubApps) -> Iterator[Deployment]:
    """The function `setup` alone; nobody has made a setup code for it yet."""
    with running_gateway(
        NOBODY,
        tmp_path,
        target="setup",
        GITHUB_SERVER_URL=apps.url,
        GITHUB_API_URL=apps.url,
        WEBHOOK_URL=HOOK,
        ANTHROPIC_BASE_URL=NOBODY,
    ) as server:
        yield Deployment(server=server, vault=FileVault(tmp_path / "vault"), github=apps)


def test_the_function_refuses_and_keeps_nothing(deployed: Deployment) -> None:
    """No code, a wrong one, another site's form, a state that is not this browser's."""
    ask, vault = deployed.ask, deployed.vault
    assert ask("GET", "/gh-setup").status_code == 503
    assert ask("POST", "/gh-setup", data={"setupCode": ""}).status_code == 503
    vault.put(SETUP_CODE, new_code())
    code = vault.get(SETUP_CODE) or ""
    assert ask("GET", "/gh-setup").status_code == 401
    assert ask("GET", "/gh-setup", headers={"X-Setup-Code": new_code()}).status_code == 403
    assert ask("POST", "/gh-setup", data={"setupCode": new_code()}).status_code == 403
    evil = {"Origin": "https://evil.example"}
    assert ask("POST", "/gh-setup", data={"setupCode": code}, headers=evil).status_code == 403
    mine, cookie = deployed.ticket()
    form = {"anthropicApiKey": KEY, "formToken": mine.form_token(code)}
    for headers in (cookie | evil, cookie | {"Sec-Fetch-Site": "cross-site"}):
        assert ask("POST", "/claude-setup", data=form, headers=headers).status_code == 403
    assert ask("POST", "/claude-setup", data=form, headers=cookie).status_code == 503
    chunks = (b"x" * 1_000 for _ in range(17))
    headers = cookie | {"Content-Type": "application/x-www-form-urlencoded"}
    assert ask("POST", "/claude-setup", content=chunks, headers=headers).status_code == 413

    given, state = deployed.created(cookie)
    theirs = deployed.created(deployed.ticket()[1])[1]
    key = (vault.get(STATE_KEY) or "").encode()
    old = State(number="A" * 22, expires_at=datetime.now(UTC) - timedelta(seconds=1), replaces=None)
    for wrong in (theirs, state[:-2] + "xx", old.text(key, mine.browser)):
        assert deployed.callback(cookie, given, wrong) == 403
    assert deployed.callback({}, given, state) == 401
    assert given in deployed.github.codes
    assert {path.name for path in vault._folder.iterdir()} == {".lock", SETUP_CODE, STATE_KEY}


def test_the_function_takes_an_app_over_once(deployed: Deployment) -> None:
    """After GitHub has answered nonsense as well. No answer and no log has what it handed over."""
    deployed.vault.put(SETUP_CODE, new_code())
    _, cookie = deployed.ticket()
    code, state = deployed.created(cookie)
    deployed.github.answers += [(500, b"planted"), (201, b'{"id": "planted"}')]
    assert deployed.callback(cookie, code, state) == 503
    assert deployed.callback(cookie, code, state) == 503
    assert deployed.callback(cookie, code, state) == 303
    assert deployed.callback(cookie, code, state) == 409
    assert deployed.vault.get(PRIVATE_KEY) == deployed.github.apps[100_000].pem
    page = deployed.ask("GET", "/gh-setup", headers=cookie)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    told = deployed.server.log() + page.text + str(page.headers)
    for secret in (
        *("planted", "BEGIN RSA", PLANTED_WEBHOOK_SECRET, PLANTED_CLIENT_SECRET, code, state),
        *(deployed.vault.get(SETUP_CODE), deployed.vault.get(STATE_KEY)),
    ):
        assert secret
        assert secret not in told
    assert "the app was set up" in told


def test_a_person_at_the_keyboard(model: Server, apps: GitHubApps, tmp_path: Path) -> None:
    """From the setup code to an installed App in a real browser, without a mouse or a script."""
    vault = FileVault(tmp_path / "vault")
    vault.put(SETUP_CODE, new_code())
    with (
        browser() as page,
        running_gateway(
            NOBODY,
            tmp_path,
            GITHUB_SERVER_URL=apps.url,
            GITHUB_API_URL=apps.url,
            ANTHROPIC_BASE_URL=model.url,
        ) as server,
    ):
        page.size(390, 844)
        page.go(f"{server.url}/gh-setup")
        page.until_focused("Setup code")
        page.write("wrong")
        page.press("Enter")
        page.until("document.body.innerText.includes('This is not the setup code.')")
        page.until_focused("Setup code")
        page.write(vault.get(SETUP_CODE) or "")
        page.press("Enter")
        page.until("document.body.innerText.includes('4 of 4 steps left')")
        assert page.cookies()["claude-run-setup"]["httpOnly"]

        page.tab_to("API key or OAuth token")
        page.write("sk-ant-no")
        page.press("Enter")
        page.until("document.body.innerText.includes('Must begin with')")
        page.until_focused("API key or OAuth token")
        page.write(KEY)
        page.press("Enter")
        page.until("document.body.innerText.includes('The key works, and is stored.')")

        page.tab_to("Create the App")
        page.press("Enter")
        page.until("document.title.startsWith('Create the GitHub App')")
        page.until_focused("Continue on")
        page.press("Enter")
        page.until("document.title === 'GitHub'")
        page.tab_to("Create GitHub App")
        page.press("Enter")
        page.until("document.body.innerText.includes('The App is created')")
        page.tab_to("Install it on")
        page.press("Enter")
        page.until("document.title === 'GitHub'")
        page.tab_to("Install")
        page.press("Enter")
        page.until("document.body.innerText.includes('octo/two')")

        # It fits the screen of a phone, and nothing was refused by its own policy.
        assert page.value("document.documentElement.scrollWidth <= innerWidth")
        assert not [text for text in page.complaints if "Security Policy" in text]
        status = httpx2.get(f"{server.url}/gh-status", trust_env=False).json()
        assert status["github"]["repositoryCount"] == 2
        assert status["claude"]["configured"]
        assert KEY not in server.log()
