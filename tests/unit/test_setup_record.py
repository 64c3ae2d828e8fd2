"""What is known of the App stays true, in whatever order deliveries come."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from claude_run.errors import CallerError, Code
from gateway import deployment
from gateway.setup import record
from gateway.setup.record import (
    MAX_INSTALLATIONS,
    MAX_NAME,
    MAX_REMOVED,
    MAX_REPOSITORIES,
    AppRecord,
    Apps,
    InstallationRecord,
    InstallationRef,
)
from gateway.store import MAX_DOCUMENT_BYTES, Store, open_store
from gateway.store.document import own_copy

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
APP = AppRecord(
    app_id="7", slug="our-app", owner="octo", set_up_at=NOON, url="https://github.com/apps/our-app"
)
REF = InstallationRef(app_id="7", slug="our-app", id=1001, account="octo")
ONE, TWO, THREE = {"11": "octo/one"}, {"12": "octo/two"}, {"13": "octo/three"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    url = f"sqlite://{tmp_path}/state/gateway.db"
    store = open_store(url, collections=[deployment.COLLECTION], clock=lambda: NOON)
    yield store
    store.close()


@pytest.fixture
def apps(store: Store) -> Apps:
    """The App of a deployment that has just been set up."""
    apps = Apps(store, lambda: NOON)
    apps.store(APP)
    return apps


def known(apps: Apps) -> AppRecord:
    """What is there; it must be."""
    found = apps.record()
    assert found is not None
    return found


def test_what_is_stored_is_read_again(store: Store, apps: Apps) -> None:
    """All fields, and by another process as well; before that there is nothing."""
    apps.installed(REF, ONE | TWO)
    apps.installed(replace(REF, id=1002, account="other"), THREE, is_suspended=True)
    apps.removed(replace(REF, id=1000))
    expected = replace(
        APP,
        removed=(1000,),
        installations={
            "1001": InstallationRecord(id=1001, account="octo", repositories=ONE | TWO),
            "1002": InstallationRecord(
                id=1002, account="other", repositories=THREE, is_suspended=True
            ),
        },
    )
    assert Apps(store, lambda: NOON).record() == expected
    assert (expected.repository_count, expected.installation_id) == (2, 1001)


def test_nothing_is_known_before_the_set_up(store: Store) -> None:
    """Absent is None, also where the environment names an App."""
    assert Apps(store, lambda: NOON).record() is None
    assert Apps(store, lambda: NOON, app_id="7").record() is None
    assert (APP.repository_count, APP.installation_id) == (0, None)


def test_the_same_delivery_again_changes_nothing(apps: Apps) -> None:
    """Each step may be done again, and a late `installed` does not undo later changes."""
    apps.installed(REF, ONE | TWO)
    for _ in range(2):
        apps.repositories_changed(REF, added=THREE, removed=["11"])
        assert known(apps).installations["1001"].repositories == TWO | THREE
    apps.installed(REF, ONE | TWO)
    assert known(apps).installations["1001"].repositories == TWO | THREE
    for _ in range(2):
        apps.removed(REF)
        assert known(apps) == replace(APP, removed=(1001,))


def test_changes_may_come_before_the_installation(apps: Apps) -> None:
    """GitHub keeps no order: nothing that was told is lost."""
    apps.repositories_changed(REF, added=THREE, removed=[])
    assert known(apps).repository_count == 1
    apps.installed(REF, ONE | TWO)
    found = known(apps).installations["1001"]
    assert (dict(found.repositories), found.is_whole) == (ONE | TWO | THREE, True)


def test_what_was_removed_does_not_come_back(apps: Apps) -> None:
    """A delivery that was late, and one that GitHub sends again after days."""
    apps.removed(REF)
    apps.installed(REF, ONE)
    apps.repositories_changed(REF, added=TWO, removed=[])
    assert known(apps).installations == {}


def test_a_suspended_installation_reaches_nothing(apps: Apps) -> None:
    """Its repositories are kept for when it works again."""
    apps.installed(REF, ONE | TWO)
    apps.installed(REF, None, is_suspended=True)
    assert (known(apps).repository_count, known(apps).installation_id) == (0, None)
    apps.installed(REF, None)
    assert (known(apps).repository_count, known(apps).installation_id) == (2, 1001)


def test_deliveries_of_another_app_are_not_ours(apps: Apps) -> None:
    """While an App is replaced, both sign with a secret that is valid."""
    old = replace(REF, app_id="6", slug="old-app")
    apps.installed(old, ONE)
    apps.removed(replace(old, id=1002))
    assert known(apps) == APP


def test_a_new_app_takes_the_place_of_the_old(apps: Apps) -> None:
    """With none of its installations, and where that was asked for; the same App keeps them."""
    apps.installed(REF, ONE)
    apps.store(replace(APP, slug="renamed"))
    assert known(apps).slug == "renamed"
    assert known(apps).repository_count == 1
    with pytest.raises(CallerError) as caught:
        apps.store(replace(APP, app_id="8"), replaces="6")
    assert (caught.value.code, known(apps).app_id) == (Code.CONFLICT, "7")
    apps.store(replace(APP, app_id="8"), replaces="7")
    assert known(apps) == replace(APP, app_id="8")


def test_deliveries_tell_the_apps_new_name(apps: Apps) -> None:
    """Whoever renames the App on GitHub goes on mentioning it by name."""
    apps.installed(replace(REF, slug="renamed"), ONE)
    assert known(apps).slug == "renamed"


def test_an_app_that_somebody_brings_along_is_learned_from_its_deliveries(store: Store) -> None:
    """The environment has its number only; an App that was set up before is then past."""
    Apps(store, lambda: NOON).store(APP)
    apps = Apps(store, lambda: NOON, app_id="9")
    assert apps.record() is None
    apps.installed(REF, ONE)
    assert apps.record() is None
    apps.installed(replace(REF, app_id="9", slug="brought"), TWO)
    assert (known(apps).app_id, known(apps).slug, known(apps).owner) == ("9", "brought", "octo")
    assert known(apps).installations["1001"].repositories == TWO


def test_the_document_stays_within_its_bounds() -> None:
    """With as much as can be told, it can be stored, and the count is right."""
    long = "o" * 39 + "/" + "r" * 100
    assert len(long) == MAX_NAME
    names = {str(10**18 + number): long for number in range(MAX_REPOSITORIES + 500)}
    found = APP.with_installation(InstallationRecord(id=1, account="octo", repositories=names))
    for number in range(10**15, 10**15 + MAX_INSTALLATIONS + 5):
        one = InstallationRecord(id=number, account="a" * 39, repositories=ONE)
        found = found.with_installation(one)
    for number in range(10**14, 10**14 + MAX_REMOVED + 5):
        found = found.without_installation(number)
    assert len(found.installations) == MAX_INSTALLATIONS
    assert len(found.removed) == MAX_REMOVED
    kept = [name for one in found.installations.values() for name in one.repositories]
    assert len(kept) == MAX_REPOSITORIES
    assert found.repository_count == MAX_REPOSITORIES + 500 + MAX_INSTALLATIONS - 1
    assert own_copy(record.PATH, found.to_data())[1] < MAX_DOCUMENT_BYTES


def test_repositories_that_are_not_known_by_name_are_counted(apps: Apps) -> None:
    """One that leaves takes one from the count, never below none."""
    odd = {"14": "octo/" + "n" * MAX_NAME}
    apps.installed(REF, ONE | odd)
    assert (known(apps).repository_count, known(apps).installations["1001"].beyond) == (2, 1)
    apps.repositories_changed(REF, added={}, removed=["14", "15"])
    assert (known(apps).repository_count, known(apps).installations["1001"].beyond) == (1, 0)
