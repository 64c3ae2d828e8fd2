"""What GitHub is asked for: no more than is needed, and where it can be answered."""

import json

import pytest

from claude_run.errors import CallerError
from doubles.github_apps import complaint
from gateway.setup.manifest import (
    Request,
    app_url,
    organisation_of,
    settings_url,
    webhook_url_for,
)

OURS = "https://setup.example"
HOOK = "https://webhook.example/webhooks/github"
GITHUB = "https://github.com"


def request(
    organisation: str | None = None,
    webhook_url: str | None = HOOK,
    server_url: str = GITHUB,
    suffix: str = "c0ffee",
) -> Request:
    """An App to ask for."""
    return Request(
        origin=OURS,
        server_url=server_url,
        organisation=organisation,
        webhook_url=webhook_url,
        suffix=suffix,
    )


def test_the_manifest() -> None:
    """Exactly the permissions and events that are used; workflows are not among them."""
    assert json.loads(request().to_json()) == {
        "name": "claude-run-c0ffee",
        "description": "Turns issues into pull requests with Claude Code.",
        "url": f"{OURS}/gh-setup",
        "redirect_url": f"{OURS}/gh-setup/callback",
        "setup_url": f"{OURS}/gh-setup",
        "setup_on_update": True,
        "public": False,
        "hook_attributes": {"url": HOOK, "active": True},
        "default_permissions": {
            "contents": "write",
            "issues": "write",
            "metadata": "read",
            "pull_requests": "write",
        },
        "default_events": [
            "issues",
            "issue_comment",
            "pull_request_review",
            "pull_request_review_comment",
        ],
    }


def test_without_a_webhook_nothing_is_subscribed_to() -> None:
    """GitHub takes neither a hook without a URL nor events without a hook."""
    manifest = request(webhook_url=None).manifest()
    assert not {"hook_attributes", "default_events"} & manifest.keys()
    assert complaint(manifest) is None


def test_where_the_form_goes() -> None:
    """To the person's own settings or the organisation's, on whichever server."""
    assert request().action == "https://github.com/settings/apps/new"
    ghes = request("acme", server_url="https://github.acme.example/git")
    assert ghes.action == "https://github.acme.example/git/organizations/acme/settings/apps/new"


@pytest.mark.parametrize("organisation", ["acme", "a" * 39, f"{'a' * 22}-b", f"{'a' * 15}-b"])
@pytest.mark.parametrize("suffix", ["", "c0ffee"])
def test_the_name_is_one_that_github_takes(organisation: str, suffix: str) -> None:
    """However long the organisation's; what makes it a new one is not cut off."""
    wanted = request(organisation, suffix=suffix)
    assert complaint(wanted.manifest()) is None
    assert wanted.name.startswith("claude-run-a")
    assert wanted.name.endswith(suffix)
    assert not wanted.name.endswith("-")
    assert "--" not in wanted.name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a/b", "a?b", "..", "a b", "a" * 40, "é", "a\n"])
def test_an_organisation_is_a_name(name: str) -> None:
    """It becomes part of a URL."""
    with pytest.raises(CallerError, match="organization: must be"):
        organisation_of(name)


def test_an_organisations_name() -> None:
    """As GitHub has them."""
    for name in ("a", "acme", "Acme-2", "a" * 39):
        assert organisation_of(name) == name


@pytest.mark.parametrize(
    ("origin", "server", "reached"),
    [
        ("https://setup.example", GITHUB, True),
        ("http://127.0.0.1:8080", GITHUB, False),
        ("http://localhost:8080", GITHUB, False),
        ("http://[::1]:8080", GITHUB, False),
        ("http://127.0.0.1:8080", "http://localhost:4000", True),
    ],
)
def test_github_does_not_reach_a_laptop(origin: str, server: str, reached: bool) -> None:
    """Unless it is on it as well."""
    found = webhook_url_for(origin, "/webhooks/github", server)
    assert found == (f"{origin}/webhooks/github" if reached else None)


def test_links_lead_to_github() -> None:
    """Its own, if it tells one that is; on an Enterprise Server they are called otherwise."""
    assert app_url(GITHUB, slug="a") == "https://github.com/apps/a"
    assert app_url("https://ghes.example", slug="a") == "https://ghes.example/github-apps/a"
    assert app_url(GITHUB, slug="a", told=f"{GITHUB}/apps/b") == f"{GITHUB}/apps/b"
    for told in (
        "https://evil.example/apps/a",
        "javascript:alert(1)",
        f"{GITHUB}.evil.example/a",
        f"{GITHUB}/apps/a\n",
        f"{GITHUB}/apps/a?x=<script>",
    ):
        assert app_url(GITHUB, slug="a", told=told) == "https://github.com/apps/a"
    own = settings_url(GITHUB, owner="octo", slug="a", is_organisation=False)
    assert own == "https://github.com/settings/apps/a"
    acme = settings_url(GITHUB, owner="acme", slug="a", is_organisation=True)
    assert acme == "https://github.com/organizations/acme/settings/apps/a"
