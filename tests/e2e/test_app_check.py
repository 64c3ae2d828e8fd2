"""What the doctor is told of the App, by GitHub itself."""

from contextlib import closing
from datetime import UTC, datetime

import pytest

from doubles.github import GitHub
from doubles.github_front import Fault
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


@pytest.mark.parametrize("line", ["GET /app$", "GET /app/hook/deliveries"])
@pytest.mark.parametrize("page", [{"data": "<html>"}, [{}], [7], None])
def test_an_answer_of_somebody_between(github: GitHub, line: str, page: object) -> None:
    """It is told, and no 500; neither is it one of the sweep's."""
    fault = Fault(match=line, status=200, body=page)
    with github.faults(fault):
        assert set(checked(github, github.app_id)) == {"error"}
    assert fault.times == 0
