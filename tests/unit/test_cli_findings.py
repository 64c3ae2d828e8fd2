"""What the answers of an API say of a deployment."""

from typing import Any

from claude_run.cli.findings import Finding, deliveries, github, health
from gateway.github.appcheck import missing_permissions
from gateway.setup.manifest import PERMISSIONS


def told(findings: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - any iterable of them
    """Each with how it is marked."""
    return [(one.what, mark(one)) for one in findings]


def mark(one: Finding) -> str:
    """What is printed in front of it; whatever is not good says what to do."""
    assert one.is_good or one.is_wrong or one.advice
    return "ok" if one.is_good else "wrong" if one.is_wrong else "to do"


def test_health() -> None:
    """Parts, version, and what of the quota is used."""
    said = {
        "status": "degraded",
        "version": "0.1.0",
        "components": {
            "durableObjects": {"status": "operational"},
            "containers": {"status": "unavailable", "message": "It does not answer in time."},
            "githubApp": {"status": "not configured"},
        },
        "quota": {
            "dailyTokens": 950_000,
            "maxDailyTokens": 1_000_000,
            "dailyCost": 0.5,
            "maxDailyCost": 50,
            "activeSessions": 1,
            "maxConcurrentSessions": 5,
        },
    }
    assert told(health(said, version="0.2.0")) == [
        ("store: operational", "ok"),
        ("runner: unavailable. It does not answer in time.", "wrong"),
        ("GitHub App: not configured", "to do"),
        ("version 0.1.0 is deployed, this command is 0.2.0", "to do"),
        ("950,000 of 1,000,000 tokens are used", "to do"),
        ("0.5 of 50 USD are used", "ok"),
        ("1 of 5 sessions are used", "ok"),
    ]


def test_nonsense_is_shown_safely() -> None:
    """Whatever a server answers, no terminal obeys it."""
    said: dict[str, Any] = {"version": "\x1b[31m", "components": {"\x1b]0;": {"status": "\x07"}}}
    for one in health(said, version="0.1.0"):
        assert one.what.isprintable()
    assert list(health({"components": 3, "quota": {"dailyTokens": "x"}}, version="0"))


def test_the_app() -> None:
    """Not set up, unknown to GitHub, lacking something, all well."""
    assert told(github({"check": None})) == [("no GitHub App is set up", "to do")]
    [unknown] = github({"check": {"error": "GitHub answers 401."}})
    assert (unknown.what, unknown.is_wrong) == (
        "GitHub does not know the App: GitHub answers 401.",
        True,
    )
    lacking = {
        "missingPermissions": ["contents: write"],
        "missingEvents": ["issues"],
        "failedDeliveries": 2,
    }
    assert told(github({"check": lacking})) == [
        ("the App lacks permissions: contents: write", "wrong"),
        ("the App lacks events: issues", "wrong"),
        ("GitHub could not bring 2 deliveries", "wrong"),
    ]
    well = {"missingPermissions": [], "missingEvents": [], "failedDeliveries": 0}
    assert {mark(one) for one in github({"check": well})} == {"ok"}


def test_deliveries() -> None:
    """None yet, all well, some failed."""
    assert told(deliveries([])) == [("no issue has asked for anything yet", "to do")]
    done = {"id": "a", "state": "done"}
    assert told(deliveries([done])) == [("none of the last 1 deliveries failed", "ok")]
    [failed] = deliveries([done, {"id": "b", "state": "failed"}])
    assert failed.what == "1 of the last 2 deliveries failed"
    assert "claude-run deliveries show b" in failed.advice


def test_a_permission_includes_what_is_below_it() -> None:
    """`admin` writes, `read` does not."""
    assert missing_permissions(dict.fromkeys(PERMISSIONS, "admin")) == []
    missing = missing_permissions({**PERMISSIONS, "contents": "read", "issues": ""})
    assert missing == ["contents: write", "issues: write"]
