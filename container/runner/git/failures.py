"""What git's words about a failed clone mean for whoever asked for it. Pure.

Sorted by whose fault it is. git's own text is matched and thrown away: the server has a say in it.
"""

import re
from dataclasses import dataclass

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from runner.git.source import CloneSource


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    pattern: re.Pattern[str]
    sentence: str
    error: type[ClaudeRunError]


def _failure(pattern: str, sentence: str, error: type[ClaudeRunError]) -> _Failure:
    return _Failure(pattern=re.compile(pattern, re.IGNORECASE), sentence=sentence, error=error)


# The first that matches counts. {branch} and {commit} are the request's own, checked ones.
_FAILURES = (
    _failure(
        r"file too large",
        "The repository is larger than this runner clones.",
        CallerError,
    ),
    _failure(
        r"no space left on device|disk quota exceeded",
        "The disk of this runner is too small for the repository.",
        UpstreamError,
    ),
    _failure(
        r"remote branch .* not found|couldn't find remote ref",
        "The repository has no branch {branch}.",
        CallerError,
    ),
    _failure(
        r"not our ref|does not allow request for unadvertised object|"
        r"trying to write (ref .* with nonexistent|non-commit) object",
        "The repository has no commit {commit}, or does not give it away.",
        CallerError,
    ),
    _failure(
        r"returned error: 30\d|unable to update url base from redirection",
        "The server answered with a redirect, which is not followed: give the URL that it leads to "
        "(after a move the new one; on some servers the one that ends in .git).",
        CallerError,
    ),
    _failure(
        r"authentication failed|could not read (username|password)|terminal prompts disabled|"
        r"returned error: 40[134]|repository .*not found|repository not found",
        "The repository does not exist, or needs a login that was not given or is not enough.",
        CallerError,
    ),
    _failure(
        r"could not resolve host|failed to connect|couldn't connect|connection refused|"
        r"connection timed out|operation too slow|network is unreachable|no route to host",
        "The host of the repository cannot be reached.",
        UpstreamError,
    ),
    _failure(
        r"ssl|certificate|gnutls|tls",
        "The host of the repository could not prove who it is.",
        UpstreamError,
    ),
    _failure(
        r"returned error: (429|5\d\d)",
        "The host of the repository cannot serve it at the moment.",
        UpstreamError,
    ),
    _failure(
        r"fsck error|error: object [0-9a-f]+: |invalid path|unable to create (file|symlink)",
        "The repository holds something that cannot be checked out safely.",
        CallerError,
    ),
)
_UNKNOWN = _failure("", "git could not clone the repository.", UpstreamError)


def clone_failure(stderr: str, source: CloneSource) -> ClaudeRunError:
    """The error to raise for a git command that failed with this on its stderr."""
    failure = next((known for known in _FAILURES if known.pattern.search(stderr)), _UNKNOWN)
    sentence = failure.sentence.format(branch=source.branch, commit=source.commit)
    return failed(sentence, source, error=failure.error)


def failed(
    sentence: str, source: CloneSource, *, error: type[ClaudeRunError] = CallerError
) -> ClaudeRunError:
    """A clone that did not come to be, with what had been asked for as facts."""
    asked = {"url": source.url, "branch": source.branch, "commit": source.commit}
    details = {name: value for name, value in asked.items() if value is not None}
    return error(sentence, code=Code.CLONE_FAILED, details=details)
