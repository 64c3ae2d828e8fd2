"""What every store does: one suite, run against each implementation.

A test class derives from `StoreContract` and gives the fixture `url`; see `test_store_sqlite.py`.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store import (
    ID,
    AlreadyExistsError,
    Collection,
    Create,
    Delete,
    Document,
    Increment,
    Index,
    MissingError,
    Put,
    Query,
    Store,
    StoreUnavailableError,
    StoreUsageError,
    Transaction,
    Update,
    Write,
    open_store,
    ping,
)
from thoroughness import examples

T = TypeVar("T")

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(days=1)

NEWEST = Index(equal=("owner",), order="at", descending=True)
OLDEST = Index(equal=("owner",), order="at")
OF_OWNER = Index(equal=("owner",))
DUE = Index(equal=("state", "owner"), order="at")
ANY = Index(order="at")

COLLECTIONS = (
    Collection(name="things", expires=False, indexes=(NEWEST, OLDEST, OF_OWNER, DUE, ANY)),
    Collection(name="parts", expires=False, unindexed=("payload",)),
    Collection(name="leases", expires=True, indexes=(OLDEST,)),
)


@dataclass(slots=True)
class Clock:
    """A clock that stands until it is moved."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


class Word(StrEnum):
    """A string that is more than one."""

    YES = "yes"


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda key: not (key.startswith("__") and key.endswith("__"))
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
    | st.datetimes(
        datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
        datetime(9999, 12, 30),  # noqa: DTZ001 - as above
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.dictionaries(KEYS | st.sampled_from(["$time", "$bytes", "$$x"]), inner, max_size=4)
        | st.lists(inner.filter(lambda value: not isinstance(value, list)), max_size=4)
    ),
    max_leaves=12,
)

OWNERS = st.sampled_from(["a", "b", None, True, 7, ""])
NUMBERS: list[Any] = [-(2**63), -1, 0, 3, 2**53 + 1, 2**63 - 1]
OTHERS: list[Any] = [None, False, True, NOW, NOW + timedelta(microseconds=1)]
WORDS: list[Any] = ["", "a", "ä", "z", "\U0001f600", "\uffee"]
PLACES = st.sampled_from(NUMBERS + OTHERS + WORDS)
BOUNDS = st.none() | PLACES.filter(lambda value: value is not None)


ROWS = st.lists(st.fixed_dictionaries({}, optional={"owner": OWNERS, "at": PLACES}), max_size=12)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """Any query that the declared indexes answer."""
    index = draw(st.sampled_from([NEWEST, OLDEST, OF_OWNER, ANY]))
    low, high = draw(BOUNDS), draw(BOUNDS)
    if index.order == ID:
        low = high = None
    elif low is not None and type(low) is not type(high):
        high = None
    return Query(
        collection="things",
        equal={"owner": draw(OWNERS)} if index.equal else {},
        order=index.order,
        descending=index.descending,
        at_least=low,
        below=high,
        limit=draw(st.integers(1, 6)),
    )


NO_PATHS = (
    *("", "parts", "parts/", "/parts/a", "parts//a", "parts/a/parts", "parts/.", "parts/.."),
    *("parts/__a__", "parts/a b", "parts/ä", "parts/a\n", "parts/" + "x" * 201),
    "parts/a/" * 130 + "parts/a",
)


# One store for all examples is meant, and so is one suite for two classes.
SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


