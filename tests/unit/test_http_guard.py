"""Who may call the gateway, how often, from which pages, and what every answer carries."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from claude_run import peers
from claude_run.logs import traced
from gateway.http.routes import API, HEALTH, LIST, OPEN, ROUTES, template
from gateway.limits import Limits
from gateway_app import IAM, NoStore, open_app, token

ORIGIN = "https://app.example.com"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    """A laptop's gateway."""
    with open_app(tmp_path) as (client, _):
        yield client


@pytest.mark.parametrize("path", [LIST, HEALTH, "/nothing"])
def test_an_agent_is_not_the_local_caller(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A connection of a run's user is refused, whatever it asks for; one of any other is not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as ours:
            peer = {"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": str(ours.getsockname()[1])}

            def status() -> int:
                return client.get(
                    path, base_url=f"http://127.0.0.1:{port}", environ_overrides=peer
                ).status_code

            assert status() != 403
            monkeypatch.setattr(peers, "AGENT_UIDS", {os.getuid()})
            assert status() == 403


def test_an_answer_names_its_request(client: FlaskClient) -> None:
    """A valid id that came in stays; any other is replaced by one of ours."""
    assert client.get(LIST, headers={"X-Request-Id": "mine_1"}).headers["X-Request-Id"] == "mine_1"
    ours = client.get(LIST, headers={"X-Request-Id": "no id"}).headers["X-Request-Id"]
    assert ours != "no id"
    assert client.get("/nothing").headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost:1234"}, 403),
        ({"Origin": ORIGIN}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({}, 200),
    ],
)
def test_a_laptop_refuses_foreign_pages(
    client: FlaskClient, headers: dict[str, str], status: int
) -> None:
    """A rebound name and another site's script are refused."""
    assert client.get(LIST, headers=headers).status_code == status


