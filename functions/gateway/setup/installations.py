"""Where the App is installed, as GitHub tells it now.

Deliveries tell it too; but on a laptop none arrive, and one that was lost is not noticed.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from claude_run.errors import UpstreamError
from gateway.github.failures import translated
from gateway.setup.record import InstallationRecord

if TYPE_CHECKING:
    from github import GithubIntegration
    from github.Requester import Requester

# Whoever waits for the page waits for all of it.
SECONDS = 12.0
PER_PAGE = 100
# More are counted, and not known by name.
MAX_PAGES = 10
MAX_INSTALLATIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`slug`: the App's name, empty where it is installed nowhere, or the server does not say."""

    slug: str
    installations: list[InstallationRecord]


def look(app: "GithubIntegration", clock: Callable[[], datetime]) -> Found:
    """The installations and the repositories of each; what GitHub cannot say is ours to raise."""
    end = time.monotonic() + SECONDS
    with translated(clock):
        query = {"per_page": MAX_INSTALLATIONS}
        _, found = app.requester.requestJsonAndCheck("GET", "/app/installations", query)
        told = _list(found)[:MAX_INSTALLATIONS]
        installations = [_installation(app, one, end) for one in told]
    return Found(
        slug=next((str(one["app_slug"]) for one in told if one.get("app_slug")), ""),
        installations=installations,
    )


def _installation(app: "GithubIntegration", told: Any, end: float) -> InstallationRecord:  # noqa: ANN401
    try:
        number, owner = int(told["id"]), told["account"]
        # An enterprise has a slug and no login.
        account = str(owner.get("login") or owner["slug"])
        is_suspended = told.get("suspended_at") is not None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _nonsense() from None
    # Its token would be refused.
    if is_suspended:
        return InstallationRecord(id=number, account=account, is_suspended=True)
    with app.get_github_for_installation(number, {"metadata": "read"}) as client:
        names, total = _repositories(client.requester, end)
    return InstallationRecord(
        id=number, account=account, repositories=names, beyond=max(0, total - len(names))
    )


def _repositories(requester: "Requester", end: float) -> tuple[dict[str, str], int]:
    names: dict[str, str] = {}
    total = 0
    for total, page in _pages(requester, end):  # noqa: B007 - of the last page
        names.update(page)
    return names, total


def _pages(requester: "Requester", end: float) -> Iterator[tuple[int, dict[str, str]]]:
    for number in range(1, MAX_PAGES + 1):
        if time.monotonic() > end:
            raise UpstreamError("GitHub takes too long to tell the repositories.")
        query = {"per_page": PER_PAGE, "page": number}
        _, found = requester.requestJsonAndCheck("GET", "/installation/repositories", query)
        try:
            total = int(found["total_count"])
            page = {str(one["id"]): str(one["full_name"]) for one in found["repositories"]}
        except (KeyError, TypeError, ValueError):
            raise _nonsense() from None
        yield total, page
        if len(page) < PER_PAGE:
            return


def _list(found: Any) -> list[Any]:  # noqa: ANN401 - GitHub's
    if not isinstance(found, list):
        raise _nonsense()
    return found


def _nonsense() -> UpstreamError:
    return UpstreamError("GitHub's answer about installations cannot be understood.")
