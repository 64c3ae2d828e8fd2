"""What is said at the end: by how it ended, with a receipt."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from asked_for import ASKED
from claude_run.errors import Code
from gateway.github.policy import HeldBack
from gateway.issues import receipt
from gateway.sessions.record import Usage
from gateway.work.outcome import Outcome
from gateway.work.record import Kind, State, WorkItem

NOW = datetime(2026, 11, 25, tzinfo=UTC)
OUTCOME = Outcome(
    result="Mended. Fixes #4, thanks @octo.",
    usage=Usage(input_tokens=20_383, output_tokens=118, cost_usd=0.0839),
    turns=5,
    seconds=123,
    denied=("Bash", "Bash", "WebFetch"),
)
PULL = {
    "url": "https://github.com/octo/app/pull/13",
    "number": 13,
    "files": ["a.py", "odd`name"],
    "heldBack": [{"path": ".github/workflows/x.yml", "rule": "protected"}],
}
ITEM = WorkItem(
    key="k1",
    kind=Kind.ISSUE,
    state=State.PUBLISHED,
    created_at=NOW,
    updated_at=NOW,
    not_before=NOW,
    lease_until=NOW,
    asked=ASKED.to_data(),
    session="ab.issue-1-12",
    facts={"removed": {"HTML comments": 2}, "warnings": ["a `key` is wrong"], "phrase": "@bot"},
    outcome=OUTCOME.to_data(),
    publication=PULL,
)


def failed(code: Code, **publication: object) -> str:
    outcome = replace(OUTCOME, code=code, message="internal detail <x>").to_data()
    return receipt.report(replace(ITEM, outcome=outcome, publication=publication))


def test_a_pull_request_is_named_with_its_receipt() -> None:
    """Link, held back, warning, figures, and how to go on."""
    told = receipt.report(ITEM)
    assert told.startswith(
        "<!-- claude-run-work:k1 -->\n\n### Claude opened a pull request: [#13]("
    )
    for line in (
        "- `.github/workflows/x.yml`: protected",
        r"> ⚠️ a \`key\` is wrong",
        "| Files | 2: `a.py`, `` odd`name `` |",
        "| Turns | 5 |",
        "| Tokens | 20,383 in · 118 out |",
        "| Cost | $0.08 |",
        "| Time | 2 min 3 s |",
        "| Denied | `Bash` (2), `WebFetch` |",
        "| Removed from the request | HTML comments: 2 |",
        "| Session | `issue-1-12` |",
    ):
        assert line in told.split("\n")
    assert "comment with `@bot` here or on the pull request" in told
    answer = "/pull/13)\n\nMended. Fixes #\u200b4, thanks @\u200bocto.\n\n---\n\n**Held back**"
    assert answer in told
    again = replace(ITEM, publication={**PULL, "updated": True})
    assert "### Claude updated the pull request: [#13](" in receipt.report(again)


def test_what_claude_said_ends_before_our_words() -> None:
    """A block of code that it has left open is closed; else our words stand before it."""
    for result, order in (
        ("```python\nx", ["```python\nx\n```\n\n---\n\n**Held back**", "<details>"]),
        ("> - ```\n> x", ["<details>", "---\n\n> - ```"]),
    ):
        outcome = replace(OUTCOME, result=result).to_data()
        told = receipt.report(replace(ITEM, outcome=outcome))
        places = [told.find(part) for part in order]
        assert -1 not in places
        assert places == sorted(places)


def test_paths_are_those_of_the_repository() -> None:
    """The folder that the agent worked in is gone."""
    folder = "/tmp/ws-05b7a943-21f0-4c0e-9c52-0d8b0a6f1e11"
    outcome = replace(OUTCOME, result=f"See `{folder}/a.py`.").to_data()
    assert "See `a.py`." in receipt.report(replace(ITEM, outcome=outcome))


def test_what_is_in_a_table_does_not_end_its_cell() -> None:
    """A bar in a file's name needs a backslash there, and in the list none."""
    odd = {**PULL, "files": ["a|b"], "heldBack": [{"path": "c|d", "rule": "protected"}]}
    told = receipt.report(replace(ITEM, publication=odd))
    assert "| Files | 1: `a\\|b` |" in told
    assert "- `c|d`: protected" in told


