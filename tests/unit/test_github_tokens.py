"""Installation tokens: one for a repository and what is done there, kept and renewed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from gateway.github.asked import RepositoryRef
from gateway.github.tokens import MARGIN, MAX_TOKENS, Permissions, Token, Tokens

REPOSITORY = RepositoryRef(id=1, name="octo/one", installation_id=7, default_branch="main")
READ: Permissions = {"contents": "read"}
WRITE: Permissions = {"contents": "write"}


@dataclass
class Mint:
    """Makes numbered tokens for an hour, and knows what time it is."""

    now: datetime = datetime(2026, 11, 25, tzinfo=UTC)
    fetched: list[tuple[RepositoryRef, Permissions]] = field(default_factory=list)
    entered: threading.Barrier | None = None

    def clock(self) -> datetime:
        return self.now

    def fetch(self, repository: RepositoryRef, permissions: Permissions) -> Token:
        self.fetched.append((repository, permissions))
        if self.entered is not None:
            self.entered.wait(30)
        return Token(value=f"token-{len(self.fetched)}", expires_at=self.now + timedelta(hours=1))

    def tokens(self) -> Tokens:
        return Tokens(self.fetch, clock=self.clock)


def test_a_token_is_kept_for_its_repository_and_its_permissions() -> None:
    """Another repository, or other permissions: another token."""
    mint = Mint()
    tokens = mint.tokens()
    first = tokens.token(REPOSITORY, READ)
    assert tokens.token(REPOSITORY, dict(READ)) == first
    assert tokens.token(REPOSITORY, WRITE) != first
    assert tokens.token(replace(REPOSITORY, id=2), READ) != first
    assert len(mint.fetched) == 3


def test_it_is_renewed_before_its_end() -> None:
    """What is handed out is good for the margin at least."""
    mint = Mint()
    tokens = mint.tokens()
    first = tokens.token(REPOSITORY, READ)
    mint.now += timedelta(hours=1) - MARGIN - timedelta(seconds=1)
    assert tokens.token(REPOSITORY, READ) == first
    mint.now += timedelta(seconds=1)
    assert tokens.token(REPOSITORY, READ) != first


def test_one_that_github_refuses_is_forgotten() -> None:
    """The next one is new."""
    tokens = Mint().tokens()
    first = tokens.token(REPOSITORY, READ)
    tokens.forget(REPOSITORY, READ)
    assert tokens.token(REPOSITORY, READ) != first


def test_threads_that_need_the_same_fetch_it_once() -> None:
    """And those that need another do not wait for it."""
    mint = Mint(entered=threading.Barrier(2))
    tokens = mint.tokens()
    with ThreadPoolExecutor(8) as pool:
        # Both are being fetched at the same time, or the barrier breaks.
        read = [pool.submit(tokens.token, REPOSITORY, READ) for _ in range(4)]
        write = [pool.submit(tokens.token, REPOSITORY, WRITE) for _ in range(4)]
    assert len({one.result() for one in read}) == len({one.result() for one in write}) == 1
    assert len(mint.fetched) == 2


def test_their_number_is_bounded() -> None:
    """The one used longest ago goes first."""
    mint = Mint()
    tokens = mint.tokens()
    first = tokens.token(REPOSITORY, READ)
    for number in range(2, MAX_TOKENS + 1):
        tokens.token(replace(REPOSITORY, id=number), READ)
    assert tokens.token(REPOSITORY, READ) == first
    tokens.token(replace(REPOSITORY, id=0), READ)
    assert tokens.token(REPOSITORY, READ) == first
    assert len(mint.fetched) == MAX_TOKENS + 1
    tokens.token(replace(REPOSITORY, id=2), READ)
    assert len(mint.fetched) == MAX_TOKENS + 2


def test_a_token_shows_itself_nowhere() -> None:
    """Not in its repr."""
    assert "planted" not in repr(Token(value="planted", expires_at=datetime.now(UTC)))
