"""Whether the App is on GitHub what the deployment needs: asked there, for operators."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from claude_run.errors import ClaudeRunError
from gateway.github.access import GitHubAccess
from gateway.github.failures import given, mapping, translated
from gateway.github.redeliveries import Redeliveries
from gateway.setup.manifest import EVENTS, PERMISSIONS

# What a permission includes.
_LEVELS = {"read": 1, "write": 2, "admin": 3}


def check(access: GitHubAccess, clock: Callable[[], datetime]) -> dict[str, Any]:
    """What is missing, as `GET /gh-status?check=true` tells it; an `error` where GitHub refuses."""
    try:
        with translated(clock):
            _, told = access.app().requester.requestJsonAndCheck("GET", "/app")
            granted = mapping(given(mapping(told).get("permissions")))
            events = set(given(told.get("events")))
        undelivered = len(Redeliveries(access, clock).due())
    except ClaudeRunError as error:
        return {"error": error.message}
    return {
        "missingPermissions": missing_permissions(granted),
        "missingEvents": sorted(set(EVENTS) - events),
        "failedDeliveries": undelivered,
    }


def missing_permissions(granted: Mapping[str, str]) -> list[str]:
    """Those of the manifest that the App has not, or not far enough; as `name: level`."""
    return [
        f"{name}: {level}"
        for name, level in PERMISSIONS.items()
        if _LEVELS.get(granted.get(name, ""), 0) < _LEVELS[level]
    ]
