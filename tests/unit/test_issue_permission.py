"""Who may ask, by what GitHub answers; and what is no answer."""

from typing import Any

import pytest

from claude_run.errors import UpstreamError
from gateway.issues.permission import allows

ACCOUNT = 11
PERSON = {"id": ACCOUNT, "type": "User"}


@pytest.mark.parametrize(
    ("permission", "user", "allowed"),
    [
        ("admin", PERSON, True),
        ("write", PERSON, True),
        ("read", PERSON, False),
        ("none", PERSON, False),
        ("WRITE", PERSON, False),
        # A login that is another's by now, an App's, nobody's.
        ("write", PERSON | {"id": 12}, False),
        ("write", PERSON | {"type": "Bot"}, False),
        ("write", PERSON | {"type": "Organization"}, False),
        ("write", None, False),
    ],
)
def test_people_who_may_write_may_ask(permission: str, user: Any, allowed: bool) -> None:  # noqa: ANN401
    """The very account that has asked."""
    assert allows({"permission": permission, "user": user}, ACCOUNT) is allowed


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": "<html>"},
        {"permission": None, "user": PERSON},
        {"permission": "write", "user": [7]},
    ],
)
def test_what_is_no_answer_denies_nobody(answer: dict[str, Any]) -> None:
    """It is asked again later."""
    with pytest.raises(UpstreamError):
        allows(answer, ACCOUNT)
