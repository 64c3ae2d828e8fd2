"""The set-up through its routes: who gets in, what is stored, what is shown."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from werkzeug.test import TestResponse

from doubles.github_apps import (
    PLANTED_CLIENT_SECRET,
    PLANTED_WEBHOOK_SECRET,
    GitHubApps,
    complaint,
    key_pair,
    serve_apps,
)
from doubles.recording_server import recording_server
from gateway.github.credentials import PRIVATE_KEY, WEBHOOK_SECRET
from gateway.http.targets import Target
from gateway.setup.attempts import PER_ADDRESS
from gateway.setup.claude_key import ANTHROPIC_KEY, FIELD
from gateway.setup.record import Apps, InstallationRef
from gateway.setup.setup_code import SETUP_CODE, new_code
from gateway.setup.states import STATE_KEY
from gateway_app import open_app, open_function
from setup_calls import HTML, KEY, Operator, asked_for

HOOK = "https://webhook.example/webhooks/github"
ROUTES = [("GET", "/gh-setup"), ("GET", "/gh-setup/callback"), ("POST", "/claude-setup")]
MODELS = (
    b'HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"data": []}'
)
UNKNOWN = b"HTTP/1.1 401 X\r\nContent-Length: 2\r\n\r\n{}"
ALLOWED = "https://dashboard.example"


@pytest.fixture
def github() -> Iterator[GitHubApps]:
    """GitHub's side of it."""
    with serve_apps() as github:
        yield github


@pytest.fixture
def operator(tmp_path: Path, github: GitHubApps) -> Iterator[Operator]:
    """An operator of all routes on a laptop, who has entered the code."""
    environ = {
        "GITHUB_SERVER_URL": github.url,
        "GITHUB_API_URL": github.url,
        "ALLOWED_ORIGINS": ALLOWED,
    }
    with open_app(tmp_path, **environ) as (client, gateway):
        operator = Operator(client, gateway)
        assert operator.enter().status_code == 303
        yield operator


def envelope(answer: TestResponse) -> str:
    """The code of an error that no browser asked for."""
    body = answer.get_json()
    assert set(body) == {"error", "message", "timestamp"}
    return str(body["error"])


def call(operator: Operator, method: str, path: str, **headers: str) -> TestResponse:
    """A call by a program, with nothing but these headers."""
    fresh = operator.client.application.test_client()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return fresh.open(path, method=method, headers=named)


# --- who gets in ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_code_in_the_vault_it_is_closed(
    method: str, path: str, operator: Operator
) -> None:
    """To everybody, also to a browser that was in; the page says how to make one."""
    operator.instance.vault.delete(SETUP_CODE)
    answer = operator.client.open(path, method=method, headers=HTML)
    assert answer.status_code == 503
    assert "python -m gateway.setup.setup_code" in answer.get_data(as_text=True)
    answer = call(operator, method, path, X_Setup_Code="")
    assert (answer.status_code, envelope(answer)) == (503, "UNAVAILABLE")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_the_code_there_is_nothing(method: str, path: str, operator: Operator) -> None:
    """A browser is asked for it, a program is told how to send it."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    fresh = operator.client.application.test_client()
    answer = fresh.open(path, method=method, headers=HTML | form)
    assert answer.status_code == 401
    assert 'name="setupCode"' in answer.get_data(as_text=True)
    answer = call(operator, method, path, Content_Type="application/json")
    assert (answer.status_code, envelope(answer)) == (401, "UNAUTHORIZED")
    for wrong in ("x", new_code(), "é"):
        answer = call(operator, method, path, X_Setup_Code=wrong, Content_Type="application/json")
        assert (answer.status_code, envelope(answer)) == (403, "FORBIDDEN")


def test_a_wrong_code_is_told_at_the_field(operator: Operator) -> None:
    """And gives no cookie."""
    operator.client.delete_cookie("claude-run-setup")
    answer = operator.enter("wrong")
    assert answer.status_code == 403
    assert "This is not the setup code." in answer.get_data(as_text=True)
    assert "Set-Cookie" not in answer.headers
    assert operator.get("/gh-setup").status_code == 401


def test_tries_are_limited(operator: Operator) -> None:
    """By form and header together; also the right one then; who is in stays in."""
    taken = 1  # the fixture's
    for number in range(PER_ADDRESS.per_minute - taken):
        if number % 2:
            assert operator.enter("wrong").status_code == 403
        else:
            assert call(operator, "GET", "/gh-setup", X_Setup_Code="x").status_code == 403
    for answer in (operator.enter(), operator.enter("wrong")):
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert "Set-Cookie" not in answer.headers
    assert call(operator, "GET", "/gh-setup", X_Setup_Code=operator.code).status_code == 429
    assert operator.get("/gh-setup").status_code == 200


def test_the_cookie(operator: Operator) -> None:
    """Scripts cannot read it, other sites' forms do not send it, it does not hold the code."""
    cookie = operator.enter().headers["Set-Cookie"]
    assert operator.code not in cookie
    parts = {part.strip() for part in cookie.split(";")[1:]}
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=7200"} <= parts
    assert "Secure" not in parts


