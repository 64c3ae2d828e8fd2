"""A project on Google Cloud, as somebody has it who deploys: the scripts, gcloud, the network."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from doubles.control_plane import ControlPlane, serve
from doubles.gcloud import gcloud
from servers import REPOSITORY

SECONDS = 300.0
REGION = "us-central1"
OPERATOR = "ann@example.com"


@dataclass(slots=True)
class Cloud:
    """The project, and the environment of whoever works on it."""

    plane: ControlPlane
    environ: Mapping[str, str]
    # Every argument of every gcloud.
    arguments: Path

    def script(
        self, name: str, *options: str, source: Path = REPOSITORY, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """A script of `infra/` in this project, to its end."""
        command = [str(source / f"infra/{name}.sh"), "--project", self.plane.project]
        return self.run(*command, "--region", REGION, *options, **environ)

    def deploy(
        self, *options: str, source: Path = REPOSITORY, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """`deploy.sh`, without being asked."""
        named = ("--operators", OPERATOR, "--yes")
        return self.script("deploy", *named, *options, source=source, **environ)

    def start_deployment(self, **environ: str) -> "subprocess.Popen[str]":
        """`deploy.sh` in a process group of its own, to be killed."""
        script = str(REPOSITORY / "infra/deploy.sh")
        return subprocess.Popen(
            [script, "--project", self.plane.project, "--region", REGION, "--yes",
             "--operators", OPERATOR],
            env={**self.environ, **environ},
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )  # fmt: skip

    def run(self, *command: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """A command, to its end."""
        return subprocess.run(
            command,
            env={**self.environ, **environ},
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@contextmanager
def cloud(root: Path, folder: Path) -> Iterator[Cloud]:
    """An empty project, and the SDK at `root` logged in to it; `folder` is for what they keep."""
    plane = ControlPlane()
    home = folder / "home"
    home.mkdir()
    (home / "token").write_text(plane.token)
    with serve(plane) as apis, gcloud(root, folder) as sdk:
        yield Cloud(
            plane,
            {
                **apis,
                **sdk.environ(home),
                "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(home / "token"),
                "CLAUDE_RUN_PAUSE": "0",
            },
            sdk.arguments,
        )
