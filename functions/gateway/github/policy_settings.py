"""What of a change set may be published: `POLICY_…`, read once."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from claude_run.errors import ConfigurationError
from claude_run.wire import MAX_BODY_BYTES, MAX_FILES

# What is executed where a branch is pushed, often with credentials, and our own configuration.
# GitHub itself lets no App write workflows that has no permission for it.
PROTECTED = (
    ".github/workflows/**",
    ".github/actions/**",
    ".github/claude-run.yml",
    ".circleci/**",
    ".travis.yml",
    ".gitlab-ci.yml",
    ".buildkite/**",
    ".drone.yml",
    ".woodpecker.yml",
    ".woodpecker/**",
    ".cirrus.yml",
    ".semaphore/**",
    ".teamcity/**",
    "Jenkinsfile",
    "appveyor.yml",
    ".appveyor.yml",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
)
# GitHub takes 500 requests an hour that create content.
MOST_BLOBS = 400

_PATTERN = re.compile(r"[A-Za-z0-9._@+=#,()\[\] *-]+(/[A-Za-z0-9._@+=#,()\[\] *-]+)*")
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """Bounds of one publication. `max_blobs`: files that are binary, empty, or long."""

    protected: tuple[str, ...] = PROTECTED
    max_files: int = 1_000
    max_bytes: int = 20_000_000
    max_file_bytes: int = 5_000_000
    max_blobs: int = 100

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "PolicySettings":
        """Read all of it, or raise `ConfigurationError` naming everything that is wrong."""
        usual, wrong = cls(), list[str]()

        def number(name: str, default: int, most: int) -> int:
            text = environ.get(name, "").strip()
            if not text:
                return default
            value = int(text) if _NUMBER.fullmatch(text) else 0
            if not 0 < value <= most:
                wrong.append(f"{name} must be a whole number above 0, at most {most}")
            return value

        settings = cls(
            protected=_protected(environ.get("POLICY_PROTECTED", ""), wrong),
            max_files=number("POLICY_MAX_FILES", usual.max_files, MAX_FILES),
            max_bytes=number("POLICY_MAX_BYTES", usual.max_bytes, MAX_BODY_BYTES),
            max_file_bytes=number("POLICY_MAX_FILE_BYTES", usual.max_file_bytes, MAX_BODY_BYTES),
            max_blobs=number("POLICY_MAX_BLOBS", usual.max_blobs, MOST_BLOBS),
        )
        if wrong:
            raise ConfigurationError("; ".join(wrong), details={"settings": wrong})
        return settings


def _protected(text: str, wrong: list[str]) -> tuple[str, ...]:
    """A JSON array of paths; `*` stands for anything in a part, `**` for any parts."""
    if not text.strip():
        return PROTECTED
    try:
        patterns = json.loads(text)
    except (ValueError, RecursionError):
        patterns = None
    if not isinstance(patterns, list) or not all(
        isinstance(one, str) and _PATTERN.fullmatch(one) for one in patterns
    ):
        wrong.append('POLICY_PROTECTED must be a JSON array of paths such as [".github/**"]')
        return PROTECTED
    return tuple(patterns)
