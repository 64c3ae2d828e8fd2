"""What GitHub delivers: bodies of every event and action, signed as it signs them.

The events that we read are whole, with all the links that surround them; of the others there are
the keys that tell them apart, as GitHub's own description lists them.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

Json = dict[str, Any]

SECRET = "planted-webhook-secret-0123456789"
SLUG = "our-app"
APP_ID = 4711
INSTALLATION_ID = 77
REPOSITORY_ID = 1296269
NOW = "2026-11-25T20:00:00Z"
API = "https://api.github.com"
HOME = "https://github.com"

_ACCOUNT_LINKS = (
    "followers following gists starred subscriptions organizations repos events received_events"
)
_REPOSITORY_LINKS = (
    "forks keys collaborators teams hooks issue_events events assignees branches tags blobs "
    "git_tags git_refs trees statuses languages stargazers contributors subscribers subscription "
    "commits git_commits comments issue_comment contents compare merges archive downloads issues "
    "pulls milestones notifications labels releases deployments git ssh clone svn"
)
_ISSUE_LINKS = "repository labels comments events timeline"


def _links(names: str, base: str) -> Json:
    return {f"{name}_url": f"{base}/{name}{{/one}}" for name in names.split()}


def account(login: str = "mona", *, id: int = 501, type: str = "User") -> Json:  # noqa: A002
    """A person, unless said otherwise."""
    base = f"{API}/users/{login}"
    return {
        "login": login,
        "id": id,
        "node_id": f"U_{id}",
        "avatar_url": f"https://avatars.githubusercontent.com/u/{id}?v=4",
        "url": base,
        "html_url": f"{HOME}/{login}",
        **_links(_ACCOUNT_LINKS, base),
        "type": type,
        "user_view_type": "public",
        "site_admin": False,
    }


BOT = account("dependabot[bot]", id=49699333, type="Bot")
OURSELVES = account(f"{SLUG}[bot]", id=700, type="Bot")


def repository(*, id: int = REPOSITORY_ID, full_name: str = "octo/hello") -> Json:  # noqa: A002
    """A repository of an organisation."""
    owner, _, name = full_name.partition("/")
    base = f"{API}/repos/{full_name}"
    return {
        "id": id,
        "node_id": f"R_{id}",
        "name": name,
        "full_name": full_name,
        "private": True,
        "owner": account(owner, id=9000, type="Organization"),
        "html_url": f"{HOME}/{full_name}",
        "description": "A repository of tests",
        "fork": False,
        "url": base,
        **_links(_REPOSITORY_LINKS, base),
        "created_at": NOW,
        "updated_at": NOW,
        "pushed_at": NOW,
        "size": 180,
        "stargazers_count": 3,
        "language": "Python",
        "has_issues": True,
        "topics": [],
        "visibility": "private",
        "open_issues_count": 2,
        "default_branch": "main",
    }


def label(name: str) -> Json:
    """A label."""
    return {"id": 8, "node_id": "LA_8", "url": API, "name": name, "color": "ededed"}


def issue(
    number: int = 7,
    *,
    title: str = "Add a greeting",
    body: str | None = "Please greet the user by name.",
    labels: tuple[str, ...] = (),
    assignees: tuple[str, ...] = (),
    is_pull: bool = False,
) -> Json:
    """An issue, or what stands for a pull request where comments are made."""
    base = f"{API}/repos/octo/hello/issues/{number}"
    pull = {"pull_request": {"url": f"{API}/repos/octo/hello/pulls/{number}"}} if is_pull else {}
    return {
        "url": base,
        **_links(_ISSUE_LINKS, base),
        "html_url": f"{HOME}/octo/hello/issues/{number}",
        "id": 444500 + number,
        "node_id": f"I_{number}",
        "number": number,
        "title": title,
        "user": account(),
        "labels": [label(name) for name in labels],
        "state": "open",
        "locked": False,
        "assignee": None,
        "assignees": [account(login, id=600) for login in assignees],
        "milestone": None,
        "comments": 0,
        "created_at": NOW,
        "updated_at": NOW,
        "author_association": "MEMBER",
        "body": body,
        "reactions": {"url": f"{base}/reactions", "total_count": 0, "+1": 0, "-1": 0},
        **pull,
    }


def pull_request(number: int = 9) -> Json:
    """A pull request."""
    side = {"label": "octo:main", "ref": "main", "sha": "0" * 40, "repo": repository()}
    return {
        "url": f"{API}/repos/octo/hello/pulls/{number}",
        "id": 555000 + number,
        "number": number,
        "title": "Greet",
        "user": account(),
        "body": "It greets.",
        "html_url": f"{HOME}/octo/hello/pull/{number}",
        "state": "open",
        "head": side,
        "base": side,
        "created_at": NOW,
        "updated_at": NOW,
    }


def comment(body: str, *, id: int = 3001, **fields: Any) -> Json:  # noqa: A002, ANN401
    """A comment."""
    return {
        "url": f"{API}/repos/octo/hello/issues/comments/{id}",
        "html_url": f"{HOME}/octo/hello/issues/7#issuecomment-{id}",
        "id": id,
        "node_id": f"IC_{id}",
        "user": account(),
        "created_at": NOW,
        "updated_at": NOW,
        "author_association": "MEMBER",
        "body": body,
        **fields,
    }


def event(action: str | None, *, sender: Json | None = None, **parts: Any) -> Json:  # noqa: ANN401
    """What every event of a repository has, and what this one has besides."""
    return {
        **({"action": action} if action is not None else {}),
        **parts,
        "repository": repository(),
        "organization": {"login": "octo", "id": 9000},
        "sender": sender or account(),
        "installation": {"id": INSTALLATION_ID, "node_id": "MDIz"},
    }


def opened(number: int = 7, *, sender: Json | None = None, **fields: Any) -> Json:  # noqa: ANN401
    """`issues`, opened."""
    return event("opened", issue=issue(number, **fields), sender=sender)


def edited(changes: Mapping[str, str | None], *, sender: Json | None = None, **fields: Any) -> Json:  # noqa: ANN401
    """`issues`, edited: what stood there before, and what stands there now."""
    before = {name: {"from": text} for name, text in changes.items()}
    return event("edited", issue=issue(**fields), changes=before, sender=sender)


def commented(body: str, *, is_pull: bool = False, sender: Json | None = None) -> Json:
    """`issue_comment`, created."""
    return event("created", issue=issue(is_pull=is_pull), comment=comment(body), sender=sender)


def reviewed(body: str | None, *, sender: Json | None = None) -> Json:
    """`pull_request_review`, submitted."""
    review = {
        "id": 80,
        "user": account(),
        "body": body,
        "commit_id": "0" * 40,
        "submitted_at": NOW,
        "state": "commented",
        "html_url": f"{HOME}/octo/hello/pull/9#pullrequestreview-80",
    }
    return event("submitted", review=review, pull_request=pull_request(), sender=sender)


def review_commented(body: str, *, sender: Json | None = None) -> Json:
    """`pull_request_review_comment`, created."""
    stands = comment(body, id=9001, path="src/greet.py", line=12, diff_hunk="@@ -1 +1 @@")
    return event("created", comment=stands, pull_request=pull_request(), sender=sender)


def installed(action: str, *names: str, app_id: int = APP_ID, **fields: Any) -> Json:  # noqa: ANN401
    """`installation`, with its repositories where it is created."""
    named = {"repositories": _installed(names)} if action == "created" else {}
    return {
        "action": action,
        "installation": _installation(app_id, **fields),
        **named,
        "requester": None,
        "sender": account(),
    }


def repositories_changed(action: str, *names: str) -> Json:
    """`installation_repositories`: these were added, or removed."""
    added = names if action == "added" else ()
    removed = names if action == "removed" else ()
    return {
        "action": action,
        "installation": _installation(APP_ID),
        "repository_selection": "selected",
        "repositories_added": _installed(added),
        "repositories_removed": _installed(removed),
        "requester": None,
        "sender": account(),
    }


def _installation(app_id: int, **fields: Any) -> Json:  # noqa: ANN401
    return {
        "id": INSTALLATION_ID,
        "account": account("octo", id=9000, type="Organization"),
        "repository_selection": "selected",
        "app_id": app_id,
        "app_slug": SLUG,
        "permissions": {"contents": "write", "issues": "write"},
        "events": ["issues"],
        "suspended_at": None,
        **fields,
    }


def _installed(names: tuple[str, ...]) -> list[Json]:
    return [
        {"id": 100 + number, "name": name, "full_name": f"octo/{name}", "private": True}
        for number, name in enumerate(names)
    ]


PING: Json = {"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {"type": "App"}}

# Event | actions (`-`: it has none) | the keys that are always there, besides.
# As https://github.com/github/rest-api-description lists them for all its products.
_CATALOGUE = """
branch_protection_configuration | disabled enabled |
branch_protection_rule | created deleted edited | rule
cache_sync | - | after before cache_location ref
check_run | completed created requested_action rerequested | check_run
check_suite | completed requested rerequested | check_suite
code_scanning_alert | appeared_in_branch closed_by_user created fixed reopened reopened_by_user | alert commit_oid ref
commit_comment | created | comment
create | - | description master_branch pusher_type ref ref_type
custom_property | created deleted promote_to_enterprise updated | definition
custom_property_values | updated | new_property_values old_property_values
delete | - | pusher_type ref ref_type
dependabot_alert | auto_dismissed auto_reopened created dismissed fixed reintroduced reopened | alert
deploy_key | created deleted | key
deployment | created | deployment workflow workflow_run
deployment_protection_rule | requested | deployment environment pull_requests
deployment_review | approved rejected requested | since workflow_run comment
deployment_status | created | deployment deployment_status
discussion | answered category_changed closed created deleted edited labeled locked pinned reopened transferred unanswered unlabeled unlocked unpinned | discussion label
discussion_comment | created deleted edited | comment discussion
dismissal_request_code_scanning | created response_submitted | exemption_request
dismissal_request_secret_scanning | cancelled completed created response_dismissed response_submitted | exemption_request
enterprise | anonymous_access_disabled anonymous_access_enabled |
exemption_request_push_ruleset | cancelled completed created response_dismissed response_submitted | exemption_request
exemption_request_secret_scanning | cancelled completed created response_dismissed response_submitted | exemption_request
fork | - | forkee
github_app_authorization | revoked |
gollum | - | pages
installation_target | renamed | account changes target_type
issue_comment | deleted edited | issue comment
issue_dependencies | blocked_by_added blocked_by_removed blocking_added blocking_removed | blocked_issue blocked_issue_id blocking_issue blocking_issue_id
issues | closed deleted demilestoned locked milestoned pinned reopened transferred typed unassigned unlabeled unlocked unpinned untyped | issue
label | created deleted edited | label
marketplace_purchase | cancelled changed pending_change pending_change_cancelled purchased | effective_date marketplace_purchase
member | added edited removed | member
membership | added removed | member scope team
merge_group | checks_requested destroyed | merge_group
meta | deleted | hook hook_id
milestone | closed created deleted edited opened | milestone
org_block | blocked unblocked | blocked_user
organization | deleted member_added member_invited member_removed renamed | membership
organization_custom_property | created deleted updated | definition
organization_custom_property_values | updated | new_property_values old_property_values
package | published updated | package
page_build | - | build id
personal_access_token_request | approved cancelled created denied | personal_access_token_request
project | closed created deleted edited reopened | project
project_card | converted created deleted edited moved | project_card
project_column | created deleted edited moved | project_column
projects_v2 | closed created deleted edited reopened | projects_v2
projects_v2_item | archived converted created deleted edited reordered restored | projects_v2_item
projects_v2_status_update | created deleted edited | projects_v2_status_update
public | - |
pull_request | assigned auto_merge_disabled auto_merge_enabled closed converted_to_draft demilestoned dequeued edited enqueued labeled locked milestoned opened ready_for_review reopened review_request_removed review_requested synchronize unassigned unlabeled unlocked | number pull_request label
pull_request_review | dismissed edited | pull_request review
pull_request_review_comment | deleted edited | comment pull_request
pull_request_review_thread | resolved unresolved | pull_request thread
push | - | after base_ref before commits compare created deleted forced head_commit pusher ref
registry_package | published updated | registry_package
release | created deleted edited prereleased published released unpublished | release
repository | anonymous_access_disabled anonymous_access_enabled archived created deleted edited privatized publicized renamed transferred unarchived |
repository_advisory | published reported | repository_advisory
repository_dispatch | anything | branch client_payload
repository_import | - | status
repository_ruleset | created deleted edited | repository_ruleset
repository_vulnerability_alert | create dismiss reopen resolve | alert
secret_scanning_alert | assigned created publicly_leaked reopened resolved unassigned validated | alert
secret_scanning_alert_location | created | alert location
secret_scanning_scan | completed | completed_at source started_at type
security_advisory | published updated withdrawn | security_advisory
security_and_analysis | - | changes
sponsorship | cancelled created edited pending_cancellation pending_tier_change tier_changed | sponsorship
star | created deleted | starred_at
status | - | branches commit context created_at description id name sha state target_url updated_at
sub_issues | parent_issue_added parent_issue_removed sub_issue_added sub_issue_removed | parent_issue parent_issue_id sub_issue sub_issue_id
team | added_to_repository created deleted edited removed_from_repository | team
team_add | - | team
user | created deleted | user
watch | started |
workflow_dispatch | - | inputs ref workflow
workflow_job | completed in_progress queued waiting | workflow_job
workflow_run | completed in_progress requested | workflow workflow_run
"""  # noqa: E501

# What stands in the catalogue's keys, where it matters what it is: all of them ask for us by name.
_ASKING = "@claude please"
_VALUES: Mapping[str, Any] = {
    "issue": issue(body=_ASKING, labels=("claude",)),
    "blocked_issue": issue(body=_ASKING),
    "sub_issue": issue(body=_ASKING),
    "pull_request": {**pull_request(), "body": _ASKING},
    "comment": comment(_ASKING),
    "review": reviewed(_ASKING)["review"],
    "label": label("claude"),
    "client_payload": {"issue": issue(body=_ASKING), "comment": comment(_ASKING)},
    "account": account("octo"),
}


def of_others() -> Iterator[tuple[str, str | None, Json]]:
    """Every event and action that is not ours, with a body of each."""
    for line in _CATALOGUE.strip().splitlines():
        name, actions, keys = (part.strip() for part in line.split("|"))
        parts = {key: _VALUES.get(key, {"id": 1}) for key in keys.split()}
        for word in actions.split():
            action = None if word == "-" else word
            yield name, action, event(action, **parts)


def signature(body: bytes, secret: str = SECRET) -> str:
    """As GitHub signs a body."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def encoded(body: Json) -> bytes:
    """A body as it is sent: UTF-8, nothing escaped that need not be."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def headers(event: str, body: bytes, *, delivery: str | None = None) -> dict[str, str]:
    """A delivery's headers."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/0123abc",
        "X-GitHub-Hook-ID": "1",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or str(uuid4()),
        "X-GitHub-Hook-Installation-Target-ID": str(APP_ID),
        "X-GitHub-Hook-Installation-Target-Type": "integration",
        "X-Hub-Signature-256": signature(body),
    }
