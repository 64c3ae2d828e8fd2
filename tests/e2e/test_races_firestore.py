"""Limits, quota and the work queue under races, in Firestore's emulator."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from doubles.firestore_emulator import Emulator, firestore_emulator
from quota_contract import RaceContract
from work_contract import WorkContract

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("firestore")]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One emulator for all tests: each has a project of its own in it."""
    with firestore_emulator() as emulator:
        yield emulator


@pytest.fixture
def url(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty database."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.host)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    return f"firestore://test-{uuid4().hex[:20]}/(default)"


class TestRacesOnFirestore(RaceContract):
    """The suite that SQLite passes too."""

    # The emulator lets transactions of different processes wait for each other's locks until they
    # time out: a second for each.
    processes = 2
    calls = 7
    starts = 2


class TestWorkOnFirestore(WorkContract):
    """The same of deliveries and workers."""

    deliveries = 12
    workers = 4
    issues = 2
