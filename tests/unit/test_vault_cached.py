"""Reads are remembered for seconds, and never longer than a write from here."""

from dataclasses import dataclass, field

import pytest

from gateway.vault import VaultUnavailableError
from gateway.vault.cached import MAX_NAMES, CachedVault


@dataclass(slots=True)
class MemoryVault:
    """A vault that counts what it is asked."""

    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    is_broken: bool = False

    def get(self, name: str) -> str | None:
        return next(iter(self.get_all(name)), None)

    def get_all(self, name: str) -> tuple[str, ...]:
        self.asked.append(name)
        if self.is_broken:
            raise VaultUnavailableError("test")
        return self.values.get(name, ())

    def put(self, name: str, value: str, *, keep_previous: bool = False) -> None:
        kept = self.values.get(name, ()) if keep_previous else ()
        self.values[name] = (value, *kept)
        if self.is_broken:
            raise VaultUnavailableError("test")

    def delete(self, name: str) -> None:
        self.values.pop(name, None)


@dataclass(slots=True)
class Seconds:
    """A monotonic clock that stands until it is moved."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_secret_is_read_once_in_a_while() -> None:
    """An absent one too; then again, and what was put elsewhere is seen."""
    memory, clock = MemoryVault({"a": ("one",)}), Seconds()
    vault = CachedVault(memory, seconds=10, monotonic=clock)
    for _ in range(5):
        assert (vault.get("a"), vault.get("b")) == ("one", None)
    assert memory.asked == ["a", "b"]
    memory.values = {"a": ("two",), "b": ("new",)}
    clock.now += 9.9
    assert vault.get("a") == "one"
    clock.now += 0.1
    assert (vault.get("a"), vault.get("b")) == ("two", "new")


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_write_from_here_is_seen_at_once(is_broken: bool) -> None:
    """Also one that failed: nobody knows what it did."""
    memory = MemoryVault({"a": ("one",)})
    vault = CachedVault(memory)
    assert vault.get("a") == "one"
    memory.is_broken = is_broken
    if is_broken:
        with pytest.raises(VaultUnavailableError):
            vault.put("a", "two")
        memory.is_broken = False
    else:
        vault.put("a", "two", keep_previous=True)
    assert vault.get("a") == "two"
    vault.delete("a")
    assert vault.get("a") is None


def test_what_was_read_before_a_write_is_not_remembered_after_it() -> None:
    """A slow read that began earlier would bring the old value back for seconds."""
    memory = MemoryVault({"a": ("old",)})
    vault = CachedVault(memory)

    class Slow(MemoryVault):
        def get_all(self, name: str) -> tuple[str, ...]:
            found = memory.values[name]
            vault.put(name, "new")  # meanwhile, from another thread
            return found

    vault._vault = Slow(memory.values)
    assert vault.get("a") == "old"
    vault._vault = memory
    assert vault.get("a") == "new"


def test_a_failure_is_not_remembered() -> None:
    """Nor taken for an absent secret."""
    memory = MemoryVault({"a": ("one",)}, is_broken=True)
    vault = CachedVault(memory)
    with pytest.raises(VaultUnavailableError):
        vault.get("a")
    memory.is_broken = False
    assert vault.get("a") == "one"


def test_it_is_bounded() -> None:
    """However many names are asked for."""
    vault = CachedVault(MemoryVault())
    for number in range(5 * MAX_NAMES):
        vault.get(f"a{number}")
    assert len(vault._found) <= MAX_NAMES
