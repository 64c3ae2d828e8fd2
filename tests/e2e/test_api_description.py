"""Sessions as the gateway describes them: along its links, and event by event.

Schemathesis is imported where it is used: it takes longer than all the rest, and every process of
the suite imports this file.
"""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx2
import pytest

import servers
from claude_run.sse import Decoder
from claude_run.wire_sessions import EVENT_DATA, SESSION_ID_PATTERN
from doubles.claude_cli import behaviour
from gateway.http.openapi import document
from gateway.http.routes import EVENTS, MESSAGE, SESSION, START, STATUS
from thoroughness import examples

if TYPE_CHECKING:
    from hypothesis import settings
    from schemathesis import Case, CheckContext, Response

pytestmark = pytest.mark.e2e

# Streams end by themselves: one that is silent for so long fails the test.
REQUEST_SECONDS = 20
# Of each operation, beside those that Schemathesis derives from the schemas: more than a thousand,
# most of them wrong in one place. Only every so many of them is sent.
EXAMPLES = examples(8)
EVERY = 8 if EXAMPLES == 8 else 1
STORIES = examples(10)
STEPS = 8


def as_made(**more: Any) -> "settings":  # noqa: ANN401 - Hypothesis's own
    """How examples are made; Schemathesis's own ways are odd to Hypothesis."""
    from hypothesis import HealthCheck, settings

    return settings(suppress_health_check=list(HealthCheck), **more)


def without_large_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Of a pattern and a length Schemathesis makes one regular expression; for a million characters
    its engine takes a second to say that it cannot."""
    if "pattern" in schema and schema.get("maxLength", 0) > 10_000:
        del schema["maxLength"]
    return schema


@pytest.fixture(scope="module")
def described() -> Any:  # noqa: ANN401 - a schema of a kind that Schemathesis does not name
    """What the gateway says of itself, as far as a schema can say it."""
    import schemathesis
    from schemathesis import Config

    config = Config(seed=1)
    project = config.projects.default
    project.request_timeout = REQUEST_SECONDS
    # What is known of a session stays readable after `DELETE`.
    project.checks.use_after_free.enabled = False
    # Rules between fields, the operator's lists and base64 stand in no schema: 400 is right.
    project.checks.positive_data_acceptance.enabled = False
    own = json.loads(json.dumps(document()), object_hook=without_large_bounds)
    return schemathesis.openapi.from_dict(own, config=config)


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


def events_conform(_context: "CheckContext", response: "Response", case: "Case[Any]") -> None:
    """Every event of a session's stream is one that is described, and shaped so."""
    if case.path in (START, MESSAGE, EVENTS) and response.status_code == 200:
        for event in Decoder().feed(response.content):
            EVENT_DATA[event.event].model_validate_json(event.data)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(SESSION_ID_PATTERN, value) is not None


def test_the_description_is_served(gateway: str) -> None:
    """It is what the other tests go by."""
    assert httpx2.get(f"{gateway}/openapi.json", trust_env=False).json() == document()


def test_every_answer_is_as_described(gateway: str, described: Any) -> None:  # noqa: ANN401
    """No 5xx, no other status, content type, header or shape; wrong input is refused."""
    from schemathesis.checks import load_all_checks
    from schemathesis.core.failures import FailureGroup
    from schemathesis.core.result import Ok
    from schemathesis.pytest.lazy import get_all_tests

    made: Counter[str] = Counter()
    sent: set[str] = set()

    def as_described(case: "Case[Any]") -> None:
        operation = f"{case.method.upper()} {case.path}"
        made[operation] += 1
        # The first of each operation, and then every so many.
        if made[operation] % EVERY != 1 % EVERY:
            return
        sent.add(operation)
        try:
            case.call_and_validate(base_url=gateway, additional_checks=[events_conform])
        except FailureGroup as failures:  # its own traceback breaks pytest's
            pytest.fail(str(failures))

    load_all_checks()
    tests = get_all_tests(
        schema=described,
        test_func=as_described,
        settings=as_made(max_examples=EXAMPLES),
        given_kwargs={},
    )
    for _operation, test in (found.ok() for found in tests if isinstance(found, Ok)):
        test()
    # And every other method of each path.
    paths = document()["paths"].items()
    assert {f"{method.upper()} {path}" for path, methods in paths for method in methods} <= sent


def test_stories_go_as_described(gateway: str, described: Any) -> None:  # noqa: ANN401
    """The same along links: started, looked at, read, continued, deleted, in any order."""
    from hypothesis import Phase

    seen: Counter[tuple[str, int]] = Counter()
    # Schemathesis would begin with the list, which never leads to a session of its own.
    machine: Any = described.include(path_regex="^/interactive/").as_state_machine()

    class Stories(machine):  # type: ignore[misc]
        """Told to one gateway."""

        def get_call_kwargs(self, _case: "Case[Any]") -> dict[str, Any]:
            return {"base_url": gateway}

        def before_call(self, case: "Case[Any]") -> None:
            # An id that another story has used is 409: no two stories may meet.
            body = case.body
            if case.path == START and isinstance(body, dict) and _is_id(body.get("sessionId")):
                body["sessionId"] = uuid4().hex

        def after_call(self, response: "Response", case: "Case[Any]") -> None:
            super().after_call(response, case)
            seen[f"{case.method.upper()} {case.path}", response.status_code] += 1

        def validate_response(
            self, response: "Response", case: "Case[Any]", **more: object
        ) -> None:
            more["additional_checks"] = [events_conform]
            super().validate_response(response, case, **more)

    Stories.run(
        settings=as_made(max_examples=STORIES, stateful_step_count=STEPS, phases=[Phase.generate])
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
