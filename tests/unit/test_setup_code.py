"""The operator's code, and what a browser gets for it."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from claude_run.errors import CallerError, Code, UpstreamError
from gateway.setup import setup_code
from gateway.setup.setup_code import MIN_LENGTH, SETUP_CODE, TICKET_TIME, Ticket
from gateway.vault.files import FileVault

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CODE, OLD = setup_code.new_code(), setup_code.new_code()


@pytest.fixture
def vault(tmp_path: Path) -> FileVault:
    """An empty one."""
    return FileVault(tmp_path / "vault")


def refused(text: str, valid: tuple[str, ...] = (CODE,), now: datetime = NOON) -> Code:
    """How a ticket is refused."""
    with pytest.raises(CallerError) as caught:
        Ticket.parse(text, valid, now)
    return caught.value.code


def test_a_new_code_has_128_bits() -> None:
    """As text that can be read out, never twice the same."""
    assert len(bytes.fromhex(CODE)) == 16
    assert len({setup_code.new_code() for _ in range(100)}) == 100


def test_without_a_code_nobody_gets_in(vault: FileVault) -> None:
    """Not with an empty one, nor with one that somebody has thought up."""
    for short in (None, "x" * (MIN_LENGTH - 1)):
        if short is not None:
            vault.put(SETUP_CODE, short)
        with pytest.raises(UpstreamError) as caught:
            setup_code.codes(vault)
        assert caught.value.code is Code.UNAVAILABLE


def test_a_code_is_made_once(vault: FileVault) -> None:
    """And told again as it is."""
    code = setup_code.made(vault)
    assert setup_code.made(vault) == code
    assert setup_code.codes(vault) == (code,)


def test_the_command_prints_the_code(vault: FileVault, tmp_path: Path) -> None:
    """It alone, so that others can read it; and says what is wrong with the vault."""

    def told(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gateway.setup.setup_code"],
            env={"PATH": os.environ["PATH"], "VAULT_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = told(f"file://{tmp_path}/vault")
    assert (done.returncode, done.stdout) == (0, f"{vault.get(SETUP_CODE)}\n")
    done = told("nonsense")
    assert (done.returncode, done.stdout) == (1, "")
    assert "VAULT_URL" in done.stderr


@pytest.mark.parametrize(
    "wrong",
    ["", "x", CODE[:-1], CODE.upper() + "x", "é" * 32, "\udc80" * 32],
    # The code is another one in each process that collects tests.
    ids=["empty", "short", "all-but-one", "longer", "not-ascii", "no-text"],
)
def test_only_the_code_is_the_code(wrong: str) -> None:
    """Whatever else somebody types, in any script."""
    with pytest.raises(CallerError) as caught:
        setup_code.check(wrong, (CODE, OLD))
    assert caught.value.code is Code.FORBIDDEN
    for right in (CODE, OLD, f" {CODE}\n"):
        setup_code.check(right, (CODE, OLD))


def test_a_ticket_stands_for_the_code_until_it_expires() -> None:
    """It does not hold the code."""
    text = Ticket.new(NOON).text(CODE)
    assert CODE not in text
    last = NOON + TICKET_TIME - timedelta(seconds=1)
    assert Ticket.parse(text, (CODE,), last).text(CODE) == text
    assert refused(text, now=NOON + TICKET_TIME) is Code.UNAUTHORIZED


def test_a_ticket_ends_with_its_code() -> None:
    """Once the code has changed; while both hold, both do."""
    text = Ticket.new(NOON).text(OLD)
    Ticket.parse(text, (CODE, OLD), NOON)
    assert refused(text) is Code.UNAUTHORIZED


def test_a_ticket_cannot_be_forged() -> None:
    """No part of it can be changed: not the browser, not the expiry, not the mark."""
    browser, until, mark = Ticket.new(NOON).text(CODE).split(".")
    other = Ticket.new(NOON).text(CODE).split(".")[0]
    for forged in (
        f"{other}.{until}.{mark}",
        f"{browser}.{int(until) + 1}.{mark}",
        f"{browser}.9999999999.{mark}",
        f"{browser}.{until}.{'A' * 43}",
        f"{browser}.{until}.{mark}\n",
        "",
        ".." * 1_000,
        "é",
    ):
        assert refused(forged) is Code.UNAUTHORIZED


def test_a_renewed_ticket_is_the_same_browsers() -> None:
    """What is bound to the browser goes on."""
    ticket = Ticket.new(NOON)
    later = NOON + timedelta(hours=1)
    renewed = Ticket.parse(ticket.renewed(later).text(CODE), (CODE,), later + timedelta(hours=1.5))
    assert renewed.browser == ticket.browser


def test_a_form_is_known_by_its_browsers_token() -> None:
    """Another browser's is not taken, nor one made with another code."""
    ticket = Ticket.new(NOON)
    ticket.check_form(ticket.form_token(CODE), (CODE,))
    for wrong in ("", "é", Ticket.new(NOON).form_token(CODE), ticket.form_token(OLD)):
        with pytest.raises(CallerError) as caught:
            ticket.check_form(wrong, (CODE,))
        assert caught.value.code is Code.FORBIDDEN
