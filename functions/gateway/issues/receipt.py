"""What is said when it is over: the last form of the comment, and the pull request's text. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from claude_run.errors import Code
from claude_run.workspace import from_inside
from gateway.github.asked import Asked
from gateway.github.marks import MAX_TITLE
from gateway.github.policy import HeldBack
from gateway.issues import inert
from gateway.issues.comment import duration, joined, mark
from gateway.work.record import WorkItem

OPENED = "### Claude opened a pull request: {link}"
UPDATED = "### Claude updated the pull request: {link}"
ANSWERED = "### Claude's answer"
EARLY = "### Claude did not finish"
CANCELLED = "### Stopped"
FAILED = "### Claude could not do it"
DRAFT = "What was done until then is in a draft: {link}."
NO_DRAFT = "What was done until then is in the pull request: {link}."
NOT_FINISHED = "**Not finished.** {reason}"
NO_CHANGE = "Nothing was changed, so there is no pull request."
NO_NEWS = "Nothing more was changed: the pull request is as it was."
ALL_HELD_BACK = "All that was changed is held back, so there is no pull request."
FROM_FORK = (
    "This pull request comes from a fork, which cannot be written to: nothing was published. "
    "What was found is below."
)
HELD_BACK = "**Held back**: rules of this deployment (`POLICY_…`) keep this from being published."
TO_HAVE_IT = (
    "To have it all the same, ask Claude for its text in a comment, and commit it yourself."
)
GO_ON = (
    "To go on, write a comment with `{phrase}` here{there}: Claude remembers what was said and "
    "done."
)
THERE = " or on the pull request"
FIXES = "Fixes #{number}"
FOR = "For #{number}"
ASKED_BY = "Asked by {author} in #{number}."
TITLE = "Issue {number}"
# Between the agent's words and ours.
RULE = "---"

# What happened, and what to do; of what is not named here there is nothing to do but try again.
_REASONS: Mapping[Code, str] = {
    Code.TIMEOUT: "The time for a run is over. Ask for a smaller step, or go on from here.",
    Code.MAX_TURNS: "The run had all its turns. Ask for a smaller step, or go on from here.",
    Code.BUDGET_EXCEEDED: (
        "The budget of a run is used. Ask for a smaller step, or go on from here."
    ),
    Code.QUOTA_EXCEEDED: (
        "The quota of this deployment is used. It is free again tomorrow (UTC), or when an "
        "operator raises `MAX_DAILY_COST_USD` or `MAX_DAILY_TOKENS`."
    ),
    Code.INTERRUPTED: "The machine that it ran on went away. Go on from here when you like.",
    Code.SHUTDOWN: "The machine that it ran on was shut down. Go on from here when you like.",
    Code.CANCELLED: "Somebody with write access asked to stop. What was changed is not published.",
    Code.NO_CREDENTIAL: (
        "There is no key for Claude. An operator stores one on the set-up page, `/gh-setup`; then "
        "ask again."
    ),
    Code.UPSTREAM_AUTH: (
        "Anthropic does not accept the key that is stored. An operator stores another one on the "
        "set-up page, `/gh-setup`; then ask again."
    ),
    Code.UPSTREAM_RATE_LIMIT: "Anthropic's limit for this key is reached. Ask again later.",
    Code.UPSTREAM_OVERLOADED: "Anthropic's servers are overloaded. Ask again later.",
    Code.CLONE_FAILED: (
        "The repository could not be cloned. The App needs to be installed on it, with read access "
        "to its contents; then ask again."
    ),
    Code.FORBIDDEN: (
        "GitHub does not let the App do that. An owner looks at its permissions for this "
        "repository; then ask again."
    ),
    Code.VALIDATION_ERROR: "What was asked cannot be run: {message}",
    Code.RATE_LIMIT_EXCEEDED: "Too much was asked at once. Ask again later.",
}
_ANYTHING_ELSE = (
    "Something failed on the way. Ask again; if it stays so, an operator finds it in the logs."
)

# Then the last words are Claude Code's own, about what the reason says already.
_NOT_CLAUDES_WORDS = frozenset(
    {
        *(Code.UPSTREAM_AUTH, Code.UPSTREAM_RATE_LIMIT, Code.UPSTREAM_OVERLOADED),
        *(Code.UPSTREAM_ERROR, Code.NO_CREDENTIAL),
    }
)

_TABLE_BEGINS = ("<details><summary>Receipt</summary>", "", "| | |", "|---|---|")
_TABLE_ENDS = ("", "</details>")

MAX_ANSWER = 30_000
MAX_MESSAGE = 500
MAX_NAME = 200
# Paths that are listed; the pull request has them all.
MAX_PATHS = 20


def report(item: WorkItem) -> str:
    """The comment of an item that is over."""
    publication, code = item.publication, _code(item)
    there = THERE if publication.get("url") or item.facts.get("shown") else ""
    return around(
        _said(item, code),
        above=joined(mark(item.key), _heading(code, publication), _what_happened(item, code)),
        below=joined(
            _why_no_pull_request(item, code),
            _held_back(publication.get("heldBack", ()), publication.get("heldBackCount")),
            *(f"> ⚠️ {inert.line(one, MAX_MESSAGE)}" for one in item.facts.get("warnings", ())),
            _table(item),
            f"<sub>{GO_ON.format(phrase=phrase(item), there=there)}</sub>",
        ),
    )


def pull_request(item: WorkItem, held_back: Sequence[HeldBack]) -> tuple[str, str]:
    """Its title and text."""
    asked = Asked.from_data(item.asked or {})
    title = inert.title(asked.title, MAX_TITLE) or TITLE.format(number=asked.issue)
    told = [{"path": one.path, "rule": one.rule} for one in held_back]
    by = ASKED_BY.format(author=inert.line(asked.author, MAX_NAME), number=asked.issue)
    code = _code(item)
    early = NOT_FINISHED.format(reason=reason(code, item.outcome["message"])) if code else ""
    body = around(
        _said(item, code),
        above=joined(_reference(item, asked), early),
        below=joined(
            _held_back(told),
            _table(item, in_pull_request=True),
            f"<sub>{by} {GO_ON.format(phrase=phrase(item), there='')}</sub>",
        ),
    )
    return title, body


def _code(item: WorkItem) -> Code | None:
    return Code(item.outcome["code"]) if item.outcome["code"] else None


def _said(item: WorkItem, code: Code | None) -> str:
    return "" if code in _NOT_CLAUDES_WORDS else str(item.outcome["result"])


def _reference(item: WorkItem, asked: Asked) -> str:
    """What a pull request is for: what its conversation began with, wherever that goes on."""
    number = (item.conversation or asked.conversation).rpartition("-")[2]
    if number == str(asked.issue):
        # On somebody's pull request it is a part of that, and settles nothing by itself.
        return (FOR if asked.is_pull else FIXES).format(number=number)
    # Asked on our own pull request, whose text says which of the two it is.
    fixes = FIXES.format(number=number)
    return (
        fixes if asked.issue_text.partition("\n")[0].strip() == fixes else FOR.format(number=number)
    )


def around(answer: str, *, above: str, below: str) -> str:
    """What the agent said between our own words, in which nothing of it can end."""
    told = from_inside(answer)
    closed = inert.closed_text(told, MAX_ANSWER)
    if closed is None:
        return joined(above, below, RULE, inert.text(told, MAX_ANSWER))
    return joined(above, closed, RULE if closed else "", below)


def phrase(item: WorkItem) -> str:
    """What speaks to us in this repository."""
    return str(item.facts.get("phrase") or "@claude")


def reason(code: Code, message: str) -> str:
    """What happened, and what to do."""
    return _REASONS.get(code, _ANYTHING_ELSE).format(message=inert.line(message, MAX_MESSAGE))


def _heading(code: Code | None, publication: Mapping[str, Any]) -> str:
    if code is Code.CANCELLED:
        return CANCELLED
    if code is not None:
        return EARLY if publication.get("url") else FAILED
    if not publication.get("url"):
        return ANSWERED
    return (UPDATED if publication.get("updated") else OPENED).format(link=_link(publication))


def _what_happened(item: WorkItem, code: Code | None) -> str:
    publication = item.publication
    if code is not None:
        where = DRAFT if publication.get("draft") else NO_DRAFT
        done = where.format(link=_link(publication)) if publication.get("url") else ""
        return " ".join(filter(None, (reason(code, item.outcome["message"]), done)))
    return FROM_FORK if _is_of_fork(item) else ""


def _why_no_pull_request(item: WorkItem, code: Code | None) -> str:
    publication = item.publication
    if code is not None or publication.get("url") or _is_of_fork(item):
        return ""
    if publication.get("heldBack"):
        return ALL_HELD_BACK
    return NO_NEWS if item.facts.get("shown") else NO_CHANGE


def _is_of_fork(item: WorkItem) -> bool:
    return not item.publication.get("url") and bool(item.facts.get("commentOnly"))


def _link(publication: Mapping[str, Any]) -> str:
    return f"[#{publication['number']}]({publication['url']})"


def held_back_list(held_back: Sequence[Mapping[str, str]], count: int | None = None) -> str:
    """What is not in a pull request, with the rule; nothing of nothing. `count`: of all."""
    if not held_back:
        return ""
    count = len(held_back) if count is None else count
    lines = [
        f"- {inert.code(one['path'], MAX_NAME)}: {inert.line(one['rule'], MAX_NAME)}"
        for one in held_back[:MAX_PATHS]
    ]
    if count > MAX_PATHS:
        lines.append(f"- … and {count - MAX_PATHS} more")
    return "\n".join((HELD_BACK, "", *lines))


def _held_back(held_back: Sequence[Mapping[str, str]], count: int | None = None) -> str:
    return joined(held_back_list(held_back, count), TO_HAVE_IT if held_back else "")


def _table(item: WorkItem, *, in_pull_request: bool = False) -> str:
    outcome, publication = item.outcome, item.publication
    usage = outcome["usage"]
    tokens_in, tokens_out = usage["inputTokens"], usage["outputTokens"]
    rows = {
        "Files": _files(publication),
        "Turns": str(outcome["turns"]) if outcome["turns"] is not None else "",
        "Tokens": f"{tokens_in:,} in · {tokens_out:,} out" if tokens_in or tokens_out else "",
        "Cost": f"${usage['costUsd']:.2f}" if tokens_in or tokens_out else "",
        "Time": duration(timedelta(seconds=outcome["seconds"])),
        "Denied": _counted(outcome["denied"]),
        "Removed from the request": _removed(item.facts.get("removed", {})),
        "Session": inert.cell((item.session or "").partition(".")[2], MAX_NAME)
        if item.session and not in_pull_request
        else "",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value]
    return "\n".join((*_TABLE_BEGINS, *lines, *_TABLE_ENDS))


def _files(publication: Mapping[str, Any]) -> str:
    files = publication.get("files", ())
    if not files:
        return ""
    count = publication.get("fileCount", len(files))
    names = ", ".join(inert.cell(path, MAX_NAME) for path in files[:MAX_PATHS])
    more = f" and {count - MAX_PATHS} more" if count > MAX_PATHS else ""
    return f"{count}: {names}{more}"


def _counted(denied: Sequence[str]) -> str:
    counts = Counter(denied).most_common(MAX_PATHS)
    return ", ".join(
        inert.cell(name, MAX_NAME) + (f" ({times})" if times > 1 else "") for name, times in counts
    )


def _removed(removed: Mapping[str, int]) -> str:
    return ", ".join(f"{inert.line(what, MAX_NAME)}: {count}" for what, count in removed.items())
