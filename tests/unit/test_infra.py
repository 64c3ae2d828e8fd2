"""What `infra/` holds as data is what the code needs."""

from deployment import GRANTS, rows
from gateway.github.credentials import CLIENT_SECRET, PRIVATE_KEY, WEBHOOK_SECRET
from gateway.setup.claude_key import ANTHROPIC_KEY
from gateway.setup.setup_code import SETUP_CODE
from gateway.setup.states import STATE_KEY
from gateway.store.listing import listing
from servers import REPOSITORY


def test_firestore_is_told_what_the_code_declares() -> None:
    """Otherwise `make infra` has been forgotten."""
    assert (REPOSITORY / "infra/firestore.txt").read_text() == listing()


def test_the_secrets_are_those_of_the_vault() -> None:
    """By the names that the code has for them."""
    names = {name for name, _, _ in rows("secrets.txt", 3)}
    assert names == {
        ANTHROPIC_KEY,
        PRIVATE_KEY,
        WEBHOOK_SECRET,
        CLIENT_SECRET,
        SETUP_CODE,
        STATE_KEY,
    }


def test_every_grant_has_its_reason() -> None:
    """It is to an account of the table, on something of ours, once."""
    accounts = {name for name, _ in rows("accounts.txt", 2)} | {"allUsers"}
    assert {name for name, *_ in GRANTS} <= accounts - {"runner"}
    assert len({tuple(row[:3]) for row in GRANTS}) == len(GRANTS)
    secrets = {name for name, _, _ in rows("secrets.txt", 3)}
    for _, role, on, why in GRANTS:
        assert why
        assert on.partition("/")[2] in secrets or not on.startswith("secret/")
        # Nothing that reaches further than what it is on.
        assert role not in ("roles/owner", "roles/editor", "roles/viewer")
        assert not role.lower().endswith("admin")
