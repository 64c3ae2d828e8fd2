"""What travels between a caller, the gateway and the runner, as the API reference names it.

Strict at the edge: a wrong type, a value out of range and an unknown field are refused, and the
refusal names the field. `parse_run_request` is the only way in from the network; the models
themselves may also be built in Python, by their snake_case names.
"""

import base64
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    StringConstraints,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from claude_run.errors import CallerError
from claude_run.strictjson import loads_object

M = TypeVar("M", bound=BaseModel)

MAX_BODY_BYTES = 31 * 1024 * 1024
MAX_PROMPT = 4_000_000
MAX_SYSTEM_PROMPT = 1_000_000
MAX_TIMEOUT_MINUTES = 50.0
MAX_TURNS = 1_000
MAX_TOOLS = 200
MAX_FILES = 20_000

# What stands on a command line matches one of these. A tool's name, or a rule `Name(what)`: the
# CLI splits the list at commas outside parentheses, so a rule may hold none of its own.
TOOL_PATTERN = r"^[A-Za-z][A-Za-z0-9_*-]{0,127}(\([^()\x00-\x1f\x7f-\x9f]{1,300}\))?$"
MODEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]{0,127}$"
# git's own rules for a branch (git-check-ref-format), without characters that are odd in a shell.
BRANCH_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.@#%+=,/-]{0,243}$"
COMMIT_PATTERN = r"^([0-9a-f]{40}|[0-9a-f]{64})$"
# `_` is in the logins of managed users.
REPOSITORY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,38}/[A-Za-z0-9._-]{1,100}$"
# Visible ASCII, as an HTTP header can carry it; no length of a real token is assumed.
SECRET_PATTERN = re.compile(r"[\x21-\x7e]{8,4096}")
# For the description alone: what `_non_blank` asks, as a regular expression of JSON Schema.
NON_BLANK_PATTERN = r"[^\s\x1c-\x1f\x85]"


_BESIDE = "beside"


def _non_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _header_safe(value: SecretStr) -> SecretStr:
    if not SECRET_PATTERN.fullmatch(value.get_secret_value()):
        raise ValueError("must be 8 to 4096 visible ASCII characters")
    return value


_NON_BLANK = (AfterValidator(_non_blank), Field(json_schema_extra={"pattern": NON_BLANK_PATTERN}))
Prompt = Annotated[str, StringConstraints(max_length=MAX_PROMPT), *_NON_BLANK]
SystemPrompt = Annotated[str, StringConstraints(max_length=MAX_SYSTEM_PROMPT), *_NON_BLANK]
Secret = Annotated[
    SecretStr,
    AfterValidator(_header_safe),
    Field(json_schema_extra={"pattern": f"^{SECRET_PATTERN.pattern}$"}),
]
MaxTurns = Annotated[int, Field(ge=1, le=MAX_TURNS)]
TimeoutMinutes = Annotated[float, Field(gt=0, le=MAX_TIMEOUT_MINUTES, allow_inf_nan=False)]
BudgetUsd = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
ToolRule = Annotated[str, StringConstraints(pattern=TOOL_PATTERN)]
ToolRules = Annotated[list[ToolRule], Field(max_length=MAX_TOOLS)]
ModelName = Annotated[str, StringConstraints(pattern=MODEL_PATTERN)]
ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
HttpUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[^\s\x00-\x1f\x7f]+$", max_length=2048)
]


def beside(field: str, rule: str) -> PydanticCustomError:
    """The refusal of a field that is wrong only beside others: a whole model's, but it names it."""
    return PydanticCustomError(_BESIDE, "{rule}", {"field": field, "rule": rule})


class PermissionMode(StrEnum):
    """How Claude Code treats what needs a permission."""

    ACCEPT_EDITS = "acceptEdits"
    BYPASS_PERMISSIONS = "bypassPermissions"
    PLAN = "plan"
    DEFAULT = "default"
    DONT_ASK = "dontAsk"


