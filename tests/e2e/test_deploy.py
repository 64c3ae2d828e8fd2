"""Deployments, with the real gcloud against a control plane on this machine.

One deployment is made, and everything begins from its state, or from an empty project.
"""

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import servers
from deployment import GRANTS, SERVICES, account, env_of, grants, require_sdk, rows, service
from doubles.cloud import OPERATOR, REGION, Cloud, cloud
from doubles.control_plane import ControlPlane
from doubles.control_plane.plane import TOKEN
from doubles.control_plane.routes import Call, Refusal
from gateway.http import routes
from gateway.http.targets import Target, read_settings
from gateway.settings import RunSettings
from gateway.settings import Settings as GatewaySettings
from runner.settings import Settings as RunnerSettings
from servers import REPOSITORY
from thoroughness import examples

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.xdist_group("deploy")]

SECRETS = [name for name, _, _ in rows("secrets.txt", 3)]
COPIED = ("infra", "functions", "container", ".python-version", ".dockerignore", "cloudbuild.yaml")


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment that was made from nothing."""

    plan: str
    said: str
    snapshot: Any
    essence: Any
    # The kind of each call that changed something, in order.
    calls: list[str]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A project with gcloud logged in to it."""
    with cloud(require_sdk(), tmp_path_factory.mktemp("cloud")) as opened:
        yield opened


