"""What GitHub does and emulate does not, or does otherwise. One function for each."""

import base64
import json
import re
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from doubles.github_front import Answer, ApiRequest, Front, Grant, exchange

Match = re.Match[str]
Own = Callable[[Front, ApiRequest, Match], Answer | None]
Mend = Callable[[Front, ApiRequest, Match, Any], Any]

_REPO = r"/repos/(?P<name>[^/]+/[^/]+)"
# Which permission a path needs, the first that matches. A pull request's comments and reactions
# may be made with either of two.
_PERMISSIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (rf"{_REPO}/(git|contents|branches|commits|compare)(/.*)?", ("contents",)),
    (rf"{_REPO}/pulls(/.*)?", ("pull_requests",)),
    (rf"{_REPO}/issues(/.*)?", ("issues", "pull_requests")),
)
# An installation token's length since 2026, within a few.
_TOKEN_LENGTH = 520
_OPEN = ("POST /app-manifests/", "POST /_deliveries")


class GitHubRules:
    """All of them."""

    def own(self, front: Front, request: ApiRequest) -> Answer | None:
        """An answer that needs no emulate: a refusal, or what it has no route for."""
        if found := re.fullmatch(
            r"/(?P<name>[^/]+/[^/]+)/(?P<rest>info/refs|git-upload-pack)", request.path
        ):
            return _git(front, request, found)
        if not request.line.startswith(_OPEN) and (refused := _refused(front, request)):
            return refused
        for method, pattern, rule in _OWN:
            if request.method == method and (found := re.fullmatch(pattern, request.path)):
                return rule(front, request, found)
        return None

    def mended(self, front: Front, request: ApiRequest, answer: Answer) -> Answer:
        """Emulate's answer as GitHub would give it."""
        if re.fullmatch(rf"{_REPO}/collaborators/(?P<login>[^/]+)/permission", request.path):
            return _permission(front, request, answer)
        if answer.status == 404 and (pull := _pull_as_issue(front, request)):
            return pull
        if answer.status >= 400 or not answer.body:
            _carried_down(front, request, answer)
            return answer
        value = answer.json
        for methods, pattern, mend in _MENDED:
            if request.method in methods and (found := re.fullmatch(pattern, request.path)):
                value = mend(front, request, found, value)
        _carried_down(front, request, answer)
        return Answer.of(answer.status, value, answer.headers)


# --- who asks ----------------------------------------------------------------------------------


def _refused(front: Front, request: ApiRequest) -> Answer | None:
    token = request.token
    if token is None or token.startswith("eyJ") or token in front.users:
        return None
    grant = front.grants.get(token)
    if grant is None:
        return Answer.of(401, {"message": "Bad credentials"})
    for pattern, permissions in _PERMISSIONS:
        if found := re.fullmatch(pattern, request.path):
            write = request.method != "GET"
            if grant.permits(found["name"], permissions, write=write):
                return None
            return Answer.of(403, {"message": "Resource not accessible by integration"})
    return None


def _new_token(front: Front, request: ApiRequest, _found: Match, value: Any) -> Any:  # noqa: ANN401
    """GitHub's tokens are long, with dots and dashes, and permit what was asked."""
    names = [repository["full_name"] for repository in value.get("repositories", [])]
    claims = base64.urlsafe_b64decode((request.token or "").split(".")[1] + "==")
    random = secrets.token_urlsafe(_TOKEN_LENGTH)
    token = f"ghs_{random[:200]}.{random[200:440]}-{random[440:512]}"
    front.grants[token] = Grant(
        upstream=value["token"],
        bot=front.bots[str(json.loads(claims)["iss"])],
        permissions=value["permissions"],
        repositories=frozenset(names or front.mirrors),
    )
    return {**value, "token": token}


def _permission(front: Front, request: ApiRequest, answer: Answer) -> Answer:
    """GitHub has four permissions, and one for everybody: to read what is public."""
    found = re.fullmatch(rf"{_REPO}/collaborators/(?P<login>[^/]+)/permission", request.path)
    assert found is not None
    user = front.ask("GET", f"/users/{found['login']}")
    if user.status != 200:
        return Answer.of(404, {"message": f"{unquote(found['login'])} is not a user"})
    least = "read" if found["name"] in front.public else "none"
    given = answer.json.get("permission", least) if answer.status == 200 else least
    known = {"push": "write", "maintain": "write", "triage": "read", "pull": "read"}
    role = {"push": "write", "pull": "read"}.get(given, given)
    shown = {"permission": known.get(given, given), "role_name": role, "user": user.json}
    return Answer.of(200, shown)


# --- git data ----------------------------------------------------------------------------------


def _carried_down(front: Front, request: ApiRequest, answer: Answer) -> None:
    """What the API has written, git shows."""
    found = re.match(rf"{_REPO}/(git/refs|contents|merges|pulls/[0-9]+/merge)", request.path)
    mirror = front.mirrors.get(found["name"]) if found else None
    if mirror is not None and request.method != "GET" and answer.status < 300:
        with front.lock:
            mirror.down()


