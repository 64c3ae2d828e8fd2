"""A turn driven from a runner's stream to its end in the store, in this process."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from claude_run.client import Client
from claude_run.errors import CallerError, Code, StoppedError
from claude_run.sse import encode_event
from claude_run.wire import Changes
from doubles.light_runner import light_run
from doubles.recording_server import Asked, Script, recording_server
from gateway.counters import Timing
from gateway.instance import utc_now
from gateway.limit_settings import LimitSettings
from gateway.metrics import Metrics, read_counts
from gateway.opening import COLLECTIONS
from gateway.quota import Quota, Wanted
from gateway.sessions import blobs, driver, log
from gateway.sessions.driver import Driver, Turn
from gateway.sessions.events import SessionEvent
from gateway.sessions.live import Feeds
from gateway.sessions.log import frames_of
from gateway.sessions.proposing import Proposal, Proposing
from gateway.sessions.record import LEASE, Session, Status, Usage, key_of
from gateway.sessions.registry import Registry
from gateway.store import Store, open_store

KEY = key_of("me", "s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a turn is driven."""

    store: Store
    registry: Registry

    metrics: Metrics

    def drive(self, script: Script, **options: Any) -> None:  # noqa: ANN401 - the driver's own
        """A turn, against a runner that behaves as told, to its end; the first without `claim`."""
        claim = options.pop("claim", None) or self.registry.start(fresh(), Wanted())
        with recording_server(script) as runner, Client(runner.url) as client:
            Driver(
                turn=Turn(claim=claim, prompt="Hi", options={}),
                registry=self.registry,
                store=self.store,
                client=client,
                feeds=Feeds(),
                metrics=self.metrics,
                clock=utc_now,
                **options,
            ).run()

    def kept(self) -> Session:
        """The record."""
        return self.registry.find(KEY)

    def values(self, kind: str) -> Iterator[Any]:
        """What is kept for a next turn."""
        return blobs.read(self.store, f"{self.kept().path}/{kind}")

    def logged(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and data of all events that are stored."""
        stored = b"".join(part.data for part in log.read(self.store, KEY, after=0))
        return [_read(frame) for frame in frames_of(stored)]


def _read(frame: bytes) -> tuple[str, dict[str, Any]]:
    name = frame.partition(b"event: ")[2].partition(b"\n")[0].decode()
    data: dict[str, Any] = json.loads(frame.partition(b"data: ")[2])
    del data["timestamp"]
    return name, data


def fresh() -> Session:
    """A session about to begin."""
    now = datetime.now(UTC)
    return Session(
        key=KEY,
        owner="me",
        session_id="s",
        status=Status.PROCESSING,
        turn=1,
        fence=1,
        lease_until=now + LEASE,
        created_at=now,
        last_activity_at=now,
    )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A store of its own for each test."""
    store = open_store(f"sqlite://{tmp_path}/s/g.db", collections=COLLECTIONS)
    registry = Registry(store=store, quota=Quota(LimitSettings()), clock=utc_now)
    yield Place(store=store, registry=registry, metrics=Metrics(store, routes=()))
    store.close()


def wait_for(condition: Callable[..., object], *given: object) -> bool:
    """Whether something comes to hold; generous, for it is to be soon."""
    deadline = time.monotonic() + 20
    while not (held := condition(*given)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(held)


def changes(content: str) -> bytes:
    """A change set with one file, as the runner sends it."""
    file = {"path": "a", "mode": "100644", "content": content}
    return encode_event(json.dumps({"base": None, "files": [file]}), event="changes")


def transcript(*entries: str) -> bytes:
    """Lines of the transcript, as the runner sends them."""
    data = {"path": "main.jsonl", "entries": entries}
    return encode_event(json.dumps(data), event="transcript")


@pytest.fixture
def no_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing reaches the record with a renewal of the lease."""
    monkeypatch.setattr(driver, "RENEW_SECONDS", 3600.0)


def test_whoever_watches_sees_what_is_logged(place: Place) -> None:
    """Every event, in order, the terminal one with the state behind it."""
    seen: list[SessionEvent] = []
    statuses: list[Status] = []

    def watch(events: Sequence[SessionEvent]) -> None:
        seen.extend(events)
        statuses.append(place.kept().status)

    place.drive(light_run(lambda _prompt: ("One ", "two.")), watch=watch)
    assert [(event.name, event.data) for event in seen] == place.logged()
    assert seen[-1].name == "complete"
    assert statuses[-1] is Status.COMPLETED
    assert set(statuses[:-1]) == {Status.PROCESSING}


def test_a_turns_first_text_waits_for_nothing(place: Place) -> None:
    """It is told before there is more, and so is all that comes later."""
    told: list[str] = []

    def watch(events: Sequence[SessionEvent]) -> None:
        told.extend(event.data["content"] for event in events if event.name == "claude_delta")

    def words(_prompt: str) -> Iterator[str]:
        for count, word in enumerate(("One ", "two ", "three."), start=1):
            yield word
            assert wait_for(lambda number: len(told) == number, count)

    place.drive(light_run(words), watch=watch)
    assert told == ["One ", "two ", "three."]
    assert place.logged()[-1][0] == "complete"


def test_text_of_a_moment_is_one_event(place: Place) -> None:
    """A thousand pieces at once are a few events, which hold all of them."""
    words = [f"{number} " for number in range(1_000)]
    place.drive(light_run(lambda _prompt: ("First. ", *words)))
    contents = [data["content"] for name, data in place.logged() if name == "claude_delta"]
    assert "".join(contents) == "First. " + "".join(words)
    assert len(contents) < 500


@pytest.mark.usefixtures("no_renewal")
def test_what_is_kept_can_be_found_at_once(place: Place) -> None:
    """A change set is named by the record while its run goes on, with its transcript; one a time.

    Whoever takes over from a gateway that is killed then goes on from the last checkpoint.
    """
    found: list[object] = []

    def words(_prompt: str) -> Iterator[str | bytes]:
        yield "One "
        yield transcript("1", "2")
        for content in ("MQ==", "Mg=="):
            before = place.kept().changes_version
            yield changes(content)
            assert wait_for(lambda old: place.kept().changes_version != old, before)
            found.append([value["files"][0]["content"] for value in place.values("changes")])
            found.append(
                [part["entries"] for value in place.values("transcript") for part in value]
            )
            assert place.kept().runner_session is not None

    place.drive(light_run(words))
    assert found == [["MQ=="], [["1", "2"]], ["Mg=="], [["1", "2"]]]


@pytest.mark.usefixtures("no_renewal")
def test_a_transcript_is_kept_while_the_run_goes_on(place: Place) -> None:
    """Within a second or so, though nothing else happens."""

    def words(_prompt: str) -> Iterator[str | bytes]:
        yield "One "
        for number in range(1, 3):
            yield transcript(str(number))
            assert wait_for(lambda n: len(list(place.values("transcript"))) == n, number)

    place.drive(light_run(words))
    assert place.logged()[-1][0] == "complete"


@pytest.mark.usefixtures("no_renewal")
def test_the_log_knows_what_was_used(place: Place) -> None:
    """While the run goes on: whoever ends it for a driver that died settles at that."""
    found: list[tuple[Usage, dict[str, Any]]] = []

    def words(_prompt: str) -> Iterator[str]:
        yield "One "
        assert wait_for(lambda: log.tail(place.store, KEY).used.input_tokens)
        told = [data for name, data in place.logged() if name == "usage"]
        found.append((log.tail(place.store, KEY).used, told[-1]))

    place.drive(light_run(words))
    [(usage, told)] = found
    assert {"turn": 1, **usage.to_json()} == told


def test_a_next_turn_replaces_the_change_set_of_the_last(place: Place) -> None:
    """One is kept, the newest."""
    place.drive(light_run(lambda _prompt: ("One ", changes("MQ=="))))
    first = place.kept().changes_version
    claim = place.registry.next_turn(KEY, {}, Wanted())
    place.drive(light_run(lambda _prompt: ("Two ", changes("Mg=="))), claim=claim)
    # The recorded run ends with an empty one.
    assert [value["files"] for value in place.values("changes")] == [[]]
    assert place.kept().changes_version != first


def counted(place: Place) -> tuple[int, int, list[int]]:
    """Runs begun, those that failed, and how many were measured, in the order of `Timing`."""
    place.metrics.flush()
    counts = read_counts(place.store)
    measured = [sum(counts.timings[timing].counts) for timing in Timing]
    return counts.containers, counts.container_errors, measured


def test_a_run_is_measured(place: Place) -> None:
    """How long it took, until its first text, and until it began."""
    assert list(Timing) == [Timing.DURATION, Timing.FIRST_TEXT, Timing.QUEUE]
    place.drive(light_run(lambda _prompt: ("One.",)))
    assert counted(place) == (1, 0, [1, 1, 1])


def test_a_run_that_breaks_is_counted(place: Place) -> None:
    """As begun and failed; what it said before is logged."""

    def breaking(asked: Asked, send: Callable[[bytes], None]) -> None:
        whole: list[bytes] = []
        light_run(lambda _prompt: ("One.",))(asked, whole.append)
        send(b"".join(whole).partition(b"event: changes")[0])

    place.drive(breaking)
    assert [name for name, _ in place.logged()][-2:] == ["claude_end", "error"]
    assert place.logged()[-1][1]["code"] == "INTERRUPTED"
    assert counted(place) == (1, 1, [1, 1, 1])


def test_nonsense_ends_a_run_behind_what_was_said(place: Place) -> None:
    """All in front of it is told, though it came together with it."""
    nonsense = encode_event('{"type": nonsense}', event="message")
    place.drive(light_run(lambda _prompt: ("One ", "two.", nonsense, "three.")))
    log = place.logged()
    contents = [data["content"] for name, data in log if name == "claude_delta"]
    assert "".join(contents) == "One two."
    assert log[-1][0] == "error"


def test_a_run_that_is_refused_is_none(place: Place) -> None:
    """It is told as an error, and neither counted nor measured."""
    body = b'{"error":"No.","code":"VALIDATION_ERROR","details":{}}'
    head = b"HTTP/1.1 400 X\r\nX-Request-Id: r\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    place.drive(lambda _asked, send: send(head + length + body))
    assert place.logged()[-1][1] == {"message": "No.", "code": "VALIDATION_ERROR"}
    assert counted(place) == (0, 0, [0, 0, 0])


PULL = "https://github.com/octo/one/pull/1"
CHANGED = {"base": "a" * 40, "files": [{"path": "x", "deleted": True}]}


def endings(place: Place) -> list[tuple[str, dict[str, Any]]]:
    """The events from the end of what Claude says on."""
    logged = place.logged()
    names = [name for name, _ in logged]
    return logged[names.index("claude_end") :]


def test_a_pull_request_is_opened_before_the_turn_is_over(place: Place) -> None:
    """Of the last change set, with what Claude said; its address is told, and in the end again."""
    asked: list[tuple[Changes | None, str]] = []

    def propose(changes: Changes | None, result: str, proceed: Callable[[], None]) -> Proposal:
        proceed()
        assert not place.registry.find(KEY).over
        asked.append((changes, result))
        return Proposal(message="Open.", url=PULL)

    script = light_run(lambda _prompt: ["Done."], changes=CHANGED)
    place.drive(script, propose=propose)
    assert [changes.files[0].path for changes, _ in asked if changes] == ["x"]
    _, status, complete = endings(place)
    assert status == ("status", {"message": "Open.", "prUrl": PULL})
    assert complete[0] == "complete"
    assert (complete[1]["prUrl"], complete[1]["result"]) == (PULL, asked[0][1])
    assert (complete[1]["turns"], complete[1]["agentTurns"]) == (1, 1)


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (CallerError("GitHub does not permit this.", code=Code.FORBIDDEN), "FORBIDDEN", "permit"),
        (ValueError("planted"), "INTERNAL_ERROR", "Something went wrong"),
    ],
)
def test_a_failed_pull_request_costs_the_turn_nothing(
    place: Place, failure: Exception, code: str, words: str
) -> None:
    """It is told, and the turn has its result."""

    def propose(*_: object) -> Proposal:
        raise failure

    place.drive(light_run(lambda _prompt: ["Done."]), propose=propose)
    _, (name, status), (last, complete) = endings(place)
    assert (name, status["code"], last) == ("status", code, "complete")
    assert words in status["message"]
    assert "planted" not in status["message"]
    assert "prUrl" not in complete
    assert complete["result"]


def test_no_pull_request_of_a_turn_that_failed(place: Place) -> None:
    """There is nothing that somebody should merge."""
    asked: list[object] = []

    def propose(*_: object) -> Proposal:
        asked.append(None)
        return Proposal(message="Open.")

    place.drive(lambda _asked, send: send(b"HTTP/1.1 500 X\r\n\r\n"), propose=propose)
    assert endings(place)[-1][0] == "error"
    assert asked == []


def test_it_is_heard_while_a_pull_request_is_opened(place: Place) -> None:
    """Whoever cancels; and no further request is made then."""
    cancelled: list[str] = []
    over = threading.Event()

    def propose(_changes: Changes | None, _result: str, proceed: Callable[[], None]) -> Proposal:
        place.registry.cancel(KEY)
        while True:
            try:
                proceed()
            except StoppedError as error:
                cancelled.append(error.code)
                over.set()
                raise
            time.sleep(0.01)

    place.drive(light_run(lambda _prompt: ["Done."]), propose=propose)
    (name, error) = endings(place)[-1]
    assert (name, error["code"]) == ("error", "CANCELLED")
    assert over.wait(30)
    assert cancelled == ["CANCELLED"]


def test_the_lease_is_renewed_while_a_pull_request_is_opened(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take longer than a lease."""
    monkeypatch.setattr(driver, "RENEW_SECONDS", 0.05)
    leases: list[datetime] = []

    def propose(*_: object) -> Proposal:
        deadline = time.monotonic() + 30
        while len(set(leases)) < 3 and time.monotonic() < deadline:
            leases.append(place.registry.find(KEY).lease_until)
            time.sleep(0.01)
        return Proposal(message="Open.", url=PULL)

    place.drive(light_run(lambda _prompt: ["Done."]), propose=propose)
    assert len(set(leases)) == 3
    assert endings(place)[-1][1]["prUrl"] == PULL


def test_it_has_a_deadline() -> None:
    """After which no further request is made, and that is what is told."""

    def propose(_changes: Changes | None, _result: str, proceed: Callable[[], None]) -> Proposal:
        while True:
            proceed()
            time.sleep(0.01)

    work = Proposing(propose, changes=None, result="", stopped=lambda: None, seconds=0.05)
    work.start(name="pull")
    assert work.wait(30)
    proposal = work.proposal
    assert proposal is not None
    assert (proposal.url, proposal.code) == (None, "TIMEOUT")
