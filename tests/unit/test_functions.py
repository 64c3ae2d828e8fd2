"""The four functions: what each serves, asks for at its start, and imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from claude_run.errors import ConfigurationError
from gateway.http.routes import API, HEALTH, LIST, OPEN, ROUTES, template
from gateway.http.targets import Target, read_settings
from gateway_app import IAM, NO_JOB, NO_RUNNER, NoStore, open_function, token

OPEN_TARGETS = (Target.WEBHOOK, Target.SETUP)
CLOUD = {"K_SERVICE": "f", "GOOGLE_CLOUD_PROJECT": "my-project", "WORKER_JOB": NO_JOB}
# What only callers need: sessions, runs, limits, tokens, and the clients of others.
CALLERS_ONLY = ("gateway.service", "gateway.sessions", "gateway.limits", "gateway.quota")
# The set-up limits the tries of its code as callers are limited.
SHARED = {Target.SETUP: ["gateway.limits"], Target.WEBHOOK: []}
CLIENTS = ("google.cloud.run_v2", "github", "anthropic", "google.auth", "requests")


def served(target: Target, folder: Path, **environ: str) -> set[str]:
    """The paths of a function, as templates."""
    with open_function(target, folder, **environ) as (client, _):
        return {template(rule.rule) for rule in client.application.url_map.iter_rules()}


def test_each_serves_its_own_routes(tmp_path: Path) -> None:
    """And its health; `gateway` serves them all."""
    found = {
        target: served(target, tmp_path, RUNNER_URL=NO_RUNNER)
        for target in (Target.WEBHOOK, Target.SETUP, Target.API, Target.GATEWAY)
    }
    assert found[Target.API] == set(API)
    assert found[Target.GATEWAY] == set(ROUTES)
    assert found[Target.WEBHOOK] & found[Target.SETUP] == {HEALTH}
    assert found[Target.WEBHOOK] | found[Target.SETUP] == {HEALTH, *OPEN}


@pytest.mark.parametrize("target", OPEN_TARGETS)
def test_an_open_function_tells_its_status_alone(target: Target, tmp_path: Path) -> None:
    """Whoever asks, from wherever; unhealthy without its store."""
    strange = {"Host": "evil.example", "Origin": "https://evil.example"}
    with open_function(target, tmp_path, **IAM) as (client, _):
        answer = client.get(HEALTH, headers=strange)
        assert (answer.status_code, answer.get_json()) == (200, {"status": "healthy"})
        assert answer.headers["X-Request-Id"]
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert client.get(LIST, headers=token("a")).status_code == 404
    with open_function(target, tmp_path) as (client, instance):
        instance.store.get = NoStore().get  # type: ignore[method-assign]
        answer = client.get(HEALTH)
        assert (answer.status_code, answer.get_json()) == (503, {"status": "unhealthy"})


@pytest.mark.parametrize("target", OPEN_TARGETS)
def test_an_open_function_asks_for_no_callers(target: Target) -> None:
    """No AUTH, no runner; bound to every address."""
    settings = read_settings(target, CLOUD, loopback=False)
    assert settings.store_url == "firestore://my-project/(default)"
    with pytest.raises(ConfigurationError) as raised:
        read_settings(target, {"STORE_URL": "x", "GITHUB_APP_ID": "x"}, loopback=False)
    for name in ("STORE_URL", "VAULT_URL", "GITHUB_APP_ID"):
        assert name in raised.value.message


def test_the_set_up_starts_no_workers() -> None:
    """It needs no job for them; who takes deliveries in does."""
    environ = {name: value for name, value in CLOUD.items() if name != "WORKER_JOB"}
    assert read_settings(Target.SETUP, environ, loopback=False).worker_job is None
    with pytest.raises(ConfigurationError, match="WORKER_JOB is missing"):
        read_settings(Target.WEBHOOK, environ, loopback=False)


@pytest.mark.parametrize("target", [Target.API, Target.GATEWAY])
def test_who_serves_callers_must_know_them(target: Target) -> None:
    """Without AUTH it does not start anywhere but on loopback."""
    with pytest.raises(ConfigurationError, match="AUTH is missing"):
        read_settings(target, CLOUD | {"RUNNER_URL": NO_RUNNER}, loopback=False)


@pytest.mark.parametrize("target", OPEN_TARGETS)
def test_an_open_function_imports_only_what_it_serves(target: Target, tmp_path: Path) -> None:
    """Its start does not pay for the others: neither their code nor their clients."""
    program = f"""
import sys
from pathlib import Path
sys.path[:0] = {sys.path!r}
from gateway.http.app import create_app
from gateway.http.targets import Target, open_target, read_settings
environ = {{"STORE_URL": "sqlite://{tmp_path}/g.db", "VAULT_URL": "file://{tmp_path}/vault"}}
target = Target({target.value!r})
app = create_app(open_target(target, read_settings(target, environ, loopback=True)), target)
assert app.test_client().get("/health").status_code == 200
prefixes = {CALLERS_ONLY + CLIENTS!r}
print(sorted(m for m in sys.modules if any(f"{{m}}.".startswith(f"{{p}}.") for p in prefixes)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == str(SHARED[target])
