"""What travels between a caller and the gateway about sessions, as the API reference names it.

Requests are as strict as those of `wire`. Answers and events are what a gateway of this version
sends; a client reads them with what a newer one may have added left out.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from claude_run.wire import (
    BudgetUsd,
    HttpUrl,
    MaxTurns,
    ModelName,
    PermissionMode,
    PromptRequest,
    Repository,
    SystemPrompt,
    TimeoutMinutes,
    ToolRules,
    Wire,
    beside,
)

SESSION_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
# Words of the routes beside the sessions'.
RESERVED_SESSION_IDS = frozenset({"start", "status"})

BASE_URL = "anthropicBaseUrl"


def _not_reserved(value: str) -> str:
    if value in RESERVED_SESSION_IDS:
        raise ValueError("is the name of a route")
    return value


SessionId = Annotated[
    str, StringConstraints(pattern=SESSION_ID_PATTERN), AfterValidator(_not_reserved)
]


class SessionOptions(Wire):
    """How a turn is run; those that a message does not name are as in the turn before."""

    max_turns: MaxTurns = 10
    permission_mode: Annotated[PermissionMode, Field(strict=False)] = PermissionMode.ACCEPT_EDITS
    create_pr: Annotated[bool, Field(alias="createPR")] = False
    max_budget_usd: BudgetUsd | None = None
    timeout_minutes: TimeoutMinutes = 10.0
    model: ModelName | None = None
    allowed_tools: ToolRules | None = None
    disallowed_tools: ToolRules | None = None
    append_system_prompt: SystemPrompt | None = None
    detach: bool = False


class TurnRequest(PromptRequest):
    """What a session's first request and its later ones have in common."""

    options: SessionOptions = SessionOptions()

    @property
    def own_key(self) -> bool:
        """Whether the caller pays the model."""
        return self.anthropic_api_key is not None

    def kept_options(self, earlier: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The options that the session keeps for its later turns, as JSON; never a secret."""
        # Who drives a turn is said with each one.
        named = self.options.model_dump(
            mode="json",
            by_alias=True,
            exclude_unset=True,
            exclude_none=True,
            exclude={"detach"},
        )
        return {**(earlier or {}), **named}


class StartRequest(TurnRequest):
    """The body of `POST /interactive/start`."""

    session_id: SessionId | None = None
    repository: Repository | None = None
    anthropic_base_url: HttpUrl | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.github_token is not None and self.repository is None:
            raise beside("githubToken", "is given without a repository")
        # Both are kept with the session, and shown.
        if self.anthropic_base_url is not None:
            _without_credentials(self.anthropic_base_url, BASE_URL)
        if self.repository is not None and self.repository.url is not None:
            _without_credentials(self.repository.url, "repository.url")
        return self

    def kept_options(self, earlier: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As of every turn; the caller's own upstream stays the session's."""
        kept = super().kept_options(earlier)
        if self.anthropic_base_url is not None:
            kept[BASE_URL] = self.anthropic_base_url
        return kept

    def public_repository(self) -> dict[str, Any] | None:
        """The repository as the session keeps and shows it."""
        if self.repository is None:
            return None
        return self.repository.model_dump(mode="json", by_alias=True, exclude_none=True)


def _without_credentials(url: str, field: str) -> None:
    try:
        has_some = "@" in urlsplit(url).netloc
    except ValueError:
        raise beside(field, "is no URL: its host is none") from None
    if has_some:
        raise beside(field, "may not hold credentials")


class MessageRequest(TurnRequest):
    """The body of `POST /interactive/{id}/message`."""


class SessionAccepted(Wire):
    """A turn was left to a worker."""

    session_id: str


class Usage(Wire):
    """What a turn or a session has used."""

    input_tokens: int
    output_tokens: int
    cost_usd: float


SessionStatus = Literal["processing", "completed", "error", "cancelled"]


class SessionView(Wire):
    """A session as its owner is shown it; times in milliseconds since 1970."""

    session_id: str
    status: SessionStatus
    current_turn: int
    repository: Repository | None = None
    created_at: int
    last_activity_at: int
    completed_at: int | None = None
    error_message: str | None = None
    usage: Usage


class SessionList(Wire):
    """A page of the owner's sessions, newest first."""

    sessions: list[SessionView]
    next_page_token: str | None


class ErrorAnswer(Wire):
    """The body of every refusal of the gateway."""

    error: str
    message: str
    timestamp: AwareDatetime


class EventData(Wire):
    """What every event of a session carries."""

    timestamp: AwareDatetime


class TurnData(EventData):
    """An event of one turn; `turn` counts prompts."""

    turn: int


class ConnectedData(EventData):
    """The first event of a session."""

    message: str
    session_id: str


class StatusData(EventData):
    """Something to know on the way."""

    message: str
    code: str | None = None
    pr_url: str | None = None


class ClaudeStartData(TurnData):
    """A turn begins; `prompt` is its first 200 characters."""

    prompt: Annotated[str, StringConstraints(max_length=200)]


class ClaudeDeltaData(TurnData):
    """Text as it is made."""

    content: str


class ToolUseData(TurnData):
    """A tool is used; an input that was cut is the beginning of its JSON."""

    id: str
    name: str
    input: Any
    truncated: Literal[True] | None = None


class ToolResultData(TurnData):
    """What a tool gave."""

    id: str
    is_error: bool
    content: str
    truncated: Literal[True] | None = None


class UsageData(TurnData, Usage):
    """What the turn has used so far; the cost is an estimate from above until its end."""


class ClaudeEndData(TurnData):
    """Claude says no more in this turn."""


class FileStatus(Wire):
    """A file of the workspace that is another than before, and how."""

    path: str
    status: Literal["added", "modified", "deleted"]


class FileChangeData(EventData):
    """Files that have changed since the last such event."""

    message: str
    workspace_dir: str
    files: list[FileStatus]
    truncated: Literal[True] | None = None


class CompleteData(EventData):
    """The turn has succeeded; `usage` is the whole session's, `agentTurns` of this prompt."""

    session_id: str
    turns: int
    agent_turns: int | None = None
    result: str
    usage: Usage
    pr_url: str | None = None
    truncated: Literal[True] | None = None


class ErrorData(EventData):
    """The turn has failed, or was stopped."""

    message: str
    code: str


# By the name of the event.
EVENT_DATA: Mapping[str, type[EventData]] = {
    "connected": ConnectedData,
    "status": StatusData,
    "claude_start": ClaudeStartData,
    "claude_delta": ClaudeDeltaData,
    "tool_use": ToolUseData,
    "tool_result": ToolResultData,
    "usage": UsageData,
    "claude_end": ClaudeEndData,
    "file_change": FileChangeData,
    "complete": CompleteData,
    "error": ErrorData,
}