def test_the_cookie_where_there_is_tls(tmp_path: Path) -> None:
    """It goes over TLS only, and no other host can have set it."""
    with open_function(Target.SETUP, tmp_path, K_SERVICE="setup") as (client, instance):
        operator = Operator(client, instance)
        answer = operator.enter(Origin="https://localhost")
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-claude-run-setup=")
        assert "; Secure;" in cookie
        value = cookie.split(";")[0]
        fresh = client.application.test_client(use_cookies=False)
        assert fresh.get("/gh-setup", headers={"Cookie": value}).status_code == 200
        plain = value.removeprefix("__Host-")
        assert fresh.get("/gh-setup", headers={"Cookie": plain}).status_code == 401


def test_the_cookie_ends_with_the_code(operator: Operator) -> None:
    """Whoever changes the code has thrown everybody out."""
    assert operator.get("/gh-setup").status_code == 200
    operator.instance.vault.put(SETUP_CODE, new_code())
    assert operator.get("/gh-setup").status_code == 401


def test_tries_are_counted_by_address(tmp_path: Path) -> None:
    """By the one that Google's front end has seen, not by what the caller writes before it."""
    with open_function(Target.SETUP, tmp_path, K_SERVICE="setup") as (client, instance):
        operator = Operator(client, instance)
        for number in range(PER_ADDRESS.per_minute):
            forwarded = f"10.0.0.{number}, 203.0.113.7"
            assert operator.enter("x", X_Forwarded_For=forwarded).status_code == 403
        assert operator.enter("x", X_Forwarded_For="10.1.1.1, 203.0.113.7").status_code == 429
        assert operator.enter("x", X_Forwarded_For="203.0.113.8").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "https://localhost"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_another_sites_form_is_refused(headers: dict[str, str], operator: Operator) -> None:
    """With the cookie, even with the right token, and at the door."""
    assert operator.store_key(**headers).status_code == 403
    assert operator.enter(**headers).status_code == 403
    assert operator.instance.vault.get(ANTHROPIC_KEY) is None


def test_a_form_without_its_token_is_refused(operator: Operator) -> None:
    """Whatever a browser says of where it comes from."""
    for token in ({}, {"formToken": ""}, {"formToken": "x" * 43}):
        answer = operator.post("/claude-setup", {"anthropicApiKey": KEY, **token})
        assert answer.status_code == 403
    assert operator.instance.vault.get(ANTHROPIC_KEY) is None


def test_json_needs_the_code_itself(operator: Operator) -> None:
    """A cookie does for pages only: another site's page cannot send the header."""
    answer = operator.client.post("/claude-setup", json={"anthropicApiKey": KEY})
    assert (answer.status_code, envelope(answer)) == (401, "UNAUTHORIZED")


# --- pages ---------------------------------------------------------------------------------------


