"""With whose token a turn reaches its repository, and which field is named where it cannot."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from claude_run.errors import CallerError
from gateway.github.asked import RepositoryRef
from gateway.github.reach import (
    APP_REPOSITORY,
    Reach,
    check_pull_request,
    is_granted,
    name_of,
    recalled,
    remembered,
)

SERVER = "https://github.com"
REF = RepositoryRef(id=1, name="octo/one", installation_id=7, default_branch="main")


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        (None, None),
        ({"name": "octo/one"}, "octo/one"),
        ({"url": "https://github.com/octo/one"}, "octo/one"),
        ({"url": "https://github.com/octo/one.git"}, "octo/one"),
        ({"url": "https://GitHub.com/octo/one/", "branch": "x"}, "octo/one"),
        # A URL is what is cloned, whatever it is called.
        ({"url": "https://github.com/octo/one", "name": "evil/two"}, "octo/one"),
        ({"url": "https://gitlab.com/octo/one"}, None),
        ({"url": "https://github.com.evil.com/octo/one"}, None),
        ({"url": "https://github.com/octo"}, None),
        ({"url": "https://github.com/octo/one/two"}, None),
        ({"url": "https://gitlab.com/octo/one", "name": "octo/one"}, None),
    ],
)
def test_a_repository_has_a_name_on_this_github_only(
    repository: Mapping[str, Any] | None, name: str | None
) -> None:
    """Elsewhere a token of this one does not belong."""
    assert name_of(repository, SERVER) == name


def test_grants_are_a_callers_and_a_repositorys() -> None:
    """However either is written; nobody without an e-mail address has any."""
    grants = {"ann@example.com": frozenset({"octo/One"})}
    assert is_granted("OCTO/one", "Ann@Example.com", grants)
    assert not is_granted("octo/two", "ann@example.com", grants)
    assert not is_granted("octo/one", "bob@example.com", grants)
    assert not is_granted("octo/one", None, grants)


@pytest.mark.parametrize(
    ("repository", "reach", "field"),
    [
        (None, Reach(), "repository"),
        ({"url": "https://gitlab.com/o/r"}, Reach(token=SecretStr("t")), "repository.url"),
        ({"name": "octo/one"}, Reach(name="octo/one"), "githubToken"),
        ({"name": "octo/one"}, Reach(name="octo/one", token=SecretStr("t")), None),
        ({"name": "octo/one"}, Reach(name="octo/one", app=REF), None),
    ],
)
def test_a_refusal_names_the_field(
    repository: Mapping[str, Any] | None, reach: Reach, field: str | None
) -> None:
    """And nothing else is asked for."""
    if field is None:
        check_pull_request(repository, reach, SERVER)
        return
    with pytest.raises(CallerError) as caught:
        check_pull_request(repository, reach, SERVER)
    assert caught.value.details["field"] == field
    assert caught.value.message.startswith(f"{field}: ")


def test_what_a_session_keeps_is_what_the_app_may_do_and_no_token() -> None:
    """As of its newest turn."""
    reach = Reach(name="octo/one", app=REF, token=SecretStr("planted"))
    kept = remembered({"maxTurns": 3}, reach)
    assert recalled(json.loads(json.dumps(kept))) == Reach(name="octo/one", app=REF)
    assert "planted" not in repr(kept) + repr(reach)
    assert remembered(kept, Reach(name="octo/one")) == {"maxTurns": 3}
    assert recalled({"maxTurns": 3}) == Reach()
    assert APP_REPOSITORY in kept
