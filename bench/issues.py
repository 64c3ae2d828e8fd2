"""How long whoever opens an issue waits for the first word: webhook, worker, GitHub, all real."""

import statistics
import tempfile
import time
from pathlib import Path

import servers
from doubles.github import serve_github
from issue_service import asking, issue_service, until, writing

ROUNDS = 5


def first_comment() -> float:
    """The median of some rounds, in seconds from the opening of the issue."""
    waits: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_github(Path(folder)) as github,
        servers.scripted_model() as model,
        servers.running_runner(model.url, ALLOWED_GIT_HOSTS="localhost") as runner,
        issue_service(github, runner, Path(folder)) as service,
    ):
        assert service.gateway is not None  # noqa: S101
        for _ in range(ROUNDS):
            repository = github.create({"README.md": "# Hello\n"})
            repository.hook(f"{service.gateway.url}/webhooks/github")
            text = asking("Please.", *writing("a.txt", "a"))
            began = time.monotonic()
            issue = repository.open_issue("A note", text)["number"]
            while not repository.comments(issue):
                time.sleep(0.02)
            waits.append(time.monotonic() - began)
            # The next one is not to wait for this one's worker.
            until(lambda: bool(repository.pulls()), service.log)  # noqa: B023
            service.until_over(repository)
    return statistics.median(waits)
