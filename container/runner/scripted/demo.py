"""What is played when nothing else is chosen: the demonstration of a first run."""

from runner.scripted.conversation import Conversation
from runner.scripted.scenario import Scenario, Text, ToolUse, Turn

_CHUNK = 6
_DELAY_MS = 15
_MAX_QUOTE = 500


def scenario(conversation: Conversation) -> Scenario:
    """A greeting, a small file where the tools allow it, and a closing sentence."""
    hello = _say(
        "Hello! I am the scripted model: I stand in for Claude where no key is set. "
        "Claude Code around me is the real one, and so is everything that it does."
    )
    if "Write" not in conversation.tools or conversation.cwd is None:
        return Scenario(turns=[Turn(blocks=[hello])])
    write = ToolUse(type="tool_use", name="Write", input=_file(conversation), delay_ms=_DELAY_MS)
    intent = _say(" As a sign of life I am writing a small file.")
    closing = _say(
        "Claude Code's answer to that was: {{last_result}}\n\n"
        "Set ANTHROPIC_API_KEY, and a real model takes my place."
    )
    return Scenario(turns=[Turn(blocks=[hello, intent, write]), Turn(blocks=[closing])])


def _say(text: str) -> Text:
    return Text(type="text", text=text, chunk_size=_CHUNK, delay_ms=_DELAY_MS)


def _file(conversation: Conversation) -> dict[str, str]:
    # A name of its own for each prompt: Write does not replace a file that was not read before.
    count = len({prompt.index for prompt in conversation.prompts})
    asked = conversation.prompts[-1].text.strip() if conversation.prompts else ""
    quoted = "\n".join(f"> {line}" for line in asked[:_MAX_QUOTE].splitlines())
    content = (
        "# Written by the scripted model\n\n"
        f"No model has thought about this. The prompt that arrived:\n\n{quoted}\n"
    )
    return {"file_path": f"{{{{cwd}}}}/scripted-model-{count}.md", "content": content}
