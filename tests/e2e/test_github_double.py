"""The tests' GitHub: API, git and deliveries speak of one and the same."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from github import Auth, Github, GithubException, GithubIntegration

from doubles.github import BOT, INSTALLATION, GitHub, user_token
from doubles.recording_server import recording_server


@pytest.fixture
def app(github: GitHub) -> Iterator[GithubIntegration]:
    """PyGithub as the App."""
    auth = Auth.AppAuth(github.app_id, github.private_key)
    with GithubIntegration(
        auth=auth,
        base_url=github.url,
        seconds_between_requests=None,
        seconds_between_writes=None,
    ) as made:
        yield made


def as_app(app: GithubIntegration, **permissions: str) -> Github:
    """PyGithub as the installation, with these permissions."""
    return app.get_github_for_installation(INSTALLATION, permissions)


def test_git_and_the_api_show_the_same(github: GitHub, tmp_path: Path) -> None:
    """What the author pushes is in the API, with modes; what the API writes can be cloned."""
    repository = github.create({"a/b.txt": "text", "bin": b"\x00\xff"}, private=True)
    repository.origin.write("run.sh", "#!/bin/sh\n", mode=0o755)
    (repository.origin.folder / "link").symlink_to("a/b.txt")
    commit = repository.publish()
    tree = repository.api("GET", f"git/trees/{commit}?recursive=1")["tree"]
    modes = {entry["path"]: entry["mode"] for entry in tree if entry["type"] == "blob"}
    assert modes == {"a/b.txt": "100644", "bin": "100644", "link": "120000", "run.sh": "100755"}

    made = repository.api(
        "POST",
        "git/trees",
        {
            "base_tree": commit,
            "tree": [{"path": "new", "mode": "100644", "type": "blob", "content": "ä"}],
        }
        | {"base_tree": repository.api("GET", f"git/commits/{commit}")["tree"]["sha"]},
    )
    asked = {"message": "By the API", "tree": made["sha"], "parents": [commit]}
    written = repository.api("POST", "git/commits", asked)["sha"]
    repository.api("POST", "git/refs", {"ref": "refs/heads/mine", "sha": written})
    assert repository.tip("mine") == written
    assert repository.files("mine")["new"] == ("100644", "ä".encode())

    clone = ["git", "-c", "credential.helper=", "clone", "--quiet", "--branch", "mine"]
    url = repository.clone_url.replace("http://", f"http://x-access-token:{user_token('octo')}@")
    subprocess.run([*clone, url, str(tmp_path / "clone")], check=True)
    assert (tmp_path / "clone" / "new").read_text() == "ä"
    refused = subprocess.run(
        [*clone, repository.clone_url, str(tmp_path / "none")],
        check=False,
        env={"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0"},
        stderr=subprocess.DEVNULL,
    )
    assert refused.returncode != 0


def test_the_app_writes_as_itself_and_as_far_as_it_may(
    github: GitHub, app: GithubIntegration
) -> None:
    """A token is held to its permissions; who wrote is a bot."""
    repository = github.create(private=True)
    number = repository.open_issue("Help")["number"]
    client = as_app(app, issues="write")
    found = client.get_repo(repository.name)
    comment = found.get_issue(number).create_comment("At work.")
    assert (comment.user.login, comment.user.type) == (BOT, "Bot")
    comment.create_reaction("eyes")
    assert repository.reactions(f"issues/comments/{comment.id}") == ["eyes"]
    with pytest.raises(GithubException) as caught:
        found.create_git_blob("x", "utf-8")
    assert caught.value.status == 403
    github.front.grants.clear()
    with pytest.raises(GithubException) as caught:
        found.get_issue(number)
    assert caught.value.status == 401


def test_permissions_are_githubs(github: GitHub, app: GithubIntegration) -> None:
    """Four words, and one for everybody where the repository is public."""
    found = as_app(app, contents="read").get_repo(github.create().name)
    asked = ("octo", "writer", "reader", "stranger")
    given = [found.get_collaborator_permission(login) for login in asked]
    assert given == ["admin", "write", "read", "read"]


def test_one_branch_has_one_open_pull_request(github: GitHub, app: GithubIntegration) -> None:
    """A second one, one without commits, one without a branch: 422. Its head follows its branch."""
    repository = github.create()
    main = repository.tip()
    repository.api("POST", "git/refs", {"ref": "refs/heads/same", "sha": main})
    found = as_app(app, contents="write", pull_requests="write").get_repo(repository.name)
    first = found.get_contents("README.md", ref="same")
    assert not isinstance(first, list)
    found.update_file("README.md", "Change", "changed", first.sha, branch="same")
    pull = found.create_pull("main", "same", title="Mine", body="", draft=True)
    assert repository.tip("same") == pull.head.sha != main
    repository.api("POST", "git/refs", {"ref": "refs/heads/none", "sha": main})
    for branch in ("same", "none", "absent"):
        with pytest.raises(GithubException) as caught:
            found.create_pull("main", branch, title="Mine", body="")
        assert caught.value.status == 422
    pull.mark_ready_for_review()
    assert [one["draft"] for one in repository.pulls()] == [False]
    assert "pull_request" in repository.api("GET", f"issues/{pull.number}")


def test_what_happens_is_delivered_signed(github: GitHub) -> None:
    """To the URL of the repository, with a signature over the body, and can be sent again."""
    repository = github.create()
    with recording_server() as told:
        repository.hook(told.url)
        issue = repository.open_issue("Title", "old text")
        repository.deliveries(1)
        repository.api("PATCH", f"issues/{issue['number']}", {"body": "new text"}, by="writer")
        repository.deliveries(2)
        opened, edited = told.asked
        assert opened.all("x-github-event") == ["issues"]
        assert opened.all("x-hub-signature-256") == [github.hooks.sign(opened.body)]
        payload = repository.deliveries(2)[1].payload
        assert payload["changes"] == {"body": {"from": "old text"}}
        assert payload["installation"]["id"] == INSTALLATION
        assert payload["sender"]["login"] == "writer"
        github.hooks.redeliver(repository.deliveries(1)[0].id)
        again = repository.deliveries(3)[2]
        assert (again.redelivery, told.asked[2].body) == (True, opened.body)
        assert told.asked[2].all("x-github-delivery") == opened.all("x-github-delivery")
        assert edited.body != opened.body
