"""A worker takes items to their ends: light doubles for what is outside, all of ours real."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from doubles.light_desk import HEAD, LightAdmission, LightGitHub
from doubles.light_runner import light_run
from doubles.recording_server import Asked as Asked_
from doubles.recording_server import RecordingServer, recording_server
from gateway.github.asked import Asked
from gateway.github.policy import HeldBack
from gateway.github.trigger_settings import Kind as Trigger
from gateway.github.trigger_settings import Sign
from gateway.issues import receipt
from gateway.limit_settings import LimitSettings
from gateway.opening import COLLECTIONS
from gateway.quota import Quota, Wanted
from gateway.requests import MessageRequest, parse_start
from gateway.sessions.record import ISSUES, LEASE, Session, Status, key_of
from gateway.sessions.registry import Registry
from gateway.store import Delete, Put, Query, Store, open_store
from gateway.work import loop
from gateway.work.claims import Claims
from gateway.work.hold import Hold
from gateway.work.issue import MAX_KEPT, MAX_KEPT_PATH, IssueSteps
from gateway.work.leaving import Detached
from gateway.work.loop import BACKOFF, MAX_ATTEMPTS, MAX_FAREWELLS, Worker
from gateway.work.queue import Queue
from gateway.work.record import FINAL, Kind, State, WorkItem
from work_items import ASKED, COMMENT, all_items, conversation, items
from worker_child import Mortal, worker

BASE = "b" * 40
CHANGES = {
    "base": BASE,
    "files": [{"path": "a.txt", "mode": "100644", "content": "aGk=", "new": True}],
}
STOP = replace(COMMENT, source="comment:3", text="@claude stop", stop=True)
BROKEN = UpstreamError("GitHub cannot answer.", code=Code.UNAVAILABLE)


@dataclass(slots=True)
class Bench:
    """A store, a runner, and workers for it."""

    folder: Path
    store: Store
    runner: RecordingServer
    words: Callable[[str], Iterator[str]] = lambda _prompt: iter(["Done"])
    changes: dict[str, Any] = field(default_factory=lambda: CHANGES)
    minutes: float = 0.0

    def __post_init__(self) -> None:
        self.runner.script = self._run

    def _run(self, asked: Asked_, send: Callable[[bytes], None]) -> None:
        light_run(self.words, changes=self.changes)(asked, send)

    def clock(self) -> datetime:
        """Now, as the worker has it."""
        return datetime.now(UTC) + timedelta(minutes=self.minutes)

    def accept(self, *asked: Asked) -> None:
        """Each as a delivery of its own."""
        queue = Queue(store=self.store, clock=self.clock)
        for one in asked:
            queue.accept(one, delivery=f"d-{one.key}")

    def worker(self, **github: Any) -> Worker:  # noqa: ANN401 - of `LightGitHub`
        """One that has not begun."""
        ahead = timedelta(minutes=self.minutes)
        return worker(self.folder, self.runner.url, mortal=Mortal(0), ahead=ahead, **github)

    def work(self, **github: Any) -> None:  # noqa: ANN401 - of `LightGitHub`
        """Until nothing is due."""
        self.worker(**github).run()

    def begin(self, **github: Any) -> tuple[Worker, threading.Thread]:  # noqa: ANN401
        """In a thread of its own."""
        made = self.worker(**github)
        thread = threading.Thread(target=made.run)
        thread.start()
        return made, thread

    @property
    def item(self) -> WorkItem:
        """What the issue became."""
        return items(self.store)["issue"]

    @property
    def session(self) -> Session:
        """The issue's."""
        found = self.store.get(f"sessions/{key_of(ISSUES, 'issue-7-5')}")
        assert found is not None
        return Session.from_data(found.id, found.data)

    @property
    def done(self) -> list[str]:
        """What was done on GitHub, without the items' keys."""
        lines = LightGitHub(path=self.folder / "github").lines
        keys = [item.key for item in items(self.store).values()]
        for key in keys:
            lines = [line.replace(f" {key}", "") for line in lines]
        return lines

    @property
    def asked(self) -> list[dict[str, Any]]:
        """What the runner was asked, in order."""
        return [json.loads(one.body) for one in self.runner.asked]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Nothing is accepted yet."""
    with recording_server() as runner:
        store = open_store(f"sqlite://{tmp_path}/g.db", collections=COLLECTIONS)
        yield Bench(folder=tmp_path, store=store, runner=runner)
        store.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_was_asked_becomes_a_pull_request(bench: Bench) -> None:
    """One run for all that waited, cloned with a token that reads, published, and told."""
    bench.accept(ASKED, COMMENT)
    bench.work()
    (run,) = bench.asked
    assert run["prompt"] == f"{ASKED.text}\n{COMMENT.text}"
    assert run["githubToken"] == "planted-clone-token-7"
    assert run["repository"] == {
        "url": "http://127.0.0.1:1/o/r",
        "name": "o/r",
        "branch": "main",
    }
    item = bench.item
    assert item.state is State.DONE
    assert item.outcome["result"] == "Hello there, reader."
    assert item.outcome["turns"] == 1
    assert item.publication["number"] == 9
    assert item.branch == "claude/issue-5-it-is-broken"
    assert bench.done == [
        "comment",
        f"branch claude/issue-5-it-is-broken {BASE} a.txt",
        "pull claude/issue-5-it-is-broken into main",
        "report None",
    ]
    assert bench.session.status is Status.COMPLETED
    assert Quota(LimitSettings()).status(bench.store, now=bench.clock()).running == 0


def test_without_changes_there_is_only_an_answer(bench: Bench) -> None:
    """No branch, no pull request."""
    bench.changes = {"base": BASE, "files": []}
    bench.accept(ASKED)
    bench.work()
    assert bench.done == ["comment", "report None"]
    assert bench.item.publication == {"commentOnly": True}


def test_an_item_keeps_no_more_of_a_publication_than_fits(bench: Bench) -> None:
    """It is one document, however many files there are; they are counted."""
    names = [f"{number:03}" + "x" * 500 for number in range(MAX_KEPT + 5)]
    bench.changes = {
        "base": BASE,
        "files": [{"path": name, "mode": "100644", "content": "aGk="} for name in names],
    }
    held_back = tuple(HeldBack(path=name, rule="a rule") for name in names)
    bench.accept(ASKED)
    bench.work(held_back=held_back)
    kept = bench.item.publication
    assert kept["files"] == [name[:MAX_KEPT_PATH] for name in names[:MAX_KEPT]]
    assert [one["path"] for one in kept["heldBack"]] == kept["files"]
    assert (kept["fileCount"], kept["heldBackCount"]) == (len(names), len(names))


def test_nothing_is_published_where_only_a_comment_may_be(bench: Bench) -> None:
    """On a pull request from a fork."""
    bench.accept(ASKED)
    bench.work(admission=LightAdmission(comment_only=True))
    assert bench.done == ["comment", "report None"]


def test_who_may_not_write_gets_no_answer(bench: Bench) -> None:
    """Nothing runs, nothing is said; and whoever may is served afterwards."""
    bench.accept(replace(ASKED, author="eve"))
    bench.work()
    assert bench.item.state is State.DENIED
    assert bench.asked == []
    assert not any(line.startswith("report") for line in bench.done)
    bench.accept(COMMENT)
    bench.work()
    assert items(bench.store)["comment:1"].state is State.DONE


def test_what_an_issue_shows_counts_until_it_is_served(bench: Bench) -> None:
    """In a repository that serves what is opened and no mention: an edit that mentions us."""
    opened = Sign(Trigger.ON_OPEN)

    def hears(asked: Asked) -> bool:
        return any(sign.kind is Trigger.ON_OPEN for sign in asked.signs)

    def edited(text: str) -> Asked:
        signs = (Sign(Trigger.PHRASE, "@claude"), opened._replace(fresh=False))
        return replace(ASKED, text=text, signs=signs)

    bench.accept(edited("one"))
    bench.work(hears=hears)
    bench.accept(edited("two"), replace(ASKED, text="three", signs=(opened,)))
    bench.work(hears=hears)
    bench.accept(edited("four"))
    bench.work(hears=hears)
    assert [run["prompt"] for run in bench.asked] == ["one", "two\nthree"]
    assert [item.state for item in all_items(bench.store)].count(State.DENIED) == 1


def test_one_who_may_is_served_though_another_may_not(bench: Bench) -> None:
    """Asked together, the run is for the one."""
    bench.accept(replace(ASKED, author="eve"), COMMENT)
    bench.work()
    assert bench.item.state is State.DONE


def occupy(bench: Bench, *numbers: int) -> None:
    """Slots, for ten minutes."""
    registry = Registry(store=bench.store, quota=Quota(LimitSettings()), clock=bench.clock)
    for number in numbers:
        name = f"busy-{number}"
        now = bench.clock()
        registry.start(
            Session(
                key=key_of("me", name),
                owner="me",
                session_id=name,
                status=Status.PROCESSING,
                turn=1,
                fence=1,
                lease_until=now + timedelta(minutes=10),
                created_at=now,
                last_activity_at=now,
            ),
            Wanted(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaking(LightGitHub):
    """Keeps all that its comment has said, one after the other."""

    said: list[str]
    admitting: Callable[[], None] = lambda: None

    def admit(self, item: WorkItem, asked: Sequence[Asked]) -> LightAdmission:
        """It begins."""
        self.said.append("working")
        self.admitting()
        return LightGitHub.admit(self, item, asked)

    def waiting(self, item: WorkItem, reason: ClaudeRunError) -> None:
        """It has to wait."""
        self.said.append("waiting")
        LightGitHub.waiting(self, item, reason)


def work_speaking(bench: Bench, said: list[str], **options: Any) -> None:  # noqa: ANN401
    """As `Bench.work`, with what is said."""
    made = bench.worker()
    issues = made.steps[Kind.ISSUE]
    assert isinstance(issues, IssueSteps)
    desk = Speaking(path=bench.folder / "github", said=said, **options)
    made.steps = {**made.steps, Kind.ISSUE: replace(issues, desk=desk)}
    made.run()


def test_without_a_slot_it_waits_and_is_told_once(bench: Bench) -> None:
    """It goes back to where it was, keeps no trace in the quota, and is done later."""
    said: list[str] = []
    occupy(bench, *range(5))
    bench.accept(ASKED)
    for minutes in (0, 1, 2):
        bench.minutes = minutes
        work_speaking(bench, said)
        assert (bench.item.state, bench.item.attempts) == (State.ACCEPTED, 0)
        assert bench.item.not_before > bench.clock()
        assert said == ["working", "waiting"], "what stands on the issue is true"
    assert bench.done == ["comment", "waiting QUOTA_EXCEEDED"]
    assert bench.asked == []
    bench.minutes = 15
    work_speaking(bench, said)
    assert bench.item.state is State.DONE
    assert bench.done[-1] == "report None"


def test_who_is_a_moment_too_late_for_a_slot_waits_on_and_says_so(bench: Bench) -> None:
    """Its comment said already that it begins."""
    said: list[str] = []
    occupy(bench, *range(4))
    bench.accept(ASKED)
    bench.store.write([Put(bench.item.path, replace(bench.item, told_waiting=True).to_data())])
    work_speaking(bench, said, admitting=lambda: occupy(bench, 4))
    assert bench.item.state is State.ACCEPTED
    assert said == ["working", "waiting"]


def test_what_is_stopped_while_it_waits_does_not_wait_for_a_slot(bench: Bench) -> None:
    """It ends at once, and says so."""
    occupy(bench, *range(5))
    bench.accept(ASKED)
    told = replace(bench.item, told_waiting=True, stop_requested=True)
    bench.store.write([Put(told.path, told.to_data())])
    bench.work()
    assert bench.item.state is State.CANCELLED
    assert bench.done[-1] == "report CANCELLED"


def test_it_does_not_wait_for_quota_for_ever(bench: Bench) -> None:
    """After days it fails, and that is told."""
    bench.accept(ASKED)
    bench.minutes = 3 * 24 * 60 + 1
    bench.store.write(
        [
            Put(
                f"quota/{bench.clock().date().isoformat()}",
                {
                    "tokens": 0,
                    "costMicros": 10**12,
                    "expireAt": bench.clock() + timedelta(days=9),
                },
            )
        ]
    )
    bench.work()
    assert bench.item.state is State.FAILED
    assert bench.done == ["comment", "report QUOTA_EXCEEDED"]


@pytest.mark.parametrize("step", ["comment", "branch", "report"])
def test_what_fails_for_a_moment_is_tried_again(bench: Bench, step: str) -> None:
    """Where it was, later; the agent is not run again."""
    bench.accept(ASKED)
    bench.work(failing={step: BROKEN})
    assert bench.item.state not in FINAL
    bench.work()
    assert bench.item.state not in FINAL, "not before its time"
    bench.minutes = 1
    bench.work()
    assert bench.item.state is State.DONE
    assert len(bench.asked) == 1
    assert len(bench.done) == 4


class ForAMoment(dict[str, ClaudeRunError]):
    """What fails once."""

    def __getitem__(self, what: str) -> ClaudeRunError:
        return self.pop(what)


def test_a_worker_stays_for_what_failed_for_a_moment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else may come for hours; what has to wait for longer than it may stay is left."""
    monkeypatch.setattr(loop, "BACKOFF", (timedelta(milliseconds=300), timedelta(hours=1)))
    bench.accept(ASKED)
    made = bench.worker(failing=ForAMoment(branch=BROKEN))
    made.stay = timedelta(seconds=30)
    made.run()
    assert bench.item.state is State.DONE
    assert len(bench.asked) == 1
    bench.accept(replace(ASKED, issue=6))
    left = bench.worker(failing={"branch": BROKEN})
    left.stay = timedelta(seconds=30)
    started = time.monotonic()
    left.run()
    assert time.monotonic() - started < 20
    assert {item.state for item in all_items(bench.store)} == {State.DONE, State.PRODUCED}


