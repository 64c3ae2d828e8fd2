"""A Python environment that has what a lock file names, and nothing else.

The packages are those of the tests' own environment, linked file by file: what is downloaded and
installed is the same, for both are locked to the same versions, and it takes a second.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.markers import Marker

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: *; *([^\\]+))?", re.MULTILINE)


def environment_of(lock: Path, folder: Path) -> Path:
    """The Python of a new environment in `folder`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [packages] = (folder / "lib").glob("python*/site-packages")
    for found in _distributions(lock):
        for file in found.files or ():
            # What goes elsewhere, such as commands, nobody here calls.
            if ".." not in file.parts:
                link = packages / file
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(Path(str(found.locate_file(file))))
    return folder / "bin/python"


def _distributions(lock: Path) -> Iterator[Distribution]:
    for name, version, marker in _PINNED.findall(lock.read_text("utf-8")):
        if not marker or Marker(marker.strip()).evaluate():
            found = distribution(name)
            assert found.version == version, name
            yield found