def test_without_a_change_the_answer_is_the_comment() -> None:
    """And it says why there is no pull request."""
    told = receipt.report(replace(ITEM, publication={"commentOnly": True}))
    assert "### Claude's answer\n\nMended." in told
    assert "---\n\nNothing was changed" in told
    shown = {**ITEM.facts, "shown": "digest"}
    told = receipt.report(replace(ITEM, publication={"commentOnly": True}, facts=shown))
    assert "---\n\nNothing more was changed: the pull request is as it was." in told
    held = receipt.report(replace(ITEM, publication={"heldBack": PULL["heldBack"]}))
    assert "All that was changed is held back" in held
    fork = replace(ITEM, publication={}, facts={**ITEM.facts, "commentOnly": True})
    assert "comes from a fork" in receipt.report(fork)


@pytest.mark.parametrize("code", list(Code))
def test_each_failure_says_what_to_do(code: Code) -> None:
    """Without what is meant for operators, and with the draft if there is one."""
    told = failed(code)
    assert "### Stopped" in told if code is Code.CANCELLED else "### Claude could not do it" in told
    if code is not Code.VALIDATION_ERROR:
        assert "internal detail" not in told
    assert "<x>" not in told
    # Claude Code's own words about the request that failed, which the reason says better.
    assert ("Mended" in told) == (not code.startswith("UPSTREAM_") and code != "NO_CREDENTIAL")
    draft = failed(code, url=PULL["url"], number=13, draft=True)
    assert "What was done until then is in a draft: [#13](" in draft
    # One that was finished before stays ready for review; and some plans know no drafts.
    ready = failed(code, url=PULL["url"], number=13, draft=False)
    assert "What was done until then is in the pull request: [#13](" in ready


def test_the_pull_request_closes_its_issue_and_no_other() -> None:
    """Whatever the agent wrote; on somebody's pull request it closes nothing."""
    title, body = receipt.pull_request(ITEM, [HeldBack(path="x", rule="too large")])
    assert title == "Mend @\u200bocto's #\u200b4"
    assert body.startswith("Fixes #12\n")
    assert "Fixes #4" not in body
    assert "- `x`: too large" in body
    of_pull = replace(ASKED, is_pull=True, title="\u200b")
    title, body = receipt.pull_request(replace(ITEM, asked=of_pull.to_data()), [])
    assert title == "Issue 12"
    assert body.startswith("For #12\n")


def test_a_pull_request_stays_with_what_it_was_opened_for() -> None:
    """What is asked on it goes on with its issue, or with somebody's pull request; never itself."""
    on_ours = replace(ASKED, issue=13, is_pull=True, source="comment:5", text="go on")
    for text, begins in (
        ("Fixes #12\r\n\nMended.", "Fixes #12\n"),
        ("For #12\n\nMended.", "For #12\n"),
        ("Fixes #99\n", "For #12\n"),
    ):
        asked = replace(on_ours, issue_text=text).to_data()
        item = replace(ITEM, asked=asked, conversation="1-12")
        assert receipt.pull_request(item, [])[1].startswith(begins)


def test_an_unfinished_pull_request_says_so() -> None:
    """And why, before anything else."""
    outcome = replace(OUTCOME, code=Code.MAX_TURNS).to_data()
    _, body = receipt.pull_request(replace(ITEM, outcome=outcome), [])
    assert body.startswith("Fixes #12\n\n**Not finished.** The run had all its turns.")


def test_what_was_never_used_is_no_row() -> None:
    """A run that failed before it began has no tokens."""
    outcome = Outcome(code=Code.NO_CREDENTIAL, message="no").to_data()
    told = receipt.report(replace(ITEM, outcome=outcome, publication={}))
    assert "Tokens" not in told
    assert "Cost" not in told


def test_of_many_files_the_number_is_told() -> None:
    """The item keeps the first ones alone."""
    many = {**PULL, "fileCount": 900, "heldBackCount": 9_000}
    told = receipt.report(replace(ITEM, publication=many))
    assert "| Files | 900: `a.py`" in told
    assert "and 880 more" in told
    assert "- … and 8980 more" in told
