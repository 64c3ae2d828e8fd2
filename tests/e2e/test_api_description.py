"""Sessions as the gateway describes them: along its links, and event by event."""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, CheckContext, Config, Response

import servers
from claude_run.sse import Decoder
from claude_run.wire_sessions import EVENT_DATA, SESSION_ID_PATTERN
from doubles.claude_cli import behaviour
from gateway.http.openapi import document
from gateway.http.routes import EVENTS, MESSAGE, SESSION, START, STATUS

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("api")]

# Streams end by themselves: one that is silent for so long fails the test.
REQUEST_SECONDS = 20
# Of each operation, beside the hundreds that Schemathesis derives from the schemas.
EXAMPLES = 8
STORIES = 25
STEPS = 8
DETERMINISTIC = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def described_api() -> Any:  # noqa: ANN401 - a schema of a kind that Schemathesis does not name
    """What the gateway says of itself, as far as a schema can say it."""
    config = Config(seed=1)
    project = config.projects.default
    project.request_timeout = REQUEST_SECONDS
    # What is known of a session stays readable after `DELETE`.
    project.checks.use_after_free.enabled = False
    # Rules between fields, the operator's lists and base64 stand in no schema: 400 is right.
    project.checks.positive_data_acceptance.enabled = False
    # Schemathesis writes into what it is given.
    return schemathesis.openapi.from_dict(json.loads(json.dumps(document())), config=config)


described = described_api()


@pytest.fixture(scope="module")
def gateway(model: servers.Server) -> Iterator[str]:
    """A gateway before a runner whose Claude Code answers at once and which clones nothing."""
    # Not pytest's own folders: a run's user cannot reach those.
    with tempfile.TemporaryDirectory(prefix="double-") as folder:
        Path(folder).chmod(0o755)
        double = behaviour("result-without-newline", Path(folder))
        with (
            servers.running_runner(
                model.url, CLAUDE_CLI=str(double), ALLOWED_GIT_HOSTS="git.invalid"
            ) as runner,
            servers.running_gateway(
                runner.url,
                Path(folder),
                RATE_LIMIT_PER_MINUTE="1000000",
                MAX_CONCURRENT_SESSIONS="1000",
                MAX_DAILY_COST_USD="1000000",
                MAX_DAILY_TOKENS="1000000000000",
            ) as server,
        ):
            yield server.url
            assert "Traceback" not in server.log()
            assert "Traceback" not in runner.log()


def events_conform(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """Every event of a session's stream is one that is described, and shaped so."""
    if case.path in (START, MESSAGE, EVENTS) and response.status_code == 200:
        for event in Decoder().feed(response.content):
            EVENT_DATA[event.event].model_validate_json(event.data)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(SESSION_ID_PATTERN, value) is not None


def test_the_description_is_served(gateway: str) -> None:
    """It is what the other tests go by."""
    assert httpx2.get(f"{gateway}/openapi.json", trust_env=False).json() == document()


@described.parametrize()  # type: ignore[untyped-decorator]
@settings(DETERMINISTIC, max_examples=EXAMPLES)
def test_every_answer_is_as_described(case: Case[Any], gateway: str) -> None:
    """No 5xx, no other status, content type, header or shape; wrong input is refused."""
    case.call_and_validate(base_url=gateway, additional_checks=[events_conform])


def test_stories_go_as_described(gateway: str) -> None:
    """The same along links: started, looked at, read, continued, deleted, in any order."""
    seen: Counter[tuple[str, int]] = Counter()
    # Schemathesis would begin with the list, which never leads to a session of its own.
    machine: Any = described.include(path_regex="^/interactive/").as_state_machine()

    class Stories(machine):  # type: ignore[misc]
        """Told to one gateway."""

        def get_call_kwargs(self, _case: Case[Any]) -> dict[str, Any]:
            return {"base_url": gateway}

        def before_call(self, case: Case[Any]) -> None:
            # An id that another story has used is 409: no two stories may meet.
            body = case.body
            if case.path == START and isinstance(body, dict) and _is_id(body.get("sessionId")):
                body["sessionId"] = uuid4().hex

        def after_call(self, response: Response, case: Case[Any]) -> None:
            super().after_call(response, case)
            seen[f"{case.method.upper()} {case.path}", response.status_code] += 1

        def validate_response(self, response: Response, case: Case[Any], **arguments: Any) -> None:  # noqa: ANN401
            arguments["additional_checks"] = [events_conform]
            super().validate_response(response, case, **arguments)

    Stories.run(
        settings=settings(
            DETERMINISTIC, max_examples=STORIES, stateful_step_count=STEPS, phases=[Phase.generate]
        )
    )
    for operation in (
        f"POST {START}",
        f"POST {MESSAGE}",
        f"GET {EVENTS}",
        f"GET {STATUS}",
        f"GET {SESSION}",
        f"DELETE {SESSION}",
    ):
        assert seen[operation, 200], f"no story got as far as {operation}: {seen}"