def test_every_page_lets_nothing_else_in(operator: Operator, github: GitHubApps) -> None:
    """A policy that names the one style; no script, no frame, no referrer, no cache."""
    fresh = operator.client.application.test_client()
    pages = {
        "/gh-setup": operator.get("/gh-setup"),
        "/gh-setup?create=1": operator.get("/gh-setup?create=1"),
        "/gh-setup/callback": operator.get("/gh-setup/callback"),
        "the code": fresh.get("/gh-setup", headers=HTML),
    }
    for name, page in pages.items():
        text = page.get_data(as_text=True)
        style = re.findall("<style>(.*?)</style>", text, re.DOTALL)
        assert len(style) == 1, name
        digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
        forms = f"'self' {github.url}" if "create" in name else "'self'"
        assert page.headers["Content-Security-Policy"] == (
            f"default-src 'none'; style-src 'sha256-{digest}'; form-action {forms}; "
            "base-uri 'none'; frame-ancestors 'none'"
        )
        # To GitHub the browser tells our origin, which stands in the manifest, and no more.
        referrer = "strict-origin" if "create" in name else "no-referrer"
        assert page.headers["Referrer-Policy"] == referrer
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"<script|<img|<link|\son\w+=|\sstyle=|javascript:", text), name
    for answer in (operator.enter(), fresh.get("/gh-setup")):
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_what_comes_from_outside_is_text(operator: Operator) -> None:
    """An owner, a repository, an error with markup in it."""
    evil = "<script>alert(1)</script>"
    apps = Apps(operator.instance.store, operator.instance.clock)
    ref = InstallationRef(app_id="7", slug="a", id=1, account=evil)
    apps.installed(ref, {"1": f"{evil}/x"})
    operator.instance.vault.put(PRIVATE_KEY, "-----BEGIN nonsense")
    for path in ("/gh-setup", "/gh-setup?look=1", f"/gh-setup?create=1&organization={evil}"):
        text = operator.get(path).get_data(as_text=True)
        assert "<script" not in text
    assert "&lt;script&gt;" in operator.get("/gh-setup").get_data(as_text=True)


# --- the App -------------------------------------------------------------------------------------


def test_github_is_asked_for_an_app(operator: Operator, github: GitHubApps) -> None:
    """By a form to the person's own account or an organisation's."""
    where, query, manifest = asked_for(operator.get("/gh-setup?create=1"))
    assert where == f"{github.url}/settings/apps/new"
    assert set(query) == {"state"}
    asked = json.loads(manifest)
    assert complaint(asked) is None
    assert asked["hook_attributes"]["url"] == "http://localhost/webhooks/github"
    assert asked["redirect_url"] == "http://localhost/gh-setup/callback"
    where, _, manifest = asked_for(operator.get("/gh-setup?create=1&organization=acme"))
    assert where == f"{github.url}/organizations/acme/settings/apps/new"
    assert json.loads(manifest)["name"] == "claude-run-acme"
    for wrong in ("create=1&organization=a/b", "create=1&replace=x", "create=1&create=1"):
        assert operator.get(f"/gh-setup?{wrong}").status_code == 400
    assert operator.get("/gh-setup?create=1", Host="a b").status_code == 400


def test_where_deliveries_go(tmp_path: Path) -> None:
    """As the setting says; GitHub itself cannot reach a laptop, and the page says so."""
    with open_app(tmp_path) as (client, gateway):
        operator = Operator(client, gateway)
        operator.enter()
        page = operator.get("/gh-setup?create=1")
        assert "hook_attributes" not in asked_for(page)[2]
        assert "GitHub cannot reach this machine" in page.get_data(as_text=True)
    with open_app(tmp_path, WEBHOOK_URL="https://webhook.example") as (client, gateway):
        operator = Operator(client, gateway)
        operator.enter()
        manifest = json.loads(asked_for(operator.get("/gh-setup?create=1"))[2])
        assert manifest["hook_attributes"]["url"] == HOOK
    # The function of its own does not take deliveries: it has to be told who does.
    with open_function(Target.SETUP, tmp_path) as (client, instance):
        operator = Operator(client, instance)
        operator.enter()
        answer = operator.get("/gh-setup?create=1")
        assert answer.status_code == 409
        assert "WEBHOOK_URL" in answer.get_data(as_text=True)


