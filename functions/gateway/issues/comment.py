"""The comment that follows a run: while it waits, and while it works. Pure."""

from collections.abc import Iterator
from datetime import timedelta

from gateway.issues import inert
from gateway.issues.plan import Plan, Stand, Step
from gateway.issues.standing import Standing

WORKING = "### Claude is working on it"
STARTING = "Getting the repository ready."
THINKING = "Thinking about it."
WAITING = "### Claude will work on it"
NO_ROOM = "It has to wait: {reason}. It begins by itself as soon as it can; you need not ask again."
NOW = "**Now:** {words} {about}"
SO_FAR = "${cost:.2f} so far"
HOW_TO_STOP = "`{phrase} stop` ends it."
AND_MORE = "… and {count} more"

# A checklist that is read, not scrolled.
MAX_STEPS_SHOWN = 15
MAX_STEP_SHOWN = 120
MAX_ABOUT = 100


def mark(key: str) -> str:
    """What is at the top of an item's comment and is not shown: by it the comment is found."""
    return f"<!-- claude-run-work:{key} -->"


def working(standing: Standing, *, key: str, phrase: str, elapsed: timedelta) -> str:
    """While the agent works."""
    return joined(
        mark(key),
        WORKING,
        checklist(standing.plan),
        _now(standing),
        "<sub>{}</sub>".format(" · ".join((*_so_far(standing, elapsed), how_to_stop(phrase)))),
    )


def waiting(reason: str, *, key: str) -> str:
    """Before it begins, where there is no room for it."""
    return joined(mark(key), WAITING, NO_ROOM.format(reason=reason))


def checklist(plan: Plan) -> str:
    """The plan; of a long one what is done is left out first, then what is far ahead."""
    steps = [step for step in plan.steps.values() if step.text]
    done = [step for step in steps if step.stand is Stand.COMPLETED]
    hidden = max(0, len(steps) - MAX_STEPS_SHOWN)
    left_out = {id(step) for step in done[: min(hidden, len(done))]}
    shown = [step for step in steps if id(step) not in left_out][:MAX_STEPS_SHOWN]
    lines = [_step(step) for step in shown]
    if len(shown) < len(steps):
        lines.append(f"\n{AND_MORE.format(count=len(steps) - len(shown))}")
    return "\n".join(lines)


def _step(step: Step) -> str:
    text = inert.line(step.text, MAX_STEP_SHOWN)
    box = "x" if step.stand is Stand.COMPLETED else " "
    return f"- [{box}] **{text}**" if step.stand is Stand.IN_PROGRESS else f"- [{box}] {text}"


def _now(standing: Standing) -> str:
    if standing.doing is not None:
        words, about = standing.doing
        return NOW.format(words=words, about=inert.code(about, MAX_ABOUT))
    if standing == Standing():
        return STARTING
    # A plan speaks for itself.
    return "" if standing.plan.steps else THINKING


def _so_far(standing: Standing, elapsed: timedelta) -> Iterator[str]:
    """The figures there are: none before the model has answered."""
    if standing == Standing():
        return
    yield duration(elapsed)
    if standing.calls:
        yield f"{standing.calls} tool {'call' if standing.calls == 1 else 'calls'}"
    yield SO_FAR.format(cost=standing.cost_usd)


def how_to_stop(phrase: str) -> str:
    """How whoever asked ends it."""
    return HOW_TO_STOP.format(phrase=phrase)


def duration(elapsed: timedelta) -> str:
    """A time as people say it: `45 s`, `2 min 5 s`, `1 h 2 min`."""
    seconds = max(0, round(elapsed.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def joined(*parts: str) -> str:
    """Paragraphs; empty ones are none."""
    return "\n\n".join(part for part in parts if part)
