"""`POST /run` through the front door: the real Claude Code, a scripted model behind it."""

import base64
import json

import pytest

import servers
from servers import post_run, say, scenario, use

pytestmark = pytest.mark.e2e


def test_a_prompt_goes_in_and_its_words_come_out(runner: servers.Server) -> None:
    """Text in deltas, the result, the change set, and `done` at the end."""
    stream = post_run(
        runner.url,
        {
            "prompt": scenario(
                use("Write", file_path="{{cwd}}/a.txt", content="hello\n"), say("All done here.")
            )
        },
    )
    assert stream.status == 200
    assert stream.text == "All done here."
    assert stream.result["subtype"] == "success"
    [file] = stream.changes["files"]
    assert file == {
        "path": "a.txt",
        "mode": "100644",
        "content": base64.b64encode(b"hello\n").decode(),
        "new": True,
    }
    assert stream.events[-1].event == "done"
    assert stream.events[-1].data == "[DONE]"
    assert stream.error is None
    assert stream.headers["x-session-id"] == stream.init["session_id"]
    assert stream.init["cwd"] == f"/tmp/ws-{stream.headers['x-session-id']}"


def test_one_object_for_who_wants_one(runner: servers.Server) -> None:
    """`Accept: application/json` answers when the run is over."""
    answer = post_run(
        runner.url, {"prompt": scenario(say("Yes."))}, headers={"Accept": "application/json"}
    )
    body = json.loads(answer.body)
    assert answer.status == 200
    assert body["result"]["result"] == "Yes."
    assert body["error"] is None
    assert body["changes"] == {"base": None, "files": []}
    assert body["requestId"] == answer.headers["x-request-id"]
