"""GitHub for sessions: with whose token a turn clones, and the pull request of `createPR`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from claude_run.errors import CallerError, Code, UpstreamError
from claude_run.identity import Caller
from claude_run.wire import Changes
from gateway.github.opening import GitHubApp
from gateway.github.policy import Policy
from gateway.github.reach import CREATE_PR, Reach, check_pull_request, is_granted, name_of
from gateway.sessions.proposing import Proposal, Propose
from gateway.sessions.record import Session

# How long a caller waits for an answer, at most, while GitHub limits us.
PATIENCE_SECONDS = 20.0
RETRY_AFTER_SECONDS = 30

CLONE: Mapping[str, str] = {"contents": "read"}
NO_REPOSITORY = "The turn has changed no repository, so there is no pull request."


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequests:
    """One for each process; safe under threads. GitHub's client is loaded where it is needed.

    `grants`: the repositories that the App's token serves, by a caller's e-mail in lower case.
    """

    github: GitHubApp
    server_url: str
    policy: Policy
    grants: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def reach(
        self,
        caller: Caller,
        repository: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        token: SecretStr | None,
    ) -> Reach:
        """How a turn reaches its repository; `options` are those that its session keeps.

        `CallerError` where it asks for a pull request that could not be; UNAVAILABLE where
        GitHub cannot be asked.
        """
        name = name_of(repository, self.server_url)
        reach = Reach(name=name, token=token)
        # Without an App there is nothing to grant.
        if name and is_granted(name, caller.email, self.grants) and self.github.key():
            with _asked():
                reach = Reach(name=name, token=token, app=self.github.access().find(name))
        if options.get(CREATE_PR):
            check_pull_request(repository, reach, self.server_url)
        return reach

    def lend(self, reach: Reach, options: dict[str, Any]) -> None:
        """Have a turn clone with the App's token, from where that belongs and nowhere else."""
        if reach.app is None:
            return
        with _asked():
            token = self.github.access().token(reach.app, CLONE)
        given = options.get("repository") or {}
        kept = {name: given[name] for name in ("branch", "commit") if name in given}
        options["repository"] = {"url": f"{self.server_url}/{reach.app.name}", **kept}
        options["github_token"] = SecretStr(token)

    def propose(self, reach: Reach, session: Session, prompt: str) -> Propose | None:
        """What opens a turn's pull request, if its session asks for one."""
        if not session.options.get(CREATE_PR):
            return None

        def propose(changes: Changes | None, result: str, proceed: Callable[[], None]) -> Proposal:
            from gateway.github import session_pull
            from gateway.github.publication import Publisher

            if changes is None or changes.base is None:
                return Proposal(message=NO_REPOSITORY)
            own = reach.token.get_secret_value() if reach.token and not reach.app else None
            access = self.github.access()
            proceed()
            asked = session_pull.publication(
                session,
                prompt=prompt,
                result=result,
                changes=changes,
                repository=reach.app or access.find(reach.name or "", token=own),
            )
            publisher = Publisher(access=access, policy=self.policy)
            return session_pull.told(asked, publisher.publish(asked, token=own, proceed=proceed))

        return propose


@contextmanager
def _asked() -> Iterator[None]:
    """What GitHub says about a repository, as whoever named that is told it."""
    try:
        yield
    except CallerError as error:
        raise CallerError(
            f"repository: {error.message}", details={"field": "repository", "rule": error.message}
        ) from None
    except UpstreamError as error:
        wait = error.headers.get("Retry-After", str(RETRY_AFTER_SECONDS))
        raise UpstreamError(
            error.message, code=Code.UNAVAILABLE, headers={"Retry-After": wait}
        ) from None
