"""`claude-run doctor`: a deployment looked at from outside, by its script, and from inside."""

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from claude_run import __version__
from claude_run.cli.complaint import complaint
from claude_run.cli.ending import FAILED, Streams, guarded
from claude_run.cli.findings import Finding, deliveries, github, health
from claude_run.cli.infra import script
from claude_run.cli.style import Style, style_for
from claude_run.client import Client
from claude_run.errors import ClaudeRunError, ConfigurationError

GCLOUD_SECONDS = 60.0
# The newest deliveries tell whether the webhook works; older ones are history.
DELIVERIES = 20
# How soon a run must be seen that has begun, and be over when its caller has left.
SEEN_SECONDS = 20.0
GONE_SECONDS = 30.0
PAUSE_SECONDS = 1.0
# Longer than it takes to be seen; what is not said is not paid.
PROMPT = "Count from 1 to 2000, one number a line. Use no tool."


def doctor(
    project: str, region: str, streams: Streams, *, api: str | None, try_disconnect: bool
) -> int:
    """0 where nothing is wrong."""
    streams.out.write("Google Cloud\n")
    outside = script("doctor", ["--project", project, "--region", region], streams)

    def look() -> int:
        url = api or address_of_api(project, region)
        streams.out.write(f"The API, {url}\n")
        with Client(url) as client:
            found = [*inside(client), *(disconnected(client) if try_disconnect else ())]
        style = style_for(terminal=streams.out.isatty(), environ=streams.environ)
        streams.out.writelines(line(one, style) for one in found)
        streams.out.flush()
        return FAILED if any(one.is_wrong for one in found) else 0

    return guarded(look, streams, stopped=lambda: "stopped.", server=api or "") or outside


def line(finding: Finding, style: Style) -> str:
    """As the script writes its own."""
    mark = "ok    " if finding.is_good else "WRONG " if finding.is_wrong else "to do "
    text = f"  {style.removed(mark) if finding.is_wrong else mark} {finding.what}\n"
    return text + (f"         {finding.advice}\n" if finding.advice else "")


def address_of_api(project: str, region: str) -> str:
    """What Cloud Run says, or `ConfigurationError`."""
    asked = ["gcloud", "run", "services", "describe", "claude-run-api", f"--project={project}",
             f"--region={region}", "--format=json(status.url)"]  # fmt: skip
    try:
        done = subprocess.run(
            asked, capture_output=True, text=True, timeout=GCLOUD_SECONDS, check=True
        )
        url = json.loads(done.stdout)["status"]["url"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        raise ConfigurationError("There is no API to be asked, as far as gcloud says.") from None
    return str(url)


def inside(client: Client) -> Iterable[Finding]:
    """What the API says of itself, of the App and of deliveries."""
    yield from health(client.health(), version=__version__)
    try:
        yield from github(client.github_status(check=True))
        yield from deliveries([*client.deliveries.list(limit=DELIVERIES)])
    except ClaudeRunError as error:
        # Whoever is no operator is told no more.
        yield Finding(what="App and deliveries are shown to operators only", advice=_reason(error))


def disconnected(client: Client) -> Iterable[Finding]:
    """Begin a run, leave, and see how soon it is over. It costs a few cents."""
    before = _running(client.health())
    with client.run(PROMPT, max_turns=1) as events:
        for event in events:
            if getattr(event, "data", {}).get("type") == "stream_event":
                break
        # An answer of the API's health is some seconds old: only who has seen a run there can see
        # that it is gone.
        if _waited(lambda: _running(client.health()) > before, SEEN_SECONDS) is None:
            yield Finding(what="no run was seen that could be left", advice="Try it once more.")
            return
    seconds = _waited(lambda: _running(client.health()) <= before, GONE_SECONDS)
    if seconds is not None:
        yield Finding(what=f"a run is over {seconds:.0f} s after its caller has left", is_good=True)
    else:
        yield Finding(
            what=f"a run goes on {GONE_SECONDS:.0f} s after its caller has left",
            advice="Deadline and budget end it: set timeoutMinutes and maxBudgetUsd.",
            is_wrong=True,
        )


def _waited(done: Callable[[], bool], at_most: float) -> float | None:
    """The seconds until it is so, or None where it is not in that time."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > at_most:
            return None
        time.sleep(PAUSE_SECONDS)
    return time.monotonic() - began


def _running(said: Mapping[str, Any]) -> int:
    quota = said.get("quota")
    return int(quota.get("activeSessions", 0)) if isinstance(quota, dict) else 0


def _reason(error: ClaudeRunError) -> str:
    return complaint(error).splitlines()[0]
