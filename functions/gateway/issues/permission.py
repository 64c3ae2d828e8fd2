"""Who may ask: people who may write to the repository, as GitHub says now."""

from typing import Any
from urllib.parse import quote

from claude_run.errors import CallerError, Code
from gateway.github.access import READ, GitHubAccess
from gateway.github.asked import Asked
from gateway.github.failures import given, mapping, translated

# `permission` has only these; `maintain` and roles of an organisation's own are among them.
_MAY_WRITE = frozenset({"admin", "write"})


def may_write(access: GitHubAccess, asked: Asked) -> bool:
    """Whether whoever asks may; asked by login, and believed for the very account only."""
    client = access.client(asked.repository, READ)
    # A login, as far as GitHub says; whatever it is, it is one part of the path.
    login = quote(asked.author, safe="")
    path = f"/repos/{asked.repository.name}/collaborators/{login}/permission"
    try:
        with translated():
            _, answer = client.requester.requestJsonAndCheck("GET", path)
    except CallerError as error:
        # A stranger is a collaborator with no permission; an account that is gone is nobody.
        if error.code is Code.NOT_FOUND:
            return False
        raise
    return allows(mapping(answer), asked.author_id)


def allows(answer: dict[str, Any], account: int) -> bool:
    """Whether GitHub's answer says so of this account: its login may be another's by now.

    `UpstreamError` where it says nothing: whoever is denied is not asked about again.
    """
    user = mapping(answer.get("user") or {})
    return (
        given(answer.get("permission")) in _MAY_WRITE
        and user.get("id") == account
        and user.get("type") == "User"
    )
