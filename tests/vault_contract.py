"""What every vault does: one suite, run against each implementation."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from gateway.vault import Vault, VaultUsageError

PLANTED = "planted-secret-0123456789"
PEM = "-----BEGIN KEY-----\n" + "QUJD\n" * 400 + "-----END KEY-----"


class VaultContract:
    """The suite; a class derives from it and gives the fixture `vault`."""

    def test_what_is_put_is_there(self, vault: Vault) -> None:
        """Exactly, with line feeds and any script."""
        for value in (PLANTED, PEM, "ключ \U0001f511", '["a"]', " x \n"):
            vault.put("key", value)
            assert vault.get("key") == value
            assert vault.get_all("key") == (value,)

    def test_what_is_not_there(self, vault: Vault) -> None:
        """Absent is None; deleting it is no error."""
        assert vault.get("key") is None
        assert vault.get_all("key") == ()
        vault.delete("key")

    def test_a_deleted_secret_is_gone(self, vault: Vault) -> None:
        """And can come back."""
        vault.put("key", "one")
        vault.delete("key")
        assert vault.get("key") is None
        vault.put("key", "two")
        assert vault.get_all("key") == ("two",)

    def test_two_values_while_one_replaces_the_other(self, vault: Vault) -> None:
        """Newest first; a third drops the first; without `keep_previous` one is left."""
        vault.put("key", "one", keep_previous=True)
        vault.put("key", "two", keep_previous=True)
        assert (vault.get("key"), vault.get_all("key")) == ("two", ("two", "one"))
        vault.put("key", "two", keep_previous=True)
        assert vault.get_all("key") == ("two", "one")
        vault.put("key", "three", keep_previous=True)
        assert vault.get_all("key") == ("three", "two")
        vault.put("key", "four")
        assert vault.get_all("key") == ("four",)

    def test_secrets_are_apart(self, vault: Vault) -> None:
        """By name."""
        vault.put("a", "one")
        vault.put("a-1", "two")
        vault.delete("a")
        assert (vault.get("a"), vault.get("a-1")) == (None, "two")

    @pytest.mark.parametrize(
        "name", ["", "A", "1a", "a_b", "a/b", "../a", ".lock", "a\n", "ä", "a" * 64, "-a"]
    )
    def test_a_name_that_is_none(self, vault: Vault, name: str) -> None:
        """Refused by everything, before anything is touched."""
        calls: list[Callable[[], object]] = [
            partial(vault.get, name),
            partial(vault.put, name, "x"),
            partial(vault.delete, name),
        ]
        for call in calls:
            with pytest.raises(VaultUsageError):
                call()

    @pytest.mark.parametrize("value", ["", "x" * 65_600, PLANTED + "\ud800"])
    def test_a_value_that_does_not_fit(self, vault: Vault, value: str) -> None:
        """Refused without saying it; what was there stays."""
        vault.put("key", "before")
        with pytest.raises(VaultUsageError) as caught:
            vault.put("key", value)
        assert PLANTED not in repr((caught.value, caught.value.details, caught.value.__cause__))
        assert vault.get("key") == "before"

    def test_the_largest_value(self, vault: Vault) -> None:
        """64 KiB with the wrapping."""
        vault.put("key", "x" * 65_532)
        assert vault.get("key") == "x" * 65_532

    def test_threads(self, vault: Vault) -> None:
        """Readers see one of the values that were written, whole, whenever they look."""
        values = [str(n) * 1_000 for n in range(8)]
        vault.put("key", values[0])
        with ThreadPoolExecutor(8) as pool:
            writes = [pool.submit(vault.put, "key", value) for value in values]
            reads = [pool.submit(vault.get, "key") for _ in range(64)]
            assert all(read.result() in values for read in reads)
            assert [write.result() for write in writes] == [None] * 8

    def test_it_does_not_show_what_it_holds(self, vault: Vault) -> None:
        """Not in its repr."""
        vault.put("key", PLANTED)
        vault.get("key")
        assert PLANTED not in repr(vault) + repr(vars(vault).keys())
