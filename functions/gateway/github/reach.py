"""How a session's turn reaches its repository on GitHub, and with whose token. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import SecretStr

from claude_run.errors import CallerError
from gateway.github.asked import RepositoryRef

# Among the options that a session keeps: what the App may do for it, until its next turn.
APP_REPOSITORY = "appRepository"
CREATE_PR = "createPR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """`name` is `owner/name`, None where the repository is not on this GitHub, or there is none.

    `app`: the App's token serves this caller here, and is used. `token`: the caller's own.
    """

    name: str | None = None
    app: RepositoryRef | None = None
    token: SecretStr | None = None


def name_of(repository: Mapping[str, Any] | None, server_url: str) -> str | None:
    """`owner/name` of a session's repository, if it is on the GitHub at `server_url`."""
    if repository is None:
        return None
    url = repository.get("url")
    if url is None:
        name: str | None = repository.get("name")
        return name
    base = f"{server_url}/"
    if not url.lower().startswith(base.lower()):
        return None
    name = url[len(base) :].rstrip("/").removesuffix(".git")
    owner, _, short = name.partition("/")
    return name if owner and short and "/" not in short else None


def is_granted(name: str, email: str | None, grants: Mapping[str, frozenset[str]]) -> bool:
    """Whether the operator lets the App's token serve this caller in this repository."""
    known = grants.get((email or "").lower(), frozenset())
    # GitHub's names are the same in upper and lower case.
    return name.lower() in {one.lower() for one in known}


def check_pull_request(repository: Mapping[str, Any] | None, reach: Reach, server_url: str) -> None:
    """Raise `CallerError`, naming the field, where no pull request could be opened."""
    if repository is None:
        raise _refusal("repository", "is needed for options.createPR")
    if reach.name is None:
        raise _refusal("repository.url", f"must be on {server_url} for options.createPR")
    if reach.app is None and reach.token is None:
        raise _refusal(
            "githubToken",
            "is needed for options.createPR: the operator has not granted you this repository",
        )


def remembered(options: Mapping[str, Any], reach: Reach) -> dict[str, Any]:
    """The options that a session keeps, with what the App may do for it from now on."""
    kept = {name: value for name, value in options.items() if name != APP_REPOSITORY}
    return kept if reach.app is None else {**kept, APP_REPOSITORY: asdict(reach.app)}


def recalled(options: Mapping[str, Any]) -> Reach:
    """What `remembered` has kept; never a caller's token."""
    data = options.get(APP_REPOSITORY)
    ref = RepositoryRef(**data) if data is not None else None
    return Reach(name=ref.name, app=ref) if ref is not None else Reach()


def _refusal(field: str, rule: str) -> CallerError:
    return CallerError(f"{field}: {rule}", details={"field": field, "rule": rule})
