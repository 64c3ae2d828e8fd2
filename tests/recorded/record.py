"""Records what the real runner streams, with the real Claude Code and the scripted model.

    .venv/bin/python tests/recorded/record.py [name…]

Each file beside this one is the body of one `POST /run`, byte for byte, but for the parts of the
transcript, which are long and of no interest here. They are recorded again when Claude Code
changes; then the tests tell what that means.
"""

import base64
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import servers  # noqa: E402 - the tests' own folder, as pytest would have it
from claude_run.sse import encode_event  # noqa: E402
from servers import say, scenario, use  # noqa: E402

USAGE = {
    "input_tokens": 30,
    "output_tokens": 12,
    "cache_creation_input_tokens": 100,
    "cache_read_input_tokens": 5_000,
}
COSTLY = {"input_tokens": 1_000_000, "output_tokens": 10_000}


def blocks(*parts: Mapping[str, Any], **fields: object) -> dict[str, Any]:
    """A turn of several blocks."""
    return {"blocks": [dict(part) for part in parts], **fields}


def text(words: str, **fields: object) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": words, **fields}


def call(name: str, **given: object) -> dict[str, Any]:
    """A tool_use block."""
    return {"type": "tool_use", "name": name, "input": given}


def write(name: str, content: str = "x") -> dict[str, Any]:
    """A call that writes a file in the workspace."""
    return call("Write", file_path=f"{{{{cwd}}}}/{name}", content=content)


INSIDE = scenario(use("Bash", command="echo inside"), say("The subagent says it."))
# One grey pixel, as `printf` takes it.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
PICTURE = "".join(f"\\{byte:03o}" for byte in PIXEL)

SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "text": {"prompt": scenario(say("Hello there, reader.", chunk_size=6) | {"usage": USAGE})},
    "thinking": {
        "prompt": scenario(
            blocks(
                {"type": "thinking", "thinking": "Let me see what this is.", "chunk_size": 8},
                text("It is this."),
            )
        )
    },
    "tools": {
        "prompt": scenario(
            blocks(text("Writing."), write("a.txt", "a\n"), usage=USAGE),
            use("Bash", command="cat a.txt; exit 3"),
            use("Bash", command=f"printf '{PICTURE}' > one.png"),
            use("Read", file_path="{{cwd}}/one.png"),
            say("Done."),
        ),
        "allowedTools": ["Write", "Read", "Bash"],
    },
    "subagent": {
        "prompt": scenario(
            blocks(
                text("Asking."),
                call("Task", description="Look", prompt=INSIDE, subagent_type="general-purpose"),
                usage=USAGE,
            ),
            say("It said so."),
            say("It is there."),
        ),
        "allowedTools": ["Task", "Bash"],
    },
    "retry": {"prompt": scenario({"error": {"status": 529, "times": 1}} | say("After all."))},
    "cut": {
        "prompt": scenario(
            {"fault": {"type": "cut", "after_events": 4, "times": 1}}
            | say("The whole answer, once only.", chunk_size=5)
        )
    },
    "cut_behind_text": {
        "prompt": scenario(
            blocks(
                text("First words.", chunk_size=4),
                call("Bash", command="echo hi"),
                fault={"type": "cut", "after_events": 7, "times": 1},
            ),
            say("The end."),
        ),
        "allowedTools": ["Bash"],
    },
    "unstreamed": {
        "prompt": scenario(
            {"fault": {"type": "error_event", "after_events": 0, "times": 1}}
            | say("The whole answer, not streamed.")
        )
    },
    "unstreamed_after_part": {
        "prompt": scenario(
            {"fault": {"type": "error_event", "after_events": 4, "times": 1}}
            | say("The whole answer, once only.", chunk_size=5)
        )
    },
    "refused": {"prompt": scenario({"error": {"status": 401}})},
    "budget": {
        "prompt": scenario(blocks(write("x.txt"), usage=COSTLY), say("never")),
        "maxBudgetUsd": 0.01,
    },
    "max_turns": {
        "prompt": scenario(*[blocks(write(f"{number}.txt")) for number in range(4)]),
        "maxTurns": 2,
    },
    "odd": {"prompt": scenario(say("CR\rLF\nLS\u2028NUL\0BOM\ufeff end", chunk_size=2))},
}


def conversation(url: str) -> Iterator[tuple[str, servers.Stream]]:
    """Three turns of one conversation, each in a fresh workspace."""
    prompt = scenario(say("Noted.") | {"usage": USAGE})
    first = servers.post_run(url, {"prompt": prompt, "wantTranscript": True})
    session, transcript = first.headers["x-session-id"], first.data("transcript")
    yield "conversation-1", first
    for number in (2, 3):
        resume = {"sessionId": session, "transcript": transcript}
        stream = servers.post_run(url, {"prompt": prompt, "wantTranscript": True, "resume": resume})
        transcript += stream.data("transcript")
        yield f"conversation-{number}", stream


def record(names: list[str]) -> None:
    """Record these, or all."""
    with ExitStack() as stack:
        model = stack.enter_context(servers.scripted_model())
        url = stack.enter_context(servers.running_runner(model.url)).url
        for name, body in SCENARIOS.items():
            if not names or name in names:
                save(name, servers.post_run(url, body))
        if not names or "conversation" in names:
            for name, stream in conversation(url):
                save(name, stream)


def save(name: str, stream: servers.Stream) -> None:
    """Write a stream's events to its file."""
    kept = [event for event in stream.events if event.event != "transcript"]
    frames = [encode_event(event.data, event=event.event) for event in kept]
    (HERE / f"{name}.sse").write_bytes(b"".join(frames))


if __name__ == "__main__":
    record(sys.argv[1:])
