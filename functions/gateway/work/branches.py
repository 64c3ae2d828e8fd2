"""The branches that issues' changes are published on."""

import re
import unicodedata
from typing import Protocol

from claude_run.errors import CallerError, Code
from gateway.github.access import GitHubAccess
from gateway.github.asked import Asked, RepositoryRef
from gateway.github.failures import translated

MAX_SLUG = 40
_READ = {"contents": "read"}
_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


class Branches(Protocol):
    """The branches of repositories, on GitHub."""

    def tip(self, repository: RepositoryRef, branch: str) -> str | None:
        """The commit that a branch is at; None: there is no such branch."""


class GitHubBranches:
    """As GitHub has them now."""

    def __init__(self, access: GitHubAccess) -> None:
        self._access = access

    def tip(self, repository: RepositoryRef, branch: str) -> str | None:
        """The commit that a branch is at; None: there is no such branch."""
        found = self._access.repository(repository, _READ)
        try:
            with translated():
                return found.get_git_ref(f"heads/{branch}").object.sha
        except CallerError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            return None


def branch_name(asked: Asked) -> str:
    """The name of the branch for what was asked: `claude/issue-12-the-title`."""
    plain = unicodedata.normalize("NFKD", asked.title).encode("ascii", "ignore").decode().lower()
    words = _NOT_PLAIN.sub("-", plain)[:MAX_SLUG].strip("-")
    return "-".join(filter(None, (f"claude/issue-{asked.issue}", words)))
