"""What starts a run: by default, by the operator's word, and by a repository's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.errors import ConfigurationError
from gateway.github.trigger_settings import (
    MAX_OTHERS,
    Kind,
    Sign,
    Triggers,
    TriggerSettings,
)

OPENED = Sign(Kind.ON_OPEN)
SLUG = "our-app"


def read(**environ: str) -> TriggerSettings:
    """The settings of an environment."""
    return TriggerSettings.from_environ(environ)


def test_the_defaults() -> None:
    """Issues that are opened, the label `claude`, the mention `@claude` and the App's name."""
    settings = read()
    assert settings == TriggerSettings()
    usual = settings.usual
    for sign in (
        OPENED,
        Sign(Kind.LABEL, "claude"),
        Sign(Kind.PHRASE, "@claude"),
        Sign(Kind.PHRASE, f"@{SLUG}"),
    ):
        assert usual.first([sign], slug=SLUG) == sign
    for other in (Sign(Kind.LABEL, "bug"), Sign(Kind.ASSIGNEE, "mona"), Sign(Kind.PHRASE, "@mona")):
        assert usual.first([other], slug=SLUG) is None
    assert usual.first([Sign(Kind.PHRASE, "@none")], slug=None) is None


def test_everything_can_be_chosen() -> None:
    """Several names of each, in any case; the App's own name stays."""
    settings = read(
        TRIGGER_ON_OPEN="False",
        TRIGGER_LABEL="AI, good first issue,日本",
        TRIGGER_ASSIGNEE="Robot-1, managed_user",
        TRIGGER_PHRASE=" @Robot , @ai",
    )
    assert settings.usual == Triggers(
        on_open=False,
        labels=frozenset({"ai", "good first issue", "日本"}),
        assignees=frozenset({"robot-1", "managed_user"}),
        phrases=frozenset({"@robot", "@ai"}),
    )
    assert settings.heard([OPENED, Sign(Kind.PHRASE, "@claude")], slug=SLUG) == ()
    assert settings.heard([Sign(Kind.PHRASE, f"@{SLUG}")], slug=SLUG)


def test_all_can_be_turned_off() -> None:
    """But the App's own name."""
    settings = read(TRIGGER_ON_OPEN="false", TRIGGER_LABEL="none", TRIGGER_PHRASE="none")
    assert settings.usual == Triggers(on_open=False, labels=frozenset(), phrases=frozenset())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIGGER_ON_OPEN", "yes"),
        ("TRIGGER_LABEL", "a,"),
        ("TRIGGER_LABEL", "a*"),
        ("TRIGGER_LABEL", "x" * 51),
        ("TRIGGER_LABEL", "a\nb"),
        ("TRIGGER_LABEL", ",".join("abcdefghijklmnopqrstu")),
        ("TRIGGER_ASSIGNEE", "@mona"),
        ("TRIGGER_ASSIGNEE", "two words"),
        ("TRIGGER_PHRASE", "claude"),
        ("TRIGGER_PHRASE", "@cl aude"),
        ("TRIGGER_PHRASE", "@claude-"),
        ("TRIGGER_PHRASE", "@cläude"),
    ],
)
def test_what_cannot_be_read(name: str, value: str) -> None:
    """It is named, and how it should be."""
    with pytest.raises(ConfigurationError, match=f"{name} must be"):
        read(**{name: value})


def test_everything_wrong_is_named_at_once() -> None:
    """One start tells all."""
    names = ("TRIGGER_ON_OPEN", "TRIGGER_LABEL", "TRIGGER_ASSIGNEE", "TRIGGER_PHRASE")
    with pytest.raises(ConfigurationError) as raised:
        read(**dict.fromkeys(names, ",*,"))
    assert all(name in raised.value.message for name in names)


def test_what_a_repository_may_choose() -> None:
    """With `*` anything is heard that it might have chosen; usual is what it was."""
    settings = read(TRIGGER_ON_OPEN="*", TRIGGER_LABEL="claude,*", TRIGGER_PHRASE="*,@claude")
    assert not settings.usual.on_open
    signs = [OPENED, Sign(Kind.LABEL, "bug"), Sign(Kind.PHRASE, "@mona")]
    assert settings.heard(signs, slug=None) == tuple(signs)
    assert settings.heard([Sign(Kind.ASSIGNEE, "mona")], slug=None) == ()
    assert settings.usual.first(signs, slug=None) is None
    own = Triggers(phrases=frozenset({"@mona"}), on_open=False)
    assert own.first(signs, slug=None) == signs[2]


def test_what_a_repository_has_chosen_in_vain() -> None:
    """What the deployment does not listen to is told by name."""
    chosen = Triggers(
        on_open=True,
        labels=frozenset({"claude", "bug"}),
        assignees=frozenset({"mona"}),
        phrases=frozenset({"@robot"}),
    )
    closed = read(TRIGGER_ON_OPEN="false")
    assert closed.unheard(chosen) == (
        "on_open: true",
        "label: bug",
        "assignee: mona",
        "phrase: @robot",
    )
    names = ("TRIGGER_ON_OPEN", "TRIGGER_LABEL", "TRIGGER_ASSIGNEE", "TRIGGER_PHRASE")
    assert read(**dict.fromkeys(names, "*")).unheard(chosen) == ()
    assert closed.unheard(Triggers(on_open=False)) == ()


def test_what_happened_now_counts_before_what_only_is_so() -> None:
    """An edit that newly mentions us serves an issue that was served before."""
    signs = [Sign(Kind.LABEL, "claude", fresh=False), Sign(Kind.PHRASE, "@claude")]
    assert Triggers().first(signs, slug=None) == signs[1]
    assert Triggers().first(signs[:1], slug=None) == signs[0]


@given(
    st.lists(
        st.tuples(st.sampled_from(Kind), st.sampled_from(["", "claude", "@claude", "x"])),
        max_size=200,
    ),
    st.booleans(),
)
def test_all_that_could_start_a_run_is_heard(found: list[tuple[Kind, str]], is_open: bool) -> None:
    """What is usual always; of others a bounded number, where a repository may choose."""
    settings = TriggerSettings(open=frozenset(Kind) if is_open else frozenset())
    signs = [Sign(kind, word) for kind, word in found]
    heard = settings.heard(signs, slug=None)
    usual = [sign for sign in signs if settings.usual.holds(sign, slug=None)]
    assert list(heard[: len(usual)]) == usual
    others = len(signs) - len(usual) if is_open else 0
    assert len(heard) == len(usual) + min(MAX_OTHERS, others)