def exactly(one: object, other: object) -> bool:
    """Whether two values are equal and of the same types all through: 1 is not True nor 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(exactly(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(exactly, one, other))
    return one == other


def increments(store: Store, path: str, times: int) -> None:
    """Count up, by reading and writing."""

    def count(transaction: Transaction) -> None:
        found = transaction.get(path)
        transaction.write(Put(path, {"n": found.data["n"] + 1 if found else 1}))

    while times:
        try:
            store.transact(count)
        except StoreUnavailableError as error:
            # Too many at once; a caller would come back too. Not if it may have happened.
            if error.is_outcome_unknown:
                raise
        else:
            times -= 1


def all_at_once(number: int, work: Callable[[int], T]) -> list[T]:
    """What `work` gives, called by so many threads that start together."""
    barrier = threading.Barrier(number)

    def run(which: int) -> T:
        barrier.wait()
        return work(which)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


class StoreContract:
    """The suite."""

    @pytest.fixture
    def clock(self) -> Clock:
        """The store's clock."""
        return Clock()

    @pytest.fixture
    def store(self, url: str, clock: Clock) -> Iterator[Store]:
        """An empty store."""
        store = open_store(url, collections=COLLECTIONS, clock=clock)
        yield store
        store.close()

    # Values

    @settings(max_examples=examples(30), suppress_health_check=SUPPRESSED)
    @given(data=st.dictionaries(st.from_regex(r"\A[a-zA-Z][a-zA-Z0-9_]{0,9}\Z"), VALUES))
    def test_what_is_stored_comes_back(self, store: Store, data: dict[str, Any]) -> None:
        """Every value of every kind, of the same type, at any depth that is allowed."""
        data.pop("expireAt", None)
        store.write([Put("parts/a", data)])
        document = store.get("parts/a")
        assert document is not None
        assert exactly(document.data, _in_utc(data))

    def test_times_come_back_in_utc_to_the_microsecond(self, store: Store) -> None:
        """Whatever the zone they were given in."""
        given_as = NOW.astimezone(timezone(timedelta(hours=-3)))
        store.write([Put("parts/a", {"at": given_as})])
        found = _data(store, "parts/a")["at"]
        assert (found, found.utcoffset(), type(found)) == (NOW, timedelta(0), datetime)

    def test_a_subclass_comes_back_as_the_plain_type(self, store: Store) -> None:
        """An enum's member is stored as its value."""
        store.write([Put("parts/a", {"word": Word.YES})])
        assert exactly(_data(store, "parts/a"), {"word": "yes"})

    @pytest.mark.parametrize(
        ("value", "rule"),
        [
            (2**63, "64 bits"),
            (float("nan"), "NaN"),
            (float("inf"), "infinity"),
            (datetime(2026, 1, 1), "time zone"),  # noqa: DTZ001 - the point of it
            (datetime.min.replace(tzinfo=timezone(timedelta(hours=3))), "out of range"),
            ("\ud800", "UTF-8"),
            ({1: "x"}, "key is not a string"),
            ({"": "x"}, "key is empty"),
            ({"__x__": "x"}, "underscores"),
            ([[1]], "list stands directly in a list"),
            ((1,), "tuple"),
            ({1}, "set"),
            (object(), "object"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, store: Store, value: object, rule: str) -> None:
        """The refusal names path and rule; nothing is written, the rest of the batch neither."""
        for held in (value, {"deep": [value]} if not isinstance(value, list) else {"deep": value}):
            with pytest.raises(StoreUsageError, match=rule) as caught:
                store.write([Put("parts/b", {}), Put("parts/a", {"field": held})])
            assert caught.value.details["path"] == "parts/a"
        assert store.get("parts/b") is None

    def test_nesting_has_a_bound(self, store: Store) -> None:
        """Sixteen levels are stored, one more is refused."""
        store.write([Put("parts/a", _nested(16))])
        assert _data(store, "parts/a") == _nested(16)
        with pytest.raises(StoreUsageError, match="16 levels"):
            store.write([Put("parts/a", _nested(17))])

    def test_large_documents(self, store: Store) -> None:
        """900 KB, as text and as bytes, come back; beyond a megabyte is refused."""
        text, raw = "ä" * 450_000, bytes(range(256)) * 3_500
        store.write([Put("parts/text", {"payload": text}), Put("parts/raw", {"payload": raw})])
        assert _data(store, "parts/text") == {"payload": text}
        assert _data(store, "parts/raw") == {"payload": raw}
        with pytest.raises(StoreUsageError, match="too large"):
            store.write([Put("parts/text", {"payload": "x" * 1_000_000})])

    def test_large_batches(self, store: Store) -> None:
        """500 writes happen at once; more, or more bytes, are refused."""
        store.write([Put(f"parts/{n}", {"n": n}) for n in range(500)])
        assert len(store.query(Query(collection="parts", limit=1_000))) == 500
        with pytest.raises(StoreUsageError, match="too large"):
            store.write([Put(f"parts/{n}", {}) for n in range(501)])
        with pytest.raises(StoreUsageError, match="too large"):
            store.write([Put(f"parts/{n}", {"payload": "x" * 950_000}) for n in range(10)])

    def test_nothing_is_shared_with_the_store(self, store: Store) -> None:
        """Changing what was written or read changes nothing that is stored."""
        data = {"list": [1]}

        def work(transaction: Transaction) -> None:
            transaction.write(Put("parts/b", data))
            data["list"].append(2)

        store.transact(work)
        _data(store, "parts/b")["list"].append(3)
        assert _data(store, "parts/b") == {"list": [1]}

    @pytest.mark.parametrize("wrong", NO_PATHS)
    def test_a_path_that_is_none(self, store: Store, wrong: str) -> None:
        """Refused for reading and writing alike."""
        with pytest.raises(StoreUsageError):
            store.get(wrong)
        with pytest.raises(StoreUsageError):
            store.write([Delete(wrong)])

    @pytest.mark.parametrize("name", ["", "a b", "a.b", "1a", "__x__", "ä", "a'", "x" * 101])
    def test_a_field_name_that_is_none(self, store: Store, name: str) -> None:
        """The names of the top level need no quoting anywhere."""
        with pytest.raises(StoreUsageError):
            store.write([Put("parts/a", {name: 1})])

    # Writes

    def test_create_meets_what_is_there(self, store: Store) -> None:
        """It fails, names the path, and leaves what is there; so does the rest of its batch."""
        store.write([Create("parts/a", {"n": 1})])
        with pytest.raises(AlreadyExistsError) as caught:
            store.write([Put("parts/b", {"n": 2}), Create("parts/a", {"n": 2}), Delete("parts/c")])
        assert caught.value.path == "parts/a"
        assert _data(store, "parts/a") == {"n": 1}
        assert store.get("parts/b") is None

    def test_put_replaces_the_whole_document(self, store: Store) -> None:
        """Fields that it does not name are gone."""
        store.write([Put("parts/a", {"n": 1, "m": 1})])
        store.write([Put("parts/a", {"n": 2})])
        assert _data(store, "parts/a") == {"n": 2}

    def test_update_replaces_fields(self, store: Store) -> None:
        """Those that it names, whole; the others stay."""
        store.write([Put("parts/a", {"n": 1, "map": {"x": 1}, "m": 1})])
        store.write([Update("parts/a", {"map": {"y": 2}, "new": None})])
        assert _data(store, "parts/a") == {"n": 1, "map": {"y": 2}, "m": 1, "new": None}

    def test_update_needs_a_document(self, store: Store) -> None:
        """It creates none, and nothing of its batch is written."""
        with pytest.raises(MissingError) as caught:
            store.write([Put("parts/b", {}), Update("parts/a", {"n": 1})])
        assert caught.value.path == "parts/a"
        assert store.get("parts/a") is store.get("parts/b") is None

    def test_increment_adds(self, store: Store) -> None:
        """What is missing, or no number, counts as 0; other fields stay; integers stay in range."""
        store.write([Increment("parts/a", {"n": 2})])
        store.write([Update("parts/a", {"other": "x", "half": 0.5, "word": "x", "max": 2**63 - 1})])
        store.write([Increment("parts/a", {"n": 3, "half": 1, "word": -1, "max": 1})])
        assert _data(store, "parts/a") == {
            "n": 5,
            "other": "x",
            "half": 1.5,
            "word": -1,
            "max": 2**63 - 1,
        }

    def test_increments_in_parallel_all_count(self, store: Store) -> None:
        """None is lost, without a transaction."""

        def count() -> None:
            for _ in range(5):
                store.write([Increment("parts/a", {"n": 1})])

        all_at_once(8, lambda _: count())
        assert _data(store, "parts/a") == {"n": 40}

    def test_delete(self, store: Store) -> None:
        """It need not have been there. What stands below it stays."""
        store.write([Put("parts/a", {}), Put("parts/a/parts/b", {"n": 1})])
        store.write([Delete("parts/a"), Delete("parts/never")])
        assert store.get("parts/a") is None
        assert _data(store, "parts/a/parts/b") == {"n": 1}

    @pytest.mark.parametrize(
        "writes",
        [
            [Put("parts/a", {}), Delete("parts/a")],
            [Update("parts/a", {})],
            [Increment("parts/a", {})],
            [Increment("parts/a", {"n": True})],
            [Increment("leases/a", {"n": 1})],
            [Put("undeclared/a", {})],
            [Put("leases/a", {})],
            [Put("leases/a", {"expireAt": None})],
            [Put("leases/a", {"expireAt": "2026"})],
            [Update("leases/a", {"expireAt": None})],
            [Put("parts/a", {"expireAt": LATER})],
            [Put("things/a", {"owner": 1.5})],
            [Put("things/a", {"at": ["x"]})],
            [Put("things/a", {"at": "x" * 1_501})],
            [Put("things/a", {"at": "x\0"})],
        ],
    )
    def test_writes_that_the_collections_do_not_allow(
        self, store: Store, writes: list[Write]
    ) -> None:
        """What would mean something else in the other store, or escape its index or its end."""
        store.write([Put("parts/a", {"n": 1})])
        with pytest.raises(StoreUsageError):
            store.write(writes)
        with pytest.raises(StoreUsageError):
            store.transact(lambda transaction: transaction.write(*writes))
        assert _data(store, "parts/a") == {"n": 1}

    # Transactions

    def test_a_transaction_gives_what_its_work_returns(self, store: Store) -> None:
        """And its writes are there."""
        store.write([Put("parts/a", {"n": 1})])

        def work(transaction: Transaction) -> int:
            document = transaction.get("parts/a")
            assert document is not None
            transaction.write(
                Update("parts/a", {"n": 2}), Create("parts/b", {}), Delete("parts/never")
            )
            transaction.write(Increment("parts/c", {"n": 1}))
            return int(document.data["n"])

        assert store.transact(work) == 1
        assert [_data(store, f"parts/{name}") for name in "abc"] == [{"n": 2}, {}, {"n": 1}]

    def test_work_that_raises_writes_nothing(self, store: Store) -> None:
        """Its exception comes out as it was, and the store is free for the next."""

        def work(transaction: Transaction) -> None:
            transaction.get("parts/a")
            transaction.write(Put("parts/a", {}))
            raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            store.transact(work)
        assert store.get("parts/a") is None
        increments(store, "parts/a", 1)

    def test_reads_come_before_writes(self, store: Store) -> None:
        """Documents and queries."""
        for read in (
            lambda transaction: transaction.get("parts/b"),
            lambda transaction: transaction.query(Query(collection="parts", limit=1)),
        ):

            def work(
                transaction: Transaction, read: Callable[[Transaction], object] = read
            ) -> None:
                transaction.write(Put("parts/a", {}))
                read(transaction)

            with pytest.raises(StoreUsageError, match="after it has written"):
                store.transact(work)
        assert store.get("parts/a") is None

    def test_no_transaction_in_a_transaction(self, store: Store) -> None:
        """Each would wait for the other; reading beside it is allowed."""

        def write(_: Transaction) -> None:
            store.write([Put("parts/a", {})])

        def transact(_: Transaction) -> None:
            store.transact(lambda transaction: transaction.get("parts/a"))

        for work in (write, transact):
            with pytest.raises(StoreUsageError, match="beside itself"):
                store.transact(work)
        assert store.transact(lambda _: store.get("parts/a")) is None

    @pytest.mark.parametrize("is_read", [False, True])
    def test_conflicts_at_the_end_of_a_transaction(self, store: Store, is_read: bool) -> None:
        """`Create` and `Update` fail as in a batch, whether the work has looked or not."""
        store.write([Put("parts/a", {"n": 1})])
        for write, error in (
            (Create("parts/a", {}), AlreadyExistsError),
            (Update("parts/b", {"n": 1}), MissingError),
        ):

            def work(transaction: Transaction, write: Create | Update = write) -> None:
                if is_read:
                    transaction.get(write.path)
                transaction.write(Put("parts/c", {}), write)

            with pytest.raises(error):
                store.transact(work)
        assert _data(store, "parts/a") == {"n": 1}
        assert store.get("parts/b") is store.get("parts/c") is None

    def test_threads_count_exactly(self, store: Store) -> None:
        """Eight of them, reading and writing the same document."""
        all_at_once(8, lambda _: increments(store, "parts/a", 5))
        assert _data(store, "parts/a") == {"n": 40}

    def test_processes_count_exactly(self, store: Store, url: str) -> None:
        """Three of them, which open the store at the same time."""
        children = [
            subprocess.Popen([sys.executable, "-m", "store_child", "count", url, "4"])
            for _ in range(3)
        ]
        assert [child.wait(60) for child in children] == [0] * 3
        assert _data(store, "parts/count") == {"n": 12}

    def test_one_creates(self, store: Store) -> None:
        """Of eight that create the same document at once, in two ways, exactly one does."""

        def create(which: int) -> bool:
            write = Create("parts/a", {"by": which})
            try:
                if which % 2:
                    store.write([write])
                else:
                    store.transact(lambda transaction: transaction.write(write))
            except AlreadyExistsError:
                return False
            return True

        assert sum(all_at_once(8, create)) == 1

    def test_a_query_in_a_transaction_holds(self, store: Store) -> None:
        """Eight look for fewer than three and then add one: three are there in the end."""

        def take(which: int) -> bool:
            def work(transaction: Transaction) -> bool:
                taken = transaction.query(
                    Query(collection="things", equal={"owner": "me"}, limit=10)
                )
                if len(taken) >= 3:
                    return False
                transaction.write(Create(f"things/{which}", {"owner": "me"}))
                return True

            return store.transact(work)

        assert sum(all_at_once(8, take)) == 3

    def test_a_lease_fences(self, store: Store) -> None:
        """Claims that race get numbers of their own; a write with an old one is refused."""

        def claim(which: int) -> int:
            def work(transaction: Transaction) -> int:
                found = transaction.get("parts/lease")
                fence = found.data["fence"] + 1 if found else 1
                transaction.write(Put("parts/lease", {"fence": fence, "by": which}))
                return int(fence)

            return store.transact(work)

        def append(fence: int) -> bool:
            def work(transaction: Transaction) -> bool:
                found = transaction.get("parts/lease")
                if found is None or found.data["fence"] != fence:
                    return False
                transaction.write(Create(f"parts/lease/parts/{fence}", {}))
                return True

            return store.transact(work)

        fences = all_at_once(6, claim)
        assert sorted(fences) == [1, 2, 3, 4, 5, 6]
        assert all_at_once(6, lambda which: append(fences[which])) == [
            fence == 6 for fence in fences
        ]

    # Expiry

    def test_the_expired_is_absent(self, store: Store, clock: Clock) -> None:
        """For every way of reading, from the very moment on."""
        _lease(store, "leases/a")
        assert store.get("leases/a") is not None
        clock.now = LATER - timedelta(microseconds=1)
        assert len(_leases(store)) == 1
        clock.now = LATER
        assert store.get("leases/a") is None
        assert _leases(store) == []
        assert store.transact(lambda transaction: transaction.get("leases/a")) is None
        query = Query(collection="leases", limit=5)
        assert store.query(query) == store.transact(lambda tx: tx.query(query)) == []

    @pytest.mark.parametrize("is_transaction", [False, True])
    def test_the_expired_is_not_in_the_way(
        self, store: Store, clock: Clock, is_transaction: bool
    ) -> None:
        """`Create` succeeds over it, with nothing of the old; a live one is in the way."""
        _lease(store, "leases/a", old=1)
        clock.now = LATER
        write = Create("leases/a", {"owner": "you", "expireAt": LATER + timedelta(days=1)})
        for is_free in (True, False):
            try:
                _write(store, write, in_transaction=is_transaction)
            except AlreadyExistsError:
                assert not is_free
            else:
                assert is_free
        assert _data(store, "leases/a") == write.data

    @pytest.mark.parametrize("is_transaction", [False, True])
    def test_the_expired_is_not_updated(
        self, store: Store, clock: Clock, is_transaction: bool
    ) -> None:
        """`Update` finds nothing, and brings nothing back to life."""
        _lease(store, "leases/a")
        clock.now = LATER
        write = Update("leases/a", {"owner": "me", "expireAt": LATER + timedelta(days=1)})
        with pytest.raises(MissingError):
            _write(store, write, in_transaction=is_transaction)
        assert store.get("leases/a") is None

    def test_the_expired_do_not_use_up_the_limit(self, store: Store, clock: Clock) -> None:
        """Forty of them before the first live one."""
        for number in range(40):
            _lease(store, f"leases/{number:03d}", at=number)
        soon = LATER + timedelta(days=1)
        store.write(
            [
                Put(f"leases/{number:03d}", {"owner": "me", "at": number, "expireAt": soon})
                for number in (40, 41)
            ]
        )
        clock.now = LATER
        assert [found.id for found in _leases(store, limit=1)] == ["040"]
        assert [found.id for found in _leases(store, limit=2)] == ["040", "041"]
        assert [found.id for found in _leases(store, limit=3)] == ["040", "041"]

    # Queries

    def test_newest_first_by_pages(self, store: Store) -> None:
        """The owner's, in the order's own direction; equal times by id; each exactly once."""
        store.write(
            [
                Put(f"things/{n:02d}", {"owner": "me", "at": NOW + timedelta(hours=n // 3)})
                for n in range(20)
            ]
            + [Put("things/other", {"owner": "you", "at": NOW})]
        )
        query = Query(
            collection="things", equal={"owner": "me"}, order="at", descending=True, limit=7
        )
        seen = []
        while page := store.query(query):
            seen += [found.id for found in page]
            query = query.following(page[-1])
        assert seen == [f"{n:02d}" for n in reversed(range(20))]

    def test_by_id_from_a_bound(self, store: Store) -> None:
        """As a log is read: from an id on, to an id, after a document; below one parent only."""
        store.write(
            [Put(f"parts/a/parts/{n:012d}", {"n": n}) for n in range(10)]
            + [Put("parts/b/parts/000000000005", {}), Put("parts/000000000005", {})]
        )
        query = Query(collection="parts/a/parts", at_least=f"{4:012d}", below=f"{9:012d}", limit=3)
        first = store.query(query)
        assert [found.data["n"] for found in first] == [4, 5, 6]
        assert [found.data["n"] for found in store.query(query.following(first[-1]))] == [7, 8]

    def test_a_document_knows_its_path(self, store: Store) -> None:
        """The whole of it, and its id."""
        store.write([Put("parts/a/parts/b", {"n": 1})])
        (found,) = store.query(Query(collection="parts/a/parts", limit=1))
        assert found == Document(path="parts/a/parts/b", data={"n": 1})
        assert found.id == "b"

    @settings(max_examples=examples(20), suppress_health_check=SUPPRESSED)
    @given(rows=ROWS, query=queries())
    def test_queries_find_what_a_list_would(
        self, store: Store, rows: list[dict[str, Any]], query: Query
    ) -> None:
        """Any documents, any bounds of one kind, any order, page by page: against a model."""
        old = store.query(Query(collection="things", limit=100))
        store.write([Delete(document.path) for document in old])
        store.write([Put(f"things/{n}", row) for n, row in enumerate(rows)])
        found: list[str] = []
        rest = query
        while page := store.query(rest):
            assert len(page) <= query.limit
            found += [document.id for document in page]
            rest = query.following(page[-1])
        assert found == _model(rows, query)

    def test_a_query_that_no_index_answers(self, store: Store) -> None:
        """Refused at once, in both stores: the emulator would answer, the cloud would not."""
        for query in (
            Query(collection="things", equal={"state": "x"}, limit=1),
            Query(collection="things", order="at", descending=True, limit=1),
            Query(collection="parts", equal={"owner": "me"}, limit=1),
            Query(collection="undeclared", limit=1),
        ):
            with pytest.raises(StoreUsageError, match="declared"):
                store.query(query)
            with pytest.raises(StoreUsageError, match="declared"):
                store.transact(partial(_query, query))

    def test_two_equal_fields(self, store: Store) -> None:
        """Whatever the order they are named in."""
        store.write(
            [
                Put("things/a", {"state": "new", "owner": "me", "at": NOW}),
                Put("things/b", {"state": "new", "owner": "you", "at": NOW}),
                Put("things/c", {"state": "old", "owner": "me", "at": NOW}),
            ]
        )
        query = Query(
            collection="things",
            equal={"owner": "me", "state": "new"},
            order="at",
            below=LATER,
            limit=5,
        )
        assert [found.id for found in store.query(query)] == ["a"]

    def test_an_index_follows_its_document(self, store: Store) -> None:
        """Changed, replaced and deleted documents are found by what they are now."""
        store.write([Put(f"things/{name}", {"owner": "me"}) for name in "abc"])
        store.write([Update("things/a", {"owner": "you"}), Put("things/b", {}), Delete("things/c")])
        query = Query(collection="things", equal={"owner": "me"}, limit=5)
        assert store.query(query) == []

    # Life

    def test_it_answers(self, store: Store) -> None:
        """A health check asks it something, and it answers."""
        ping(store, seconds=5)

    def test_it_may_be_used_after_it_was_closed(self, store: Store) -> None:
        """Closing lets go of connections, no more."""
        store.write([Put("parts/a", {"n": 1})])
        store.close()
        store.close()
        assert _data(store, "parts/a") == {"n": 1}


def _query(query: Query, transaction: Transaction) -> list[Document]:
    return transaction.query(query)


def _write(store: Store, write: Write, *, in_transaction: bool) -> None:
    if in_transaction:
        store.transact(lambda transaction: transaction.write(write))
    else:
        store.write([write])


def _data(store: Store, path: str) -> dict[str, Any]:
    document = store.get(path)
    assert document is not None
    return document.data


def _in_utc(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, dict):
        return {key: _in_utc(item) for key, item in value.items()}
    return [_in_utc(item) for item in value] if isinstance(value, list) else value


def _nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = {"x": value}
    return {"field": value}


def _lease(store: Store, path: str, **data: int) -> None:
    store.write([Put(path, {"owner": "me", "at": 0, "expireAt": LATER} | data)])


def _leases(store: Store, *, limit: int = 5) -> list[Document]:
    return store.query(Query(collection="leases", equal={"owner": "me"}, order="at", limit=limit))


def _model(rows: list[dict[str, Any]], query: Query) -> list[str]:
    """What Firestore's documentation says that a query finds."""
    kinds = [type(None), bool, int, datetime, str]

    def place(value: object) -> tuple[int, Any]:
        kind = kinds.index(type(value))
        return kind, value.encode() if isinstance(value, str) else value or 0

    def is_in(value: object) -> bool:
        bounds = [bound for bound in (query.at_least, query.below) if bound is not None]
        return (
            all(type(value) is type(bound) for bound in bounds)
            and (query.at_least is None or place(value) >= place(query.at_least))
            and (query.below is None or place(value) < place(query.below))
        )

    found = [
        (place(row[query.order]) if query.order != ID else (0, 0), str(n))
        for n, row in enumerate(rows)
        if all(name in row and place(row[name]) == place(it) for name, it in query.equal.items())
        and (query.order == ID or (query.order in row and is_in(row[query.order])))
    ]
    return [name for _, name in sorted(found, reverse=query.descending)]
