"""GitHub's list of deliveries, page by page: how far it is read, and what is asked for again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self, cast

import pytest

from claude_run.errors import UpstreamError
from gateway.github.access import GitHubAccess
from gateway.github.redeliveries import LOOK_BACK, MAX_PAGES, MAX_REDELIVERIES, Redeliveries

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PER_PAGE = 3


def told(number: int, *, status: int = 502, age: timedelta = timedelta(hours=1)) -> dict[str, Any]:
    """One try, as GitHub tells it."""
    at = (NOW - age).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"id": number, "guid": f"g-{number}", "delivered_at": at, "status_code": status}


@dataclass
class Hooks:
    """GitHub, its client and the way to it: pages by their cursor."""

    page: Callable[[int], Any]
    asked: list[str] = field(default_factory=list)

    @property
    def requester(self) -> Self:
        """The client's."""
        return self

    def app(self) -> Self:
        """The App's client."""
        return self

    def requestJsonAndCheck(self, verb: str, url: str) -> tuple[dict[str, str], Any]:  # noqa: N802
        """What is asked of GitHub."""
        self.asked.append(f"{verb} {url}")
        if verb == "POST":
            return {}, {}
        number = int(url.partition("cursor=v1_")[2] or 0)
        link = f'<https://x/app/hook/deliveries?per_page=100&cursor=v1_{number + 1}>; rel="next"'
        return {"link": link} if self.page(number + 1) else {}, self.page(number)

    def ask(self) -> list[str]:
        """What was asked for again."""
        access = cast("GitHubAccess", self)
        assert Redeliveries(access, lambda: NOW).ask() == len(self.again)
        return self.again

    @property
    def again(self) -> list[str]:
        """The paths of those."""
        return [one.removeprefix("POST ") for one in self.asked if one.startswith("POST")]

    @property
    def pages(self) -> int:
        """How many were read."""
        return len(self.asked) - len(self.again)


def test_all_pages_are_read() -> None:
    """What failed is on the last one, too; what arrived in the end is not asked for."""
    pages = [[told(1, status=200)], [told(2), told(1)], [told(3)]]
    hooks = Hooks(page=lambda number: pages[number] if number < len(pages) else [])
    assert hooks.ask() == [f"/app/hook/deliveries/{number}/attempts" for number in (2, 3)]
    assert hooks.pages == 3


def test_a_list_without_an_end_is_read_no_further() -> None:
    """The next look sees what there is then."""
    hooks = Hooks(page=lambda number: [told(number, status=200)])
    assert hooks.ask() == []
    assert hooks.pages == MAX_PAGES


def test_what_is_too_old_is_the_end() -> None:
    """GitHub would not bring it any more."""
    old = LOOK_BACK + timedelta(minutes=1)
    hooks = Hooks(page=lambda number: [told(1), told(2, age=old)] if number < 9 else [])
    assert hooks.ask() == ["/app/hook/deliveries/1/attempts"]
    assert hooks.pages == 1


def test_one_look_asks_for_so_many() -> None:
    """The rest is left for the next one."""
    many = [told(number) for number in range(MAX_REDELIVERIES + 7)]
    hooks = Hooks(page=lambda number: [] if number else many)
    assert len(hooks.ask()) == MAX_REDELIVERIES


@pytest.mark.parametrize(
    "page",
    [
        {"data": "<html>"},
        ["x"],
        [{}],
        [told(1) | {"delivered_at": "yesterday"}],
        [told(1) | {"delivered_at": None}],
        [told(1) | {"status_code": "OK"}],
    ],
)
def test_what_is_no_list_of_githubs(page: object) -> None:
    """It is GitHub's failure: the sweep goes on without it."""
    with pytest.raises(UpstreamError):
        Hooks(page=lambda number: None if number else page).ask()


def test_a_time_without_a_zone_is_utc_or_none() -> None:
    """It can be compared."""
    naive = told(1) | {"delivered_at": "2026-11-22T11:00:00"}
    assert len(Hooks(page=lambda number: [] if number else [naive]).ask()) <= 1
