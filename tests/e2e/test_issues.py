"""From an issue to a pull request: all of it real but the model and GitHub."""

import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

import servers
from doubles.github import BOT, GitHub, Repository
from doubles.github_front import Fault
from gateway.sessions.record import Status
from gateway.work.record import State
from issue_service import Service, asking, issue_service, until, writing

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("issues")]


@pytest.fixture(scope="module")
def runner(model: servers.Server) -> Iterator[servers.Server]:
    """A runner that may clone from the tests' GitHub."""
    with servers.running_runner(model.url, ALLOWED_GIT_HOSTS="localhost") as server:
        yield server


@pytest.fixture(scope="module")
def service(
    github: GitHub, runner: servers.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One for all tests that deliver: each has a repository of its own."""
    with issue_service(github, runner, tmp_path_factory.mktemp("issues")) as made:
        yield made


@pytest.fixture
def alone(github: GitHub, runner: servers.Server, tmp_path: Path) -> Iterator[Service]:
    """A store of its own, and workers that the test starts."""
    with issue_service(github, runner, tmp_path, starts_workers=False) as made:
        yield made


def hooked(service: Service, github: GitHub) -> Repository:
    """A repository whose deliveries go to the gateway."""
    assert service.gateway is not None
    repository = github.create({"README.md": "# Hello\n", "old.txt": "old\n"})
    repository.hook(f"{service.gateway.url}/webhooks/github")
    return repository


def ours(repository: Repository, issue: int) -> list[str]:
    """What the App has said on an issue."""
    found = repository.comments(issue)
    return [one["body"] for one in found if one["user"]["login"] == BOT]


def test_an_issue_becomes_a_pull_request(service: Service, github: GitHub) -> None:
    """With the right files on a branch of its own; one comment says so, and how to go on."""
    repository = hooked(service, github)
    text = asking("Please write the note.", *writing("notes/a.txt", "hello\n"))
    issue = repository.open_issue("A note, please", text)["number"]
    (item,) = service.until_over(repository)
    assert item.state is State.DONE
    assert repository.deliveries(1)[0].status == 200
    (pull,) = repository.pulls()
    assert pull["base"]["ref"] == "main"
    assert pull["head"]["ref"] == f"claude/issue-{issue}-a-note-please"
    assert f"#{issue}" in pull["body"]
    files = repository.files(pull["head"]["ref"])
    assert files["notes/a.txt"] == ("100644", b"hello\n")
    assert files["old.txt"] == ("100644", b"old\n")
    (comment,) = ours(repository, issue)
    assert pull["html_url"] in comment
    assert "eyes" in repository.reactions(f"issues/{issue}")
    session = service.session(repository, issue)
    assert session.status is Status.COMPLETED


def test_a_comment_goes_on_where_the_issue_ended(service: Service, github: GitHub) -> None:
    """On the pull request or on the issue: the same session, branch and pull request."""
    repository = hooked(service, github)
    first = asking("Write one.", *writing("one.txt", "1\n"))
    issue = repository.open_issue("Count", first)["number"]
    service.until_over(repository, 1)
    (pull,) = repository.pulls()
    second = asking("@claude now two", *writing("two.txt", "2\n"))
    repository.comment(pull["number"], second)
    items = service.until_over(repository, 2)
    assert [item.state for item in items] == [State.DONE, State.DONE]
    (again,) = repository.pulls()
    assert again["body"].startswith(f"Fixes #{issue}\n")
    (told,) = ours(repository, pull["number"])
    assert "### Claude updated the pull request: " in told
    files = repository.files(pull["head"]["ref"])
    assert (files["one.txt"][1], files["two.txt"][1]) == (b"1\n", b"2\n")
    assert service.session(repository, issue).turn == 2


def test_who_may_not_write_starts_nothing(service: Service, github: GitHub) -> None:
    """No comment, no reaction, no run."""
    repository = hooked(service, github)
    text = asking("Please write.", *writing("a.txt", "a"))
    issue = repository.open_issue("Mine", text, by="reader")["number"]
    (item,) = service.until_over(repository)
    assert item.state is State.DENIED
    assert (repository.comments(issue), repository.pulls()) == ([], [])
    assert repository.reactions(f"issues/{issue}") == []


def test_a_stop_in_a_comment_ends_the_run(service: Service, github: GitHub) -> None:
    """Until then the comment tells plan, deed and cost. Nothing is published, and it says so."""
    repository = hooked(service, github)
    working = [
        servers.use("TaskCreate", subject="Look around", description="All of it."),
        servers.use("TaskUpdate", taskId="1", status="in_progress"),
        servers.use("Bash", command="echo looking"),
        servers.say("word ", repeat=2_000, delay_ms=50),
    ]
    issue = repository.open_issue("Slowly", asking("Say it.", *working))["number"]
    service.until_state(repository, State.RUNNING)
    parts = ("\n- [ ] **Look around**\n", "\n**Now:** Running `echo looking`\n", " so far · ")
    until(
        lambda: all(part in told for told in ours(repository, issue)[:1] for part in parts),
        lambda: f"not told: {ours(repository, issue)}",
    )
    repository.comment(issue, "@claude stop")
    items = service.until_over(repository, 2)
    assert [item.state for item in items] == [State.CANCELLED, State.DONE]
    assert service.session(repository, issue).status is Status.CANCELLED
    assert repository.pulls() == []
    (comment,) = ours(repository, issue)
    assert "\n### Stopped\n" in comment


def test_a_delivery_that_never_arrived_is_fetched(
    github: GitHub, runner: servers.Server, tmp_path: Path
) -> None:
    """The gateway was down when it came: its timer has GitHub bring it again."""
    repository = github.create()
    repository.hook("http://127.0.0.1:9/webhooks/github")
    repository.open_issue("A note", asking("Please write.", *writing("a.txt", "a\n")))
    (lost,) = repository.deliveries(1)
    assert lost.status == 0
    with issue_service(github, runner, tmp_path) as late:
        assert late.gateway is not None
        lost.url = f"{late.gateway.url}/webhooks/github"
        lost.at -= timedelta(minutes=2)
        httpx2.get(f"{late.gateway.url}/health")
        (item,) = late.until_over(repository)
    assert (item.state, item.delivery) == (State.DONE, lost.guid)
    assert repository.deliveries(2)[1].redelivery


def test_no_secret_leaves(service: Service, github: GitHub) -> None:
    """Neither key nor token is in a log, a comment, a pull request or the store."""
    repository = hooked(service, github)
    text = asking(
        "Look around.", servers.use("Bash", command="env; git config --list --show-origin")
    )
    issue = repository.open_issue("Look", text)["number"]
    service.until_over(repository)
    said = "".join(ours(repository, issue)) + str(repository.pulls())
    assert service.gateway is not None
    stored = (service.folder / "gateway.db").read_bytes().decode("latin-1")
    key = github.private_key.splitlines()[1]
    for secret in (*github.front.grants, github.webhook_secret, key, servers.PLANTED_KEY):
        assert secret not in said
        assert secret not in service.gateway.log()
        assert secret not in stored


# --- workers that end in the middle --------------------------------------------------------------


def halfway(alone: Service, github: GitHub) -> tuple[Repository, int]:
    """A run whose agent has written a file and goes on; its checkpoint is stored."""
    repository = hooked(alone, github)
    slow = servers.say("word ", repeat=4_000, delay_ms=50)
    write = writing("half.txt", "half\n")[0]
    issue = repository.open_issue("Halfway", asking("Write and talk.", write, slow))["number"]
    assert repository.deliveries(1)[0].status == 200
    alone.start_worker()
    alone.until_state(repository, State.RUNNING)
    until(
        lambda: alone.session(repository, issue).changes_version is not None,
        lambda: f"no checkpoint: {alone.log()}",
    )
    return repository, issue


def test_a_worker_that_is_killed_is_followed_by_one_that_publishes(
    alone: Service, github: GitHub
) -> None:
    """From the last checkpoint, as a draft; the agent is not run again."""
    repository, issue = halfway(alone, github)
    servers.kill_group(alone.workers[0].pid)
    alone.workers[0].wait()
    alone.work()
    assert alone.items(repository)[0].state is State.RUNNING, "not before its lease has run out"
    alone.let_leases_run_out(repository)
    alone.work()
    check_interrupted(alone, repository, issue)


def test_a_worker_that_is_told_to_end_stores_where_it_is(alone: Service, github: GitHub) -> None:
    """Within 8 s, with exit status 0; another one goes on at once."""
    repository, issue = halfway(alone, github)
    began = time.monotonic()
    alone.workers[0].send_signal(signal.SIGTERM)
    assert alone.workers[0].wait(servers.STOP_SECONDS) == 0
    assert time.monotonic() - began < 8
    assert alone.session(repository, issue).status is Status.ERROR
    alone.work()
    check_interrupted(alone, repository, issue)


def test_a_worker_that_waits_for_an_answer_ends_in_time_too(alone: Service, github: GitHub) -> None:
    """What it was about to begin is given back, and begun by another one at once."""
    repository = hooked(alone, github)
    text = asking("Please write.", *writing("a.txt", "a\n"))
    repository.open_issue("A note", text)
    assert repository.deliveries(1)[0].status == 200
    silent = Fault(match=rf"GET /repos/{repository.name}/collaborators/", delay=30.0)
    with github.faults(silent):
        worker = alone.start_worker()
        until(lambda: silent_is_asked(github, repository), alone.log)
        began = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(servers.STOP_SECONDS) == 0
        assert time.monotonic() - began < 9
    alone.work()
    (item,) = alone.items(repository)
    assert item.state is State.DONE, alone.log()
    assert len(repository.pulls()) == 1


def silent_is_asked(github: GitHub, repository: Repository) -> bool:
    """Whether the worker has asked who may write."""
    return any("/collaborators/" in one.path for one in github.requests(repository))


def check_interrupted(alone: Service, repository: Repository, issue: int) -> None:
    """A draft with what there was, and a comment that says so."""
    (item,) = alone.items(repository)
    assert item.state is State.INTERRUPTED, alone.log()
    (pull,) = repository.pulls()
    assert pull["draft"]
    assert repository.files(pull["head"]["ref"])["half.txt"] == ("100644", b"half\n")
    (comment,) = ours(repository, issue)
    assert pull["html_url"] in comment
    session = alone.session(repository, issue)
    assert (session.turn, session.status) == (1, Status.ERROR)