def test_a_delivery_that_cannot_come_is_not_waited_for(tmp_path: Path) -> None:
    """On a laptop the page says what to do; where there is a tunnel, what to wait for."""
    said = {}
    for webhook in ("", "https://webhook.example"):
        environ = {"WEBHOOK_URL": webhook} if webhook else {}
        with open_app(tmp_path / (webhook and "tunnel"), **environ) as (client, gateway):
            operator = Operator(client, gateway)
            operator.enter()
            gateway.facts.apps.installed(
                InstallationRef(app_id="9", slug="mine", id=5, account="octo"), {"1": "octo/one"}
            )
            said[webhook] = operator.get("/gh-setup").get_data(as_text=True)
    assert "none will while GitHub cannot reach this machine" in said[""]
    assert "open one in a repository above" in said["https://webhook.example"]
    for page in said.values():
        assert 'href="/gh-setup?look=1#delivery"' in page


def created(operator: Operator, github: GitHubApps, query: str = "create=1") -> str:
    """Let GitHub create an App as a page asks. Returns the callback's path."""
    _, asked, manifest = asked_for(operator.get(f"/gh-setup?{query}"))
    code = github.create("octo", json.loads(manifest))
    return f"/gh-setup/callback?code={code}&state={asked['state']}"


def test_the_app_is_taken_over(operator: Operator, github: GitHubApps) -> None:
    """Its secrets are in the vault, and it is known; then it is installed."""
    assert operator.get("/gh-setup").status_code == 200
    answer = operator.get(created(operator, github))
    assert (answer.status_code, answer.location) == (303, "/gh-setup?done=app#install")
    app = github.apps[100_000]
    vault = operator.instance.vault
    assert vault.get(PRIVATE_KEY) == app.pem
    assert vault.get(WEBHOOK_SECRET) == PLANTED_WEBHOOK_SECRET
    text = operator.get("/gh-setup?done=app").get_data(as_text=True)
    assert f'href="{github.url}/apps/{app.slug}/installations/new"' in text
    github.install(app)
    text = operator.get("/gh-setup?installation_id=107000").get_data(as_text=True)
    assert "octo/one" in text
    status = operator.client.get("/gh-status").get_json()["github"]
    assert status == {
        "configured": True,
        "appId": "100000",
        "owner": "octo",
        "repositoryCount": 2,
    }
    health = operator.client.get("/health").get_json()
    assert health["components"]["githubApp"] == {"status": "configured", "configured": True}
    assert health["github"] == {
        "appId": "100000",
        "installationId": "107000",
        "repositoryCount": 2,
        "totalWebhooks": 0,
        "lastWebhookAt": None,
    }


def test_a_callback_works_once(operator: Operator, github: GitHubApps) -> None:
    """Loaded again it does nothing; nor does another code with the same state."""
    path = created(operator, github)
    assert operator.get(path).status_code == 303
    answer = operator.get(path)
    assert answer.status_code == 409
    assert "it was used already" in answer.get_data(as_text=True)
    other = github.create("octo", {"name": "evil", "default_permissions": {}})
    state = path.partition("&state=")[2]
    answer = operator.get(f"/gh-setup/callback?code={other}&state={state}")
    assert answer.status_code == 409
    assert other in github.codes
    assert operator.client.get("/gh-status").get_json()["github"]["appId"] == "100000"


def test_a_callback_from_elsewhere_does_nothing(operator: Operator, github: GitHubApps) -> None:
    """A link to an attacker's App: without a state, with a forged one, with their own browser's."""
    code = github.create("evil", {"name": "evil", "default_permissions": {}})
    theirs = Operator(operator.client.application.test_client(), operator.instance)
    assert theirs.enter().status_code == 303
    for state, status in (
        ("", 400),
        ("x", 403),
        (theirs.state(), 403),
        (operator.state()[:-1] + "x", 403),
        (f"{operator.state()}&state={operator.state()}", 400),
    ):
        answer = operator.get(f"/gh-setup/callback?code={code}&state={state}")
        assert answer.status_code == status
        assert '<p class="note bad" role="alert">state' not in answer.get_data(as_text=True)
    assert code in github.codes
    assert operator.get(f"/gh-setup/callback?state={operator.state()}").status_code == 400
    assert operator.get(f"/gh-setup/callback?code=a/b&state={operator.state()}").status_code == 400
    assert operator.client.get("/gh-status").get_json()["github"] == {"configured": False}


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"x"), (201, b"<html>"), (201, b'{"id": 1}'), (429, b"")]
)
def test_github_hiccups(status: int, body: bytes, operator: Operator, github: GitHubApps) -> None:
    """Nothing is stored then, and the page may be loaded again."""
    path = created(operator, github)
    github.answers.append((status, body))
    answer = operator.get(path)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert operator.instance.vault.get(PRIVATE_KEY) is None
    assert operator.get(path).status_code == 303


