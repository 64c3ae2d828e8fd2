"""What the doctor is told of the App, by GitHub itself."""

from contextlib import closing
from datetime import UTC, datetime

import pytest

from doubles.github import GitHub
from gateway.github.access import GitHubAccess
from gateway.github.appcheck import check
from gateway.github.credentials import AppKey

pytestmark = pytest.mark.e2e


def checked(github: GitHub, app_id: str) -> dict[str, object]:
    """`GET /gh-status?check=true` of a deployment with this App."""
    key = AppKey(app_id=app_id, private_key=github.private_key)
    access = GitHubAccess(settings=github.settings, key=lambda: key, patience=1.0)
    with closing(access):
        return check(access, lambda: datetime.now(UTC))


def test_an_app_that_has_what_it_needs(github: GitHub) -> None:
    """Permissions and events are those of the manifest; what was not delivered is counted."""
    found = checked(github, github.app_id)
    assert (found["missingPermissions"], found["missingEvents"]) == ([], [])
    assert isinstance(found["failedDeliveries"], int)


def test_an_app_that_github_does_not_know(github: GitHub) -> None:
    """Deleted, or another one's key: the reason, and no 500."""
    found = checked(github, "999999")
    assert set(found) == {"error"}
    assert "GitHub" in str(found["error"])
