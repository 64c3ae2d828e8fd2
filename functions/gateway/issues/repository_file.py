"""`.github/claude-run.yml`: what one repository chooses for itself, read strictly. Pure.

It may choose what starts a run and may narrow how one goes: never more tools, time or money than
the deployment gives. A file that is wrong anywhere counts as none, and its authors are told.
"""

import base64
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, StringConstraints

from claude_run.errors import CallerError, UpstreamError
from claude_run.wire import BudgetUsd, MaxTurns, ModelName, TimeoutMinutes, ToolRules, Wire, parse
from gateway.github.failures import given, mapping
from gateway.github.trigger_settings import LABEL, LOGIN, MAX_NAMES, PHRASE, Triggers

PATH = ".github/claude-run.yml"
MAX_BYTES = 64 * 1024
MAX_INSTRUCTIONS = 20_000

Label = Annotated[str, StringConstraints(pattern=f"^{LABEL}$")]
Login = Annotated[str, StringConstraints(pattern=f"^{LOGIN}$")]
Phrase = Annotated[str, StringConstraints(pattern=f"^{PHRASE}$")]


class _Choice(Wire):
    """Written by hand: names as they are in YAML."""

    model_config = ConfigDict(alias_generator=None)


class TriggerChoice(_Choice):
    """What starts a run; what is left out is as the deployment has it."""

    on_open: bool | None = None
    labels: Annotated[list[Label], Field(max_length=MAX_NAMES)] | None = None
    assignees: Annotated[list[Login], Field(max_length=MAX_NAMES)] | None = None
    phrases: Annotated[list[Phrase], Field(max_length=MAX_NAMES)] | None = None


class RepositoryFile(_Choice):
    """The file. `instructions` are added to the system prompt."""

    triggers: TriggerChoice = TriggerChoice()
    tools: ToolRules | None = None
    max_turns: MaxTurns | None = None
    timeout_minutes: TimeoutMinutes | None = None
    max_budget_usd: BudgetUsd | None = None
    model: ModelName | None = None
    instructions: Annotated[str, StringConstraints(max_length=MAX_INSTRUCTIONS)] | None = None

    def chosen(self, usual: Triggers) -> Triggers:
        """The triggers of this repository."""
        given = self.triggers
        return Triggers(
            on_open=usual.on_open if given.on_open is None else given.on_open,
            labels=_lower(given.labels, usual.labels),
            assignees=_lower(given.assignees, usual.assignees),
            phrases=_lower(given.phrases, usual.phrases),
        )

    def allowed(self, usual: Sequence[str]) -> list[str]:
        """Its tools, as far as the deployment has them: `Bash(git *)` where that has `Bash`."""
        if self.tools is None:
            return list(usual)
        return [rule for rule in self.tools if rule in usual or rule.partition("(")[0] in usual]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What holds, and what is wrong with what was written."""

    file: RepositoryFile
    complaint: str | None = None


def read_answer(answer: Any) -> Read:  # noqa: ANN401 - GitHub's
    """The file as GitHub's contents API gives it; `UpstreamError` where it is another's answer.

    https://docs.github.com/en/rest/repos/contents#get-repository-content: a folder is a list, and
    what is larger than a megabyte comes without its content.
    """
    kind = "dir" if isinstance(answer, list) else given(mapping(answer).get("type"))
    if kind != "file" or answer.get("encoding") == "none":
        return _refused(f"it is no file of at most {MAX_BYTES} bytes")
    try:
        return read(base64.b64decode(given(answer.get("content"))))
    except (ValueError, TypeError):
        raise UpstreamError(f"GitHub's answer about {PATH} cannot be read.") from None


def read(data: bytes) -> Read:
    """The file of these bytes; the defaults, with a complaint, where it is broken."""
    try:
        return Read(file=parse(RepositoryFile, _loaded(data)))
    except CallerError as error:
        return _refused(error.message)


def _refused(reason: str) -> Read:
    return Read(file=RepositoryFile(), complaint=f"{PATH} is not used, its defaults hold: {reason}")


def _loaded(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise CallerError(f"it is larger than {MAX_BYTES} bytes")
    try:
        value = yaml.load(data.decode(), Loader=_Loader)  # noqa: S506 - a safe loader's child
    except UnicodeDecodeError:
        raise CallerError("it is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        at = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise CallerError(f"{at}{error.problem or 'it is not YAML'}") from None
    # YAML's own constructors raise whatever comes of a value that is none of its tag.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise CallerError("it is not YAML") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CallerError("it is not a mapping of names to values")
    return value


class _Loader(yaml.SafeLoader):
    """Without references, by which a small file becomes a large one, and without doubled keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A node, if it is no reference."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "references are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping, if each of its keys is there once."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, "a name is there twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep=deep)


def _lower(given: list[str] | None, usual: frozenset[str]) -> frozenset[str]:
    return usual if given is None else frozenset(name.lower() for name in given)
