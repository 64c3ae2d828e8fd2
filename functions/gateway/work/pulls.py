"""The pull requests that were published, as they are on GitHub now."""

from dataclasses import dataclass

from claude_run.errors import CallerError, Code
from gateway.github.access import GitHubAccess
from gateway.github.asked import RepositoryRef
from gateway.github.failures import given, translated

_READ = {"pull_requests": "read"}


@dataclass(frozen=True, slots=True)
class GitHubPulls:
    """Asked each time."""

    access: GitHubAccess

    def is_open(self, repository: RepositoryRef, number: int) -> bool:
        """Whether it is neither merged nor closed."""
        found = self.access.repository(repository, _READ)
        try:
            with translated():
                return given(found.get_pull(number).state) == "open"
        except CallerError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            return False
