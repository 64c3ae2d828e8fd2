"""GitHub on this machine: the emulate server behind a front of ours, and its git side.

    def test_something(github: GitHub) -> None:
        repository = github.create({"README.md": "hello"})     # octo/<a name of its own>
        repository.hook(f"{gateway.url}/webhooks/github")      # signed deliveries go there
        issue = repository.open_issue("Fix it", "@claude, please", by="writer")
        …
        pull = repository.pulls()[0]
        assert repository.files(pull["head"]["ref"])["README.md"] == ("100644", b"hello, world")

`github` is a fixture, one for all tests of a process (`tests/e2e/conftest.py`);
`github.environ()` is what a process of ours needs to find it: `GITHUB_API_URL` and
`GITHUB_SERVER_URL` are the same address, which serves API and clones alike. `repository.ref` is
its `RepositoryRef`, with the installation's number. Each test makes repositories of its own;
users are shared: `octo` owns the repositories, `writer` may write, `reader` may read, `stranger`
has nothing, `robot[bot]` is another App's. The App itself writes as `claude-run-test[bot]`.

The same in the API and in git, for `repository.commit` and what the API writes are carried over
at once, object by object, under the same ids: commits, trees, blobs, branches.
Not the same as on GitHub: no signatures (a commit that GitHub would have signed is shown as
verified), tags and forks are only in the API; a directory whose last file the trees API deletes
stays as an empty tree; there is no GraphQL but for drafts; rate limits only where a test adds a
`Fault`. Installation tokens are held to their repositories and permissions more strictly than
GitHub does: also where the repository is public.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from doubles.emulate import running_emulate
from doubles.git_server import GitServer, Origin, git, serve_git
from doubles.github_front import ApiRequest, Fault, Front, listening
from doubles.github_hooks import Delivery, Hooks
from doubles.github_mirror import Mirror
from doubles.github_rules import GitHubRules
from gateway.github.asked import RepositoryRef
from gateway.github.settings import GitHubSettings

APP_ID = "4242"
OTHER_APP_ID = "4343"
SLUG = "claude-run-test"
BOT = f"{SLUG}[bot]"
OWNER = "octo"
INSTALLATION = 77
OTHER_INSTALLATION = 78
WEBHOOK_SECRET = "planted-webhook-secret-0123456789"
PERMISSIONS: Mapping[str, str] = {
    "contents": "write",
    "issues": "write",
    "metadata": "read",
    "pull_requests": "write",
}
EVENTS = (
    "installation",
    "installation_repositories",
    "issue_comment",
    "issues",
    "pull_request_review",
    "pull_request_review_comment",
)
OTHER_BOT = "robot[bot]"
# `hermit` has repositories and no App.
USERS = (OWNER, "writer", "reader", "stranger", "hermit")
BOTS: Mapping[str, str] = {APP_ID: BOT, OTHER_APP_ID: OTHER_BOT}


def user_token(login: str) -> str:
    """A user's own token, as `githubToken` carries one."""
    return f"ghp_planted_{login.replace('[bot]', '_bot')}_0123456789"


