"""What stands behind a `$` in a build's file, as Cloud Build reads it: in scripts too."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from doubles.control_plane.routes import invalid

_BUILT_IN = frozenset(
    [
        *("PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION"),
        # Of builds that a trigger starts; empty elsewhere.
        *("TRIGGER_NAME", "COMMIT_SHA", "REVISION_ID", "SHORT_SHA", "REPO_NAME", "REPO_FULL_NAME"),
        *("BRANCH_NAME", "TAG_NAME", "REF_NAME", "TRIGGER_BUILD_CONFIG_PATH"),
        *("SERVICE_ACCOUNT_EMAIL", "SERVICE_ACCOUNT"),
    ]
)
_KEY = re.compile(r"\$\$|\$(?:\{([A-Z_][A-Z0-9_]*)\}|([A-Z_][A-Z0-9_]*))")


def check(build: Mapping[str, Any], words: Mapping[str, str]) -> None:
    """Refuse a name that is neither built in nor given, and one given that stands nowhere."""
    found = [key for text in _texts(dict(build)) for key in _KEY.finditer(text)]
    used = {key[1] or key[2] for key in found if key[0] != "$$"}
    for name in sorted(used - words.keys() - _BUILT_IN):
        kind = "user-defined" if name.startswith("_") else "built-in"
        raise invalid(
            "generic::invalid_argument: invalid value for 'build.substitutions': key in the "
            f'template "{name}" is not a valid {kind} substitution'
        )
    for name in sorted(words.keys() - used - _BUILT_IN):
        raise invalid(
            "generic::invalid_argument: invalid value for 'build.substitutions': key "
            f'"{name}" in the substitution data is not matched in the template'
        )


def filled(text: str, words: Mapping[str, str]) -> str:
    """The text with what was given in its place, and `$` where it says `$$`."""
    return _KEY.sub(lambda key: "$" if key[0] == "$$" else words.get(key[1] or key[2], ""), text)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
