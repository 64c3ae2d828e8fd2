"""A Claude Code that goes wrong, for failures the real one does not show on demand.

It is installed as an executable in a folder that every user can reach. Everything else in these
tests is the real thing.
"""

from pathlib import Path

_RESULT = '{"type":"result","subtype":"success","is_error":false,"result":"fine","usage":{}}'
# What the SDK must hear before anything else, and the prompt taken.
ANSWER = (
    'read -r line; id=$(printf %s "$line" | grep -o \'"request_id": *"[^"]*"\' | cut -d\'"\' -f4)\n'
    'printf \'{"type":"control_response","response":{"subtype":"success",'
    '"request_id":"%s","response":{}}}\\n\' "$id"\nread -r line\n'
)

BEHAVIOURS = {
    "dies-at-once": "echo 'cannot open shared object' >&2; exit 127",
    "dies-later": ANSWER + "kill -9 $$",
    "says-nothing": ANSWER + "exit 0",
    "garbage": ANSWER + "head -c 3000 /dev/urandom; echo; echo 'not json'; exit 0",
    "half-a-line": ANSWER + 'printf \'{"type":"assistant","mess\'; exit 0',
    "garbage-then-result": ANSWER + f"echo '[debug] hello'; echo '{_RESULT}'; exit 0",
    "result-without-newline": ANSWER + f"printf '%s' '{_RESULT}'; exit 0",
    "half-a-pair": ANSWER + f"echo '{_RESULT.replace('fine', chr(92) + 'ud83d')}'; exit 0",
    "no-type": ANSWER + "echo '{\"a\":1}'; echo '[1,2]'; echo 'null'; exit 0",
    "ignores-the-end": ANSWER + f"trap '' TERM; echo '{_RESULT}'; sleep 60 & sleep 60",
    "ten-megabytes": ANSWER
    + 'printf \'{"type":"assistant","text":"\'; head -c 10000000 /dev/zero | tr "\\0" x; '
    + f"echo '\"}}'; echo '{_RESULT}'; exit 0",
    "ten-megabytes-of-a-tool": ANSWER
    + 'printf \'{"type":"user","message":{"role":"user","content":[{"type":"tool_result",'
    + '"tool_use_id":"t","content":"\'; head -c 10000000 /dev/zero | tr "\\0" x; '
    + f"echo '\"}}]}}}}'; echo '{_RESULT}'; exit 0",
    "odd-characters": ANSWER
    + 'printf \'{"type":"assistant","t":"a\\\\u2028b\\\\u0000c\\\\r\\\\nd \\xe2\\x80\\xa8 '
    + "\\xef\\xbb\\xbf event: done\"}\\r\\n'; "
    + f"echo '{_RESULT}'; exit 0",
}


# Which one is to be had is the model that a run names.
_CHOICE = """for argument in "$@"; do
  [ "$last" = --model ] && exec "$(dirname "$0")/claude-$argument" "$@"
  last=$argument
done
echo 'no model was named' >&2; exit 64"""


def behaviour(name: str, folder: Path) -> Path:
    """Install the named behaviour; returns the executable."""
    return _install(f"claude-{name}", BEHAVIOURS[name], folder)


def behaviour_by_model(folder: Path) -> Path:
    """Install all of them; the executable behaves as the run's `model` says."""
    for name in BEHAVIOURS:
        behaviour(name, folder)
    return _install("claude", _CHOICE, folder)


def _install(name: str, script: str, folder: Path) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return path
