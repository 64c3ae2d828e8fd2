"""`createPR`: a session's changes become a pull request."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import servers
from doubles.github import BOT, GitHub, Repository, user_token
from servers import say, scenario, use
from session_calls import Caller, bearer, gateway_behind_iam

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("github")]

GRANTED = "ann@example.com"


def write(path: str, content: str, said: str = "Written.") -> str:
    """A prompt that has a file written."""
    return scenario(use("Write", file_path=f"{{{{cwd}}}}/{path}", content=content), say(said))


@pytest.fixture(scope="module")
def granted(github: GitHub) -> Repository:
    """That the operator grants to Ann. Nobody can clone it without a token."""
    return github.create({"README.md": "hello"}, private=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the gateway keeps its state."""
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def cloning(model: servers.Server, github: GitHub) -> Iterator[servers.Server]:
    """A runner that clones from this GitHub."""
    hosts = {"ALLOWED_GIT_HOSTS": "localhost", "GITHUB_SERVER_URL": github.url}
    with servers.running_runner(model.url, command=("-m", "runner"), **hosts) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    cloning: servers.Server, folder: Path, github: GitHub, granted: Repository
) -> Iterator[servers.Server]:
    """Behind IAM, with an App."""
    grants = {"CALLER_REPOSITORIES": json.dumps({GRANTED: [granted.name]})}
    with gateway_behind_iam(cloning.url, folder, weak=(), **github.environ(), **grants) as server:
        yield server


def test_with_a_callers_own_token(gateway: servers.Server, github: GitHub, folder: Path) -> None:
    """It clones and publishes; the next turn adds to the same pull request; nothing keeps it."""
    repository = github.create({"README.md": "hello"}, private=True)
    caller = Caller(gateway.url, bearer("bob", email="bob@example.com", email_verified=True))
    token = user_token("writer")
    body = {"repository": {"name": repository.name}, "options": {"createPR": True}}
    told = caller.start(write("new.txt", "one"), githubToken=token, **body)
    assert told.names[-3:] == ["claude_end", "status", "complete"]
    (pull,) = repository.pulls()
    assert told.last.data["prUrl"] == told.of("status")[-1].data["prUrl"] == pull["html_url"]
    branch = f"claude/session-{told.session_id}"
    assert (pull["head"]["ref"], pull["base"]["ref"]) == (branch, "main")
    assert pull["user"]["login"] == "writer"
    assert repository.files(branch)["new.txt"] == ("100644", b"one")

    refused = caller.message(told.session_id, write("new.txt", "two"))
    assert (refused.status, refused.json["message"].split(":")[0]) == (400, "githubToken")
    more = caller.message(told.session_id, write("more.txt", "two"), githubToken=token)
    assert more.last.data["prUrl"] == pull["html_url"]
    assert set(repository.files(branch)) == {"README.md", "new.txt", "more.txt"}
    assert len(repository.pulls()) == 1
    stored = b"".join(one.read_bytes() for one in folder.glob("gateway.db*"))
    assert token.encode() not in stored
    assert token not in gateway.log()


def test_with_the_apps_token_where_it_is_granted(
    gateway: servers.Server, github: GitHub, granted: Repository
) -> None:
    """Without one of the caller's; to whom it is not granted, the field is named."""
    ann = Caller(gateway.url, bearer("ann", email=GRANTED, email_verified=True))
    body = {"repository": {"url": granted.clone_url}, "options": {"createPR": True}}
    told = ann.start(write("new.txt", "one"), **body)
    assert told.last.name == "complete", told.body
    pull = granted.pulls()[-1]
    assert (told.last.data["prUrl"], pull["user"]["login"]) == (pull["html_url"], BOT)
    grants = [grant.permissions for grant in github.front.grants.values()]
    assert {"contents": "read"} in grants

    bob = Caller(gateway.url, bearer("bob", email="bob@example.com", email_verified=True))
    refusals = {
        "githubToken": {"repository": {"name": granted.name}},
        "repository": {},
        "repository.url": {"repository": {"url": "https://example.com/a/b"}},
    }
    for field, asked in refusals.items():
        refused = bob.start("Hi", sessionId="never", options={"createPR": True}, **asked)
        assert (refused.status, refused.json["message"].split(":")[0]) == (400, field)
    assert bob.get("never").status == 404


def test_what_cannot_be_published_does_not_cost_the_result(
    gateway: servers.Server, github: GitHub
) -> None:
    """The reader's token clones, and may not write."""
    repository = github.create()
    caller = Caller(gateway.url, bearer("bob", email="bob@example.com", email_verified=True))
    body = {"repository": {"name": repository.name}, "options": {"createPR": True}}
    told = caller.start(write("new.txt", "x"), githubToken=user_token("reader"), **body)
    status = told.of("status")[-1].data
    assert (status["code"], "prUrl" in status) == ("FORBIDDEN", False)
    assert (told.last.name, told.last.data["result"]) == ("complete", "Written.")
    assert repository.pulls() == []
    nothing = caller.start(scenario(say("Hi")), githubToken=user_token("writer"), **body)
    assert "no pull request" in nothing.of("status")[-1].data["message"]


def test_a_worker_does_it_too(
    gateway: servers.Server,
    cloning: servers.Server,
    folder: Path,
    github: GitHub,
    granted: Repository,
) -> None:
    """Of a session that was left to it: with what was granted when it was left."""
    ann = Caller(gateway.url, bearer("ann", email=GRANTED, email_verified=True))
    options = {"createPR": True, "detach": True}
    body = {"repository": {"name": granted.name}, "options": options}
    accepted = ann.start(write("worked.txt", "one"), **body)
    assert accepted.status == 202
    state = {"STORE_URL": f"sqlite://{folder}/gateway.db", "VAULT_URL": f"file://{folder}/vault"}
    environ = {"RUNNER_URL": cloning.url, "PATH": os.environ["PATH"]} | state
    command = [sys.executable, "-m", "gateway.worker"]
    subprocess.run(command, env=github.environ() | environ, check=True, timeout=100)
    told = ann.events(accepted.json["sessionId"])
    pull = granted.pulls()[-1]
    assert (told.last.name, told.last.data["prUrl"]) == ("complete", pull["html_url"])
    assert granted.files(pull["head"]["ref"])["worked.txt"] == ("100644", b"one")
