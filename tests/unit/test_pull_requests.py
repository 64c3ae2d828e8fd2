"""GitHub for sessions: when it is asked for whom, and what a caller is told of its answers."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from claude_run.errors import CallerError, Code, UpstreamError
from claude_run.identity import Caller
from doubles.recording_server import Asked, RecordingServer, recording_server
from gateway.github.asked import RepositoryRef
from gateway.github.opening import GitHubApp
from gateway.github.policy import Policy
from gateway.github.reach import Reach
from gateway.github.settings import GitHubSettings
from gateway.instance import utc_now
from gateway.opening import COLLECTIONS
from gateway.pull_requests import PullRequests
from gateway.store import open_store
from gateway.vault import open_vault

ANN = Caller(sub="ann", email="ann@example.com", operator=False)
BOB = Caller(sub="bob", email="bob@example.com", operator=False)
NAME = "octo/one"
TOKEN = "ghs_" + "x" * 100
REF = RepositoryRef(id=1, name=NAME, installation_id=7, default_branch="main")


@dataclass
class World:
    """GitHub, and what is under test; with an App, or without."""

    server: RecordingServer
    with_app: PullRequests
    without: PullRequests


def answer(status: int, body: object, **headers: str) -> bytes:
    """An HTTP answer."""
    content = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
    lines += ["Connection: close", f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


def github(asked: Asked) -> bytes:
    """An App that is installed there."""
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    path = asked.line.split()[1]
    known: dict[str, tuple[int, Any]] = {
        "/repos/octo/one/installation": (200, {"id": 7}),
        "/app/installations/7/access_tokens": (201, {"token": TOKEN, "expires_at": until}),
        "/repos/octo/one": (200, {"id": 1, "full_name": NAME, "default_branch": "main"}),
    }
    status, body = known.get(path, (404, {"message": "Not Found"}))
    return answer(status, body)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """All of it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    store = open_store(f"sqlite://{tmp_path}/s/g.db", collections=COLLECTIONS)
    vault = open_vault(f"file://{tmp_path}/vault")

    def made(settings: GitHubSettings) -> tuple[GitHubApp, PullRequests]:
        app = GitHubApp(settings, store, vault, utc_now)
        grants = {"ann@example.com": frozenset({NAME})}
        return app, PullRequests(
            github=app, server_url=settings.server_url, policy=Policy(), grants=grants
        )

    with recording_server(lambda asked, send: send(github(asked))) as server:
        none = GitHubSettings(api_url=server.url, server_url=server.url)
        own = GitHubSettings(
            api_url=server.url, server_url=server.url, app_id="42", private_key=key.decode()
        )
        app, with_app = made(own)
        yield World(server=server, with_app=with_app, without=made(none)[1])
        app.access().close()
    store.close()


def test_github_is_asked_only_for_what_is_granted(world: World) -> None:
    """A caller's own business is none of the App's; and what was found is known for a while."""
    repository = {"name": NAME}
    own = SecretStr("own")
    for caller, asked in ((BOB, repository), (ANN, {"name": "octo/two"}), (ANN, None)):
        reach = world.with_app.reach(caller, asked, {}, own)
        assert (reach.app, reach.token) == (None, own)
    assert world.without.reach(ANN, repository, {}, own).app is None
    assert world.server.asked == []
    assert world.with_app.reach(ANN, repository, {}, own).app == REF
    count = len(world.server.asked)
    assert world.with_app.reach(ANN, {"url": f"{world.server.url}/{NAME}"}, {}, None).app == REF
    assert len(world.server.asked) == count


def test_the_apps_token_goes_where_it_belongs(world: World) -> None:
    """A turn clones from this GitHub with it, at the branch that was asked for; else as it was."""
    options: dict[str, Any] = {"repository": {"name": NAME, "branch": "dev"}}
    world.with_app.lend(Reach(name=NAME, app=REF), options)
    assert options["repository"] == {"url": f"{world.server.url}/{NAME}", "branch": "dev"}
    assert options["github_token"].get_secret_value() == TOKEN
    minted = json.loads(world.server.asked[-1].body)
    assert minted == {"repository_ids": [1], "permissions": {"contents": "read"}}
    given = {"repository": {"name": NAME}, "github_token": SecretStr("own")}
    untouched = dict(given)
    world.with_app.lend(Reach(name=NAME, token=SecretStr("own")), untouched)
    assert untouched == given


def test_what_github_answers_is_told_by_the_field(world: World) -> None:
    """An App that is not there is the request's fault; a limit says when to come back."""
    world.server.script = lambda _asked, send: send(answer(404, {"message": "Not Found"}))
    with pytest.raises(CallerError) as caught:
        world.with_app.reach(ANN, {"name": NAME}, {}, None)
    assert (caught.value.code, caught.value.details["field"]) == (
        Code.VALIDATION_ERROR,
        "repository",
    )
    limited = answer(403, {"message": "x"}, **{"Retry-After": "3000"})
    world.server.script = lambda _asked, send: send(limited)
    with pytest.raises(UpstreamError) as refused:
        world.with_app.reach(ANN, {"name": NAME}, {}, None)
    assert refused.value.code is Code.UNAVAILABLE
    assert refused.value.headers == {"Retry-After": "3000"}


def test_a_pull_request_is_asked_for_by_the_sessions_options(world: World) -> None:
    """Those that it keeps: a later message that needs a token says so."""
    with pytest.raises(CallerError) as caught:
        world.with_app.reach(BOB, {"name": NAME}, {"createPR": True}, None)
    assert caught.value.details["field"] == "githubToken"
    assert world.with_app.reach(BOB, {"name": NAME}, {"createPR": False}, None).token is None