@dataclass(slots=True, kw_only=True)
class Repository:
    """One repository of a test's own."""

    github: "GitHub"
    ref: RepositoryRef
    origin: Origin
    private: bool = False

    @property
    def name(self) -> str:
        """`owner/name`."""
        return self.ref.name

    @property
    def clone_url(self) -> str:
        """Where it is cloned from."""
        return f"{self.github.url}/{self.name}"

    def commit(self, files: Mapping[str, bytes | str | None], message: str = "A commit") -> str:
        """Write files (None: remove one), commit on the author's branch, publish; its id."""
        for path, content in files.items():
            if content is None:
                (self.origin.folder / path).unlink()
            else:
                self.origin.write(path, content)
        return self.publish(message)

    def publish(self, message: str = "A commit") -> str:
        """Commit the author's work tree as it stands, to git and API."""
        commit = self.origin.commit(message)
        self.github.front.mirrors[self.name].up()
        return commit

    def tip(self, branch: str = "main") -> str | None:
        """Where a branch is, or None."""
        return self.github.front.mirrors[self.name].tip(branch)

    def files(self, revision: str = "main") -> dict[str, tuple[str, bytes]]:
        """Mode and content of every file of a branch or commit, as git has them."""
        bare = self.origin.bare
        listing = git("ls-tree", "-r", "-z", revision, cwd=bare)
        found = {}
        for entry in filter(None, listing.split("\0")):
            facts, _, path = entry.partition("\t")
            mode, _, sha = facts.split()
            found[path] = mode, self.github.front.mirrors[self.name].content(sha)
        return found

    def api(self, method: str, path: str, body: object = None, *, by: str = OWNER) -> Any:  # noqa: ANN401
        """What the API answers to a user for a path below the repository; None for 404."""
        return self.github.api(method, f"/repos/{self.name}/{path}", body, by=by)

    def open_issue(
        self, title: str, body: str | None = None, *, by: str = "writer", **fields: object
    ) -> dict[str, Any]:
        """A new issue, told to whoever the hook names."""
        asked = {"title": title, "body": body, **fields}
        issue: dict[str, Any] = self.api("POST", "issues", asked, by=by)
        return issue

    def comment(self, number: int, body: str, *, by: str = "writer") -> dict[str, Any]:
        """A comment on an issue or pull request."""
        asked = {"body": body}
        made: dict[str, Any] = self.api("POST", f"issues/{number}/comments", asked, by=by)
        return made

    def comments(self, number: int) -> list[dict[str, Any]]:
        """All comments on an issue or pull request, oldest first."""
        found: list[dict[str, Any]] = self.api("GET", f"issues/{number}/comments?per_page=100")
        return found

    def reactions(self, what: str) -> list[str]:
        """Reactions on `issues/1`, `issues/comments/1` or `pulls/comments/1`."""
        return [one["content"] for one in self.api("GET", f"{what}/reactions")]

    def pulls(self, state: str = "all") -> list[dict[str, Any]]:
        """All pull requests, oldest first."""
        found = self.api("GET", f"pulls?state={state}&direction=asc&per_page=100")
        shown: list[dict[str, Any]] = found
        return shown

    def open_pull(
        self, branch: str, *, title: str = "Mine", by: str = "writer", base: str = "main"
    ) -> dict[str, Any]:
        """Somebody's own pull request."""
        asked = {"title": title, "head": branch, "base": base}
        made: dict[str, Any] = self.api("POST", "pulls", asked, by=by)
        return made

    def allow(self, login: str, permission: str) -> None:
        """Give `pull`, `triage`, `push`, `maintain` or `admin` to a user."""
        self.api("PUT", f"collaborators/{login}", {"permission": permission})

    def hook(self, url: str) -> None:
        """Deliver there what happens here."""
        self.github.hooks.urls[self.name] = url

    def deliveries(self, number: int) -> list[Delivery]:
        """The first so many deliveries, each answered."""
        return self.github.hooks.wait(self.name, number)


