"""`cloudbuild.yaml` and the project's own workflow."""

import re
from typing import Any

import yaml

from servers import REPOSITORY

BUILD: dict[str, Any] = yaml.safe_load((REPOSITORY / "cloudbuild.yaml").read_text("utf-8"))
WORKFLOW = (REPOSITORY / ".github/workflows/ci.yml").read_text("utf-8")


def test_tests_and_image_side_by_side() -> None:
    """The image is pushed after both; it is deployed only where that is asked for."""
    steps = {step["id"]: step for step in BUILD["steps"]}
    assert {name: step["waitFor"] for name, step in steps.items()} == {
        "test": ["-"],
        "build": ["-"],
        "push": ["test", "build"],
        "deploy": ["push"],
    }
    assert BUILD["substitutions"]["_DEPLOY"] == "false"
    script = steps["deploy"]["args"][-1]
    assert script.startswith('if [ "$_DEPLOY" = true ]; then')
    assert BUILD["substitutions"]["_IMAGE"].endswith(":$SHORT_SHA")


def test_the_python_is_named_in_one_place() -> None:
    """Tests, functions, image and builds take it from there."""
    version = (REPOSITORY / ".python-version").read_text().strip()
    text = (REPOSITORY / "cloudbuild.yaml").read_text("utf-8")
    scripts = [*(REPOSITORY / "infra").rglob("*.sh")]
    for named in (text, WORKFLOW, *(script.read_text("utf-8") for script in scripts)):
        assert version not in named
        assert f"python{version.replace('.', '')}" not in named
    assert "python:$(cat .python-version)" in text
    assert "python-version-file: .python-version" in WORKFLOW


def test_actions_are_pinned() -> None:
    """By commits, with their versions beside them; and they may only read."""
    used = re.findall(r"uses: (\S+)(.*)", WORKFLOW)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v[0-9]+\.[0-9]+\.[0-9]+", comment)
    assert yaml.safe_load(WORKFLOW)["permissions"] == {"contents": "read"}
    assert 'sudo env "PATH=$PATH" PYTHON=python .ci/run' in WORKFLOW