def test_an_app_is_replaced_only_where_that_is_asked_for(
    operator: Operator, github: GitHubApps
) -> None:
    """The page says that there is one; an old page's form does not replace it either."""
    old = created(operator, github)
    assert operator.get(created(operator, github)).status_code == 303
    text = operator.get("/gh-setup").get_data(as_text=True)
    assert 'name="replace" value="100001" required' in text
    for query in ("create=1", "create=1&replace=7"):
        answer = operator.get(f"/gh-setup?{query}")
        assert answer.status_code == 409
        assert "There is an App already" in answer.get_data(as_text=True)
    assert operator.get(old).status_code == 409
    assert operator.client.get("/gh-status").get_json()["github"]["appId"] == "100001"
    assert operator.get(created(operator, github, "create=1&replace=100001")).status_code == 303
    assert operator.client.get("/gh-status").get_json()["github"]["appId"] == "100002"


def test_an_app_that_somebody_brings_along(tmp_path: Path, github: GitHubApps) -> None:
    """The settings hold: no other is created, and its deliveries tell where it is installed."""
    environ = {"GITHUB_APP_ID": "9", "GITHUB_PRIVATE_KEY": key_pair()[0]}
    with open_app(tmp_path, **environ, GITHUB_SERVER_URL=github.url) as (client, gateway):
        operator = Operator(client, gateway)
        operator.enter()
        assert operator.get("/gh-setup?create=1").status_code == 409
        assert client.get("/gh-status").get_json()["github"] == {
            "configured": True,
            "appId": "9",
            "repositoryCount": 0,
        }
        gateway.facts.apps.installed(
            InstallationRef(app_id="9", slug="brought", id=5, account="octo"), {"1": "octo/one"}
        )
        text = operator.get("/gh-setup").get_data(as_text=True)
        assert "number <strong>9</strong>" in text
        assert "octo/one" in text
        assert client.get("/gh-status").get_json()["github"] == {
            "configured": True,
            "appId": "9",
            "owner": "octo",
            "repositoryCount": 1,
        }
        assert client.get("/health").get_json()["github"]["installationId"] == "5"


def test_an_app_that_was_installed_before_it_was_brought_along(
    tmp_path: Path, github: GitHubApps
) -> None:
    """No delivery tells of it any more: the page asks GitHub, and knows its name from then on."""
    github.create("octo", {"name": "brought"})
    app = github.app("brought")
    environ = {
        "GITHUB_APP_ID": str(app.id),
        "GITHUB_PRIVATE_KEY": key_pair()[0],
        "GITHUB_SERVER_URL": github.url,
        "GITHUB_API_URL": github.url,
    }
    with open_app(tmp_path, **environ) as (client, gateway):
        operator = Operator(client, gateway)
        operator.enter()
        apps = Apps(gateway.store, gateway.clock, app_id=str(app.id))
        operator.get("/gh-setup")
        assert apps.record() is None, "it is installed nowhere"
        github.install(app)
        assert "octo/one" in operator.get("/gh-setup").get_data(as_text=True)
        assert client.get("/gh-status").get_json()["github"] == {
            "configured": True,
            "appId": str(app.id),
            "owner": "octo",
            "repositoryCount": 2,
        }
        record = apps.record()
        assert record is not None
        assert record.slug == "brought"


def test_github_cannot_be_asked_where_it_is_installed(
    operator: Operator, github: GitHubApps
) -> None:
    """The page shows what is known, and says why."""
    operator.get(created(operator, github))
    app = github.apps.pop(100_000)
    answer = operator.get("/gh-setup?look=1")
    assert answer.status_code == 200
    assert "GitHub does not accept the credential." in answer.get_data(as_text=True)
    github.apps[100_000] = app
    github.install(app, {number: f"octo/r{number}" for number in range(250)})
    text = operator.get("/gh-setup?look=1").get_data(as_text=True)
    assert "250 repositories" in text
    assert "and 230 more" in text
    record = Apps(operator.instance.store, operator.instance.clock).record()
    assert record is not None
    assert len(record.installations["107000"].repositories) == 250
    app.installations.clear()
    assert "250 repositories" in operator.get("/gh-setup").get_data(as_text=True)
    assert "250 repositories" not in operator.get("/gh-setup?look=1").get_data(as_text=True)


