"""Whose credential a run uses, and how it is presented."""

import pytest
from pydantic import SecretStr

from claude_run.credential import CredentialKind
from claude_run.errors import CallerError, Code
from runner.credential import (
    Credential,
    choose,
    credential_from,
    credential_from_environ,
)


@pytest.mark.parametrize(
    ("text", "kind", "header"),
    [
        ("sk-ant-api03-x", CredentialKind.API_KEY, (b"x-api-key", b"sk-ant-api03-x")),
        ("sk-other", CredentialKind.API_KEY, (b"x-api-key", b"sk-other")),
        ("sk-ant-oat01-x", CredentialKind.OAUTH, (b"authorization", b"Bearer sk-ant-oat01-x")),
    ],
)
def test_a_callers_credential_is_known_by_how_it_begins(
    text: str, kind: CredentialKind, header: tuple[bytes, bytes]
) -> None:
    """A key goes into x-api-key, an OAuth token into Authorization."""
    credential = credential_from(SecretStr(text))
    assert credential.kind is kind
    assert credential.headers() == [header]


def test_the_runners_own_is_known_by_its_variable() -> None:
    """A key wins over a token; empty is absent."""
    assert credential_from_environ({}) is None
    assert credential_from_environ({"ANTHROPIC_API_KEY": ""}) is None
    token = credential_from_environ({"CLAUDE_CODE_OAUTH_TOKEN": "anything"})
    assert token is not None
    assert token.kind is CredentialKind.OAUTH
    both = credential_from_environ({"ANTHROPIC_API_KEY": "a", "CLAUDE_CODE_OAUTH_TOKEN": "b"})
    assert both is not None
    assert both.secret.get_secret_value() == "a"


def test_the_requests_own_wins() -> None:
    """And with none at all there is no run."""
    own = Credential(kind=CredentialKind.OAUTH, secret=SecretStr("own"))
    assert choose(SecretStr("sk-theirs"), own).secret.get_secret_value() == "sk-theirs"
    assert choose(None, own) is own
    with pytest.raises(CallerError) as caught:
        choose(None, None)
    assert caught.value.code is Code.NO_CREDENTIAL


def test_it_shows_itself_nowhere() -> None:
    """Neither printed nor in a frame of a traceback."""
    assert "theirs" not in repr(credential_from(SecretStr("sk-theirs")))