def _ref(_front: Front, _request: ApiRequest, _found: Match, value: Any) -> Any:  # noqa: ANN401
    """A reference's own address is where it can be changed."""
    if isinstance(value, dict) and "url" in value:
        value["url"] = value["url"].replace("/git/ref/", "/git/refs/")
    return value


def _commit(front: Front, request: ApiRequest, _found: Match, value: Any) -> Any:  # noqa: ANN401
    """GitHub signs what an App commits without naming anybody."""
    unnamed = not request.json.keys() & {"author", "committer"}
    if request.method == "POST" and unnamed and request.token in front.grants:
        front.verified.add(value["sha"])
    if value["sha"] in front.verified:
        value["verification"] |= {"verified": True, "reason": "valid"}
    return value


def _git(front: Front, request: ApiRequest, found: Match) -> Answer:
    """Cloning, for those who may read."""
    name = found["name"].removesuffix(".git")
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    token = None
    if scheme.lower() == "basic":
        token = base64.b64decode(value).decode("utf-8", "replace").partition(":")[2]
    grant = front.grants.get(token or "")
    reads = grant is not None and grant.permits(name, ("contents",), write=False)
    anybody = token is None and name in front.public
    if not (reads or anybody or token in front.users) or name not in front.mirrors:
        return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="GitHub"'})
    passed = ("content-type", "content-encoding", "git-protocol")
    headers = {one: request.headers[one] for one in passed if one in request.headers}
    path = f"/{name}/{found['rest']}" + (f"?{request.query}" if request.query else "")
    return exchange(front.git_port, request.method, path, request.body, headers)


# --- issues and pull requests --------------------------------------------------------------------


def _pull(front: Front, _request: ApiRequest, found: Match, value: Any) -> Any:  # noqa: ANN401
    """A pull request's head is where its branch is now."""
    for pull in value if isinstance(value, list) else [value]:
        _mend_pull(front, found["name"], pull)
    return value


def _mend_pull(front: Front, name: str, pull: dict[str, Any]) -> None:
    if "head" not in pull:
        return
    front.pulls[pull["node_id"]] = f"/repos/{name}/pulls/{pull['number']}"
    head = pull["head"]
    if (head.get("repo") or {}).get("full_name") == name and pull["state"] == "open":
        mirror = front.mirrors.get(name)
        head["sha"] = (mirror and mirror.tip(head["ref"])) or head["sha"]


def _issue(front: Front, _request: ApiRequest, found: Match, value: Any) -> Any:  # noqa: ANN401
    """An issue that is a pull request says so."""
    _mend_issue(front, found["name"], value)
    return value


def _mend_issue(front: Front, name: str, issue: dict[str, Any]) -> None:
    path = f"/repos/{name}/pulls/{issue['number']}"
    if front.ask("GET", path).status == 200:
        issue["pull_request"] = {"url": issue["url"].partition("/repos/")[0] + path}


def _pull_as_issue(front: Front, request: ApiRequest) -> Answer | None:
    """Every pull request is an issue too."""
    found = re.fullmatch(rf"{_REPO}/issues/(?P<number>[0-9]+)", request.path)
    if found is None or request.method != "GET":
        return None
    pull = front.ask("GET", f"/repos/{found['name']}/pulls/{found['number']}")
    if pull.status != 200:
        return None
    url = pull.json["issue_url"]
    shown = {
        "url": url,
        "comments_url": f"{url}/comments",
        "pull_request": {"url": pull.json["url"]},
    }
    return Answer.of(200, pull.json | shown)


def _pull_refused(front: Front, request: ApiRequest, found: Match) -> Answer | None:
    """A pull request that cannot be, or is there already."""
    mirror, asked = front.mirrors.get(found["name"]), request.json
    if mirror is None or not isinstance(asked.get("head"), str):
        return None
    own = found["name"].partition("/")[0]
    label = asked["head"] if ":" in asked["head"] else f"{own}:{asked['head']}"
    owner, _, branch = label.partition(":")
    if owner == own:
        head, base = mirror.tip(branch), mirror.tip(asked["base"])
        if head is None or base is None:
            return _invalid(field="head" if head is None else "base", code="invalid")
        if mirror.contains(base, head):
            return _invalid(message=f"No commits between {asked['base']} and {branch}")
    path = f"/repos/{found['name']}/pulls?state=open&head={label}&base={asked['base']}"
    if front.ask("GET", path).json:
        return _invalid(message=f"A pull request already exists for {label}.")
    return None


def _invalid(*, code: str = "custom", **facts: str) -> Answer:
    error = {"resource": "PullRequest", "code": code, **facts}
    return Answer.of(422, {"message": "Validation Failed", "errors": [error]})


def _graphql(front: Front, request: ApiRequest, _found: Match) -> Answer:
    """What has no REST: a pull request that becomes a draft, or ceases to be one."""
    drafts = {"convertPullRequestToDraft": True, "markPullRequestReadyForReview": False}
    asked = request.json
    for name, draft in drafts.items():
        if name in asked["query"] and front.login(request):
            path = front.pulls[asked["variables"]["input"]["pullRequestId"]]
            front.ask("PATCH", path, {"draft": draft})
            return Answer.of(200, {"data": {name: {"pullRequest": {"isDraft": draft}}}})
    return Answer.of(200, {"errors": [{"type": "FORBIDDEN", "message": "Not here."}]})