# --- the Claude key ------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Operator]:
    """An operator whose Anthropic says what the test wants: `operator.anthropic.script`."""
    with (
        recording_server(lambda _asked, send: send(MODELS)) as anthropic,
        open_app(tmp_path, ANTHROPIC_BASE_URL=anthropic.url) as (client, gateway),
    ):
        operator = Operator(client, gateway, anthropic=anthropic)
        operator.enter()
        yield operator


def test_a_key_is_stored_from_the_page(keys: Operator) -> None:
    """When it works; it is not shown again."""
    assert keys.client.get("/gh-status").get_json()["claude"] == {"configured": False}
    answer = keys.store_key()
    assert (answer.status_code, answer.location) == (303, "/gh-setup?done=claude#claude")
    assert keys.instance.vault.get(ANTHROPIC_KEY) == KEY
    assert "The key works, and is stored." in keys.get(answer.location).get_data(as_text=True)
    claude = keys.client.get("/gh-status").get_json()["claude"]
    assert claude["configured"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", claude["setupAt"])
    component = keys.client.get("/health").get_json()["components"]["claudeConfig"]
    assert component == {"status": "configured", "configured": True}
    assert not any("planted" in text for text in keys.shown)


def test_a_key_is_stored_by_a_program(keys: Operator) -> None:
    """As the API reference has it, with the code in a header."""
    code = {"X-Setup-Code": keys.code}
    answer = keys.client.post("/claude-setup", json={"anthropicApiKey": KEY}, headers=code)
    assert answer.status_code == 200
    assert answer.get_json()["configured"] is True
    assert keys.instance.vault.get(ANTHROPIC_KEY) == KEY


@pytest.mark.parametrize("body", [{}, {"anthropicApiKey": 7}, {"anthropicApiKey": KEY, "x": 1}])
def test_what_is_no_body(body: object, keys: Operator) -> None:
    """The field and the rule are named."""
    code = {"X-Setup-Code": keys.code}
    answer = keys.client.post("/claude-setup", json=body, headers=code)
    assert (answer.status_code, envelope(answer)) == (400, "VALIDATION_ERROR")
    assert "anthropicApiKey" in answer.get_json()["message"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b'{"anthropicApiKey": NaN}', 400),
        ("application/json", b'{"anthropicApiKey": "a", "anthropicApiKey": "b"}', 400),
        ("application/json", b"[" * 10_000, 400),
        ("application/json", b" " * 16_385, 413),
        ("text/plain", b"{}", 415),
        ("multipart/form-data", b"", 415),
        ("application/x-www-form-urlencoded", f"{FIELD}={KEY}&{FIELD}={KEY}".encode(), 400),
        ("application/x-www-form-urlencoded", b"anthropicApiKey=%ff", 400),
        ("application/x-www-form-urlencoded", b"\xff", 400),
        ("application/x-www-form-urlencoded", b"a&" * 100, 400),
        ("application/x-www-form-urlencoded", b"x" * 16_385, 413),
        ("application/x-www-form-urlencoded", b"anthropicApiKey=short", 400),
    ],
)
def test_bad_bodies(content_type: str, body: bytes, status: int, keys: Operator) -> None:
    """Refused, and nothing kept; for a program and for a page, whose form says why."""
    headers = {"X-Setup-Code": keys.code, "Content-Type": content_type}
    answer = keys.client.post("/claude-setup", data=body, headers=headers)
    assert answer.status_code == status
    assert envelope(answer)
    answer = keys.client.post("/claude-setup", data=body, headers=headers | HTML)
    assert answer.status_code == status
    assert answer.content_type.startswith("text/html")
    assert keys.instance.vault.get(ANTHROPIC_KEY) is None


