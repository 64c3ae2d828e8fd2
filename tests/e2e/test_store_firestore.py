"""The contract on Firestore's emulator, through the real client, and what a network does to it."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from claude_run.errors import Code
from doubles.firestore_emulator import Emulator, firestore_emulator, free_port
from doubles.firestore_proxy import COMMIT, Proxy, firestore_proxy, once
from gateway.store import (
    AlreadyExistsError,
    Create,
    Delete,
    Increment,
    Put,
    Store,
    StoreUnavailableError,
    Transaction,
    Update,
    open_store,
    ping,
)
from store_contract import COLLECTIONS, LATER, Clock, StoreContract, all_at_once

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("firestore")]
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """One emulator for all tests: each has a project of its own in it."""
    with firestore_emulator() as emulator:
        yield emulator


@pytest.fixture
def url(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty database."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.host)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    return f"firestore://test-{uuid4().hex[:20]}/(default)"


def opened(url: str, clock: Clock | None = None) -> Store:
    """A store of the contract's collections."""
    return open_store(url, collections=COLLECTIONS, clock=clock or Clock())


class TestFirestore(StoreContract):
    """The suite that SQLite passes too."""


@pytest.fixture
def proxy(
    url: str,  # noqa: ARG001 - it sets the emulator's host first
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Proxy]:
    """A network that can be broken."""
    with firestore_proxy(emulator.host) as proxy:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", proxy.host)
        yield proxy


@pytest.fixture
def store(proxy: Proxy, url: str) -> Iterator[Store]:  # noqa: ARG001 - opened through it
    """A store behind that network."""
    store = opened(url)
    yield store
    store.close()


def test_a_read_that_is_lost_is_asked_again(store: Store, proxy: Proxy) -> None:
    """Nobody notices."""
    store.write([Put("parts/a", {})])
    proxy.after = once("/google.firestore.v1.Firestore/BatchGetDocuments")
    assert store.get("parts/a")
    assert len(proxy.calls) == 3


def test_a_batch_that_creates_is_sent_again(store: Store, proxy: Proxy) -> None:
    """It cannot happen twice; lost before it arrived, it succeeds."""
    proxy.before = once(COMMIT)
    store.write([Create("parts/a", {}), Increment("parts/count", {"n": 1})])
    found = store.get("parts/count")
    assert found is not None
    assert found.data == {"n": 1}


def test_a_batch_that_may_have_happened_is_no_conflict(store: Store, proxy: Proxy) -> None:
    """Applied, its answer lost: sent again it meets itself. Unknown, not "it already exists"."""
    proxy.after = once(COMMIT)
    with pytest.raises(StoreUnavailableError) as caught:
        store.write([Create("parts/a", {}), Increment("parts/count", {"n": 1})])
    assert caught.value.is_outcome_unknown
    found = store.get("parts/count")
    assert found is not None
    assert found.data == {"n": 1}


def _count(transaction: Transaction) -> None:
    found = transaction.get("parts/a")
    transaction.write(Put("parts/a", {"n": found.data["n"] + 1 if found else 1}))


@pytest.mark.parametrize("write", [Increment("parts/a", {"n": 1}), Delete("parts/a")])
def test_what_could_happen_twice_is_sent_once(
    store: Store, proxy: Proxy, write: Increment | Delete
) -> None:
    """Its outcome is unknown to the caller."""
    proxy.after = once(COMMIT)
    with pytest.raises(StoreUnavailableError) as caught:
        store.write([write])
    assert caught.value.is_outcome_unknown
    assert proxy.calls == [COMMIT]


def test_a_transaction_whose_end_is_lost_is_not_run_again(store: Store, proxy: Proxy) -> None:
    """It would count twice."""
    proxy.after = once(COMMIT)
    with pytest.raises(StoreUnavailableError) as caught:
        store.transact(_count)
    assert caught.value.is_outcome_unknown
    found = store.get("parts/a")
    assert found is not None
    assert found.data == {"n": 1}


