"""The pull request of a session: what it is called, what it says, what its caller is told. Pure."""

from collections.abc import Sequence

from claude_run.wire import Changes
from gateway.github.asked import RepositoryRef
from gateway.github.policy import HeldBack
from gateway.github.publication import Publication, Published
from gateway.issues import inert
from gateway.issues.receipt import around, held_back_list
from gateway.sessions.proposing import Proposal
from gateway.sessions.record import Session

MAX_TITLE = 72

BRANCH = "claude/session-{session}"
TITLE = "Changes by Claude"
MESSAGE = "{title}\n\nBy Claude Code, in the session {session}."
ABOUT = "<sub>By Claude Code, in a session of claude-run.</sub>"
OPEN = "The pull request is open."
ASIDE = "Others have pushed to {asked}, so it is from {branch}."
HELD_BACK = "By the rules of this deployment it is without {number} of the changed files."
NOTHING = "No file differs from the repository, so there is no pull request."
ALL_HELD_BACK = "There is no pull request: the rules of this deployment hold every change back."


def publication(
    session: Session, *, prompt: str, result: str, changes: Changes, repository: RepositoryRef
) -> Publication:
    """What is published of a turn. `changes` have a base."""
    title = inert.title(_first_line(prompt), MAX_TITLE) or TITLE

    def body(held_back: Sequence[HeldBack]) -> str:
        listed = held_back_list([{"path": one.path, "rule": one.rule} for one in held_back])
        return around(result, above="", below="\n\n".join(filter(None, (listed, ABOUT))))

    return Publication(
        repository=repository,
        base=changes.base or "",
        target=(session.repository or {}).get("branch") or repository.default_branch,
        branch=BRANCH.format(session=session.session_id),
        # Two owners may call a session alike: each finds only what is its own.
        key=session.key,
        changes=changes,
        title=title,
        body=body,
        message=MESSAGE.format(title=title, session=session.session_id),
    )


def told(asked: Publication, published: Published) -> Proposal:
    """What its caller is told."""
    if published.url is None:
        return Proposal(message=ALL_HELD_BACK if published.held_back else NOTHING)
    sentences = [OPEN]
    if published.branch != asked.branch:
        sentences.append(ASIDE.format(asked=asked.branch, branch=published.branch))
    if published.held_back:
        sentences.append(HELD_BACK.format(number=len(published.held_back)))
    return Proposal(message=" ".join(sentences), url=published.url)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
