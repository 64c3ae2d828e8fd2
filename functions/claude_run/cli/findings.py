"""What the answers of an API say of a deployment, and what to do about it. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from claude_run.cli.plain import one_line
from claude_run.cli.session_text import part_name

# So much of a day's quota is worth a word.
NEARLY = 0.9
_MOST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. Neither good nor wrong: somebody has still to do it."""

    what: str
    advice: str = ""
    is_good: bool = False
    is_wrong: bool = False


def health(said: Mapping[str, Any], *, version: str) -> Iterator[Finding]:
    """Of `GET /health`."""
    components = said.get("components")
    for called, part in components.items() if isinstance(components, dict) else ():
        status, message = _text(part, "status"), _text(part, "message")
        name = part_name(str(called))
        match status:
            case "operational" | "configured":
                yield Finding(what=f"{name}: {status}", is_good=True)
            case "not configured":
                yield Finding(what=f"{name}: {status}", advice="The set-up page does it.")
            case _:
                yield Finding(what=f"{name}: {status}. {message}", is_wrong=True)
    running = _text(said, "version")
    if running == version:
        yield Finding(what=f"version {_short(running)}, as this command", is_good=True)
    else:
        yield Finding(
            what=f"version {_short(running)} is deployed, this command is {version}",
            advice="`claude-run deploy` from this copy brings it up to date.",
        )
    yield from _quota(said.get("quota"))


def _quota(quota: object) -> Iterator[Finding]:
    if not isinstance(quota, dict):
        return
    for used, most, words, setting in (
        ("dailyTokens", "maxDailyTokens", "tokens", "MAX_DAILY_TOKENS"),
        ("dailyCost", "maxDailyCost", "USD", "MAX_DAILY_COST_USD"),
        ("activeSessions", "maxConcurrentSessions", "sessions", "MAX_CONCURRENT_SESSIONS"),
    ):
        have, may = quota.get(used), quota.get(most)
        if not isinstance(have, int | float) or not isinstance(may, int | float):
            continue
        said = f"{have:,} of {may:,} {words} are used"
        if have < NEARLY * may:
            yield Finding(what=said, is_good=True)
        else:
            yield Finding(what=said, advice=f"More is a setting: {setting}, see --settings.")


def github(said: Mapping[str, Any]) -> Iterator[Finding]:
    """Of `GET /gh-status?check=true`."""
    check = said.get("check")
    if not isinstance(check, dict):
        yield Finding(what="no GitHub App is set up", advice="The set-up page does it.")
        return
    if error := check.get("error"):
        yield Finding(
            what=f"GitHub does not know the App: {_short(error)}",
            advice="Was it deleted, or its key? The set-up page makes another.",
            is_wrong=True,
        )
        return
    for kind, name in (("permissions", "missingPermissions"), ("events", "missingEvents")):
        missing = check.get(name)
        if missing:
            yield Finding(
                what=f"the App lacks {kind}: {_short(', '.join(map(str, _list(missing))))}",
                advice="Add them on the App's page on GitHub, and accept it where it is installed.",
                is_wrong=True,
            )
        else:
            yield Finding(what=f"the App has the {kind} that it needs", is_good=True)
    failed = check.get("failedDeliveries")
    if isinstance(failed, int) and failed:
        yield Finding(
            what=f"GitHub could not bring {failed} deliveries",
            advice="The next sweep has them come again. Does the webhook's URL answer?",
            is_wrong=True,
        )
    else:
        yield Finding(what="GitHub has brought all deliveries", is_good=True)


def deliveries(found: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Of the newest of `GET /deliveries`."""
    if not found:
        yield Finding(
            what="no issue has asked for anything yet",
            advice="Install the App on a repository, and open an issue in it.",
        )
        return
    failed = [_text(one, "id") for one in found if _text(one, "state") == "failed"]
    if failed:
        yield Finding(
            what=f"{len(failed)} of the last {len(found)} deliveries failed",
            advice=f"`claude-run deliveries show {_short(failed[0])}` says why.",
        )
    else:
        yield Finding(what=f"none of the last {len(found)} deliveries failed", is_good=True)


def _list(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else ()


def _text(value: object, name: str) -> str:
    found = value.get(name) if isinstance(value, Mapping) else None
    return _short(found) if isinstance(found, str) else ""


def _short(text: object) -> str:
    return one_line(str(text), _MOST)
