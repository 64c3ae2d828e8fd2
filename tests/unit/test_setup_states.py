"""A `state` is good once, for ten minutes, in the browser that it was given to."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from claude_run.errors import CallerError, Code
from gateway.setup.states import HOLD, LIFETIME, STATE_KEY, STATES, State, States
from gateway.store import Store, open_store
from gateway.vault.files import FileVault

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clock:
    """The time of a test."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At noon."""
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """An empty store."""
    store = open_store(f"sqlite://{tmp_path}/g.db", collections=[STATES], clock=clock)
    yield store
    store.close()


@pytest.fixture
def vault(tmp_path: Path) -> FileVault:
    """An empty vault."""
    return FileVault(tmp_path / "vault")


@pytest.fixture
def states(store: Store, vault: FileVault, clock: Clock) -> States:
    """Those of a deployment."""
    return States(store, vault, clock)


def refused(states: States, text: str, browser: str = "mine") -> Code:
    """How it is refused."""
    with pytest.raises(CallerError) as caught:
        states.take(text, browser)
    assert caught.value.message.startswith("state: ")
    return caught.value.code


def test_it_comes_back_as_it_went(states: States) -> None:
    """With what it allows, in another instance as well."""
    assert states.take(states.new("mine"), "mine").replaces is None
    assert states.take(states.new("mine", replaces="42"), "mine").replaces == "42"


def test_any_number_can_be_kept(states: States, vault: FileVault) -> None:
    """One that a document could not be called after, too."""
    vault.put(STATE_KEY, "a-key-0123456789")
    state = State(number="__" + "a" * 18 + "__", expires_at=NOON + LIFETIME, replaces=None)
    states.use_up(states.take(state.text(b"a-key-0123456789", "mine"), "mine"))


def test_it_is_good_once(states: States) -> None:
    """However often it is sent, from the first moment on, and after it has done its work."""
    text = states.new("mine")
    state = states.take(text, "mine")
    assert refused(states, text) is Code.CONFLICT
    states.use_up(state)
    assert refused(states, text) is Code.CONFLICT


def test_used_up_it_stays_so_until_it_is_too_old(states: States, clock: Clock) -> None:
    """Longer than it is held."""
    text = states.new("mine")
    states.use_up(states.take(text, "mine"))
    clock.now = NOON + HOLD + timedelta(seconds=1)
    assert refused(states, text) is Code.CONFLICT


def test_after_a_crash_it_is_free_again(states: States, clock: Clock) -> None:
    """Whoever held it is gone; one that nothing has happened with is given back at once."""
    text = states.new("mine")
    states.take(text, "mine")
    clock.now = NOON + HOLD
    states.give_back(states.take(text, "mine"))
    states.take(text, "mine")


def test_it_expires(states: States, clock: Clock) -> None:
    """After ten minutes, used or not."""
    text = states.new("mine")
    clock.now = NOON + LIFETIME - timedelta(seconds=1)
    states.give_back(states.take(text, "mine"))
    clock.now = NOON + LIFETIME
    assert refused(states, text) is Code.FORBIDDEN


def test_it_is_one_browsers(states: States) -> None:
    """A link that somebody sends to the operator is of no use."""
    assert refused(states, states.new("theirs")) is Code.FORBIDDEN


def test_it_cannot_be_forged(states: States, vault: FileVault) -> None:
    """No part of it can be changed, and nobody without the key can make one."""
    number, until, replaces, mark = states.new("mine", replaces="42").split(".")
    for forged in (
        f"{number[::-1]}.{until}.{replaces}.{mark}",
        f"{number}.{int(until) + 1}.{replaces}.{mark}",
        f"{number}.9999999999.{replaces}.{mark}",
        f"{number}.{until}.43.{mark}",
        f"{number}.{until}..{mark}",
        f"{number}.{until}.{replaces}.{'A' * 43}",
        "",
        "x" * 10_000,
        "é\x00",
    ):
        assert refused(states, forged) is Code.FORBIDDEN
    text = states.new("mine")
    vault.put(STATE_KEY, "another-key-0123456789")
    assert refused(states, text) is Code.FORBIDDEN


def test_of_two_first_keys_both_hold(states: States, store: Store, vault: FileVault) -> None:
    """Two instances may make one at the same moment."""

    class Late(FileVault):
        """A vault whose first look was before the other had written."""

        looks = 0

        def get_all(self, name: str) -> tuple[str, ...]:
            """Nothing, once."""
            self.looks += 1
            return () if self.looks == 1 else super().get_all(name)

    text = states.new("mine")
    late = States(store, Late(vault._folder), lambda: NOON)
    other = late.new("mine")
    states.take(text, "mine")
    states.take(other, "mine")
