"""The agent's plan and what it does, from its tools."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.issues import comment
from gateway.issues.plan import MAX_STEPS, Plan, Stand, Step
from gateway.issues.standing import Standing
from gateway.sessions import events
from gateway.sessions.events import SessionEvent


def use(name: str, tool_input: object, call: str = "toolu_1") -> SessionEvent:
    return events.tool_use(1, call, name, tool_input)


def told(content: str, call: str = "toolu_1") -> SessionEvent:
    return events.tool_result(1, call, content, is_error=False)


def after(*happened: SessionEvent) -> Standing:
    standing = Standing()
    for event in happened:
        standing = standing.after(event)
    return standing


def test_tasks_are_created_and_come_on() -> None:
    """A task has the number that its result tells."""
    plan = after(
        use("TaskCreate", {"subject": "Look"}, "a"),
        use("TaskCreate", {"subject": "Mend"}, "b"),
        told("Task #2 created successfully: Mend", "b"),
        told("Task #1 created successfully: Look", "a"),
        use("TaskUpdate", {"taskId": "1", "status": "completed"}),
        use("TaskUpdate", {"taskId": "2", "status": "in_progress", "subject": "Mend it"}),
    ).plan
    assert plan.steps == {
        "2": Step(text="Mend it", stand=Stand.IN_PROGRESS),
        "1": Step(text="Look", stand=Stand.COMPLETED),
    }
    assert plan.after(use("TaskUpdate", {"taskId": "2", "status": "deleted"})).steps.keys() == {"1"}


def test_todos_replace_each_other() -> None:
    """The older tool tells the whole list each time."""
    first = use("TodoWrite", {"todos": [{"content": "Look", "status": "in_progress"}]})
    second = use("TodoWrite", {"todos": [{"content": "Mend", "status": "pending"}]})
    assert [step.text for step in after(first, second).plan.steps.values()] == ["Mend"]


def test_a_plan_has_a_bound() -> None:
    """However many tasks there are."""
    happened = []
    for number in range(MAX_STEPS + 20):
        happened.append(use("TaskCreate", {"subject": "x" * 5_000}, f"c{number}"))
        happened.append(told(f"Task #{number} created", f"c{number}"))
    plan = after(*happened).plan
    assert len(plan.steps) == MAX_STEPS
    assert max(len(step.text) for step in plan.steps.values()) == 200


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["TodoWrite", "TaskCreate", "TaskUpdate", "Bash"]), _ANY, _ANY),
        max_size=8,
    )
)
def test_nonsense_is_no_plan(calls: list[tuple[str, object, object]]) -> None:
    """An agent's input may be anything; the comment is rendered all the same."""
    keys = ("todos", "subject", "taskId", "status", "command")
    standing = Standing()
    for name, value, other in calls:
        for tool_input in (value, dict.fromkeys(keys, value), {"todos": [other], "subject": "x"}):
            standing = standing.after(use(name, tool_input)).after(told("Task #1 created"))
    assert comment.working(standing, key="k", phrase="@claude", elapsed=timedelta())


def test_what_it_does_is_named_without_its_folder() -> None:
    """From the first tool on: the session tells its folder only once files have changed."""
    folder = "/tmp/ws-05b7a943-21f0-4c0e-9c52-0d8b0a6f1e11"
    assert after(use("Edit", {"file_path": f"{folder}/src/a.py"})).doing == ("Editing", "src/a.py")
    command = f"cd {folder} && cat {folder}/a {folder}-2/b"
    assert after(use("Bash", {"command": command})).doing == (
        "Running",
        f"cd . && cat a {folder}-2/b",
    )
    assert after(use("mcp__x__y", {})).doing == ("Using", "mcp__x__y")
    assert after(use("TaskList", {})).doing is None


def test_the_comment_shows_plan_deed_and_cost() -> None:
    """What is done, what is being done, what it has cost."""
    standing = after(
        use("TaskCreate", {"subject": "Look at @octo's *code*"}),
        told("Task #1 created"),
        use("TaskUpdate", {"taskId": "1", "status": "in_progress"}),
        use("Bash", {"command": "make test"}),
        events.usage(1, {"inputTokens": 1, "outputTokens": 2, "costUsd": 0.126}),
    )
    body = comment.working(
        standing, key="k1", phrase="@claude", elapsed=timedelta(minutes=2, seconds=5)
    )
    assert body == (
        "<!-- claude-run-work:k1 -->\n\n"
        "### Claude is working on it\n\n"
        "- [ ] **Look at @\u200bocto's \\*code\\***\n\n"
        "**Now:** Running `make test`\n\n"
        "<sub>2 min 5 s · 3 tool calls · $0.13 so far · `@claude stop` ends it.</sub>"
    )


def test_before_there_is_a_deed_the_comment_tells_what_is_so() -> None:
    """No figures before there are any; a plan takes the place of words."""
    used = events.usage(1, {"inputTokens": 1, "outputTokens": 2, "costUsd": 0.04})
    planned = (use("TaskCreate", {"subject": "Look"}), told("Task #1 created"))
    shown = [
        comment.working(after(*happened), key="k", phrase="@claude", elapsed=timedelta(seconds=3))
        for happened in ((), (used,), (used, *planned))
    ]
    assert [body.split("\n\n")[2:] for body in shown] == [
        [comment.STARTING, "<sub>`@claude stop` ends it.</sub>"],
        [comment.THINKING, "<sub>3 s · $0.04 so far · `@claude stop` ends it.</sub>"],
        ["- [ ] Look", "<sub>3 s · 1 tool call · $0.04 so far · `@claude stop` ends it.</sub>"],
    ]


def test_a_bar_in_a_command_is_shown_as_it_is() -> None:
    """Only in a table it needs a backslash, which would be shown here."""
    body = comment.working(
        after(use("Bash", {"command": "make | tail"})),
        key="k",
        phrase="@claude",
        elapsed=timedelta(),
    )
    assert "`make | tail`" in body


def test_a_long_plan_shows_what_is_ahead() -> None:
    """What is done is left out first."""
    steps = {
        str(n): Step(text=f"s{n}", stand=Stand.COMPLETED if n < 20 else Stand.PENDING)
        for n in range(30)
    }
    shown = comment.checklist(Plan(steps=steps))
    assert "s29" in shown
    assert "s0\n" not in shown
    assert shown.endswith("… and 15 more")
    assert shown.count("- [") == 15
