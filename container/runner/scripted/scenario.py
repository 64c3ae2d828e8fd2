"""A scenario: what the scripted model answers, turn by turn, as strict JSON.

    {"turns": [
        {"blocks": [{"type": "thinking", "thinking": "Hm."},
                    {"type": "text", "text": "Writing it.", "chunk_size": 4, "delay_ms": 20},
                    {"type": "tool_use", "name": "Write",
                     "input": {"file_path": "{{cwd}}/a.txt", "content": "a"}}]},
        {"error": {"status": 529, "times": 1},
         "blocks": [{"type": "text", "text": "It said: {{last_result}}"}],
         "usage": {"input_tokens": 12, "output_tokens": 5}}]}

A prompt carries one between `<scenario>` and `</scenario>` (write `<\\/scenario>` for the closing
tag inside a JSON string), or names one of a file's with `<scenario name="x"/>`. One turn is one
answer of the model. Who asks for more turns than there are gets a closing sentence.

What goes wrong: `error` refuses a turn with an HTTP status (`message`, `retry_after`); `fault`
strikes in its stream, `after_events` of them: `{"type": "error_event"}` (`error`, `message`),
`{"type": "cut"}`, `{"type": "silence", "seconds": 2}` (`pings`), `{"type": "garbage"}` (`text`).
With `times` each strikes so often, and then the turn is answered; without, always.

In texts and in the strings of a tool's input stand for something: `{{cwd}}`, the working
directory that Claude Code states; `{{first_prompt}}`, the first text of the user, without its
scenario; `{{last_result}}`, the text of the newest tool result; `{{n}}`, in a text that repeats,
the number of the repetition, from 1. Any other braces stay as they are.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from claude_run.errors import CallerError
from claude_run.strictjson import loads_object
from claude_run.wire import parse

MAX_TURNS = 1_000
MAX_BLOCKS = 200
MAX_REPEAT = 1_000_000
MAX_DELAY_MS = 60_000
MAX_SECONDS = 3_600
# One answer without streaming is built in memory; a stream is not.
MAX_TEXT = 128 * 1024 * 1024

NAME = r"[A-Za-z0-9_.-]{1,64}"

Count = Annotated[int, Field(ge=0, le=10_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class _Pieces(_Part):
    """How a text is cut into deltas: `chunks` as given, or pieces of `chunk_size` characters."""

    chunks: Annotated[list[str], Field(min_length=1)] | None = None
    chunk_size: Annotated[int, Field(ge=1)] | None = None
    delay_ms: Annotated[float, Field(ge=0, le=MAX_DELAY_MS, allow_inf_nan=False)] = 0

    def _check_source(self, text: str | None) -> None:
        if (text is None) == (self.chunks is None):
            raise ValueError(f"give either {self.type} or chunks")  # type: ignore[attr-defined]
        if self.chunks is not None and self.chunk_size is not None:
            raise ValueError("chunk_size cuts a text, not chunks")


class Text(_Pieces):
    """Words; `repeat` says all of its deltas so many times."""

    type: Literal["text"]
    text: Annotated[str, StringConstraints(min_length=1)] | None = None
    repeat: Annotated[int, Field(ge=1, le=MAX_REPEAT)] = 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_source(self.text)
        if len(self.source) * self.repeat > MAX_TEXT:
            raise ValueError(f"more than {MAX_TEXT} characters")
        return self

    @property
    def source(self) -> str:
        """The whole text of one repetition, its placeholders still in it."""
        return self.text if self.text is not None else "".join(self.chunks or ())


class Thinking(_Pieces):
    """Thinking, signed; the signature may be any text."""

    type: Literal["thinking"]
    thinking: str | None = None
    signature: Annotated[str, StringConstraints(min_length=1)] = "c2NyaXB0ZWQ="

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_source(self.thinking)
        return self

    @property
    def source(self) -> str:
        """The whole text, its placeholders still in it."""
        return self.thinking if self.thinking is not None else "".join(self.chunks or ())


class ToolUse(_Part):
    """A call of any tool; its input travels as JSON in pieces of `chunk_size` characters."""

    type: Literal["tool_use"]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
    input: dict[str, Any] = {}
    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    chunk_size: Annotated[int, Field(ge=1)] = 64
    delay_ms: Annotated[float, Field(ge=0, le=MAX_DELAY_MS, allow_inf_nan=False)] = 0


Block = Annotated[Text | Thinking | ToolUse, Field(discriminator="type")]


class Usage(_Part):
    """Tokens of one answer; what is left out is estimated from its length, cache figures are 0."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count = 0
    cache_creation_input_tokens: Count = 0


class _Fault(_Part):
    """`times`: how often it happens before the turn is answered; without it, always."""

    times: Annotated[int, Field(ge=1, le=1_000)] | None = None


class HttpError(_Fault):
    """A refusal with Anthropic's error JSON; `retry_after` is in seconds."""

    status: Literal[400, 401, 403, 404, 413, 429, 500, 502, 503, 504, 529]
    message: str | None = None
    retry_after: Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)] | None = None


class _StreamFault(_Fault):
    """It strikes after so many events of the answer (0: before `message_start`)."""

    after_events: Count = 0


class ErrorEvent(_StreamFault):
    """An `error` event, and the stream ends."""

    type: Literal["error_event"]
    error: str = "overloaded_error"
    message: str = "Overloaded"


class Cut(_StreamFault):
    """The connection closes in the middle."""

    type: Literal["cut"]


class Silence(_StreamFault):
    """Nothing (or pings only, one a second) for so long; then the answer goes on."""

    type: Literal["silence"]
    seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
    pings: bool = False


class Garbage(_StreamFault):
    """Bytes that no event is made of, and the stream ends."""

    type: Literal["garbage"]
    text: str = "data: {not json\n\n\x00\x01<html>"


Fault = Annotated[ErrorEvent | Cut | Silence | Garbage, Field(discriminator="type")]

StopReason = Literal["end_turn", "tool_use", "max_tokens", "stop_sequence", "refusal", "pause_turn"]


class Turn(_Part):
    """One answer of the model, with what goes wrong before it (`error`) or in it (`fault`)."""

    blocks: Annotated[list[Block], Field(max_length=MAX_BLOCKS)] = []
    usage: Usage = Usage()
    stop_reason: StopReason | None = None
    error: HttpError | None = None
    fault: Fault | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.blocks and self.error is None and self.fault is None:
            raise ValueError("blocks, error or fault is required")
        return self

    @property
    def reason(self) -> str:
        """The stop reason: as given, or the one that fits the blocks."""
        if self.stop_reason is not None:
            return self.stop_reason
        called = any(isinstance(block, ToolUse) for block in self.blocks)
        return "tool_use" if called else "end_turn"


class Scenario(_Part):
    """What is answered, turn by turn."""

    turns: Annotated[list[Turn], Field(min_length=1, max_length=MAX_TURNS)]


Library = Mapping[str, Scenario]


class _File(_Part):
    scenarios: dict[Annotated[str, StringConstraints(pattern=f"^{NAME}$")], Scenario]


def parse_scenario(text: str) -> Scenario:
    """The scenario of a prompt, or `CallerError` that names the wrong field and its rule."""
    try:
        return parse(Scenario, loads_object(text.encode("utf-8", "surrogatepass")))
    except CallerError as error:
        raise CallerError(f"scenario: {error.message}", details=error.details) from None


def parse_library(data: bytes) -> Library:
    """The scenarios of a file, a JSON object from name to scenario; else `CallerError`.

    The one named `default` is played where the prompt chooses none.
    """
    return parse(_File, {"scenarios": loads_object(data)}).scenarios
