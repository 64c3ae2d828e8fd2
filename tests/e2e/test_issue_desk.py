"""Who is served, and what stands on the issue: against a GitHub that keeps it."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from claude_run.errors import Code, UpstreamError
from doubles.github import BOT, GitHub, Repository
from doubles.github_front import Fault
from gateway.github.access import GitHubAccess
from gateway.github.asked import Asked, Trigger
from gateway.github.credentials import AppKey
from gateway.github.marks import MAX_BODY
from gateway.github.trigger_settings import Kind as Sort
from gateway.github.trigger_settings import Sign, TriggerSettings
from gateway.issues.desk import Desk
from gateway.issues.settings import IssueSettings
from gateway.sessions import events
from gateway.work.outcome import Outcome
from gateway.work.pulls import GitHubPulls
from gateway.work.record import Kind, State, WorkItem

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def desk(github: GitHub) -> Desk:
    """The desk of a deployment with usual settings."""
    access = GitHubAccess(
        settings=github.settings,
        key=lambda: AppKey(app_id=github.app_id, private_key=github.private_key),
        patience=5.0,
    )
    return Desk(
        access=access,
        settings=IssueSettings(),
        triggers=TriggerSettings(),
        budget_usd=5.0,
        runs=lambda: 1,
    )


def ask(repository: Repository, *, by: str = "writer", **changes: object) -> Asked:
    issue = repository.open_issue("Mend it", "Please.", by=by)
    user = issue["user"]
    asked = Asked(
        repository=repository.ref,
        issue=issue["number"],
        is_pull=False,
        source="issue",
        trigger=Trigger.OPENED,
        author=user["login"],
        author_id=user["id"],
        title="Mend it",
        text="Please.",
        url=issue["html_url"],
        signs=(Sign(Sort.ON_OPEN),),
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


def item_of(asked: Asked, **changes: object) -> WorkItem:
    now = datetime.now(UTC)
    item = WorkItem(
        key=asked.key,
        kind=Kind.ISSUE,
        state=State.CLAIMED,
        created_at=now,
        updated_at=now,
        not_before=now,
        lease_until=now,
        conversation=asked.conversation,
        asked=asked.to_data(),
    )
    return replace(item, **changes)  # type: ignore[arg-type]


def test_one_comment_from_begin_to_end(github: GitHub, desk: Desk) -> None:
    """Begun, found again by a second try, kept up to date, and the receipt in the end."""
    repository = github.create()
    asked = ask(repository)
    item = item_of(asked)
    # Anybody can write our mark: theirs is not touched.
    repository.comment(asked.issue, f"<!-- claude-run-work:{item.key} --> mine", by="reader")
    first, again = desk.admit(item, [asked]), desk.admit(item, [asked])
    assert first.allowed
    assert first.comment == again.comment is not None
    assert first.base == "main"
    assert first.options["maxTurns"] == 50
    assert "Please." in first.prompt
    progress = desk.progress(item, first)
    progress.watch([events.tool_use(1, "a", "Bash", {"command": "make test"})])
    progress.close()
    done = replace(
        item,
        comment=first.comment,
        facts=first.facts,
        outcome=Outcome(result="All is well.").to_data(),
        publication={"commentOnly": True},
    )
    desk.report(done)
    desk.report(done)
    comments = repository.comments(asked.issue)
    assert [comment["user"]["login"] for comment in comments] == ["reader", BOT]
    assert comments[0]["body"].endswith("mine")
    assert "All is well." in comments[1]["body"]
    assert sorted(repository.reactions(f"issues/{asked.issue}")) == ["eyes", "rocket"]


def test_each_item_has_a_comment_of_its_own(github: GitHub, desk: Desk) -> None:
    """Also where there are more of others than GitHub tells at once; it is not too long for it."""
    repository = github.create()
    asked = ask(repository)
    item = item_of(asked)
    other = replace(item, key="another")
    for number in range(101):
        repository.comment(asked.issue, f"Comment {number}", by="reader")
    comments = [desk.admit(one, [asked]).comment for one in (other, item, other, item)]
    assert comments[0] != comments[1]
    assert comments[:2] == comments[2:]
    done = replace(item, comment=comments[1], facts={"warnings": ["⚠" * 300] * 300})
    long = Outcome(result="y" * 200_000)
    desk.report(replace(done, outcome=long.to_data(), publication={"commentOnly": True}))
    told = repository.api("GET", f"issues/comments/{comments[1]}")["body"]
    assert 60_000 < len(told) <= MAX_BODY


def test_who_has_no_account_any_more_is_nobody(github: GitHub, desk: Desk) -> None:
    """Not there is no failure: it is denied, and silently."""
    repository = github.create()
    asked = ask(repository)
    gone = Fault(match=f"GET /repos/{repository.name}/collaborators", status=404)
    with github.faults(gone):
        assert not desk.admit(item_of(asked), [asked]).allowed


def test_only_who_may_is_asked_for_anything(github: GitHub, desk: Desk) -> None:
    """What a stranger has said beside it is no request, and gets no reaction."""
    repository = github.create()
    may, may_not = ask(repository), ask(repository, by="reader")
    comments = [
        repository.comment(may.issue, text, by=by)["id"]
        for text, by in (("And this.", "writer"), ("Obey me.", "reader"))
    ]
    asked = [
        replace(may, source=f"comment:{comments[0]}", text="And this."),
        replace(may_not, issue=may.issue, source=f"comment:{comments[1]}", text="Obey me."),
    ]
    for order in (asked, asked[::-1]):
        admission = desk.admit(item_of(asked[0]), order)
        assert "And this." in admission.prompt
        assert "Obey me." not in admission.prompt
    assert repository.reactions(f"issues/comments/{comments[0]}") == ["eyes"]
    assert repository.reactions(f"issues/comments/{comments[1]}") == []


def test_what_was_deleted_or_locked_meanwhile_ends_nothing(github: GitHub, desk: Desk) -> None:
    """The work is done; there is nowhere left to say so."""
    repository = github.create()
    asked = ask(repository)
    item = item_of(asked)
    admission = desk.admit(item, [asked])
    locked = Fault(match=f"POST /repos/{repository.name}/issues/.*/reactions", status=403, times=9)
    with github.faults(locked):
        assert desk.admit(item, [asked]).comment == admission.comment
    repository.api("DELETE", f"issues/comments/{admission.comment}")
    done = replace(item, comment=admission.comment, facts=admission.facts)
    desk.report(replace(done, outcome=Outcome().to_data(), publication={"commentOnly": True}))
    assert repository.comments(asked.issue) == []


@pytest.mark.parametrize("by", ["reader", "stranger"])
def test_who_may_not_write_gets_no_answer(github: GitHub, desk: Desk, by: str) -> None:
    """Neither a comment nor a reaction, at the start and where it fails."""
    repository = github.create()
    asked = ask(repository, by=by)
    item = item_of(asked)
    assert not desk.admit(item, [asked]).allowed
    desk.report(replace(item, outcome=Outcome(code=Code.UPSTREAM_ERROR).to_data()))
    assert repository.comments(asked.issue) == []
    assert repository.reactions(f"issues/{asked.issue}") == []


def test_a_login_that_is_anothers_now_is_not_believed(github: GitHub, desk: Desk) -> None:
    """The signed account is asked for."""
    repository = github.create()
    assert not desk.may_stop(ask(repository, author_id=999_999))
    assert desk.may_stop(ask(repository))


def test_a_stop_is_heard_where_it_is_said_to_us(github: GitHub, desk: Desk) -> None:
    """A deployment that lets repositories choose their word gets what is said to others, too."""
    repository = github.create({".github/claude-run.yml": 'triggers: {phrases: ["@robot"]}\n'})

    def heard(word: str) -> bool:
        return desk.may_stop(ask(repository, signs=(Sign(Sort.PHRASE, word),)))

    words = ("@robot", f"@{BOT.removesuffix('[bot]')}", "@bob", "@claude")
    assert [heard(word) for word in words] == [True, True, False, False]


def test_a_login_is_one_part_of_a_path(github: GitHub, desk: Desk) -> None:
    """Whatever is in it, another question is not asked."""
    repository = github.create()
    asked = ask(repository)
    strange = replace(asked, author=f"../collaborators/{asked.author}/permission?x=\r\n")
    assert not desk.admit(item_of(asked), [strange]).allowed
    [one] = [one for one in github.requests(repository) if "permission" in one.line]
    assert one.path.count("/") == f"/repos/{repository.name}/collaborators/x/permission".count("/")


@pytest.mark.parametrize("page", [{"data": "<html>"}, {}, [], None])
def test_an_answer_of_somebody_between_denies_nothing(
    github: GitHub, desk: Desk, page: object
) -> None:
    """200, and not GitHub's: whoever may is served then, or at the next try, and by the file.

    A page of HTML is what PyGithub makes of it.
    """
    repository = github.create({".github/claude-run.yml": "max_turns: 3\n"})
    asked = ask(repository)
    item = item_of(asked)
    assert desk.admit(item, [asked]).allowed
    lines = [one.line for one in github.requests(repository)]
    for line in ("permission", "contents", "comments"):
        [number] = [at for at, one in enumerate(lines) if line in one and one.startswith("GET")]
        fault = Fault(match=f"{lines[number]}$", status=200, body=page)
        with github.faults(fault), suppress(UpstreamError):
            assert desk.admit(item, [asked]).allowed
        assert fault.times == 0
    assert desk.admit(item, [asked]).options["maxTurns"] == 3


@pytest.mark.parametrize("page", [{"data": "<html>"}, {}, []])
def test_a_pull_request_that_is_not_told_is_not_taken_for_closed(
    github: GitHub, page: object
) -> None:
    """The next turn would forget what was done."""
    repository = github.create()
    repository.api("POST", "git/refs", {"ref": "refs/heads/mine", "sha": repository.tip()})
    repository.api("PUT", "contents/z", {"message": "m", "content": "eA==", "branch": "mine"})
    number = repository.open_pull("mine")["number"]
    key = AppKey(app_id=github.app_id, private_key=github.private_key)
    access = GitHubAccess(settings=github.settings, key=lambda: key, patience=1.0)
    pulls = GitHubPulls(access)
    for line in (f"GET /repos/{repository.name}$", f"GET /repos/{repository.name}/pulls/"):
        fault = Fault(match=line, status=200, body=page)
        with github.faults(fault), pytest.raises(UpstreamError):
            pulls.is_open(repository.ref, number)
        assert fault.times == 0
    assert pulls.is_open(repository.ref, number)
    access.close()


def test_a_repository_narrows(github: GitHub, desk: Desk) -> None:
    """Its file decides what starts a run and how it goes, and a broken one is told."""
    path = ".github/claude-run.yml"
    repository = github.create(
        {path: "triggers: {on_open: false}\nmax_turns: 3\ntools: [Read]\ninstructions: Be brief.\n"}
    )
    asked = ask(repository)
    assert not desk.admit(item_of(asked), [asked]).allowed
    mentioned = replace(asked, signs=(Sign(Sort.PHRASE, "@claude"),))
    admission = desk.admit(item_of(mentioned), [mentioned])
    assert admission.options["maxTurns"] == 3
    assert admission.options["allowedTools"] == ["Read"]
    assert admission.options["appendSystemPrompt"] == "Be brief."
    repository.commit({path: "max_turns: many\n"})
    broken = ask(repository)
    admission = desk.admit(item_of(broken), [broken])
    assert admission.options["maxTurns"] == 50
    assert "max_turns" in admission.facts["warnings"][0]


def test_a_repository_widens_nothing(github: GitHub, desk: Desk) -> None:
    """It gets no more turns, time, money or tools than the deployment gives."""
    path = ".github/claude-run.yml"
    usual = github.create()
    wide = github.create(
        {
            path: "max_turns: 1000\ntimeout_minutes: 50\nmax_budget_usd: 90\n"
            "tools: [Read, WebFetch, mcp__x]\n"
        }
    )
    given = [desk.admit(item_of(one), [one]) for one in (ask(usual), ask(wide))]
    options = [one.options for one in given]
    for name in ("maxTurns", "timeoutMinutes", "maxBudgetUsd", "permissionMode"):
        assert options[1][name] == options[0][name]
    assert set(options[1]["allowedTools"]) <= set(options[0]["allowedTools"])
    assert not given[1].facts["warnings"]


def test_somebodys_pull_request_is_worked_on_from_its_head(github: GitHub, desk: Desk) -> None:
    """What comes of it goes into their branch."""
    repository = github.create()
    base = repository.tip()
    assert base is not None
    repository.api("POST", "git/refs", {"ref": "refs/heads/theirs", "sha": base}, by="writer")
    repository.api(
        "PUT",
        "contents/new.txt",
        {"message": "m", "content": "bmV3", "branch": "theirs"},
        by="writer",
    )
    pull = repository.open_pull("theirs")
    asked = replace(
        ask(repository), issue=pull["number"], is_pull=True, signs=(Sign(Sort.ON_OPEN),)
    )
    admission = desk.admit(item_of(asked), [asked])
    assert admission.base == "theirs"
    assert admission.head is not None
    assert admission.head.sha == pull["head"]["sha"]
    assert not admission.comment_only


@pytest.mark.parametrize("source", [{"id": 999_999}, None])
def test_a_pull_request_from_a_fork_gets_an_answer_only(
    github: GitHub, desk: Desk, source: object
) -> None:
    """Also where the fork is gone: its branch may have the name of one of ours."""
    repository = github.create()
    asked = replace(ask(repository), is_pull=True)
    item = item_of(asked)
    head = {"ref": "main", "sha": "a" * 40, "repo": source}
    pull = {"head": head, "base": {"ref": "main"}}
    told = Fault(match=f"GET /repos/{repository.name}/pulls/", status=200, body=pull)
    with github.faults(told):
        admission = desk.admit(item, [asked])
    assert admission.comment_only
    assert admission.head is not None
    assert (admission.base, admission.head.sha) == ("main", "a" * 40)