def test_a_key_that_does_not_work_is_not_stored(keys: Operator) -> None:
    """The one before stays; the form says why, and does not repeat it."""
    keys.instance.vault.put(ANTHROPIC_KEY, "sk-ant-before-0123456789")
    for answer, status, why in (
        (UNKNOWN, 400, "Anthropic does not know this key"),
        (b"", 503, "Anthropic could not be asked"),
    ):
        assert keys.anthropic is not None
        keys.anthropic.script = lambda _asked, send, answer=answer: send(answer)  # type: ignore[misc]
        page = keys.store_key()
        assert page.status_code == status
        assert why in page.get_data(as_text=True)
        assert 'aria-invalid="true"' in page.get_data(as_text=True)
    assert page.headers["Retry-After"]
    assert keys.instance.vault.get(ANTHROPIC_KEY) == "sk-ant-before-0123456789"
    assert not any("planted" in text for text in keys.shown)
    assert keys.client.get("/gh-status").get_json()["claude"] == {"configured": True}


# --- afterwards ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        f"{ALLOWED}.evil.example/",
        f"{ALLOWED}@evil.example/",
        "https://user@dashboard.example/",
        "http://dashboard.example/",
        "//dashboard.example/",
        "/gh-setup",
        f"{ALLOWED}\\@evil.example/",
        f"{ALLOWED}/a b",
        f"{ALLOWED}/%0d%0aX: y",
        f"{ALLOWED}:80/",
        "javascript:alert(1)",
        f"{ALLOWED}/{'x' * 3_000}",
        "https://[",
    ],
)
def test_it_does_not_lead_elsewhere(url: str, operator: Operator) -> None:
    """400, naming the field."""
    answer = operator.client.get("/gh-setup", query_string={"redirect_url": url})
    assert (answer.status_code, envelope(answer)) == (400, "VALIDATION_ERROR")
    assert answer.get_json()["message"].startswith("redirect_url: must be")


def test_a_cookie_does_not_lead_elsewhere_either(operator: Operator, github: GitHubApps) -> None:
    """A browser that somebody has given one to goes nowhere."""
    operator.get(created(operator, github))
    github.install(github.apps[100_000])
    operator.client.set_cookie("claude-run-return", "https://evil.example/")
    answer = operator.get("/gh-setup?installation_id=107000")
    assert answer.status_code == 200
    assert "evil" not in answer.get_data(as_text=True)


def test_it_leads_back_where_the_browser_came_from(operator: Operator, github: GitHubApps) -> None:
    """When the App is installed, not before; once."""
    back = f"{ALLOWED}/done?a=1;b"
    fresh = operator.client.application.test_client()
    assert fresh.get("/gh-setup", query_string={"redirect_url": back}).status_code == 401
    answer = operator.client.get("/gh-setup", query_string={"redirect_url": back}, headers=HTML)
    assert answer.status_code == 200
    assert back not in answer.get_data(as_text=True)
    operator.get(created(operator, github))
    answer = operator.get("/gh-setup?installation_id=1")
    assert answer.status_code == 200
    assert f'href="{back}"' in answer.get_data(as_text=True)
    github.install(github.apps[100_000])
    answer = operator.get("/gh-setup?installation_id=107000&setup_action=install")
    assert (answer.status_code, answer.location) == (303, back)
    assert operator.get("/gh-setup?installation_id=107000").status_code == 200


def test_nothing_secret_is_ever_shown(
    operator: Operator, github: GitHubApps, capfd: pytest.CaptureFixture[str]
) -> None:
    """On no page, in no header, in no log: not the code, no key, no secret of the App."""
    structlog.reset_defaults()
    path = created(operator, github)
    operator.get(path)
    operator.get(path)
    github.install(github.apps[100_000])
    operator.get("/gh-setup?look=1")
    operator.store_key(KEY)
    operator.get("/gh-setup?create=1&replace=100000")
    vault = operator.instance.vault
    state_key = vault.get(STATE_KEY)
    assert state_key is not None
    out, err = capfd.readouterr()
    everything = "\n".join([*operator.shown, out, err])
    for secret in (
        *(KEY, "planted", "BEGIN RSA", operator.code, state_key),
        *(PLANTED_WEBHOOK_SECRET, PLANTED_CLIENT_SECRET),
    ):
        assert secret not in everything
    # GitHub's code is good once, and still does not stay in the address bar.
    code = path.partition("code=")[2].partition("&")[0]
    assert code not in everything
