"""The image's base where no registry can be asked: the same Debian, made here by debootstrap.

It stands for the official Python image (Debian, a Python, its pip and its venv), and is kept in
the image store under one name until one of its inputs changes.
"""

import ast
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from doubles.image_store import ImageStore

NAME = "localhost/claude-run-base"
# The Debian of the official image that the Dockerfile names.
SUITE = "bookworm"
BUILD_SECONDS = 600.0

# What pip is told on this machine and must be told inside too, to reach the same packages.
_PIP_SETTINGS = ("index-url", "cert", "proxy", "trusted-host", "default-timeout")
_PIP_CERTIFICATES = "/run/claude-run/certificates.pem"

# Left by debootstrap: this machine's resolver and name, and what was downloaded.
_LEFT_OVER = (
    "etc/resolv.conf",
    "etc/hostname",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log/bootstrap.log",
)


def base_image(store: ImageStore, python: str) -> str:
    """The name of the base with this version of Python; made, in a minute, if it is not there."""
    command = ["debootstrap", "--variant=minbase", f"--include={_packages(python)}", SUITE]
    mirror = _mirror()
    inputs = hashlib.sha256(repr((command, mirror, _LEFT_OVER)).encode()).hexdigest()
    made_before = store.describe(NAME)
    if made_before is None or made_before["config"]["Labels"].get("inputs") != inputs:
        with store.container("scratch") as made:
            store.run([*command, str(made.root), *mirror], seconds=BUILD_SECONDS)
            made.root.chmod(0o755)
            for path in _LEFT_OVER:
                _remove(made.root / path)
            made.commit(NAME, label=f"inputs={inputs}")
    return NAME


def _packages(python: str) -> str:
    return ",".join((f"python{python}", "python3-pip", "python3-venv", "ca-certificates"))


def _mirror() -> Sequence[str]:
    """Where this machine's apt has that Debian from; nothing: debootstrap's own default."""
    wanted = "$(CODENAME) $(COMPONENT) $(REPO_URI)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in listed.stdout.splitlines():
        codename, component, uri = line.split(" ", 2)
        if (codename, component) == (SUITE, "main"):
            return [uri]
    return []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def pip_mounts(folder: Path) -> list[str]:
    """Options that let pip, inside a build, reach what it reaches outside; no layer has them."""
    settings = _pip_settings()
    options: list[str] = []
    if certificates := settings.get("cert"):
        options += ["--volume", f"{certificates}:{_PIP_CERTIFICATES}:ro"]
        settings["cert"] = _PIP_CERTIFICATES
    if settings:
        file = folder / "pip.conf"
        lines = [f"{name} = {value}\n" for name, value in sorted(settings.items())]
        file.write_text("".join(["[global]\n", *lines]))
        options += ["--volume", f"{file}:/etc/pip.conf:ro"]
    return options


def _pip_settings() -> dict[str, str]:
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        # global.cert='/path', or :env:.cert='/path' for PIP_CERT; the latter comes first and holds.
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in _PIP_SETTINGS:
            found.setdefault(name, str(ast.literal_eval(value)))
    return found
