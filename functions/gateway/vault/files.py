"""The vault of a laptop: a folder for its owner only, a file for each secret."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from claude_run.errors import ConfigurationError
from gateway.backoff import Backoff
from gateway.vault import payload
from gateway.vault.interface import (
    CALL_SECONDS,
    MAX_PAYLOAD_BYTES,
    VaultUnavailableError,
    check_name,
)

_FILE = os.O_NOFOLLOW | os.O_CLOEXEC
# A name that no secret can have.
_LOCK = ".lock"
LOCK_ATTEMPTS = 40


class FileVault:
    """Secrets in a 0700 folder of 0600 files. The folder is made when the first one is put."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"FileVault({str(self._folder)!r})"

    def get(self, name: str) -> str | None:
        """The secret, or None."""
        return next(iter(self.get_all(name)), None)

    def get_all(self, name: str) -> tuple[str, ...]:
        """All values that are valid now, newest first."""
        check_name(name)
        with self._reported(), suppress(FileNotFoundError), self._opened() as folder:
            return self._values(folder, name)
        return ()

    def put(self, name: str, value: str, *, keep_previous: bool = False) -> None:
        """A new value, there whole or not at all, whatever crashes."""
        check_name(name)
        payload.encode(name, (value,))
        with self._reported(), self._writing() as folder:
            kept = self._values(folder, name) if keep_previous else ()
            older = tuple(one for one in kept if one != value)
            _replace(folder, name, payload.encode(name, (value, *older)))

    def delete(self, name: str) -> None:
        """No secret."""
        check_name(name)
        with self._reported(), suppress(FileNotFoundError), self._writing() as folder:
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise VaultUnavailableError(error.strerror or type(error).__name__) from error

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder, checked: everything in it is then named relative to it."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | _FILE)
        except NotADirectoryError:
            # A link to a folder too.
            raise self._refusal("it is not a folder, or a link to one") from None
        try:
            self._check(os.fstat(folder), self._folder, 0o700)
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _writing(self) -> Iterator[int]:
        """The folder, made if need be, and nobody else writing in it."""
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
        with self._opened() as folder:
            lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | _FILE, 0o600, dir_fd=folder)
            try:
                _lock(lock)
                yield folder
            finally:
                os.close(lock)

    def _values(self, folder: int, name: str) -> tuple[str, ...]:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _FILE, dir_fd=folder)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._refusal(f"{name} cannot be opened: {error.strerror}") from None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise self._refusal(f"{name} is not a regular file")
            self._check(status, self._folder / name, 0o600)
            content = file.read(MAX_PAYLOAD_BYTES + 1)
        if len(content) > MAX_PAYLOAD_BYTES:
            raise self._refusal(f"{name} is larger than {MAX_PAYLOAD_BYTES} bytes")
        return payload.decode(name, content)

    def _check(self, status: os.stat_result, path: Path, mode: int) -> None:
        if status.st_uid != os.geteuid():
            raise self._refusal(f"{path} belongs to somebody else")
        if stat.S_IMODE(status.st_mode) & ~mode:
            raise self._refusal(f"others may use {path}; chmod {mode:o} it")

    def _refusal(self, rule: str) -> ConfigurationError:
        return ConfigurationError(
            f"VAULT_URL: {self._folder} cannot be used: {rule}.", details={"setting": "VAULT_URL"}
        )


def _lock(descriptor: int) -> None:
    # Held by others for as long as one small file takes to write.
    for _ in Backoff(attempts=LOCK_ATTEMPTS).tries(CALL_SECONDS):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
    raise VaultUnavailableError("another process is writing")


def _replace(folder: int, name: str, content: bytes) -> None:
    new = f".{name}.new"
    # Left by a crash; the lock says that nobody is writing it.
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