@pytest.fixture(scope="module")
def unreachable(project: Cloud) -> Iterator["subprocess.Popen[str]"]:
    """A deployment where nobody answers: gcloud tries for half a minute, beside the other tests."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = str(closed.getsockname()[1])
    with project.start_deployment(CLOUDSDK_PROXY_PORT=port) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def first(project: Cloud, unreachable: "subprocess.Popen[str]") -> Deployed:
    """The first deployment."""
    assert unreachable
    plane = project.plane
    calls: list[str] = []
    plane.after = lambda _number, call: calls.append(kind_of(call))
    # What was turned on or made a moment ago is not known everywhere at once, and Firestore makes
    # few indexes at once.
    plane.reluctant = {"secretmanager": 2, "firestore": 1}
    runner = account(plane, "runner")
    acting = f"Permission 'iam.serviceaccounts.actAs' denied on service account {runner}"
    plane.hiccups = {
        "run.services.create": [
            Refusal(403, "PERMISSION_DENIED", f"{acting} (or it may not exist).")
        ],
        "datastore.indexes.create": [
            Refusal(409, "ABORTED", "Aborted due to cross-transaction contention.")
        ],
        "datastore.fields": [Refusal(409, "ABORTED", "Please retry, underlying data changed.")],
    }
    done = project.deploy()
    plane.after = lambda _number, _call: None
    assert done.returncode == 0, done.stderr
    assert not any(plane.hiccups.values())
    return Deployed(done.stdout, done.stderr, plane.snapshot(), plane.essence(), calls)


def kind_of(call: Call) -> str:
    """A call without the names in it."""
    words = re.sub(r"claude-run[a-z-]*(@[a-z.-]+)?|[0-9.]{10,}[0-9a-f-]*", "*", call.path)
    words = re.sub("/(secrets|fields|collectionGroups)/[A-Za-z-]+", r"/\1/*", words)
    return f"{call.method} {call.api} {words}"


@pytest.fixture
def deployed(project: Cloud, first: Deployed) -> Cloud:
    """The project as the first deployment has left it."""
    project.plane.restore(first.snapshot)
    return project


@pytest.fixture
def empty(project: Cloud) -> Cloud:
    """The project before anything."""
    project.plane.restore(({}, {}, {}))
    return project


@pytest.fixture(autouse=True)
def _settings_of_the_plane(project: Cloud) -> Iterator[None]:
    plane = project.plane
    yield
    plane.before = plane.after = lambda _number, _call: None
    for said in (plane.health, plane.broken_images, plane.broken_builds, plane.unlisted):
        said.clear()
    plane.token, plane.billing, plane.denied, plane.signed = TOKEN, True, frozenset(), True


# --- the first deployment ----------------------------------------------------------------------


def test_every_line_of_the_table_is_there(deployed: Cloud) -> None:
    """Who may call what, as whom it runs, and how long, of the design's table."""
    plane = deployed.plane
    found = {name: service(plane, name) for name in SERVICES}
    for name, one in found.items():
        assert one["spec"]["template"]["spec"]["serviceAccountName"] == account(plane, name)
        assert one["metadata"]["annotations"]["run.googleapis.com/ingress"] == "all"
    public = {
        name
        for name in SERVICES
        if "allUsers"
        in json.dumps(plane.policies.get(plane.named(f"service/claude-run-{name}"), []))
    }
    assert public == {"webhook", "setup"}
    template = found["runner"]["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert annotations["run.googleapis.com/execution-environment"] == "gen2"
    assert template["spec"]["containerConcurrency"] == 1
    assert template["spec"]["timeoutSeconds"] == 3600
    api = found["api"]["spec"]["template"]
    assert api["metadata"]["annotations"]["run.googleapis.com/cpu-throttling"].lower() == "false"
    assert api["spec"]["timeoutSeconds"] == 3600
    assert int(env_of(found["api"])["THREADS"]) > api["spec"]["containerConcurrency"]
    # Only where IAM stands in front.
    assert {name for name in SERVICES if "AUTH" in env_of(found[name])} == {"api", "runner"}
    assert {env_of(found[name])["AUTH"] for name in ("api", "runner")} == {"iam"}


def test_the_functions_are_this_folder(deployed: Cloud) -> None:
    """Built for their entry points, with the Python of the tests, from nothing but `functions/`."""
    python = "python" + (REPOSITORY / ".python-version").read_text().strip().replace(".", "")
    for name in ("webhook", "setup", "api"):
        annotations = service(deployed.plane, name)["metadata"]["annotations"]
        assert annotations["run.googleapis.com/build-function-target"] == name
        assert annotations["run.googleapis.com/build-base-image"].endswith(python)
        assert annotations["run.googleapis.com/build-enable-automatic-updates"] == "false"
    [source] = [
        content
        for name, content in deployed.plane.uploads.items()
        if "services/claude-run-api/" in name
    ]
    names = zipfile.ZipFile(BytesIO(source)).namelist()
    assert {"main.py", "requirements.txt", "gateway/settings.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".in"))]


def test_the_worker_is_the_job(deployed: Cloud) -> None:
    """The same image as `api`'s, by its digest; the platform starts nothing again."""
    plane = deployed.plane
    job = plane.things[plane.at("jobs/claude-run-worker")]
    task = job["spec"]["template"]["spec"]["template"]["spec"]
    [container] = task["containers"]
    assert container["command"] + container["args"] == [
        *("/cnb/lifecycle/launcher", "--", "python", "-m", "gateway.worker"),
    ]
    api = service(plane, "api")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert container["image"] == api
    assert "@sha256:" in api
    assert task["maxRetries"] == 0
    names = {variable["name"]: variable["value"] for variable in container["env"]}
    functions = env_of(service(plane, "api"))
    assert names.items() <= functions.items()
    # Only `api` may ask Google how the runner is.
    assert "RUNNER_SERVICE" not in names
    assert functions["WORKER_JOB"] == plane.at("jobs/claude-run-worker")


def test_the_sweep_is_called_as_the_scheduler(deployed: Cloud) -> None:
    """With a token of its account for `api`, as the settings of `api` expect it."""
    plane = deployed.plane
    schedule = plane.things[plane.at("jobs/claude-run-sweep")]
    target = schedule["httpTarget"]
    assert target["uri"] == f"{plane.url('api')}/internal/sweep"
    assert target["oidcToken"] == {
        "serviceAccountEmail": account(plane, "scheduler"),
        "audience": plane.url("api"),
    }
    settings = env_of(service(plane, "api"))
    assert settings["SCHEDULER_ACCOUNT"] == account(plane, "scheduler")
    assert settings["OPERATORS"] == OPERATOR
    [(_, when)] = rows("schedule.txt", 2)
    assert schedule["schedule"] == when


def test_every_role_is_one_of_the_table(deployed: Cloud) -> None:
    """No role more and none less; the runner has none, and nobody has one on a project unasked."""
    plane = deployed.plane
    expected = {(plane.member(name), role, plane.named(on)) for name, role, on, _ in GRANTS} | {
        (f"user:{OPERATOR}", "roles/run.invoker", plane.named("service/claude-run-api"))
    }
    assert grants(plane) == expected
    assert not [one for one in grants(plane) if one[0] == plane.member("runner")]
    on_project = {(name, role) for name, role, on, _ in GRANTS if on == "project"}
    assert on_project == {("build", "roles/logging.logWriter")}
    readers = {
        (name, on.removeprefix("secret/"))
        for name, role, on, _ in GRANTS
        if name in ("webhook", "worker") and on.startswith("secret/")
    }
    assert readers == {
        ("webhook", "github-webhook-secret"),
        ("worker", "anthropic-api-key"),
        ("worker", "github-private-key"),
    }


def test_everything_starts_with_what_it_is_told(deployed: Cloud) -> None:
    """The settings of each are complete and right, as the code itself reads them."""
    plane = deployed.plane
    for target in ("webhook", "setup", "api"):
        environ = env_of(service(plane, target)) | {"K_SERVICE": f"claude-run-{target}"}
        settings = read_settings(Target(target), environ, loopback=False)
        assert settings.store_url == "firestore://claude-run-test/claude-run"
    setup = env_of(service(plane, "setup"))
    assert setup["WEBHOOK_URL"] == plane.url("webhook") + routes.WEBHOOKS
    api = read_settings(Target.API, environ, loopback=False)
    assert isinstance(api, GatewaySettings)
    assert api.runner_url == plane.url("runner")
    assert api.runner_service == plane.at("services/claude-run-runner")
    job = plane.things[plane.at("jobs/claude-run-worker")]["spec"]["template"]
    RunSettings.from_environ(env_of({"spec": job["spec"]}) | {"CLOUD_RUN_JOB": "claude-run-worker"})
    RunnerSettings.from_environ(env_of(service(plane, "runner")) | {"K_SERVICE": "runner"})


def test_what_infra_says_as_data_is_so(deployed: Cloud) -> None:
    """APIs, indexes, fields without one, TTL policies, and how long builds' things are kept."""
    plane = deployed.plane
    assert plane.enabled == {api for api, _ in rows("apis.txt", 2)}
    told = {" ".join(row) for row in rows("firestore.txt", 4)}
    groups = plane.named("database") + "/collectionGroups/"
    found = set()
    for name, thing in plane.things.items():
        group, _, rest = name.removeprefix(groups).partition("/")
        if not name.startswith(groups):
            continue
        if rest.startswith("indexes/"):
            fields = [f"{one['fieldPath']}:{one['order'].lower()}" for one in thing["fields"][:-1]]
            found.add(f"index {group} {' '.join(fields)}")
        elif thing.get("indexConfig") == {"indexes": []}:
            found.add(f"unindexed {group} {rest.removeprefix('fields/')}")
        if "ttlConfig" in thing:
            found.add(f"ttl {group} {rest.removeprefix('fields/')}")
    assert found == told
    policies = plane.things[plane.named("repository")]["cleanupPolicies"]
    cleanup = json.loads((REPOSITORY / "infra/cleanup.json").read_text())
    assert set(policies) == {one["name"] for one in cleanup}
    bucket = plane.things[plane.named("bucket")]
    assert bucket["lifecycle"] == json.loads((REPOSITORY / "infra/sources.json").read_text())
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"


def test_secrets(deployed: Cloud, first: Deployed) -> None:
    """The set-up code alone has a value: 128 bits, in the vault and nowhere else."""
    plane = deployed.plane
    values = {
        name: [one["data"] for one in plane.below(plane.named(f"secret/{name}") + "/versions")]
        for name in SECRETS
    }
    assert {name for name in SECRETS if values[name]} == {"setup-code"}
    [code] = [bytes.fromhex(value).decode() for value in values["setup-code"]]
    assert re.fullmatch("[0-9a-f]{32}", code)
    assert code not in first.plan + first.said + deployed.arguments.read_text()
    assert "--data-file=-\n" in deployed.arguments.read_text()
    assert "--data-file=-" in first.plan
    assert "gcloud secrets versions access latest --secret=setup-code" in first.plan


def test_what_is_told(first: Deployed) -> None:
    """The addresses, the page, and what it costs idle."""
    for word in ("claude-run-webhook-123456789012", "/webhooks/github", "/gh-setup", "0.10 USD"):
        assert word in first.plan


def test_without_asking_it_shows_only(first: Deployed, tmp_path: Path) -> None:
    """`--dry-run` prints the very commands, with no gcloud, no login and no network."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "awk", "cat", "cut", "dirname", "find", "git", "grep", "head", "mktemp",
                 "od", "rm", "sed", "sha256sum", "sort", "tail", "tr", "xargs", "env"):  # fmt: skip
        (tools / tool).symlink_to(str(shutil.which(tool)))
    done = subprocess.run(
        [str(REPOSITORY / "infra/deploy.sh"), "--dry-run", "--project", "claude-run-test",
         "--region", REGION, "--operators", OPERATOR],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = done.stdout.replace("PROJECT_NUMBER", "123456789012")
    assert undigested(first.plan).startswith(undigested(shown))
    assert len(shown.splitlines()) > 100


def undigested(commands: str) -> str:
    """Without what is reckoned from addresses that nobody has been told yet."""
    return re.sub("deployed=[0-9a-f]{40}", "", commands)


# --- again -------------------------------------------------------------------------------------


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A copy of the repository with another version of the functions, and none of the runner."""
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(
                source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )
        else:
            shutil.copy(source, tmp_path / name)
    with (tmp_path / "functions/main.py").open("a") as file:
        file.write("# Newer.\n")
    return tmp_path


def revision_served(plane: ControlPlane, name: str) -> str:
    """The one that gets all of the traffic, and is ready."""
    found = service(plane, name)
    [one] = [one for one in found["status"]["traffic"] if one.get("percent")]
    assert one["percent"] == 100
    revision = plane.things[
        f"{plane.named(f'service/claude-run-{name}')}/revisions/{one['revisionName']}"
    ]
    assert revision["status"]["conditions"][0]["status"] == "True"
    return str(one["revisionName"])


def test_an_upgrade_that_is_not_well_first(deployed: Cloud, newer: Path) -> None:
    """Nothing is switched; when all is well the same command goes on, and no delivery is lost."""
    plane = deployed.plane
    before = {name: revision_served(plane, name) for name in SERVICES}
    # A tag of somebody else's, at which the old revision answers.
    theirs = {"revisionName": before["webhook"], "tag": "theirs"}
    for part in ("spec", "status"):
        service(plane, "webhook")[part]["traffic"].append({**theirs, "url": "http://theirs.test"})
    del service(plane, "webhook")["spec"]["traffic"][-1]["url"]
    # Somebody has opened it meanwhile.
    everybody = {"role": "roles/run.invoker", "members": ["allUsers"]}
    plane.policies[plane.named("service/claude-run-api")].append(everybody)
    worker = plane.at("jobs/claude-run-worker")
    job = json.dumps(plane.things[worker]["spec"])
    plane.health["claude-run-webhook:next"] = 503
    done = deployed.deploy(source=newer)
    assert done.returncode == 1
    assert "claude-run-webhook answers 503 on /health, so nothing was switched" in done.stderr
    assert {name: revision_served(plane, name) for name in SERVICES} == before
    assert json.dumps(plane.things[worker]["spec"]) == job
    # What is tried is the revision at its own address, before anybody else is sent to it.
    plane.health = {"claude-run-webhook": 503}
    served: list[dict[str, str]] = []
    plane.after = lambda _number, _call: served.append(
        {name: revision_served(plane, name) for name in SERVICES}
    )
    done = deployed.deploy(source=newer)
    assert done.returncode == 0, done.stderr
    after = {name: revision_served(plane, name) for name in SERVICES}
    assert {name for name in SERVICES if after[name] != before[name]} == {"webhook", "setup", "api"}
    assert all(seen[name] in (before[name], after[name]) for seen in served for name in SERVICES)
    images = {
        name: service(plane, name)["spec"]["template"]["spec"]["containers"][0]["image"]
        for name in SERVICES
    }
    assert images["api"] in json.dumps(plane.things[worker])
    assert "next" not in json.dumps([service(plane, name)["spec"]["traffic"] for name in SERVICES])
    assert theirs in service(plane, "webhook")["spec"]["traffic"]
    assert "allUsers" not in json.dumps(plane.policies[plane.named("service/claude-run-api")])


def test_a_new_revision_that_does_not_start(deployed: Cloud, newer: Path) -> None:
    """Cloud Run says so; what was there serves on."""
    plane = deployed.plane
    before = {name: revision_served(plane, name) for name in SERVICES}
    plane.broken_images.add("claude-run-api@")
    done = deployed.deploy(source=newer)
    assert done.returncode == 1
    assert "failed to start" in done.stderr
    assert {name: revision_served(plane, name) for name in SERVICES} == before


def test_a_first_revision_that_does_not_start(deployed: Cloud, first: Deployed) -> None:
    """There is a service then, and nothing that serves; mended, the same command makes it whole."""
    plane = deployed.plane
    plane.remove(plane.named("service/claude-run-webhook"))
    plane.broken_images.add("claude-run-webhook@")
    done = deployed.deploy()
    assert done.returncode == 1
    assert "failed to start" in done.stderr
    plane.broken_images.clear()
    done = deployed.deploy()
    assert done.returncode == 0, done.stderr
    assert revision_served(plane, "webhook")
    assert plane.essence()["policies"] == first.essence["policies"]


def test_what_was_made_a_moment_ago(deployed: Cloud, first: Deployed) -> None:
    """By a run that was interrupted: lists do not show it yet, and making it is refused."""
    plane = deployed.plane
    address = account(plane, "api")
    plane.unlisted |= {
        f"projects/{plane.project}/serviceAccounts/{address}",
        *(plane.named(place) for place in ("secret/state-key", "repository", "bucket")),
        plane.at("jobs/claude-run-sweep"),
    }
    done = deployed.deploy()
    assert done.returncode == 0, done.stderr
    assert "- the account of api\n" in done.stderr
    assert plane.essence() == first.essence


# --- interrupted -------------------------------------------------------------------------------


def test_interrupted_anywhere_it_goes_on(empty: Cloud, first: Deployed) -> None:
    """Killed when a call has been made, and run again, and killed, on and on: the same state.

    Calls of one kind are many (roles, indexes): what is interrupted is the first of a kind.
    """
    plane = empty.plane
    points = [
        number
        for number, kind in enumerate(first.calls, 1)
        if kind not in first.calls[: number - 1]
    ]
    assert len(points) > 20
    # Some of them: each is two seconds of a processor.
    for point in points[:: max(1, 12 // examples(1))]:
        killed = kill_after(empty, point)
        assert killed, f"the call {first.calls[point - 1]} was not made"
    done = empty.deploy()
    assert done.returncode == 0, done.stderr
    assert coded(plane.essence()) == coded(first.essence)


def kill_after(project: Cloud, point: int) -> bool:
    """Deploy until the state has seen so many changes in all; whether it came to that."""
    plane = project.plane
    process: subprocess.Popen[str] | None = None
    made = 0

    def after(number: int, _call: Call) -> None:
        nonlocal made
        made = number
        if number == point and process is not None:
            # Of what is still under way nothing gets through.
            plane.token = "revoked"
            os.killpg(process.pid, signal.SIGKILL)

    plane.after = after
    try:
        with project.start_deployment() as process:
            process.communicate(timeout=300)
    finally:
        plane.after = lambda _number, _call: None
        plane.token = TOKEN
    return made == point


def coded(essence: object) -> object:
    """Without what is chance: the set-up code, and the names of uploads."""
    text = re.sub('"data": "[0-9a-f]{64}"', '"data": ""', json.dumps(essence, sort_keys=True))
    return json.loads(re.sub(r"[0-9]{10}\.[0-9]+-[0-9a-f]{32}", "UPLOAD", text))


# --- looked at ---------------------------------------------------------------------------------


def test_the_doctor_finds_what_is_wrong(deployed: Cloud) -> None:
    """Each with the command that mends it."""
    plane = deployed.plane
    policies = plane.policies
    everybody = {"role": "roles/run.invoker", "members": ["allUsers"]}
    policies[plane.named("service/claude-run-api")].append(everybody)
    editor = {"role": "roles/editor", "members": [plane.member("runner")]}
    policies[plane.named("project")].append(editor)
    policies[plane.named("job/claude-run-worker")] = []
    plane.remove(plane.named("secret/setup-code") + "/versions/1")
    plane.things[plane.at("jobs/claude-run-sweep")]["state"] = "PAUSED"
    # Open without anybody's being in a policy.
    annotations = service(plane, "runner")["metadata"]["annotations"]
    annotations["run.googleapis.com/invoker-iam-disabled"] = "True"
    plane.health["claude-run-setup"] = 503
    done = deployed.script("doctor")
    assert done.returncode == 1
    found = re.findall(r"  WRONG  (.*)\n +(.*)", done.stdout)
    runner, worker = account(plane, "runner"), "job/claude-run-worker"
    again = f"claude-run deploy --project {plane.project} --region {REGION}"
    logs = f"gcloud run services logs read claude-run-setup --project={plane.project}"
    removal = "remove-iam-policy-binding"
    place = f"--project={plane.project} --region={REGION}"
    assert [(what, advice.partition(" --member")[0]) for what, advice in found] == [
        (
            "claude-run-sweep is paused: lost work is not found",
            f"gcloud scheduler jobs resume claude-run-sweep {place.replace('region', 'location')}",
        ),
        (
            f"{runner} has roles/editor on project, and needs it not",
            f"gcloud projects {removal} {plane.project}",
        ),
        (f"{account(plane, 'api')} lacks roles/run.invoker on {worker}", again),
        (f"{account(plane, 'webhook')} lacks roles/run.invoker on {worker}", again),
        (
            "everybody may call claude-run-api",
            f"gcloud run services {removal} claude-run-api --region={REGION}",
        ),
        ("the secret setup-code has no value", again),
        (
            "IAM does not stand in front of claude-run-api: a forged token opens it",
            f"gcloud run services update claude-run-api --invoker-iam-check {place}",
        ),
        (
            "IAM does not stand in front of claude-run-runner: a forged token opens it",
            f"gcloud run services update claude-run-runner --invoker-iam-check {place}",
        ),
        ("claude-run-setup answers 503 on /health", f"{logs} --region={REGION}"),
    ]


def test_the_doctor_finds_what_is_missing(deployed: Cloud) -> None:
    """What is not there, does not run, or lets nobody in."""
    plane = deployed.plane
    for missing in ("secret/state-key", "database", "job/claude-run-worker"):
        plane.remove(plane.named(missing))
    plane.remove(plane.at("jobs/claude-run-sweep"))
    service(plane, "webhook")["status"]["latestCreatedRevisionName"] = "newer"
    service(plane, "setup")["spec"]["traffic"] = [{"revisionName": "older", "percent": 100}]
    plane.policies[plane.named("service/claude-run-setup")] = []
    plane.policies[plane.named("service/claude-run-runner")][0]["members"] += [
        "allAuthenticatedUsers"
    ]
    plane.signed = False
    done = deployed.script("doctor")
    assert done.returncode == 1
    assert set(re.findall(r"  WRONG  (.*)", done.stdout)) >= {
        "there is no secret state-key",
        "there is no database",
        "there is no job claude-run-worker",
        "there is no schedule claude-run-sweep: lost work is not found",
        "the newest revision of claude-run-webhook is not ready; the last good one serves",
        "the newest revision of claude-run-setup has no traffic yet",
        "nobody reaches claude-run-setup: IAM refuses everybody",
        "everybody may call claude-run-runner",
        "a delivery that nobody has signed is answered 200",
    }


# --- taken away --------------------------------------------------------------------------------


PLACE = f"--project my-project --region {REGION}"
DOCUMENT = (REPOSITORY / "docs/deploy.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_the_page_of_the_deployment_and_what_it_leaves(
    deployed: Cloud, first: Deployed, runner: servers.Server, tmp_path: Path
) -> None:
    """Its commands as they stand, in a project in use: of that nothing goes, and of the data only
    where it is said."""
    plane = deployed.plane
    theirs = plane.named("secret/theirs")
    upload = f"{plane.named('bucket')}/o/services/theirs/1.zip"
    plane.things |= {
        theirs: {"name": theirs, "labels": {}},
        upload: {"name": "services/theirs/1.zip"},
    }
    plane.policies[plane.named("project")].append(
        {"role": "roles/viewer", "members": ["user:bob@example.com"]}
    )
    data = (plane.named("database"), *(plane.named(f"secret/{name}") for name in SECRETS))
    kept = {name for name in first.essence["things"] if name.startswith(data)}
    others = {"enabled", plane.named("project"), plane.named("bucket"), upload, theirs}
    with servers.running_gateway(runner.url, tmp_path / "state") as gateway:
        [deploy, code, doctor, call, destroy] = BLOCKS
        # It is there already: a second deployment changes nothing, not even to the same values.
        before = plane.changes, plane.essence()
        told = typed(deployed, deploy.removeprefix("make install\n"))
        assert "nothing to change" in told
        # Whoever sits at a terminal is shown it.
        assert re.search("^The set-up code: [0-9a-f]{32}$", told, re.MULTILINE)
        assert (plane.changes, plane.essence()) == before
        assert re.search("^[0-9a-f]{32}", typed(deployed, code))
        api = ".venv/bin/claude-run doctor"
        said = typed(deployed, doctor.replace(api, f"{api} --api {gateway.url}"))
        assert "WRONG" not in said
        for found in (
            "ok     each account has its roles and no other",
            "ok     a delivery that nobody has signed is refused",
            "to do  the secret anthropic-api-key has no value",
            "ok     durableObjects: operational",
            "to do  no GitHub App is set up",
        ):
            assert found in said
        assert plane.changes == before[0]
        exported, _, status = call.rpartition("\n.venv")
        assert "claude-run-api" in typed(deployed, f"{exported}\necho $CLAUDE_RUN_URL")
        assert "healthy" in typed(deployed, f".venv{status}", CLAUDE_RUN_URL=gateway.url)
    first_one, second = destroy.splitlines(keepends=True)
    said = typed(deployed, first_one, answers="y\n")
    assert "Make them? [y/N]" in said
    assert standing(plane) == kept | others
    assert grants(plane) == {("user:bob@example.com", "roles/viewer", plane.named("project"))}
    typed(deployed, second, answers="y\n")
    assert standing(plane) == others
    done = deployed.script("destroy", "--yes")
    assert "There is nothing of claude-run" in done.stderr


def typed(project: Cloud, commands: str, *, answers: str = "n\n", **environ: str) -> str:
    """What commands of the page print, typed in a terminal; only the project is another one."""
    text = commands.replace("my-project", project.plane.project)
    text = text.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    text = text.replace("deploy --project", f"deploy --operators {OPERATOR} --project")
    master, slave = pty.openpty()
    os.write(master, answers.encode())
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            env={**project.environ, **environ},
            cwd=REPOSITORY,
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    finally:
        os.close(slave)
        os.close(master)
    assert done.returncode == 0, done.stdout
    return done.stdout


def standing(plane: ControlPlane) -> set[str]:
    """The names of all that there is."""
    return {name for name in plane.things if not name.startswith("builds/")}


def test_what_only_has_our_name_stays(deployed: Cloud) -> None:
    """It may be in use by others."""
    plane = deployed.plane
    for name in SERVICES:
        service(plane, name)["metadata"]["labels"] = {}
    for made_theirs in (another_job, another_repository, another_schedule):
        made_theirs(plane)
    for name in SECRETS:
        plane.things[plane.named(f"secret/{name}")]["labels"] = {}
    for thing in plane.below(f"projects/{plane.project}/serviceAccounts"):
        thing["description"] = "Ours."
    del plane.things[plane.named("bucket")]["lifecycle"]
    before = standing(plane)
    done = deployed.script("destroy", "--yes", "--delete-data")
    assert done.returncode == 0, done.stderr
    assert standing(plane) == before


def test_nobody_is_asked_where_nobody_is(deployed: Cloud) -> None:
    """Without a terminal and without --yes nothing is changed, and that is said."""
    before = deployed.plane.changes
    for name, options in (("destroy", ()), ("deploy", ("--min-instances", "1"))):
        done = deployed.script(name, "--operators", OPERATOR, *options)
        assert done.returncode == 1
        assert "Say --yes" in done.stderr
    assert "Nothing was changed" in typed(deployed, f"infra/destroy.sh {PLACE} || true")
    assert deployed.plane.changes == before


# --- bad input ---------------------------------------------------------------------------------


def without_login(plane: ControlPlane) -> None:
    plane.token = "another"


def without_billing(plane: ControlPlane) -> None:
    plane.billing = False


def without_permission(plane: ControlPlane) -> None:
    plane.denied = frozenset({"iam.serviceAccounts.create"})


def another_service(plane: ControlPlane) -> None:
    service(plane, "api")["metadata"]["labels"] = {}


def another_secret(plane: ControlPlane) -> None:
    plane.things[plane.named("secret/anthropic-api-key")]["labels"] = {"team": "b"}


def another_job(plane: ControlPlane) -> None:
    plane.things[plane.at("jobs/claude-run-worker")]["metadata"]["labels"] = {}


def another_repository(plane: ControlPlane) -> None:
    plane.things[plane.named("repository")]["labels"] = {}


def another_account(plane: ControlPlane) -> None:
    name = f"projects/{plane.project}/serviceAccounts/{account(plane, 'api')}"
    plane.things[name]["description"] = "Ours."


def another_schedule(plane: ControlPlane) -> None:
    plane.things[plane.at("jobs/claude-run-sweep")]["description"] = "Ours."


def another_database(plane: ControlPlane) -> None:
    plane.remove(plane.named("secret/setup-code"))


def a_datastore(plane: ControlPlane) -> None:
    plane.things[plane.named("database")]["type"] = "DATASTORE_MODE"


def maven(plane: ControlPlane) -> None:
    plane.things[plane.named("repository")]["format"] = "MAVEN"


@pytest.mark.parametrize(
    ("broken", "options", "sentence"),
    [
        (None, ("--project", "not-there"), "may not do this in project not-there"),
        (without_login, (), "Log in: gcloud auth login"),
        (without_billing, (), "has no billing account. Link one: gcloud billing projects link"),
        (None, ("--region", "mars-north1"), "There is no region mars-north1"),
        (another_service, (), "There is a Cloud Run service claude-run-api already"),
        (another_secret, (), "There is a secret anthropic-api-key already"),
        (another_job, (), "There is a Cloud Run job claude-run-worker already"),
        (another_repository, (), "There is a repository claude-run already"),
        (another_account, (), "There is a service account claude-run-api already"),
        (another_schedule, (), "There is a schedule claude-run-sweep already"),
        (another_database, (), "There is a database claude-run already"),
        (a_datastore, (), "The database claude-run is not in Firestore's native mode"),
        (maven, (), "The repository claude-run does not keep Docker images"),
    ],
)
def test_one_clear_sentence(
    deployed: Cloud,
    broken: Callable[[ControlPlane], None] | None,
    options: Sequence[str],
    sentence: str,
) -> None:
    """What is wrong and what to do; nothing has been changed."""
    if broken:
        broken(deployed.plane)
    before = deployed.plane.changes
    done = deployed.deploy(*options)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("claude-run: ")
    assert sentence in line
    assert deployed.plane.changes == before


def test_without_a_permission_it_stops_there(empty: Cloud) -> None:
    """The sentence names it."""
    without_permission(empty.plane)
    done = empty.deploy()
    assert done.returncode == 1
    assert "(iam.serviceAccounts.create)" in done.stderr.splitlines()[-1]


def test_without_a_network(unreachable: "subprocess.Popen[str]") -> None:
    """One sentence, too."""
    _, said = unreachable.communicate(timeout=120)
    assert unreachable.returncode == 1
    assert said == (
        "claude-run: Google Cloud cannot be reached. Check the network, and run this again.\n"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--colour", "red"), "there is no option --colour"),
        (("--cpu",), "--cpu needs a value"),
        (("--memory", "much"), "--memory must be one such as 4Gi"),
        (("--region", "Europe"), "--region must be one such as europe-west1"),
        (("--min-instances", ""), "--min-instances must be a number"),
        (("--min-instances", "11"), "--min-instances must not be more than --max-instances"),
        (("--max-instances", "0"), "--max-instances must be a number, and not 0"),
        (("--settings", "/nowhere"), "the file /nowhere cannot be read"),
    ],
)
def test_an_option_that_is_none(options: Sequence[str], sentence: str) -> None:
    """Said before anything is looked at."""
    done = dry_run(*options)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_settings(tmp_path: Path) -> None:
    """Theirs win over ours, values may hold commas and JSON; a secret is refused."""
    file = tmp_path / "settings"
    file.write_text(
        '# Ours.\nMAX_DAILY_COST_USD=9\nCALLER_REPOSITORIES={"a@b.c": ["o/n", "o/m"]}\n'
    )
    done = dry_run("--settings", str(file))
    assert (
        done.stdout.count('|MAX_DAILY_COST_USD=9|CALLER_REPOSITORIES={"a@b.c": ["o/n", "o/m"]}')
        == 4
    )
    for name in (
        *("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "GITHUB_PRIVATE_KEY"),
        *("GITHUB_WEBHOOK_SECRET", "OTEL_EXPORTER_OTLP_HEADERS"),
    ):
        file.write_text(f"MAX_DAILY_COST_USD=9\n{name}=sk-planted\n")
        done = dry_run("--settings", str(file))
        assert done.returncode == 2
        assert "has a secret in it" in done.stderr
        assert "sk-planted" not in done.stderr


def test_choices() -> None:
    """They are in the commands; the regions have one digit or two."""
    shown = dry_run(
        *("--region", "europe-west12", "--operators", "ann@example.com"),
        *("--callers", "bob@example.com,robot@p.iam.gserviceaccount.com"),
        *("--min-instances", "3", "--max-instances", "4", "--cpu", "4", "--memory", "8Gi"),
        *("--sweep", "0 5 * * *", "--database-location", "eur3", "--image", "ours:1"),
    ).stdout
    runner = "--image=ours:1 .* --cpu=4 --memory=8Gi --min-instances=3 --max-instances=4 "
    invoker = "gcloud run services add-iam-policy-binding claude-run-api --region=europe-west12"
    for command in (
        f"gcloud run deploy claude-run-runner {runner}",
        "gcloud firestore databases create .*--location=eur3 ",
        r"gcloud scheduler jobs create .*'--schedule=0 5 \* \* \*'",
        f"{invoker} --member=user:ann@example.com ",
        f"{invoker} --member=user:bob@example.com ",
        f"{invoker} --member=serviceAccount:robot@p.iam.gserviceaccount.com ",
    ):
        assert re.search(command, shown), command
    assert "gcloud builds submit" not in shown
    assert "'--set-env-vars=^|^AUTH=iam|" in shown


def test_a_project_of_a_domain() -> None:
    """Its accounts are named the other way round."""
    shown = dry_run("--project", "example.com:p").stdout
    assert "--service-account=claude-run-api@p.example.com.iam.gserviceaccount.com" in shown


def dry_run(*options: str) -> "subprocess.CompletedProcess[str]":
    """`deploy.sh --dry-run`."""
    return subprocess.run(
        [str(REPOSITORY / "infra/deploy.sh"), "--dry-run", "--project", "p", "--region", REGION,
         *options],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