class Wire(BaseModel):
    """Strict, immutable, camelCase on the wire, and silent about what it was given."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )


class Repository(Wire):
    """What is cloned before the agent starts: by `url`, or by GitHub's `name` (owner/name)."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("url", "name")
            ]
        }
    )

    url: HttpUrl | None = None
    name: Annotated[str, StringConstraints(pattern=REPOSITORY_PATTERN)] | None = None
    branch: Annotated[str, StringConstraints(pattern=BRANCH_PATTERN)] | None = None
    commit: Annotated[str, StringConstraints(pattern=COMMIT_PATTERN)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.url is None and self.name is None:
            raise ValueError("url or name is required")
        if self.branch and not _is_branch(self.branch):
            raise ValueError("branch is no name that git accepts")
        if self.name and self.name.endswith(("/.", "/..")):
            raise ValueError("name is no repository's")
        return self


def _is_branch(name: str) -> bool:
    return not (
        ".." in name
        or "//" in name
        or "@{" in name
        or name.endswith(("/", "."))
        or any(part.startswith(".") or part.endswith(".lock") for part in name.split("/"))
    )


class StdioServer(Wire):
    """An MCP server that Claude Code starts as a process of the run."""

    type: Literal["stdio"] = "stdio"
    command: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    args: Annotated[list[str], Field(max_length=256)] = []
    env: Annotated[dict[str, str], Field(max_length=256, repr=False)] = {}


class RemoteServer(Wire):
    """An MCP server that Claude Code reaches over the network."""

    type: Literal["http", "sse"]
    url: HttpUrl
    headers: Annotated[dict[str, str], Field(max_length=64, repr=False)] = {}


def _kind(server: object) -> str:
    # `type` may be left out for stdio; deciding first makes an error speak of one kind only.
    if isinstance(server, RemoteServer):
        return "remote"
    is_remote = isinstance(server, dict) and server.get("type") in ("http", "sse")
    return "remote" if is_remote else "stdio"


McpServer = Annotated[
    Annotated[StdioServer, Tag("stdio")] | Annotated[RemoteServer, Tag("remote")],
    Discriminator(_kind),
]


class McpConfig(Wire):
    """Claude Code's own format of an MCP configuration file."""

    mcp_servers: Annotated[dict[ServerName, McpServer], Field(max_length=32, alias="mcpServers")]


class FileChange(Wire):
    """One path of a change set: its new mode and content, or that it is gone.

    `path` where the name is UTF-8, `path_base64` where it is not. `content` is base64; a
    symlink's (mode 120000) content is its target. `new` tells that the base has no such path; it
    plays no part when changes are applied.
    """

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    path_base64: Annotated[str, StringConstraints(min_length=1, max_length=8192)] | None = None
    mode: Literal["100644", "100755", "120000"] | None = None
    content: str | None = None
    deleted: Literal[True] | None = None
    new: Literal[True] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.path is None) == (self.path_base64 is None):
            raise ValueError("give either path or pathBase64")
        if self.deleted:
            if self.mode is not None or self.content is not None:
                raise ValueError("a deleted file has neither mode nor content")
        elif self.mode is None or self.content is None:
            raise ValueError("mode and content are required, or deleted: true")
        check_relative_path(self.raw_path)
        if self.content is not None:
            _base64(self.content, "content")
        return self

    @property
    def raw_path(self) -> bytes:
        """The path as the file system has it, relative to the workspace."""
        if self.path is not None:
            return self.path.encode("utf-8")
        assert self.path_base64 is not None  # noqa: S101 - _check has seen to it
        return _base64(self.path_base64, "pathBase64")

    @property
    def raw_content(self) -> bytes:
        """The new content; empty for a deleted file."""
        return _base64(self.content or "", "content")


