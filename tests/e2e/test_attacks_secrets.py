"""What the agent runs finds no secret; each attack finds one where the defence is taken out."""

import os
from pathlib import Path

import pytest
from conftest import MakeRunner

import servers
from attacks import (
    LAPTOP,
    PLANTED_VARIABLE,
    SAME_USER,
    UNGUARDED,
    UNGUARDED_LAPTOP,
    everything,
    hunt,
    leaks,
    loot,
    run_script,
    watched_processes,
)
from doubles.git_server import serve_git
from servers import PLANTED_GITHUB_TOKEN, PLANTED_KEY, last_request, recorded, scenario, use

pytestmark = pytest.mark.e2e

AS_ROOT = os.geteuid() == 0
PLANTED_OAUTH = "sk-ant-oat01-planted-oauth-token-0123456789"
OWN = {"prompt": "x", "anthropicApiKey": PLANTED_KEY}
# As root the whole machine is searched. Without root, a test's own memory (it has planted the
# key) belongs to the same user: there the search is for what the runner and its processes hold.
SCOPE = "all" if AS_ROOT else "ancestors"


def test_nothing_that_the_agent_can_read_holds_a_key(runner: servers.Server) -> None:
    """Environments, arguments, descriptors, memory and files, with the runner's own key."""
    with watched_processes(runner.pid) as seen:
        stream = run_script(runner, "# marker-hunt\n" + hunt(SCOPE))
    assert stream.error is None
    assert "ANTHROPIC_BASE_URL=http://127.0.0.1:" in loot(stream)
    assert "ANTHROPIC_API_KEY=run-" in loot(stream)
    # Its own processes it can read, so the search does search.
    assert "is open" in loot(stream)
    assert leaks(everything(stream, runner), PLANTED_KEY) == []
    assert leaks("\n".join(seen), PLANTED_KEY) == []
    # No variable of the runner's arrives that nobody thought of.
    assert not [name for name in PLANTED_VARIABLE if name in loot(stream)]
    assert any("launch.py" in process for process in seen)


def test_a_callers_secrets_stay_the_runners(
    runner: servers.Server, model: servers.Server, tmp_path: Path
) -> None:
    """An OAuth token and a GitHub token of the request were used, and nobody can find them."""
    with serve_git(tmp_path / "server") as git_server:
        origin = git_server.create("octo/private")
        origin.write("README.md", "# Private\n")
        origin.commit()
        git_server.token = PLANTED_GITHUB_TOKEN
        with watched_processes(runner.pid) as seen:
            stream = run_script(
                runner,
                "# marker-callers\n" + hunt(SCOPE),
                anthropicApiKey=PLANTED_OAUTH,
                repository={"url": git_server.url("octo/private")},
                githubToken=PLANTED_GITHUB_TOKEN,
                wantTranscript=True,
            )
        assert any(request.authorization for request in git_server.requests)
    assert stream.error is None
    assert "is open" in loot(stream)
    secrets = (PLANTED_OAUTH, PLANTED_GITHUB_TOKEN)
    [request, *_] = recorded(model, "marker-callers")
    assert request["headers"]["authorization"] == f"Bearer {PLANTED_OAUTH}"
    assert leaks(str(last_request(model, "marker-callers")), *secrets) == []
    assert leaks(everything(stream, runner), *secrets) == []
    assert leaks("\n".join(seen), *secrets) == []


@pytest.mark.root
@pytest.mark.skipif(not AS_ROOT, reason="without root no run has a user of its own to take away")
def test_without_its_own_user_the_agent_reads_the_key(weakened: MakeRunner) -> None:
    """The same search, in a run that is root like the runner."""
    stream = run_script(weakened(*SAME_USER), hunt("ancestors"))
    assert "/environ: " + PLANTED_KEY in loot(stream)
    assert "mem " in loot(stream)


@pytest.mark.parametrize("defended", [True, False])
def test_on_a_laptop_the_runner_cannot_be_read(weakened: MakeRunner, defended: bool) -> None:
    """Same user, another process, not dumpable: that is all that holds there."""
    server = weakened(*(LAPTOP if defended else UNGUARDED_LAPTOP))
    stream = run_script(server, hunt("ancestors"))
    assert stream.error is None
    assert "is open" in loot(stream)
    assert (leaks(loot(stream), PLANTED_KEY) == []) is defended


def test_an_environment_that_is_inherited_holds_everything(weakened: MakeRunner) -> None:
    """What nobody thought of, too: hence the list of what may be in it."""
    found = loot(run_script(weakened(*UNGUARDED), "env > loot.txt"))
    assert all(f"{name}={value}" in found for name, value in PLANTED_VARIABLE.items())


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "x", "anthropicApiKey": f"{PLANTED_KEY}\n"},
        {"prompt": "x", "anthropicApiKey": [PLANTED_KEY]},
        {"prompt": "x", "githubToken": PLANTED_GITHUB_TOKEN},
        {"prompt": "x", "githubToken": {"token": PLANTED_GITHUB_TOKEN}},
        {"prompt": "x", "key": PLANTED_KEY},
        {"prompt": "x", "repository": {"url": f"https://u:{PLANTED_GITHUB_TOKEN}@github.com/a/b"}},
        {"anthropicBaseUrl": f"https://{PLANTED_KEY}@api.anthropic.com"} | OWN,
        {"anthropicBaseUrl": f"https://api.anthropic.com/?k={PLANTED_KEY}"} | OWN,
        {
            "prompt": "x",
            "mcpConfigJson": {"mcpServers": {"a": {"command": "b", "env": {"K": [PLANTED_KEY]}}}},
        },
    ],
)
def test_a_refusal_does_not_repeat_what_it_refuses(
    runner: servers.Server, body: dict[str, object]
) -> None:
    """A secret in the wrong place, or of the wrong form, is named by its field only."""
    refused = servers.post_run(runner.url, body)
    assert refused.status == 400
    assert b'"code":"VALIDATION_ERROR"' in refused.body
    said = refused.body.decode() + str(refused.headers) + runner.log()
    assert leaks(said, PLANTED_KEY, PLANTED_GITHUB_TOKEN) == []


def test_a_failure_does_not_tell_the_secrets(runner: servers.Server, tmp_path: Path) -> None:
    """A clone that is refused, and an upstream that refuses the key half way."""
    with serve_git(tmp_path / "server") as git_server:
        git_server.create("octo/private")
        git_server.token = "another-token"
        stream = run_script(
            runner,
            "true",
            repository={"url": git_server.url("octo/private")},
            githubToken=PLANTED_GITHUB_TOKEN,
        )
        assert any(request.authorization for request in git_server.requests)
    assert stream.error is not None
    assert stream.error["code"] == "CLONE_FAILED"
    refused = servers.post_run(
        runner.url,
        {"prompt": scenario(use("Read", file_path="/etc/hostname"), {"error": {"status": 401}})},
    )
    assert refused.error is not None
    assert refused.error["code"] == "UPSTREAM_AUTH"
    for answer in (stream, refused):
        assert leaks(everything(answer, runner), PLANTED_GITHUB_TOKEN, PLANTED_KEY) == []
