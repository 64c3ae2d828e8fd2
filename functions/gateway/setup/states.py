"""The `state` that goes to GitHub and comes back: signed, for one browser, used up once.

It is used up when the App is stored. While one request works with it, others are refused; one
that fails before GitHub has answered lets the browser load the page again.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from claude_run.errors import CallerError, Code
from gateway.setup.seal import is_sealed, seal
from gateway.store import Collection, Delete, Put, Store, Transaction
from gateway.vault import Vault

STATE_KEY = "state-key"
STATES = Collection(name="setup_states", expires=True)

LIFETIME = timedelta(minutes=10)
# Longer than a request may take that has one: after a crash it is free again.
HOLD = timedelta(seconds=60)

# A number, its expiry, the App that may be replaced, the mark.
_STATE = re.compile(r"([A-Za-z0-9_-]{22})\.([0-9]{10})\.([0-9]{0,20})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """`replaces`: the number of the App that a new one may take the place of."""

    number: str
    expires_at: datetime
    replaces: str | None

    def _parts(self, browser: str) -> tuple[str, ...]:
        until = str(int(self.expires_at.timestamp()))
        return self.number, until, self.replaces or "", browser

    def text(self, key: bytes, browser: str) -> str:
        """As it stands in a URL; the browser is in its mark alone."""
        parts = self._parts(browser)
        return ".".join((*parts[:3], seal(key, "state", *parts)))

    @classmethod
    def parse(cls, text: str, keys: list[bytes], browser: str, now: datetime) -> "State":
        """The state of a URL, or `CallerError`: forged, another browser's, too late."""
        found = _STATE.fullmatch(text)
        if found is not None:
            number, until, replaces, mark = found.groups()
            state = cls(
                number=number,
                expires_at=datetime.fromtimestamp(int(until), UTC),
                replaces=replaces or None,
            )
            if is_sealed(mark, keys, "state", *state._parts(browser)):
                if now >= state.expires_at:
                    raise _refusal("it is older than ten minutes")
                return state
        raise _refusal("it was not given to this browser")


class States:
    """Gives states out and takes them back, once each."""

    def __init__(self, store: Store, vault: Vault, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    def new(self, browser: str, *, replaces: str | None = None) -> str:
        """One for this browser. Nothing is stored for it yet."""
        if not (keys := self._vault.get_all(STATE_KEY)):
            # Two that make one at once: both stay valid.
            self._vault.put(STATE_KEY, secrets.token_urlsafe(32), keep_previous=True)
            keys = self._vault.get_all(STATE_KEY)
        state = State(
            number=secrets.token_urlsafe(16),
            expires_at=self._clock() + LIFETIME,
            replaces=replaces,
        )
        return state.text(keys[0].encode(), browser)

    def take(self, text: str, browser: str) -> State:
        """Take one back and hold it. `CallerError` FORBIDDEN, CONFLICT if it is held or used up."""
        keys = [key.encode() for key in self._vault.get_all(STATE_KEY)]
        now = self._clock()
        state = State.parse(text, keys, browser, now)

        def work(transaction: Transaction) -> None:
            found = transaction.get(_path(state))
            if found is not None and found.data["used"]:
                raise CallerError("state: it was used already.", code=Code.CONFLICT)
            if found is not None and now < found.data["heldUntil"]:
                raise CallerError("state: it is being used just now.", code=Code.CONFLICT)
            transaction.write(_held(state, now + HOLD))

        self._store.transact(work)
        return state

    def give_back(self, state: State) -> None:
        """Nothing has happened with it: it may be taken again."""
        self._store.write([Delete(_path(state))])

    def use_up(self, state: State) -> None:
        """It has done its work."""
        self._store.write([_held(state, self._clock(), used=True)])


def _path(state: State) -> str:
    # The number may begin and end with underscores, which a document's id may not.
    return f"{STATES.name}/s.{state.number}"


def _held(state: State, until: datetime, *, used: bool = False) -> Put:
    # Kept for longer than the state holds: another instance's clock may be behind.
    data = {"used": used, "heldUntil": until, "expireAt": state.expires_at + HOLD}
    return Put(_path(state), data)


def _refusal(rule: str) -> CallerError:
    return CallerError(
        f"state: {rule}. Create the App again.",
        code=Code.FORBIDDEN,
        details={"field": "state", "rule": rule},
    )