def test_a_transaction_takes_three_calls(store: Store, proxy: Proxy) -> None:
    """It begins with its first read; two reads and a commit, nothing else on the wire."""
    store.write([Put("parts/a", {}), Put("parts/b", {})])
    proxy.calls.clear()

    def work(transaction: Transaction) -> None:
        assert transaction.get("parts/a")
        assert transaction.get("parts/b")
        transaction.write(Update("parts/a", {"n": 1}), Create("parts/a/parts/x", {}))

    store.transact(work)
    assert [call.rpartition("/")[2] for call in proxy.calls] == [
        *["BatchGetDocuments"] * 2,
        "Commit",
    ]


def test_threads_of_a_process_do_not_meet_at_firestore(store: Store, proxy: Proxy) -> None:
    """Eight count at once: none is turned away and begins again, as Firestore would have it."""
    all_at_once(8, lambda _: store.transact(_count))
    assert proxy.calls.count(COMMIT) == 8
    found = store.get("parts/a")
    assert found is not None
    assert found.data == {"n": 8}


def test_work_that_fails_gives_its_locks_back(store: Store, proxy: Proxy) -> None:
    """At once: another writer does not wait for Firestore to give up."""

    def work(transaction: Transaction) -> None:
        transaction.get("parts/a")
        raise LookupError

    with pytest.raises(LookupError):
        store.transact(work)
    assert proxy.calls[-1].endswith("/Rollback")
    began = time.monotonic()
    store.write([Put("parts/a", {})])
    assert time.monotonic() - began < 2


def test_a_conflict_that_does_not_end(
    store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document held by somebody else is unavailable in time, not for ever."""
    from gateway.store import firestore

    is_inside, may_end = threading.Event(), threading.Event()

    def hold(transaction: Transaction) -> None:
        transaction.get("parts/a")
        is_inside.set()
        may_end.wait(20)

    other = opened("firestore://" + store._connection.database.split("/")[1] + "/(default)")  # type: ignore[attr-defined]
    thread = threading.Thread(target=other.transact, args=(hold,))
    thread.start()
    try:
        assert is_inside.wait(10)
        # Not for the one that holds it, which has begun.
        monkeypatch.setattr(firestore, "TRANSACT_SECONDS", 2.0)
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError) as caught:
            store.transact(_count)
        assert time.monotonic() - began < 5
        assert caught.value.headers == {"Retry-After": "2"}
    finally:
        may_end.set()
        thread.join(20)
        other.close()
    assert proxy.calls


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unavailable, within the deadline, for each kind of call."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    _check_unavailable()


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where connections are accepted and then nothing is said."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        _check_unavailable()


def _check_unavailable() -> None:
    from gateway.store import firestore

    with pytest.MonkeyPatch.context() as patch:
        for name in ("WRITE_SECONDS", "TRANSACT_SECONDS"):
            patch.setattr(firestore, name, 1.0)
        store = opened("firestore://nobody-here/(default)")
        calls: list[Callable[[], object]] = [
            partial(ping, store, seconds=0.5),
            partial(store.write, [Put("parts/a", {})]),
            partial(store.transact, _count),
        ]
        for call in calls:
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError) as caught:
                call()
            assert time.monotonic() - began < 3
            assert caught.value.code is Code.UNAVAILABLE
            assert caught.value.http_status == 503
            assert caught.value.headers == {"Retry-After": "2"}
        store.close()


def test_a_fork_takes_no_channel_along(url: str) -> None:
    """A child of a process that has spoken to Firestore opens its own connection."""
    store = opened(url)
    store.write([Put("parts/a", {})])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert store._connection._client is None  # type: ignore[attr-defined]
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert store.get("parts/a")
    store.close()


def test_a_second_database_is_another(url: str) -> None:
    """The database of the URL is the one that is used."""
    one, two = opened(url), opened(url.replace("(default)", "second-one"))
    one.write([Put("parts/a", {})])
    assert two.get("parts/a") is None
    with pytest.raises(AlreadyExistsError):
        one.write([Create("parts/a", {})])
    two.write([Create("leases/a", {"expireAt": LATER})])
    assert one.get("leases/a") is None
    one.close()
    two.close()
