"""A grant lives exactly as long as its run."""

import asyncio

import pytest
from pydantic import SecretStr

from claude_run.credential import CredentialKind
from runner.broker.grants import MAX_BYTES, MAX_PARALLEL, Grant, Grants
from runner.credential import Credential


def grant(budget_usd: float | None = None) -> Grant:
    key = Credential(kind=CredentialKind.API_KEY, secret=SecretStr("sk-planted-key"))
    return Grant(upstream="https://a.example", credential=key, budget_usd=budget_usd)


def test_a_token_stands_for_its_grant_alone() -> None:
    """Two runs have two; a prefix, another case or nothing find none."""
    grants, first, second = Grants(), grant(), grant()
    with grants.issue(first) as one, grants.issue(second) as two:
        assert (grants.find(one), grants.find(two)) == (first, second)
        for wrong in ("", one[:-1], one + "=", one.swapcase(), "\udcff", "run-"):
            assert grants.find(wrong) is None
        assert len(one) > 40
    assert grants.find(one) is None


def test_a_token_ends_with_its_run_however_that_ends() -> None:
    """Also by an exception."""
    grants = Grants()
    with pytest.raises(RuntimeError), grants.issue(grant()) as token:
        raise RuntimeError
    assert grants.find(token) is None


def test_what_is_under_way_ends_with_the_run() -> None:
    """An answer on its way is cancelled: nobody is left to read it, and it costs."""

    async def story() -> None:
        grants, issued = Grants(), grant()
        with grants.issue(issued):
            task = asyncio.create_task(asyncio.sleep(60))
            issued.under_way.add(task)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())


def test_a_grant_is_bounded_in_money_bytes_and_parallel_requests() -> None:
    """Each by itself."""

    async def story() -> None:
        assert grant().refusal() is None
        spent = grant(budget_usd=1.0)
        spent.meter.cost_usd = 100.0
        assert "budget" in str(spent.refusal())
        moved = grant()
        moved.bytes_moved = MAX_BYTES + 1
        assert "bytes" in str(moved.refusal())
        busy = grant()
        busy.under_way = {asyncio.create_task(asyncio.sleep(0)) for _ in range(MAX_PARALLEL)}
        assert "under way" in str(busy.refusal())
        await asyncio.gather(*busy.under_way)

    asyncio.run(story())


def test_a_grant_shows_no_secret() -> None:
    """Not even where it is printed."""
    assert "sk-planted" not in repr(grant())
