"""Images and containers of the tests' own: buildah, with a store that no other program sees."""

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Copy-on-write where the file system can, else whole copies.
DRIVERS = ("overlay", "vfs")
STEP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Container:
    """A container that is never started by buildah: a root to look into, and to run things in."""

    store: "ImageStore"
    name: str
    root: Path

    def commit(self, image: str, *, label: str) -> None:
        """Make an image of it."""
        self.store.buildah("config", "--label", label, self.name)
        self.store.buildah("commit", "--quiet", self.name, image)


class ImageStore:
    """All of it lies beneath `folder` and stays for the next time. Needs root."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            # Works without privileges beyond root's, in a container too.
            "BUILDAH_ISOLATION": "chroot",
            "BUILDAH_LAYERS": "true",
        } | {name: value for name, value in os.environ.items() if "proxy" in name.lower()}

    @contextmanager
    def opened(self) -> Iterator["ImageStore"]:
        """Use the store inside the block.

        Whoever opens it alone first clears what is nobody's: containers of a session that was
        killed, layers that no image has any more.
        """
        with (self.folder / "users").open("w") as users:
            with self.locked():
                self._choose_driver()
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass
                else:
                    self.buildah("rm", "--all")
                    self.buildah("rmi", "--prune")
                fcntl.flock(users, fcntl.LOCK_SH)
            yield self

    def _choose_driver(self) -> None:
        """Once for all times: what one driver has stored another does not see."""
        settings = Path(self._environ["CONTAINERS_STORAGE_CONF"])
        if settings.exists():
            return
        for driver in DRIVERS:
            settings.write_text(self._settings(driver))
            if self._try("buildah", "info").returncode == 0:
                return
        settings.unlink()
        raise AssertionError(f"buildah can use none of {DRIVERS} in {self.folder}")

    def _settings(self, driver: str) -> str:
        return (
            "[storage]\n"
            f'driver = "{driver}"\n'
            f'graphroot = "{self.folder / driver}"\n'
            f'runroot = "{self.folder / "run"}"\n'
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all processes: what an image's name means stays until a container has it."""
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def run(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        seconds: float = STEP_SECONDS,
    ) -> str:
        """Run a command on this store to its end, and return what it printed."""
        done = self._try(*command, environ=environ, seconds=seconds)
        assert done.returncode == 0, f"{command[:3]} failed:\n{done.stdout[-4000:]}"
        return done.stdout

    def buildah(self, *arguments: str) -> str:
        """Run a command of buildah's."""
        return self.run(["buildah", *arguments]).strip()

    def _try(
        self,
        *command: str,
        environ: Mapping[str, str] | None = None,
        seconds: float = STEP_SECONDS,
    ) -> "subprocess.CompletedProcess[str]":
        # Minutes of work that nobody waits for: other tests go first.
        return subprocess.run(
            ["nice", "-n", "19", *command],
            env=self._environ | dict(environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )

    def describe(self, image: str) -> dict[str, Any] | None:
        """An image's configuration and history, in Docker's words; None where there is none."""
        done = self._try("buildah", "inspect", "--type", "image", image)
        if done.returncode != 0:
            return None
        described: dict[str, Any] = json.loads(done.stdout)["Docker"]
        return described

    @contextmanager
    def container(self, image: str) -> Iterator[Container]:
        """A container of this image, its files mounted; gone afterwards with all that changed."""
        name = self.buildah("from", "--pull-never", image)
        try:
            yield Container(self, name, Path(self.buildah("mount", name)))
        finally:
            self.buildah("rm", name)