def _react(front: Front, request: ApiRequest, found: Match) -> Answer:
    login, content = front.login(request), request.json.get("content")
    if login is None:
        return Answer.of(401, {"message": "Requires authentication"})
    with front.lock:
        kept = front.reactions.setdefault(found["what"], [])
        for one in kept:
            if (one["content"], one["user"]["login"]) == (content, login):
                return Answer.of(200, one)
        user = front.ask("GET", f"/users/{login}").json
        kept.append({"id": secrets.randbits(40), "content": content, "user": user})
        return Answer.of(201, kept[-1])


def _reactions(front: Front, _request: ApiRequest, found: Match) -> Answer:
    return Answer.of(200, front.reactions.get(found["what"], []))


def _unreact(front: Front, _request: ApiRequest, found: Match) -> Answer:
    kept = front.reactions.get(found["what"], [])
    kept[:] = [one for one in kept if one["id"] != int(found["id"])]
    return Answer(status=204)


# --- the App -------------------------------------------------------------------------------------


def _told(front: Front, request: ApiRequest, _found: Match) -> Answer:
    """A delivery of emulate's: mended, and sent on."""
    payload = request.json
    name = payload.get("repository", {}).get("full_name", "")
    if name in front.mirrors:
        if pull := payload.get("pull_request"):
            _mend_pull(front, name, pull)
        if issue := payload.get("issue"):
            _mend_issue(front, name, issue)
            _mend_edited(front, payload, issue)
    front.hooks.send(request.headers["x-github-event"], payload)
    return Answer.of(200, {})


def _mend_edited(front: Front, payload: dict[str, Any], issue: dict[str, Any]) -> None:
    before = front.texts.get(issue["url"], {})
    now = {"title": issue["title"], "body": issue["body"]}
    front.texts[issue["url"]] = now
    if payload["action"] == "edited" and "comment" not in payload:
        payload["changes"] = {
            field: {"from": text} for field, text in before.items() if now[field] != text
        }


def _deliveries(front: Front, _request: ApiRequest, _found: Match) -> Answer:
    # One that goes nowhere is none.
    newest = [one for one in reversed(front.hooks.deliveries) if one.url is not None][:100]
    return Answer.of(200, [one.to_json(whole=False) for one in newest])


def _delivery(front: Front, _request: ApiRequest, found: Match) -> Answer:
    one = front.hooks.find(int(found["id"]))
    return Answer.of(200, one.to_json(whole=True)) if one else _NOT_FOUND


def _redeliver(front: Front, _request: ApiRequest, found: Match) -> Answer:
    return Answer.of(202, {}) if front.hooks.redeliver(int(found["id"])) else _NOT_FOUND


def _manifest(front: Front, _request: ApiRequest, found: Match) -> Answer:
    converted = front.manifests.pop(found["code"], None)
    return Answer.of(201, converted) if converted else _NOT_FOUND


def _repositories(front: Front, request: ApiRequest, _found: Match) -> Answer:
    grant = front.grants.get(request.token or "")
    names = sorted(grant.repositories) if grant else []
    shown = [front.ask("GET", f"/repos/{name}").json for name in names]
    return Answer.of(200, {"total_count": len(shown), "repositories": shown})


_NOT_FOUND = Answer.of(404, {"message": "Not Found"})
_REACTED = rf"(?P<what>{_REPO}/(issues/[0-9]+|(issues|pulls)/comments/[0-9]+))/reactions"
_HOOKS = r"/app/hook/deliveries"

_OWN: tuple[tuple[str, str, Own], ...] = (
    ("POST", r"/_deliveries", _told),
    ("POST", _REACTED, _react),
    ("GET", _REACTED, _reactions),
    ("DELETE", rf"{_REACTED}/(?P<id>[0-9]+)", _unreact),
    ("POST", rf"{_REPO}/pulls", _pull_refused),
    ("POST", r"/graphql", _graphql),
    ("GET", _HOOKS, _deliveries),
    ("GET", rf"{_HOOKS}/(?P<id>[0-9]+)", _delivery),
    ("POST", rf"{_HOOKS}/(?P<id>[0-9]+)/attempts", _redeliver),
    ("POST", r"/app-manifests/(?P<code>[^/]+)/conversions", _manifest),
    ("GET", r"/installation/repositories", _repositories),
)
_MENDED: tuple[tuple[tuple[str, ...], str, Mend], ...] = (
    (("POST",), r"/app/installations/[0-9]+/access_tokens", _new_token),
    (("GET", "POST", "PATCH"), rf"{_REPO}/git/refs?(/.*)?", _ref),
    (("GET", "POST"), rf"{_REPO}/git/commits(/[0-9a-f]+)?", _commit),
    (("GET", "POST", "PATCH"), rf"{_REPO}/pulls(/[0-9]+)?", _pull),
    (("GET", "POST", "PATCH"), rf"{_REPO}/issues/[0-9]+", _issue),
)