def test_a_form_cannot_start_anything(client: FlaskClient) -> None:
    """What a page can send without a preflight is 415."""
    answer = client.post("/interactive/start", data=b'{"prompt":"x"}', content_type="text/plain")
    assert (answer.status_code, answer.get_json()["error"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_pages_of_named_origins_may_call(tmp_path: Path) -> None:
    """The preflight tells the page's headers; an answer is readable; never with cookies."""
    with open_app(tmp_path, ALLOWED_ORIGINS=ORIGIN) as (client, _):
        asked = client.options("/interactive/start", headers=PREFLIGHT)
        assert asked.status_code == 204
        assert asked.headers["Access-Control-Allow-Origin"] == ORIGIN
        allowed = asked.headers["Access-Control-Allow-Headers"]
        for name in ("Content-Type", "Authorization", "X-Requested-With"):
            assert name in allowed
        answer = client.get(LIST, headers={"Origin": ORIGIN})
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert client.get(LIST, headers={"Origin": f"{ORIGIN}.evil"}).status_code == 403


def test_pages_of_other_origins_may_not(tmp_path: Path) -> None:
    """Where a token protects, a foreign page is not refused, but cannot read the answer."""
    with open_app(tmp_path, **IAM, ALLOWED_ORIGINS=ORIGIN) as (client, _):
        other = {"Origin": "https://evil.example"}
        assert client.options("/run", headers=PREFLIGHT | other).status_code == 403
        answer = client.get(LIST, headers=token("a") | other)
        assert answer.status_code == 200
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_without_a_token_there_is_nothing(tmp_path: Path) -> None:
    """Every route of callers but health needs one; also a path that is none."""
    with open_app(tmp_path, **IAM) as (client, _):
        for path in [*API, "/nothing"]:
            answer = client.get(path.replace("{id}", "a"))
            if path == HEALTH:
                # Whoever shows no token learns no more than that it lives.
                assert set(answer.get_json()) == {"status"}
            else:
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert client.get(LIST, headers={"Authorization": "Bearer é.x.y"}).status_code == 401


def test_open_paths_ask_for_no_caller(tmp_path: Path) -> None:
    """Each has its own rule; from wherever it is asked, nothing says who calls, or how often."""
    strange = {"Host": "evil.example", "Origin": ORIGIN}
    with open_app(tmp_path) as (client, _):
        for path in OPEN:
            answer = client.get(path, headers=strange)
            assert answer.status_code not in (401, 403)
            assert not [name for name in answer.headers if "RateLimit" in name or "Allow-O" in name]
            assert client.get(f"{path}/", headers=strange).status_code == 403


def test_verified_tokens_only(tmp_path: Path) -> None:
    """With AUTH=verify a token whose signature nobody can check is 401."""
    environ = {
        "AUTH": "verify",
        "AUTH_AUDIENCE": "https://api.test",
        "AUTH_ALLOWED_CALLERS": "a@example.com",
    }
    with open_app(tmp_path, **environ) as (client, _):
        assert client.get(LIST).status_code == 401
        assert client.get(LIST, headers=token("a", alg="none")).status_code == 401


def test_limits_are_told_and_kept(tmp_path: Path) -> None:
    """Each caller has its own; the last refused call says when to come back."""
    with open_app(tmp_path, **IAM, RATE_LIMIT_PER_MINUTE="2", RATE_LIMIT_PER_HOUR="2") as (
        client,
        _,
    ):
        first, second, third = (client.get(LIST, headers=token("a")) for _ in range(3))
        assert first.headers["X-RateLimit-Remaining"] == "1"
        assert second.headers["X-RateLimit-Remaining"] == "0"
        assert (third.status_code, third.get_json()["error"]) == (429, "RATE_LIMIT_EXCEEDED")
        assert int(third.headers["Retry-After"]) > 0
        assert third.headers["X-RateLimit-Limit"] == "2"
        assert client.get(LIST, headers=token("b")).status_code == 200


def test_without_a_store_nothing_starts(tmp_path: Path) -> None:
    """Without its count no call is let through: 503, and when to try again; and it is not well."""
    with open_app(tmp_path) as (client, gateway):
        gateway.limits = Limits(NoStore(), gateway.settings.limits)
        gateway.health._store = NoStore()
        answer = client.post("/interactive/start", json={"prompt": "x"})
        assert (answer.status_code, answer.get_json()["error"]) == (503, "UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) > 0
        health = client.get(HEALTH)
        assert (health.status_code, health.get_json()["status"]) == (503, "unhealthy")


def test_requests_are_counted_by_their_templates(tmp_path: Path) -> None:
    """Whatever a caller puts into a path makes no counter of its own."""
    with open_app(tmp_path) as (client, gateway):
        for path in ("/interactive/one", "/interactive/two", "/nothing", "/else"):
            client.get(path)
        gateway.metrics.flush()
        counted = client.get("/metrics").get_json()["requests"]
    assert counted["byRoute"] == {"/interactive/{id}": 2, "other": 2}
    assert counted["byStatus"] == {"404": 4}


def test_the_list_of_routes_is_the_map(tmp_path: Path) -> None:
    """What is counted by name is what is served."""
    with open_app(tmp_path) as (client, _):
        served = {template(rule.rule) for rule in client.application.url_map.iter_rules()}
    assert served == set(ROUTES)


def test_a_log_line_names_request_and_trace(tmp_path: Path) -> None:
    """What goes wrong is logged with the trace that Cloud Run gave, and not shown."""
    trace = "105445aa7843bc8bf206b12000100000"
    headers = token("a") | {
        "X-Cloud-Trace-Context": f"{trace}/12345;o=1",
        "X-Request-Id": "request-1",
    }
    with (
        open_app(tmp_path, **IAM) as (client, _),
        capture_logs(processors=[merge_contextvars, traced("my-project")]) as lines,
    ):
        client.application.add_url_rule("/break", view_func=lambda: str(1 / 0))
        answer = client.get("/break", headers=headers)
    assert answer.status_code == 500
    assert answer.get_json()["error"] == "INTERNAL_ERROR"
    assert "division" not in answer.get_data(as_text=True)
    assert lines[0]["request_id"] == "request-1"
    assert lines[0]["logging.googleapis.com/trace"] == f"projects/my-project/traces/{trace}"
    assert lines[0]["logging.googleapis.com/spanId"] == "0000000000003039"