@dataclass(slots=True, kw_only=True)
class GitHub:
    """Its address, its App, its repositories."""

    url: str
    private_key: str
    front: Front
    git: GitServer
    app_id: str = APP_ID
    slug: str = SLUG
    webhook_secret: str = WEBHOOK_SECRET
    installation: int = INSTALLATION
    repositories: dict[str, Repository] = field(default_factory=dict)

    @property
    def hooks(self) -> Hooks:
        """What it delivers."""
        return self.front.hooks

    @property
    def settings(self) -> GitHubSettings:
        """What the gateway knows of it."""
        return GitHubSettings.from_environ(self.environ())

    def environ(self) -> dict[str, str]:
        """What a process of ours needs."""
        return {
            "GITHUB_API_URL": self.url,
            "GITHUB_SERVER_URL": self.url,
            "GITHUB_APP_ID": self.app_id,
            "GITHUB_PRIVATE_KEY": self.private_key,
            "GITHUB_WEBHOOK_SECRET": self.webhook_secret,
        }

    def create(
        self,
        files: Mapping[str, bytes | str] | None = None,
        *,
        owner: str = OWNER,
        private: bool = False,
    ) -> Repository:
        """A new repository with one commit on `main`; `owner="hermit"`: the App is not there."""
        name = f"{owner}/repo-{secrets.token_hex(4)}"
        asked = {"name": name.partition("/")[2], "private": private}
        made = self.api("POST", "/user/repos", asked, by=owner)
        origin = self.git.create(name)
        self.front.mirrors[name] = Mirror(bare=origin.bare, api=self._mirrors_api(name, owner))
        if not private:
            self.front.public.add(name)
        ref = RepositoryRef(
            id=made["id"], name=name, installation_id=INSTALLATION, default_branch="main"
        )
        repository = Repository(github=self, ref=ref, origin=origin, private=private)
        repository.commit(files or {"README.md": f"# {name}\n"}, "First commit")
        for login, permission in (("writer", "push"), ("reader", "pull"), (BOT, "push")):
            self.api(
                "PUT",
                f"/repos/{name}/collaborators/{login}",
                {"permission": permission},
                by=owner,
            )
        self.repositories[name] = repository
        return repository

    def api(self, method: str, path: str, body: object = None, *, by: str = OWNER) -> Any:  # noqa: ANN401
        """What the API answers to a user; None for 404. Anything else that fails raises."""
        route, _, query = path.partition("?")
        asked = ApiRequest(
            method=method,
            path=route,
            query=query,
            headers={"authorization": f"token {user_token(by)}"},
            body=json.dumps(body).encode() if body is not None else b"",
        )
        answer = self.front.answer(asked)
        if answer.status == 404:
            return None
        assert answer.status < 400, (method, path, answer)
        return answer.json

    def requests(self, repository: Repository) -> list[ApiRequest]:
        """What was asked of a repository, oldest first."""
        prefix = f"/repos/{repository.name}"
        return [one for one in list(self.front.requests) if one.path.startswith(prefix)]

    @contextmanager
    def faults(self, *faults: Fault) -> Iterator[None]:
        """Have these go wrong meanwhile."""
        self.front.faults.extend(faults)
        try:
            yield
        finally:
            for fault in faults:
                self.front.faults.remove(fault)

    def _mirrors_api(self, name: str, owner: str) -> Callable[[str, str, Any], Any]:
        def api(method: str, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
            answer = self.front.ask(method, f"/repos/{name}/{path}", body, by=user_token(owner))
            if answer.status == 404:
                return None
            assert answer.status < 400, (method, path, answer)
            return answer.json

        return api


@contextmanager
def serve_github(folder: Path) -> Iterator[GitHub]:
    """All of it, ended afterwards."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
    hooks = Hooks(secret=WEBHOOK_SECRET)
    with serve_git(folder / "git") as git_server, listening() as (port, server):
        # Not 127.0.0.1: emulate's links, which PyGithub follows, say localhost.
        url = f"http://localhost:{port}"
        front = Front(
            rules=GitHubRules(),
            hooks=hooks,
            git_port=git_server.port,
            users={user_token(login): login for login in (*USERS, *BOTS.values())},
            bots=BOTS,
        )
        server.front = front
        with running_emulate(_seed(pem, url), folder, base_url=url) as upstream:
            front.upstream_port = upstream
            _make_bots(front, pem)
            try:
                yield GitHub(url=url, private_key=pem, front=front, git=git_server)
            finally:
                front.stopped.set()
                hooks.close()


def _seed(private_key: str, url: str) -> dict[str, Any]:
    def app(number: str, slug: str, installation: int) -> dict[str, Any]:
        return {
            "app_id": int(number),
            "slug": slug,
            "name": slug,
            "private_key": private_key,
            "permissions": dict(PERMISSIONS),
            "events": list(EVENTS),
            "installations": [{"installation_id": installation, "account": OWNER}],
        }

    known = {user_token(login): login for login in (*USERS, *BOTS.values())}
    told = {"webhook_url": f"{url}/_deliveries"}
    return {
        "tokens": {token: {"login": login, "scopes": ["repo"]} for token, login in known.items()},
        "github": {
            "users": [{"login": login} for login in USERS],
            "apps": [
                app(APP_ID, SLUG, INSTALLATION) | told,
                app(OTHER_APP_ID, "robot", OTHER_INSTALLATION),
            ],
        },
    }


def _make_bots(front: Front, private_key: str) -> None:
    """Emulate makes an App's user, of type Bot, when the App first writes to a repository."""
    front.ask("POST", "/user/repos", {"name": "bots", "auto_init": True})
    for number, installation in ((APP_ID, INSTALLATION), (OTHER_APP_ID, OTHER_INSTALLATION)):
        now = int(time.time())
        claims = {"iss": number, "iat": now - 60, "exp": now + 300}
        by = jwt.encode(claims, private_key, algorithm="RS256")
        path = f"/app/installations/{installation}/access_tokens"
        token = front.ask("POST", path, {}, by=by).json["token"]
        made = front.ask("POST", f"/repos/{OWNER}/bots/git/blobs", {"content": "x"}, by=token)
        assert made.status == 201, made