def _base64(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error, and its base for text that is not ASCII
        raise ValueError(f"{field} is not base64") from None


def check_relative_path(path: bytes) -> None:
    """Raise `ValueError` unless the path stays inside a workspace and outside its .git."""
    parts = path.split(b"/")
    if b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise ValueError("path must be relative, without empty, . or .. parts")
    # On case-insensitive file systems .GIT is .git.
    if any(part.lower() == b".git" for part in parts):
        raise ValueError("path may not touch .git")


class Changes(Wire):
    """A change set against `base`, a commit's id, or null where there is no repository."""

    base: Annotated[str, StringConstraints(pattern=COMMIT_PATTERN)] | None
    files: Annotated[list[FileChange], Field(max_length=MAX_FILES)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        paths = [change.raw_path for change in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a path appears twice")
        return self


class TranscriptPart(Wire):
    """Lines that one of Claude Code's own transcript files gained, in order."""

    path: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./-]{1,512}\.jsonl?$")]
    entries: list[Annotated[str, StringConstraints(min_length=1)]]

    @field_validator("path")
    @classmethod
    def _check(cls, value: str) -> str:
        check_relative_path(value.encode())
        return value


class Resume(Wire):
    """A conversation to go on with, as earlier `transcript` events gave it."""

    session_id: str
    transcript: Annotated[list[TranscriptPart], Field(min_length=1)]

    @field_validator("session_id")
    @classmethod
    def _check(cls, value: str) -> str:
        try:
            parsed = UUID(value)
        except ValueError:
            parsed = None
        if str(parsed) != value:
            raise ValueError("sessionId must be a UUID in its usual lower-case form")
        return value


class PromptRequest(Wire):
    """What every request for work has: words, and what its caller may bring to have them obeyed."""

    prompt: Prompt
    anthropic_api_key: Secret | None = None
    github_token: Secret | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object for the wire, secrets included; what was not set is left out."""
        body = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for name in ("anthropic_api_key", "github_token"):
            secret: SecretStr | None = getattr(self, name)
            if secret is not None:
                body[to_camel(name)] = secret.get_secret_value()
        return body


class RunRequest(PromptRequest):
    """The body of `POST /run`."""

    system_prompt: SystemPrompt | None = None
    append_system_prompt: SystemPrompt | None = None
    allowed_tools: ToolRules | None = None
    disallowed_tools: ToolRules | None = None
    permission_mode: Annotated[PermissionMode, Field(strict=False)] | None = None
    mcp_config_json: McpConfig | None = None
    max_turns: MaxTurns = 6
    model: ModelName | None = None
    fallback_model: ModelName | None = None
    use_named_pipe: bool = True
    timeout_minutes: TimeoutMinutes = 10.0
    anthropic_base_url: HttpUrl | None = None
    repository: Repository | None = None
    max_budget_usd: BudgetUsd | None = None
    output_schema: dict[str, Any] | None = None
    resume: Resume | None = None
    changes: Changes | None = None
    want_transcript: bool = False

    @field_validator("output_schema")
    @classmethod
    def _is_json(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        # The one field of any shape: a lone surrogate, or what only Python knows, would fail
        # later, where it is written.
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            raise ValueError("must be JSON, in characters that UTF-8 can carry") from None
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.github_token is not None and self.repository is None:
            raise beside("githubToken", "is given without a repository")
        return self


def parse_run_request(body: bytes) -> RunRequest:
    """The request of a body, or `CallerError` that names the first wrong field and its rule."""
    return parse(RunRequest, loads_object(body))


def build_run_request(prompt: str, options: Mapping[str, object]) -> RunRequest:
    """The request of a Python caller, who may name fields in either case, or `CallerError`."""
    return build(RunRequest, {"prompt": prompt, **options})


def build(model: type[M], fields: Mapping[str, object]) -> M:
    """A model of what a Python caller gave, who may name fields in either case."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _refusal(error) from None


def parse(model: type[M], value: Mapping[str, Any]) -> M:
    """Validate an object from outside against a model, or raise `CallerError`."""
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        raise _refusal(error) from None


# Of pydantic's rules those that people meet, as ours are worded; `{}` is the bound.
_RULES: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not known",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def _refusal(error: ValidationError) -> CallerError:
    first = error.errors(include_url=False, include_input=False)[0]
    place = (*first["loc"], first["ctx"]["field"]) if first["type"] == _BESIDE else first["loc"]
    field = ".".join(str(part) for part in place)[:200] or "body"
    rule = first["msg"].removeprefix("Value error, ")
    if first["type"] in _RULES:
        rule = _RULES[first["type"]].format(**first.get("ctx", {}))
    return CallerError(f"{field}: {rule}", details={"field": field, "rule": rule})


class RunResult(Wire):
    """What `POST /run` answers to `Accept: application/json`."""

    request_id: str
    session_id: str
    result: dict[str, Any] | None
    changes: dict[str, Any] | None
    error: dict[str, Any] | None
