"""What starts a run on GitHub: for all repositories, and what one of them may choose for itself.

The intake knows the deployment's settings only: it cannot ask GitHub. So it listens to whatever
they name, several labels and words if need be, and the worker then holds it against the
repository's own file. `*` among the names: any that a repository chooses; then each label, or each
mention of anybody, starts a worker that looks whether the repository means it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from claude_run.errors import ConfigurationError

ANY = "*"
NONE = "none"
MAX_NAMES = 20
# More labels or mentions than that, none of them usual, and it is not a repository's trigger.
MAX_OTHERS = 50


# GitHub's own bounds of a label and of a login; `_` is in those of managed users.
LABEL = r"[^\x00-\x1f\x7f,*]{1,50}"
LOGIN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
# What `words.mentioned` finds.
PHRASE = r"@[A-Za-z0-9](-?[A-Za-z0-9]){0,38}"


class _Form(NamedTuple):
    pattern: re.Pattern[str]
    words: str


_LABELS = _Form(re.compile(LABEL), "labels")
_LOGINS = _Form(re.compile(LOGIN), "logins")
_PHRASES = _Form(re.compile(PHRASE), "words such as @claude")


class Kind(StrEnum):
    """The kinds of triggers, by their names in a repository's file."""

    ON_OPEN = "on_open"
    LABEL = "label"
    ASSIGNEE = "assignee"
    PHRASE = "phrase"


class Sign(NamedTuple):
    """One thing about an event that may be a trigger; `word` in the form in which it is compared.

    `fresh`: it happened now. What only is so counts where the issue was never served before.
    """

    kind: Kind
    word: str = ""
    fresh: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """What starts a run; all words in lower case. The App's own name always does."""

    on_open: bool = True
    labels: frozenset[str] = frozenset({"claude"})
    assignees: frozenset[str] = frozenset()
    phrases: frozenset[str] = frozenset({"@claude"})

    def first(self, signs: Iterable[Sign], *, slug: str | None) -> Sign | None:
        """The sign that starts a run, one that is fresh before others; None: none does."""
        held = [sign for sign in signs if self.holds(sign, slug=slug)]
        return next((sign for sign in held if sign.fresh), held[0] if held else None)

    def holds(self, sign: Sign, *, slug: str | None) -> bool:
        """Whether this one starts a run."""
        match sign.kind:
            case Kind.ON_OPEN:
                return self.on_open
            case Kind.LABEL:
                return sign.word in self.labels
            case Kind.ASSIGNEE:
                return sign.word in self.assignees
            case Kind.PHRASE:
                return sign.word in self.phrases or sign.word == f"@{slug}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSettings:
    """`usual` holds where a repository says nothing; `open`: kinds that it may choose freely."""

    usual: Triggers = Triggers()
    open: frozenset[Kind] = frozenset()

    def heard(self, signs: Iterable[Sign], *, slug: str | None) -> tuple[Sign, ...]:
        """Those of the signs that could start a run in some repository; a bounded number."""
        usual: list[Sign] = []
        others: list[Sign] = []
        for sign in signs:
            if self.usual.holds(sign, slug=slug):
                usual.append(sign)
            elif sign.kind in self.open:
                others.append(sign)
        return (*usual, *others[:MAX_OTHERS])

    def unheard(self, chosen: Triggers) -> tuple[str, ...]:
        """What a repository has chosen in vain, as `kind: word`."""
        usual = self.usual
        names = {
            Kind.ON_OPEN: {"true"} if chosen.on_open and not usual.on_open else set(),
            Kind.LABEL: chosen.labels - usual.labels,
            Kind.ASSIGNEE: chosen.assignees - usual.assignees,
            Kind.PHRASE: chosen.phrases - usual.phrases,
        }
        return tuple(
            f"{kind}: {word}"
            for kind, words in names.items()
            if kind not in self.open
            for word in sorted(words)
        )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "TriggerSettings":
        """Read all of it, or raise `ConfigurationError` naming everything that is wrong.

        `TRIGGER_ON_OPEN` is `true`, `false`, or `*`: where a repository says so. The others are
        names separated by commas, or `none`.
        """
        wrong: list[str] = []
        default = Triggers()
        on_open = environ.get("TRIGGER_ON_OPEN", "").strip().lower() or "true"
        if on_open not in ("true", "false", ANY):
            wrong.append(f"TRIGGER_ON_OPEN must be true, false or {ANY}")
        names = {
            Kind.LABEL: _names(environ, "TRIGGER_LABEL", _LABELS, default.labels, wrong),
            Kind.ASSIGNEE: _names(environ, "TRIGGER_ASSIGNEE", _LOGINS, default.assignees, wrong),
            Kind.PHRASE: _names(environ, "TRIGGER_PHRASE", _PHRASES, default.phrases, wrong),
        }
        if wrong:
            raise ConfigurationError("; ".join(wrong), details={"settings": wrong})
        chosen = {Kind.ON_OPEN: {on_open}, **names}
        return cls(
            usual=Triggers(
                on_open=on_open == "true",
                labels=names[Kind.LABEL] - {ANY},
                assignees=names[Kind.ASSIGNEE] - {ANY},
                phrases=names[Kind.PHRASE] - {ANY},
            ),
            open=frozenset(kind for kind, words in chosen.items() if ANY in words),
        )


def _names(
    environ: Mapping[str, str],
    setting: str,
    form: _Form,
    usual: frozenset[str],
    wrong: list[str],
) -> frozenset[str]:
    """The names of a setting in lower case; the usual ones if it is not set, or wrong."""
    text = environ.get(setting, "").strip()
    if not text:
        return usual
    if text.lower() == NONE:
        return frozenset()
    names = [name.strip() for name in text.split(",")]
    if len(names) > MAX_NAMES or not all(
        name == ANY or form.pattern.fullmatch(name) for name in names
    ):
        wrong.append(f"{setting} must be {NONE}, or at most {MAX_NAMES} {form.words}, with commas")
        return usual
    return frozenset(name.lower() for name in names)
