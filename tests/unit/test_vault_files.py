"""The contract on files, and what only files have to stand."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_run.errors import Code, ConfigurationError
from gateway.vault import Vault, VaultUnavailableError, files, open_vault
from vault_contract import PLANTED, VaultContract


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "state" / "vault"


@pytest.fixture
def vault(folder: Path) -> Vault:
    """An empty vault."""
    return open_vault(f"file://{folder}")


class TestFiles(VaultContract):
    """The suite that Secret Manager passes too."""


def test_reading_makes_nothing(vault: Vault, folder: Path) -> None:
    """Neither the folder nor a file."""
    assert vault.get("key") is None
    assert not folder.parent.exists()


def test_only_the_owner_reads_it(vault: Vault, folder: Path) -> None:
    """From the moment a file is there, whatever the umask."""
    before = os.umask(0)
    try:
        vault.put("key", PLANTED)
        vault.put("key", PLANTED + "2")
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o7777 == 0o700
    modes = {one.name: one.stat().st_mode & 0o7777 for one in folder.iterdir()}
    assert modes == {"key": 0o600, ".lock": 0o600}


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda folder: folder.chmod(0o750), "chmod 700"),
        (lambda folder: (folder / "key").chmod(0o640), "chmod 600"),
        (lambda folder: _link(folder / "key"), "cannot be opened"),
        (_link, "a link to one"),
        (lambda folder: _fifo(folder / "key"), "not a regular file"),
        (lambda folder: (folder / "key").write_text("x" * 70_000), "larger than"),
        (lambda folder: (folder / "key").write_bytes(b"\xff" + PLANTED.encode()), "UTF-8"),
    ],
)
def test_what_others_could_have_touched_is_refused(
    vault: Vault, folder: Path, spoil: Callable[[Path], object], rule: str
) -> None:
    """Wrong modes, links, pipes, and what is no secret: said clearly, without the secret."""
    vault.put("key", PLANTED)
    spoil(folder)
    with pytest.raises(ConfigurationError, match=rule) as caught:
        vault.get("key")
    assert PLANTED not in repr(caught.value)


@pytest.mark.root
def test_a_file_of_somebody_else_is_refused(vault: Vault, folder: Path) -> None:
    """It could change between two looks."""
    vault.put("key", PLANTED)
    os.chown(folder / "key", 1, 1)
    with pytest.raises(ConfigurationError, match="somebody else"):
        vault.get("key")


def test_a_link_is_not_written_through(vault: Vault, folder: Path, tmp_path: Path) -> None:
    """Neither for the secret nor for what it is written to first."""
    vault.put("key", "before")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("key", ".key.new"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(victim)
    vault.put("key", PLANTED)
    assert victim.read_text() == "mine"
    assert vault.get("key") == PLANTED


def test_what_a_crash_left_is_not_in_the_way(vault: Vault, folder: Path) -> None:
    """Half a file under the temporary name."""
    vault.put("key", "before")
    (folder / ".key.new").write_text('["ha')
    assert vault.get("key") == "before"
    vault.put("key", "after")
    assert vault.get("key") == "after"
    assert sorted(one.name for one in folder.iterdir()) == [".lock", "key"]


def test_a_secret_written_by_hand(vault: Vault, folder: Path) -> None:
    """With an editor's line feed at its end, and put beside a new one afterwards."""
    folder.mkdir(mode=0o700, parents=True)
    descriptor = os.open(folder / "key", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, b"by-hand\n")
    os.close(descriptor)
    assert vault.get("key") == "by-hand"
    vault.put("key", "new", keep_previous=True)
    assert vault.get_all("key") == ("new", "by-hand")


def test_processes_do_not_lose_each_others_values(vault: Vault, folder: Path) -> None:
    """Four put at once, each keeping the one before: two of theirs are left."""
    program = (
        "import sys; from gateway.vault import open_vault; vault = open_vault(sys.argv[1]);"
        "[vault.put('key', f'{sys.argv[2]}-{n}', keep_previous=True) for n in range(10)]"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, f"file://{folder}", str(number)])
        for number in range(4)
    ]
    assert [child.wait(30) for child in children] == [0] * 4
    assert len(set(vault.get_all("key"))) == 2


def test_a_process_that_holds_the_lock(
    vault: Vault, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing is unavailable in time; reading goes on."""
    monkeypatch.setattr(files, "CALL_SECONDS", 0.3)
    vault.put("key", "before")
    with (folder / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(VaultUnavailableError):
            vault.put("key", PLANTED)
        assert vault.get("key") == "before"
    vault.put("key", "after")


def test_a_disk_that_fails(folder: Path) -> None:
    """Unavailable, with Retry-After: nobody's secret is missing because of it."""
    with pytest.raises(VaultUnavailableError) as caught:
        open_vault("file:///dev/null/vault").put("key", PLANTED)
    error = caught.value
    assert (error.code, error.http_status) == (Code.UNAVAILABLE, 503)
    assert error.headers == {"Retry-After": "2"}
    assert PLANTED not in repr((error, error.details))
    assert not folder.exists()


@pytest.mark.parametrize(
    "url",
    [
        *("", "file:", "file://", "file:///", "file://relative", "secretmanager://", "x:///a"),
        *("secretmanager://A", "secretmanager://project/x", "secretmanager://p-1?endpoint=x"),
        *("secretmanager://project?endpoint=10.0.0.1:80", "secretmanager://project?x=y"),
    ],
)
def test_a_url_that_is_none(url: str) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match="VAULT_URL"):
        open_vault(url)
