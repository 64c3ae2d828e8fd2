"""What the functions and the worker are told by their environment, read once."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar
from urllib.parse import urlsplit

from claude_run.endpoint import Endpoint
from claude_run.errors import ConfigurationError
from claude_run.identity import AuthSettings
from claude_run.wire import REPOSITORY_PATTERN
from gateway.cloud_run import CloudRunService
from gateway.github.policy_settings import PolicySettings
from gateway.github.settings import GitHubSettings
from gateway.github.trigger_settings import TriggerSettings
from gateway.issues.settings import IssueSettings
from gateway.limit_settings import LimitSettings
from gateway.setup.settings import SetupSettings
from gateway.store import open_store
from gateway.vault import open_vault
from gateway.work.jobs import JobStarter

T = TypeVar("T")

LOCAL_RUNNER = "http://127.0.0.1:8080"
# Below the home of whoever runs it: state and secrets of a laptop, for its owner only.
LOCAL_FOLDER = ".claude-run"

_EMAIL = re.compile(r"[^@\s,]+@[^@\s,]+")
_REPOSITORY = re.compile(REPOSITORY_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSettings:
    """What every function needs.

    `project`: Google Cloud's, by which traces are named; None on a laptop. `worker_job`: the
    job that workers are executions of; None: they are processes beside this one.
    """

    on_cloud: bool
    project: str | None
    store_url: str
    vault_url: str
    allowed_origins: frozenset[str]
    github: GitHubSettings
    setup: SetupSettings
    triggers: TriggerSettings
    worker_job: str | None

    starts_workers: ClassVar[bool] = True

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, loopback: bool = False) -> Self:
        """Read all of it, or raise `ConfigurationError` naming everything that is wrong.

        `loopback`: whether a server will be bound to a loopback address only.
        """
        wrong: list[str] = []
        fields = cls._fields(environ, loopback, wrong)
        if wrong:
            raise ConfigurationError("; ".join(wrong), details={"settings": wrong})
        return cls(**fields)

    @classmethod
    def _fields(
        cls,
        environ: Mapping[str, str],
        loopback: bool,  # noqa: ARG003 - for those who ask for callers' tokens
        wrong: list[str],
    ) -> dict[str, Any]:
        """The constructor's arguments, unless it adds to what is wrong."""
        return {
            "on_cloud": _on_cloud(environ),
            "project": environ.get("GOOGLE_CLOUD_PROJECT") or None,
            "store_url": _url(environ, "STORE_URL", wrong),
            "vault_url": _url(environ, "VAULT_URL", wrong),
            "allowed_origins": _origins(environ.get("ALLOWED_ORIGINS", ""), wrong),
            "github": _part(wrong, GitHubSettings.from_environ, environ),
            "setup": _part(wrong, SetupSettings.from_environ, environ),
            "triggers": _part(wrong, TriggerSettings.from_environ, environ),
            "worker_job": _worker_job(environ, wrong, needed=cls.starts_workers),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupPagesSettings(CommonSettings):
    """What the function `setup` needs: no workers."""

    starts_workers: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings(CommonSettings):
    """What whoever has things run needs, besides.

    `runner_service`: the runner's full name for Google's API; None: it is asked over HTTP.
    """

    runner_url: str
    runner_service: str | None
    limits: LimitSettings
    policy: PolicySettings
    issues: IssueSettings

    @classmethod
    def _fields(
        cls, environ: Mapping[str, str], loopback: bool, wrong: list[str]
    ) -> dict[str, Any]:
        common = CommonSettings._fields(environ, loopback, wrong)
        service = environ.get("RUNNER_SERVICE", "").strip() or None
        if service is not None:
            _part(wrong, CloudRunService.parse, service)
        return common | {
            "runner_url": _url(environ, "RUNNER_URL", wrong),
            "runner_service": service,
            "limits": _part(wrong, LimitSettings.from_environ, environ),
            "policy": _part(wrong, PolicySettings.from_environ, environ),
            "issues": _part(wrong, IssueSettings.from_environ, environ),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(RunSettings):
    """What `api` needs.

    `scheduler_account`: the e-mail address of who calls the sweep. `caller_repositories`: the
    repositories that the App's token serves, by a caller's e-mail in lower case.
    """

    auth: AuthSettings
    scheduler_account: str | None
    caller_repositories: Mapping[str, frozenset[str]]

    @classmethod
    def _fields(
        cls, environ: Mapping[str, str], loopback: bool, wrong: list[str]
    ) -> dict[str, Any]:
        auth = _part(
            wrong, lambda text: AuthSettings.from_environ(text, loopback=loopback), environ
        )
        return RunSettings._fields(environ, loopback, wrong) | {
            "auth": auth,
            "scheduler_account": _account(environ, "SCHEDULER_ACCOUNT", wrong),
            "caller_repositories": _repositories(environ.get("CALLER_REPOSITORIES", ""), wrong),
        }


def vault_url(environ: Mapping[str, str]) -> str:
    """Where the vault is, for who needs nothing else; `ConfigurationError`."""
    wrong: list[str] = []
    url = _url(environ, "VAULT_URL", wrong)
    if wrong:
        raise ConfigurationError("; ".join(wrong), details={"settings": wrong})
    return url


def _on_cloud(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("K_SERVICE") or environ.get("CLOUD_RUN_JOB"))


def _account(environ: Mapping[str, str], name: str, wrong: list[str]) -> str | None:
    account = environ.get(name, "").strip().lower() or None
    if account is not None and not _EMAIL.fullmatch(account):
        wrong.append(f"{name} must be an e-mail address")
    return account


def _worker_job(environ: Mapping[str, str], wrong: list[str], *, needed: bool) -> str | None:
    job = environ.get("WORKER_JOB", "").strip() or None
    if job is not None:
        _part(wrong, JobStarter.parse, job)
    elif needed and environ.get("K_SERVICE"):
        # A function has no processor for a process that outlives its answers.
        wrong.append("WORKER_JOB is missing")
    return job


# Nothing is opened by these, and what they accept will be opened: one rule for both.
_CHECKS: Mapping[str, Callable[[str], object]] = {
    "STORE_URL": lambda url: open_store(url, collections=()),
    "VAULT_URL": open_vault,
    "RUNNER_URL": Endpoint.parse,
}


def _url(environ: Mapping[str, str], name: str, wrong: list[str]) -> str:
    defaults = _cloud_defaults(environ) if _on_cloud(environ) else _local_defaults(environ)
    url = environ.get(name, "").strip() or defaults.get(name, "")
    if url:
        _part(wrong, _CHECKS[name], url, name=name)
    else:
        wrong.append(f"{name} is missing")
    return url


def _cloud_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    project = environ.get("GOOGLE_CLOUD_PROJECT")
    # Not asked of the metadata server: nothing is to be waited for before the start is over.
    if not project:
        return {}
    return {
        "STORE_URL": f"firestore://{project}/(default)",
        "VAULT_URL": f"secretmanager://{project}",
    }


def _local_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    home = environ.get("HOME", "").rstrip("/")
    if not home.startswith("/"):
        return {"RUNNER_URL": LOCAL_RUNNER}
    return {
        "STORE_URL": f"sqlite://{home}/{LOCAL_FOLDER}/gateway.db",
        "VAULT_URL": f"file://{home}/{LOCAL_FOLDER}/vault",
        "RUNNER_URL": LOCAL_RUNNER,
    }


def _part(wrong: list[str], read: Callable[[Any], T], value: object, *, name: str = "") -> T | None:
    """What `read` makes of a value, or None and its complaint among the wrong ones."""
    try:
        return read(value)
    except ConfigurationError as error:
        text = error.message.rstrip(".")
        wrong.append(text if name in text else f"{name}: {text}")
        return None


def _origins(text: str, wrong: list[str]) -> frozenset[str]:
    """Web origins, separated by commas or spaces."""
    origins = text.replace(",", " ").split()
    if not all(_is_origin(origin) for origin in origins):
        wrong.append("ALLOWED_ORIGINS must be a list of origins such as https://example.com")
    return frozenset(origins)


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    # As a browser sends it, for it is compared as a whole.
    return (
        parts.scheme in ("http", "https")
        and text == f"{parts.scheme}://{parts.netloc}" == text.lower()
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and "*" not in text
    )


def _repositories(text: str, wrong: list[str]) -> dict[str, frozenset[str]]:
    """JSON: e-mail → list of `owner/name`."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(
        _EMAIL.fullmatch(email)
        and isinstance(names, list)
        and all(isinstance(name, str) and _REPOSITORY.fullmatch(name) for name in names)
        for email, names in value.items()
    ):
        wrong.append('CALLER_REPOSITORIES must be JSON such as {"a@example.com": ["owner/name"]}')
        return {}
    return {email.lower(): frozenset(names) for email, names in value.items()}