def test_a_worker_that_stays_does_what_comes_meanwhile_and_ends_when_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a laptop it may be one of two."""
    monkeypatch.setattr(loop, "LOOK_SECONDS", 0.1)
    bench.accept(ASKED)
    failing = {"branch": BROKEN}
    made = bench.worker(failing=failing)
    made.stay = timedelta(minutes=5)
    thread = threading.Thread(target=made.run)
    thread.start()
    until(lambda: bench.item.state is State.PRODUCED and bench.item.fence == 2)
    failing.clear()
    bench.accept(replace(ASKED, issue=6))
    until(lambda: [one.state for one in all_items(bench.store)].count(State.DONE) == 1)
    made.interrupt()
    thread.join(10)
    assert not thread.is_alive()


def test_what_fails_again_and_again_is_given_up_and_told(bench: Bench) -> None:
    """With what was done until then."""
    bench.accept(ASKED)
    for pause in (timedelta(0), *BACKOFF):
        assert bench.item.state not in FINAL
        bench.minutes += pause / timedelta(minutes=1) + 0.1
        bench.work(failing={"pull": BROKEN})
    assert bench.item.attempts == MAX_ATTEMPTS
    assert bench.item.state is State.FAILED
    assert bench.item.outcome["code"] == "UNAVAILABLE"
    assert bench.item.outcome["result"] == "Hello there, reader."
    assert bench.done[-1] == "report UNAVAILABLE"
    assert len(bench.asked) == 1


def test_what_breaks_when_it_is_anothers_already_ends_nothing_else(bench: Bench) -> None:
    """Whoever has it goes on with it, and this worker with the next."""

    class Lost(dict[str, ClaudeRunError]):
        def __getitem__(self, what: str) -> ClaudeRunError:
            self.clear()
            (item,) = (one for one in all_items(bench.store) if one.state is State.PRODUCED)
            bench.store.write([Put(item.path, replace(item, fence=item.fence + 1).to_data())])
            raise RuntimeError(what)

    bench.accept(ASKED, replace(ASKED, issue=6))
    bench.work(failing=Lost(branch=BROKEN))
    found = sorted(all_items(bench.store), key=lambda one: one.state)
    assert [one.state for one in found] == [State.DONE, State.PRODUCED]
    assert found[1].fence == 2


def test_what_would_fail_just_the_same_is_not_tried_again(bench: Bench) -> None:
    """A refusal is told at once."""
    bench.accept(ASKED)
    bench.work(failing={"branch": CallerError("GitHub does not permit this.", code=Code.FORBIDDEN)})
    assert bench.item.state is State.FAILED
    assert bench.done[-1] == "report FORBIDDEN"


def test_a_refusal_that_cannot_be_told_now_is_told_later(bench: Bench) -> None:
    """Nobody is left with a comment that says that it is worked on."""
    refused = CallerError("GitHub does not permit this.", code=Code.FORBIDDEN)
    bench.accept(ASKED)
    bench.work(failing={"branch": refused, "report": BROKEN})
    assert bench.item.state not in FINAL
    bench.minutes = 1
    bench.work(failing={"branch": refused})
    assert bench.item.state is State.FAILED
    assert bench.done[-1] == "report FORBIDDEN"
    assert len(bench.asked) == 1


def test_a_refusal_is_not_told_for_ever(bench: Bench) -> None:
    """Where nobody can be told, it ends all the same."""
    refused = CallerError("GitHub does not permit this.", code=Code.FORBIDDEN)
    gone = CallerError("The repository is gone.", code=Code.NOT_FOUND)
    bench.accept(ASKED)
    bench.work(failing={"branch": refused, "report": gone})
    assert bench.item.state is State.FAILED
    bench.accept(COMMENT)
    for pause in (timedelta(0), *BACKOFF):
        bench.minutes += pause / timedelta(minutes=1) + 0.1
        bench.work(failing={"branch": refused, "report": BROKEN})
    assert items(bench.store)["comment:1"].state is State.FAILED


def test_an_item_that_ends_every_worker_is_left_alone_at_last(bench: Bench) -> None:
    """Even where telling it is what ends them."""
    bench.accept(ASKED)
    item = replace(bench.item, attempts=MAX_FAREWELLS)
    bench.store.write([Put(item.path, item.to_data())])
    bench.work(failing={"report": RuntimeError("a fault of ours")})
    assert bench.item.state is State.FAILED
    assert conversation(bench.store).current is None


def test_a_fault_of_ours_ends_no_worker(bench: Bench) -> None:
    """The item is put off, and the others are done."""
    bench.accept(ASKED)
    bench.work(failing={"pull": RuntimeError("a fault of ours")})
    assert bench.item.state not in FINAL
    bench.minutes = 1
    bench.work()
    assert bench.item.state is State.DONE
    assert len(bench.asked) == 1


def test_what_fails_after_the_end_is_over_all_the_same(bench: Bench) -> None:
    """There is nothing left to put off."""

    class Stumbling:
        def take(self, hold: Hold) -> None:
            hold.finish(State.DENIED)
            raise RuntimeError("a fault of ours")

        def fail(self, hold: Hold, error: ClaudeRunError) -> None:
            raise AssertionError(hold) from error

    bench.accept(ASKED)
    claims = Claims(store=bench.store, clock=bench.clock)
    Worker(claims=claims, steps={Kind.ISSUE: Stumbling()}, clock=bench.clock).run()
    assert bench.item.state is State.DENIED


def test_who_asks_to_stop_is_heard_after_a_fault_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking for it goes on."""
    made = bench.worker()
    looked = threading.Semaphore(0)

    def stumbling() -> None:
        looked.release()
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(loop, "STOP_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(made.claims, "next_stop", stumbling)
    listener = threading.Thread(target=made._listen)
    listener.start()
    assert all(looked.acquire(timeout=5) for _ in range(2))
    made.interrupt()
    listener.join(5)
    assert not listener.is_alive()


def test_an_item_that_has_ended_many_workers_is_not_run_again(bench: Bench) -> None:
    """Each was killed before it could say what failed: it is given up, and told."""
    bench.accept(ASKED)
    item = replace(bench.item, attempts=MAX_ATTEMPTS)
    bench.store.write([Put(item.path, item.to_data())])
    bench.work()
    assert bench.item.state is State.FAILED
    assert bench.done == ["report INTERNAL_ERROR"]
    assert bench.asked == []


@pytest.mark.parametrize(
    ("asked", "waits"),
    [("3600", timedelta(hours=1)), ("99999", BACKOFF[-1]), ("soon", BACKOFF[0])],
)
def test_github_is_left_alone_for_as_long_as_it_asks(
    bench: Bench, asked: str, waits: timedelta
) -> None:
    """And for no longer than a night."""
    limited = UpstreamError("Limited.", code=Code.UNAVAILABLE, headers={"Retry-After": asked})
    bench.accept(ASKED)
    bench.work(failing={"pull": limited})
    minutes = waits / timedelta(minutes=1)
    bench.minutes = minutes - 0.4
    bench.work()
    assert bench.item.state not in FINAL
    bench.minutes = minutes + 1
    bench.work()
    assert bench.item.state is State.DONE


def broken_off(_prompt: str) -> Iterator[str]:
    """What a run says whose runner goes away."""
    yield "I begin"
    raise ConnectionError("the runner is gone")


def test_a_failed_run_publishes_what_there_is_as_a_draft(bench: Bench) -> None:
    """It ended early: its last checkpoint is no waste."""
    bench.words = broken_off
    bench.accept(ASKED)
    bench.work()
    assert bench.item.state is State.INTERRUPTED
    assert bench.item.outcome["checkpoint"] is True
    assert [line for line in bench.done if line.startswith("pull")] == [
        "pull claude/issue-5-it-is-broken into main draft"
    ]


# --- a conversation ------------------------------------------------------------------------------


def again(bench: Bench, **github: Any) -> dict[str, Any]:  # noqa: ANN401 - of `LightGitHub`
    """What the runner is asked for a second request, once the first one is published."""
    bench.accept(ASKED)
    bench.work()
    bench.accept(COMMENT)
    bench.work(**github)
    assert items(bench.store)["comment:1"].state is State.DONE
    first, second = bench.asked
    assert "resume" not in first
    return second


def test_a_second_request_goes_on_where_the_first_ended(bench: Bench) -> None:
    """The same session, from the same commit, with what was changed; the same branch."""
    second = again(bench)
    assert second["repository"] == {
        "url": "http://127.0.0.1:1/o/r",
        "name": "o/r",
        "commit": BASE,
    }
    assert second["changes"]["files"][0]["path"] == "a.txt"
    assert bench.session.turn == 2
    assert len([line for line in bench.done if line.startswith("pull")]) == 1


def test_a_turn_that_changed_nothing_publishes_nothing(bench: Bench) -> None:
    """What an earlier one has changed was published with that."""
    bench.accept(ASKED)
    bench.work()
    before = bench.done
    bench.runner.script = lambda _asked, send: send(b"HTTP/1.1 200 OK\r\n\r\n")
    bench.accept(COMMENT)
    bench.work()
    item = items(bench.store)["comment:1"]
    assert (item.state, item.publication) == (State.FAILED, {"commentOnly": True})
    assert bench.done == [*before, "comment", "report UPSTREAM_ERROR"]


def test_a_turn_that_only_answers_leaves_the_pull_request_as_it_is(bench: Bench) -> None:
    """Its changes are those that are there: nothing is updated, and the comment is the answer."""
    again(bench)
    found = items(bench.store)["comment:1"]
    assert found.publication == {"commentOnly": True}
    assert receipt.NO_NEWS in receipt.report(found)


def test_a_turn_that_takes_all_back_publishes_that(bench: Bench) -> None:
    """No file differs any more, and that is another state than the pull request shows."""
    bench.accept(ASKED)
    bench.work()
    bench.changes = {"base": BASE, "files": []}
    bench.accept(COMMENT)
    bench.work()
    assert items(bench.store)["comment:1"].publication["files"] == []
    branch = f"branch claude/issue-5-it-is-broken {BASE}"
    assert [line.strip() for line in bench.done if line.startswith("branch")] == [
        f"{branch} a.txt",
        branch,
    ]


def test_a_draft_is_finished_by_a_turn_that_has_nothing_to_add(bench: Bench) -> None:
    """It may be that only the last words were missing."""
    said, bench.words = bench.words, broken_off
    bench.accept(ASKED)
    bench.work()
    assert bench.item.publication["draft"] is True
    bench.words = said
    bench.accept(COMMENT)
    bench.work()
    assert items(bench.store)["comment:1"].publication["draft"] is False


def test_the_same_again_after_a_closed_pull_request_is_published(bench: Bench) -> None:
    """Whoever asks once more wants it."""
    again(bench, is_pull_open=False)
    assert items(bench.store)["comment:1"].publication["url"]


def test_what_others_have_pushed_is_what_the_next_turn_begins_with(bench: Bench) -> None:
    """On their commit; what was changed before is in it."""
    second = again(bench, foreign="f" * 40)
    assert second["repository"]["commit"] == "f" * 40
    assert "changes" not in second


def test_what_is_forgotten_is_still_on_the_branch(bench: Bench) -> None:
    """A conversation outlives its session: without the earlier changes it goes on from the head."""
    bench.accept(ASKED)
    bench.work()
    bench.store.write([Delete(bench.session.path)])
    bench.accept(COMMENT)
    bench.work()
    assert bench.asked[1]["repository"]["commit"] == HEAD
    assert "changes" not in bench.asked[1]


def test_after_a_merge_the_next_turn_begins_afresh(bench: Bench) -> None:
    """From the branch that it was merged into, without what may not have been wanted."""
    second = again(bench, is_pull_open=False)
    assert second["repository"]["branch"] == "main"
    assert "changes" not in second


def test_what_is_asked_on_the_pull_request_is_the_same_conversation(bench: Bench) -> None:
    """With its session and its branch."""
    bench.accept(ASKED)
    bench.work()
    bench.accept(replace(COMMENT, issue=9, is_pull=True))
    bench.work()
    assert bench.session.turn == 2
    assert items(bench.store)["comment:1"].branch == "claude/issue-5-it-is-broken"


# --- being stopped -------------------------------------------------------------------------------


class Pause:
    """A run that says something and then waits."""

    def __init__(self, bench: Bench) -> None:
        self.began = threading.Event()
        self.end = threading.Event()
        bench.words = self._words

    def _words(self, _prompt: str) -> Iterator[str]:
        yield "I begin"
        self.began.set()
        self.end.wait(60)
        yield "I end"


def test_a_stop_ends_the_run_and_nothing_is_published(bench: Bench) -> None:
    """Heard by the very worker that is busy with it."""
    pause = Pause(bench)
    bench.accept(ASKED)
    _, thread = bench.begin()
    assert pause.began.wait(60)
    bench.accept(STOP)
    thread.join(60)
    assert not thread.is_alive()
    assert bench.item.state is State.CANCELLED
    assert items(bench.store)["comment:3"].state is State.DONE
    assert bench.done == ["comment", "report CANCELLED"]
    pause.end.set()


def test_a_stop_of_what_waits_for_a_slot_is_said_on_the_issue(bench: Bench) -> None:
    """Where it stands that it begins by itself."""
    occupy(bench, *range(5))
    bench.accept(ASKED)
    bench.work()
    bench.accept(STOP)
    bench.work()
    assert bench.item.state is State.CANCELLED
    assert bench.done[-1] == "report CANCELLED"


def test_a_stranger_stops_nothing(bench: Bench) -> None:
    """Only who may write may stop."""
    bench.accept(ASKED)
    bench.accept(replace(STOP, author="eve"))
    bench.work()
    assert items(bench.store)["comment:3"].state is State.DENIED
    assert bench.item.state is State.DONE


def test_a_worker_that_is_told_to_end_leaves_the_rest_to_another(bench: Bench) -> None:
    """The session's last event is stored; its checkpoint is published by whoever comes next."""
    pause = Pause(bench)
    bench.accept(ASKED)
    made, thread = bench.begin()
    assert pause.began.wait(60)
    until(lambda: bench.session.changes_version is not None)
    made.interrupt()
    thread.join(30)
    assert not thread.is_alive()
    assert (bench.session.status, bench.item.state) == (Status.ERROR, State.PRODUCED)
    assert bench.item.outcome["code"] == "SHUTDOWN"
    bench.work()
    assert bench.item.state is State.INTERRUPTED
    assert bench.done[-2:] == [
        "pull claude/issue-5-it-is-broken into main draft",
        "report SHUTDOWN",
    ]
    assert len(bench.asked) == 1
    pause.end.set()


def test_a_worker_that_has_lost_its_item_stops_the_run(bench: Bench) -> None:
    """Another one took it over: from its last checkpoint, and the agent does not run on."""
    pause = Pause(bench)
    bench.accept(ASKED)
    _, thread = bench.begin()
    assert pause.began.wait(60)
    until(lambda: bench.session.changes_version is not None)
    bench.minutes = 1
    bench.work()
    assert bench.item.state is State.INTERRUPTED
    thread.join(60)
    assert not thread.is_alive()
    assert bench.item.state is State.INTERRUPTED
    assert bench.done[-1] == "report INTERRUPTED"
    assert len(bench.asked) == 1
    pause.end.set()


# --- detached sessions ---------------------------------------------------------------------------


def leave(bench: Bench, body: dict[str, Any], session_id: str = "d") -> Session:
    """A session that its caller leaves to a worker."""
    registry = Registry(store=bench.store, quota=Quota(LimitSettings()), clock=bench.clock)
    now = bench.clock()
    request = parse_start(json.dumps(body).encode())
    session = Session(
        key=key_of("me", session_id),
        owner="me",
        session_id=session_id,
        status=Status.PROCESSING,
        turn=1,
        fence=1,
        lease_until=now + LEASE,
        created_at=now,
        last_activity_at=now,
        options=request.kept_options(),
    )
    return Detached(store=bench.store, registry=registry).start(session, request)


def found(bench: Bench, session: Session) -> tuple[Session, WorkItem]:
    """How it stands."""
    stored = bench.store.get(session.path)
    item = bench.store.get(f"work/{session.key}.{session.turn}")
    assert stored is not None
    assert item is not None
    return Session.from_data(session.key, stored.data), WorkItem.from_data(item.id, item.data)


def test_a_session_is_driven_by_a_worker(bench: Bench) -> None:
    """With the options it was left with; its events are those of any session."""
    left = leave(bench, {"prompt": "Hi", "options": {"detach": True, "maxTurns": 3}})
    assert (left.status, left.queued) == (Status.PROCESSING, True)
    bench.minutes = 60
    bench.work()
    session, item = found(bench, left)
    assert (session.status, item.state) == (Status.COMPLETED, State.DONE)
    assert (bench.asked[0]["prompt"], bench.asked[0]["maxTurns"]) == ("Hi", 3)
    names = []
    for document in bench.store.query(Query(collection=f"{left.path}/events", limit=50)):
        names += [line for line in document.data["frames"].decode().splitlines() if "event" in line]
    assert names[:3] == ["event: connected", "event: status", "event: claude_start"]
    assert names.count("event: connected") == 1
    assert names[-1] == "event: complete"


def test_its_next_turn_too(bench: Bench) -> None:
    """Continued in the same conversation."""
    left = leave(bench, {"prompt": "Hi", "options": {"detach": True}})
    bench.work()
    session, _ = found(bench, left)
    registry = Registry(store=bench.store, quota=Quota(LimitSettings()), clock=bench.clock)
    request = MessageRequest.model_validate({"prompt": "Again", "options": {"detach": True}})
    detached = Detached(store=bench.store, registry=registry)
    left = detached.message(session, request, request.kept_options(session.options))
    bench.work()
    session, item = found(bench, left)
    assert (session.turn, session.status, item.state) == (2, Status.COMPLETED, State.DONE)
    assert [one["prompt"] for one in bench.asked] == ["Hi", "Again"]


def test_one_that_is_cancelled_while_it_waits_is_never_run(bench: Bench) -> None:
    """It ends at once, though nobody drives it."""
    left = leave(bench, {"prompt": "Hi", "options": {"detach": True}})
    registry = Registry(store=bench.store, quota=Quota(LimitSettings()), clock=bench.clock)
    assert registry.cancel(left.key).status is Status.CANCELLED
    bench.work()
    assert found(bench, left)[1].state is State.CANCELLED
    assert bench.asked == []


def test_one_whose_worker_went_away_is_not_run_again(bench: Bench) -> None:
    """It is interrupted, to be gone on with by a message."""
    pause = Pause(bench)
    left = leave(bench, {"prompt": "Hi", "options": {"detach": True}})
    _, thread = bench.begin()
    assert pause.began.wait(60)
    bench.minutes = 1
    bench.work()
    session, item = found(bench, left)
    assert (session.status, item.state) == (Status.ERROR, State.INTERRUPTED)
    assert len(bench.asked) == 1
    thread.join(60)
    pause.end.set()


def test_a_request_that_is_too_large_to_be_kept_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves no trace."""
    monkeypatch.setattr("gateway.work.leaving.MAX_REQUEST_PIECES", 1)
    noise = random.Random(4).randbytes(1_000_000).hex()  # noqa: S311 - it does not compress
    with pytest.raises(CallerError) as refused:
        leave(bench, {"prompt": noise, "options": {"detach": True}})
    assert refused.value.code is Code.PAYLOAD_TOO_LARGE
    assert bench.store.query(Query(collection="sessions", limit=5)) == []
