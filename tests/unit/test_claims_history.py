"""Claims under contention, pauses and clock steps: no write of an earlier holder is accepted."""

import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.opening import COLLECTIONS
from gateway.store import open_store
from gateway.work.claims import Claims
from gateway.work.queue import Queue
from gateway.work.record import FINAL, StaleWorkError, State, WorkItem
from work_items import ASKED, Clock, conversation, items

ISSUES = (5, 6)


@dataclass
class Paused:
    """What a worker believes to hold, however long ago that was true."""

    item: WorkItem


class History(RuleBasedStateMachine):
    """Workers that claim, pause for any time, and write when they wake up."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        url = f"sqlite://{self.folder.name}/g.db"
        self.store = open_store(url, collections=COLLECTIONS, clock=self.clock)
        self.queue = Queue(store=self.store, clock=self.clock)
        self.claims = Claims(store=self.store, clock=self.clock)
        self.believers: list[Paused] = []
        self.newest: dict[str, int] = {}
        self.asked = 0

    def teardown(self) -> None:
        """Nothing is left."""
        self.store.close()
        self.folder.cleanup()

    @rule(issue=st.sampled_from(ISSUES))
    def ask(self, issue: int) -> None:
        """Somebody asks."""
        self.asked += 1
        asked = replace(ASKED, issue=issue, source=f"comment:{self.asked}")
        self.queue.accept(asked, delivery=f"d-{self.asked}")

    @rule(seconds=st.sampled_from((-40, -5, 1, 9, 31, 100)))
    def time_passes(self, seconds: int) -> None:
        """Or is set back."""
        self.clock.pass_by(timedelta(seconds=seconds))

    @rule()
    def claim(self) -> None:
        """A worker takes what is there for it."""
        if (item := self.claims.next()) is not None:
            assert item.fence > self.newest.get(item.key, 0)
            self.newest[item.key] = item.fence
            self.believers.append(Paused(item))

    @precondition(lambda self: self.believers)
    @rule(data=st.data(), step=st.sampled_from(("renew", "advance", "finish", "aside")))
    def write(self, data: st.DataObject, step: str) -> None:
        """Any worker that ever claimed something writes under what it believes to hold."""
        believer = data.draw(st.sampled_from(self.believers))
        before = items(self.store)
        try:
            self._write(believer, step)
        except StaleWorkError:
            assert items(self.store) == before
            return
        assert believer.item.fence == self.newest[believer.item.key]
        if step == "aside" and believer.item.state is not State.CLAIMED:
            self.newest[believer.item.key] += 1

    def _write(self, believer: Paused, step: str) -> None:
        item = believer.item
        match step, item.state:
            case "renew", _:
                believer.item = self.claims.renew(item)
            case "aside", _:
                self.claims.set_aside(item, until=self.clock(), counts=True)
            case "advance", State.CLAIMED:
                believer.item, _ = self.claims.begin(
                    item, session="s", branch=None, comment=None, facts={}, within=lambda _: None
                )
            case "advance", State.RUNNING:
                believer.item = self.claims.produced(item, {})
            case "advance", State.PRODUCED:
                believer.item = self.claims.published(item, {})
            case _:
                state = State.DENIED if item.state is State.CLAIMED else State.FAILED
                self.claims.finish(item, state)

    @invariant()
    def one_works_in_a_conversation(self) -> None:
        """And whatever is not over is that one, or waits behind it."""
        found = items(self.store).values()
        for issue in ISSUES:
            own = [item for item in found if item.conversation == f"7-{issue}"]
            if not own:
                continue
            talk = conversation(self.store, f"7-{issue}")
            open_ones = {item.key for item in own if item.state not in FINAL}
            assert {item.key for item in own if item.held or item.ready} <= {talk.current}
            assert open_ones == {*talk.waiting, *([talk.current] if talk.current else [])}


TestHistory = History.TestCase
# A failing history is short enough to be read, and to make it shorter takes minutes.
TestHistory.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, phases=(Phase.explicit, Phase.generate)
)
