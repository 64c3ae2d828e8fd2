"""An answer in the words of the Messages API: as Server-Sent Events, as one object, as an error.

Follows https://docs.anthropic.com/en/api/messages-streaming and `/en/api/errors`, in the order of
keys and events that the real API sends.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runner.scripted.scenario import Text, Thinking, ToolUse, Turn, Usage

_PLACEHOLDER = re.compile(r"\{\{(cwd|first_prompt|last_result|n)\}\}")
_CHARACTERS_PER_TOKEN = 4

ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_ERROR_MESSAGES: Mapping[int, str] = {
    401: "invalid x-api-key",
    403: "Your account does not have permission to use this resource.",
    404: "Not Found",
    413: "Request exceeds the maximum size",
    429: "This request would exceed your rate limit.",
    500: "Internal server error",
    529: "Overloaded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A turn, ready to be said: `values` fill its placeholders, `prompt_tokens` the usage."""

    id: str
    model: str
    turn: Turn
    values: Mapping[str, str]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it stands in the stream, and the seconds to wait before it is sent."""

    data: bytes
    delay: float = 0.0


def encode(kind: str, **fields: object) -> bytes:
    """One event: `event: kind`, and its data with the kind in it once more."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), _json({"type": kind, **fields}))


PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def events(answer: Answer) -> Iterator[Event]:
    """All events of an answer, lazily; what repeats is encoded once."""
    usage = _usage(answer, output_tokens=1)
    yield Event(encode("message_start", message=_message(answer, [], None, usage)))
    for index, block in enumerate(answer.turn.blocks):
        yield Event(
            encode("content_block_start", index=index, content_block=_opened(answer, index))
        )
        if index == 0:
            yield Event(PING)
        delay = block.delay_ms / 1000
        for data in _deltas(answer, index, block):
            yield Event(data, delay)
        yield Event(encode("content_block_stop", index=index))
    delta = {"stop_reason": answer.turn.reason, "stop_sequence": None}
    yield Event(encode("message_delta", delta=delta, usage=_final(answer)))
    yield Event(encode("message_stop"))


def whole(answer: Answer) -> bytes:
    """The answer as the one JSON object that `stream: false` asks for."""
    content = [_closed(answer, index) for index in range(len(answer.turn.blocks))]
    usage = _usage(answer, output_tokens=_output_tokens(answer))
    return _json(_message(answer, content, answer.turn.reason, usage))


def error_body(kind: str, message: str, request_id: str) -> bytes:
    """Anthropic's error object, as HTTP body."""
    error = {"type": kind, "message": message}
    return _json({"type": "error", "error": error, "request_id": request_id})


def error_event(kind: str, message: str) -> bytes:
    """Anthropic's error object, as an event in a stream that has begun."""
    return encode("error", error={"type": kind, "message": message})


def error_type(status: int) -> str:
    """The type that goes with an HTTP status."""
    return ERROR_TYPES.get(status, "api_error")


def error_message(status: int) -> str:
    """What the API says with an HTTP status, unless the scenario says something else."""
    return _ERROR_MESSAGES.get(status, "Something went wrong")


def _json(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _message(
    answer: Answer, content: list[Any], reason: str | None, usage: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "model": answer.model,
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _usage(answer: Answer, *, output_tokens: int) -> dict[str, Any]:
    usage = answer.turn.usage
    return {
        **_input(usage, answer.prompt_tokens),
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_creation_input_tokens,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _final(answer: Answer) -> dict[str, Any]:
    counted = _input(answer.turn.usage, answer.prompt_tokens)
    return {**counted, "output_tokens": _output_tokens(answer)}


def _input(usage: Usage, estimate: int) -> dict[str, int]:
    return {
        "input_tokens": estimate if usage.input_tokens is None else usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
    }


def _output_tokens(answer: Answer) -> int:
    if answer.turn.usage.output_tokens is not None:
        return answer.turn.usage.output_tokens
    return 1 + sum(_length(block) for block in answer.turn.blocks) // _CHARACTERS_PER_TOKEN


def _length(block: Text | Thinking | ToolUse) -> int:
    match block:
        case Text():
            return len(block.source) * block.repeat
        case Thinking():
            return len(block.source)
        case ToolUse():
            return len(json.dumps(block.input))


def _opened(answer: Answer, index: int) -> dict[str, Any]:
    match answer.turn.blocks[index]:
        case Text():
            return {"type": "text", "text": ""}
        case Thinking():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case ToolUse() as block:
            return {**_call(answer, index, block), "input": {}}


def _closed(answer: Answer, index: int) -> dict[str, Any]:
    match answer.turn.blocks[index]:
        case Text() as block:
            return {"type": "text", "text": "".join(_pieces(block, answer.values))}
        case Thinking() as block:
            thinking = _fill(block.source, answer.values)
            return {"type": "thinking", "thinking": thinking, "signature": block.signature}
        case ToolUse() as block:
            call = _call(answer, index, block)
            return {**call, "input": _fill_all(block.input, answer.values)}


def _call(answer: Answer, index: int, block: ToolUse) -> dict[str, Any]:
    made = f"toolu_{answer.id.removeprefix('msg_')}{index:02d}"
    return {"type": "tool_use", "id": block.id or made, "name": block.name}


def _deltas(answer: Answer, index: int, block: Text | Thinking | ToolUse) -> Iterator[bytes]:
    match block:
        case Text():
            yield from _text_deltas(index, block, answer.values)
        case Thinking():
            for piece in _cut(block.source, block.chunks, block.chunk_size, answer.values):
                yield _delta(index, "thinking_delta", "thinking", piece)
            yield _delta(index, "signature_delta", "signature", block.signature)
        case ToolUse():
            # The real API opens with an empty piece as well.
            yield _delta(index, "input_json_delta", "partial_json", "")
            text = json.dumps(_fill_all(block.input, answer.values))
            for piece in _split(text, block.chunk_size):
                yield _delta(index, "input_json_delta", "partial_json", piece)


def _text_deltas(index: int, block: Text, values: Mapping[str, str]) -> Iterator[bytes]:
    if "{{n}}" in block.source:
        for piece in _pieces(block, values):
            yield _delta(index, "text_delta", "text", piece)
        return
    once = [
        _delta(index, "text_delta", "text", piece)
        for piece in _cut(block.source, block.chunks, block.chunk_size, values)
    ]
    for _ in range(block.repeat):
        yield from once


def _delta(index: int, kind: str, field: str, piece: str) -> bytes:
    return encode("content_block_delta", index=index, delta={"type": kind, field: piece})


def _pieces(block: Text, values: Mapping[str, str]) -> Iterator[str]:
    for n in range(1, block.repeat + 1):
        yield from _cut(block.source, block.chunks, block.chunk_size, {**values, "n": str(n)})


def _cut(
    source: str, chunks: list[str] | None, size: int | None, values: Mapping[str, str]
) -> list[str]:
    if chunks is not None:
        return [_fill(chunk, values) for chunk in chunks]
    text = _fill(source, values)
    return [text] if size is None else _split(text, size)


def _split(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _fill_all(value: Any, values: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        return _fill(value, values)
    if isinstance(value, list):
        return [_fill_all(each, values) for each in value]
    if isinstance(value, dict):
        return {name: _fill_all(each, values) for name, each in value.items()}
    return value


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)
