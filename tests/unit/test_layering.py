"""Who may import whom, and that importing the SDK costs nothing that is not used."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "claude_run": ROOT / "functions" / "claude_run",
    "gateway": ROOT / "functions" / "gateway",
    "runner": ROOT / "container" / "runner",
}
FRAMEWORKS = {"flask", "functions_framework", "starlette", "uvicorn", "werkzeug", "gunicorn"}
FORBIDDEN = {
    "claude_run": {"gateway", "runner", "claude_agent_sdk", "google.cloud", *FRAMEWORKS},
    "gateway": {"runner", "claude_agent_sdk"},
    "runner": {"gateway", "google.cloud"},
}
# Loaded where they are used: together they take longer than all the rest.
HEAVY = ("google.auth", "requests", "httpx2", "pydantic", "cryptography", "asyncio")


def imported(source: str, package: str) -> Iterator[str]:
    """Every module that a source imports, at its top or inside a function, by absolute name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = f"{package}.{module}"
            # `from google import cloud` imports google.cloud.
            yield from (f"{module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call):
            yield from _called_by_name(node)


def _called_by_name(node: ast.Call) -> Iterator[str]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    if name in ("import_module", "__import__") and node.args:
        argument = node.args[0]
        assert isinstance(argument, ast.Constant), "an import that cannot be checked"
        yield str(argument.value)


def violations(source: str, package: str) -> list[str]:
    """The forbidden imports of a source that belongs to `package`."""
    return [
        module
        for module in imported(source, package)
        if any(f"{module}.".startswith(f"{bad}.") for bad in FORBIDDEN[package])
    ]


@pytest.mark.parametrize("package", SOURCES)
def test_no_package_imports_what_it_must_not(package: str) -> None:
    """`claude_run` stands alone; gateway and runner know it, and never each other."""
    files = sorted(SOURCES[package].rglob("*.py"))
    assert files
    found = {
        str(path.relative_to(ROOT)): bad
        for path in files
        if (bad := violations(path.read_text("utf-8"), package))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("claude_run", "import gateway.api"),
        ("claude_run", "def f():\n    from runner import app"),
        ("claude_run", "from google import cloud"),
        ("claude_run", "from google.cloud.firestore import Client"),
        ("claude_run", "from starlette.requests import Request"),
        ("claude_run", "importlib.import_module('flask')"),
        ("gateway", "from runner.app import app"),
        ("runner", "import gateway as g"),
    ],
)
def test_the_check_finds_each_kind_of_import(package: str, source: str) -> None:
    """The test above would fail: it sees nested, aliased and computed imports."""
    assert violations(source, package)


def test_what_is_allowed_is_not_found() -> None:
    """Names that only begin alike, and relative imports of the package's own."""
    assert violations("import runner_up, gateway2\nfrom . import wire", "claude_run") == []
    assert violations("from claude_run import wire\nimport google.auth", "runner") == []


def _fresh(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def test_importing_claude_run_loads_nothing_heavy() -> None:
    """`import claude_run` is free; the client comes when it is named, with no Google in it."""
    loaded = f"import claude_run, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert _fresh(loaded) == "[]"
    client = "from claude_run import Client; import sys; "
    assert (
        _fresh(client + "print([m for m in ('google.auth', 'requests') if m in sys.modules])")
        == "[]"
    )


def test_importing_claude_run_takes_no_time() -> None:
    """Under 0.15 s, beside the interpreter's own start; measured is a hundredth of it."""
    program = (
        "import time; t = time.perf_counter(); import claude_run; print(time.perf_counter() - t)"
    )
    assert min(float(_fresh(program)) for _ in range(3)) < 0.15


def test_identity_does_not_load_google_before_it_verifies() -> None:
    """Starting a server with AUTH=iam never pays for google-auth."""
    program = "import claude_run.identity, sys; print('google.auth' in sys.modules)"
    assert _fresh(program) == "False"


def test_the_package_names_what_it_gives() -> None:
    """The lazy names are the real classes, and a name that is not there is an AttributeError."""
    import claude_run
    from claude_run import AsyncClient, Client, client

    assert (Client, AsyncClient) == (client.Client, client.AsyncClient)
    with pytest.raises(AttributeError, match="nothing"):
        claude_run.nothing  # noqa: B018 - the access is the test
