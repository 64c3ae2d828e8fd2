"""The state of the control plane, and who may change it when."""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from doubles.control_plane.routes import Call, Refusal, find

TOKEN = "planted-access-token-0123456789"
# Those that gcloud asks with a project of its own: they need not be enabled.
ALWAYS_ON = ("cloudresourcemanager", "serviceusage", "cloudbilling", "services")
# What differs between two ways to the same deployment, and says nothing about it.
VOLATILE = frozenset({
    "createTime", "updateTime", "creationTimestamp", "lastModifier", "uid", "uniqueId", "etag",
    "generation", "observedGeneration", "resourceVersion", "size", "lastTransitionTime",
    "client.knative.dev/nonce", "client.knative.dev/user-image", "run.googleapis.com/build-id",
    "run.googleapis.com/build-name", "run.googleapis.com/build-source-location",
    "run.googleapis.com/client-version",
})  # fmt: skip

Json = Any


@dataclass(slots=True, kw_only=True)
class ControlPlane:
    """One project. `things` by full name, `policies` by the name of what they are on.

    `before` and `after` are called around each request that changes something, with its number.
    """

    project: str = "claude-run-test"
    number: str = "123456789012"
    regions: tuple[str, ...] = ("us-central1", "europe-west1")
    billing: bool = True
    token: str = TOKEN
    # IAM permissions that the caller lacks, by the verb of the route that needs them.
    denied: frozenset[str] = frozenset()
    things: dict[str, Json] = field(default_factory=dict)
    policies: dict[str, list[Json]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    changes: int = 0
    before: Callable[[int, Call], None] = lambda _number, _call: None
    after: Callable[[int, Call], None] = lambda _number, _call: None
    # Images whose container does not start, by a part of their names: the revision is not ready.
    broken_images: set[str] = field(default_factory=set)
    # What a service answers on /health at its address, or (`SERVICE:TAG`) at that of a tag; 200.
    health: dict[str, int] = field(default_factory=dict)
    # Whether `webhook` wants deliveries signed.
    signed: bool = True
    # APIs that say so many times more that they are off.
    reluctant: dict[str, int] = field(default_factory=dict)
    # What is answered first where a permission is needed: Google's APIs agree after a while only.
    hiccups: dict[str, list[Refusal]] = field(default_factory=dict)
    # Things that lists do not show yet, by their names.
    unlisted: set[str] = field(default_factory=set)
    # What a source upload was packed from is not looked at, but that it was uploaded is.
    uploads: dict[str, bytes] = field(default_factory=dict)
    # Builds that fail, by what they make.
    broken_builds: set[str] = field(default_factory=set)

    def answer(self, call: Call) -> Json:
        """Answer a request, or raise `Refusal`."""
        route, names = find(call)
        self.calls.append(f"{call.method} {call.api} {call.path}")
        if call.api != "network":
            self._check(call, route.permission, names)
        if self.hiccups.get(route.permission):
            raise self.hiccups[route.permission].pop(0)
        if not route.changes:
            return route.handler(self, call, **names)
        self.changes += 1
        number = self.changes
        self.before(number, call)
        answered = route.handler(self, call, **names)
        self.after(number, call)
        return answered

    def _check(self, call: Call, permission: str, names: Mapping[str, str]) -> None:
        if call.token != self.token:
            raise Refusal(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, "
                "login cookie or other valid authentication credential.",
            )
        project = names.get("project", self.project)
        if project not in (self.project, self.number) or permission in self.denied:
            raise Refusal(
                403,
                "PERMISSION_DENIED",
                f"Permission '{permission}' denied on resource "
                f"'//{call.api}.googleapis.com/projects/{project}' (or it may not exist).",
            )
        is_on = call.api in ALWAYS_ON or f"{call.api}.googleapis.com" in self.enabled
        if is_on and self.reluctant.get(call.api):
            self.reluctant[call.api] -= 1
            is_on = False
        if not is_on:
            raise Refusal(
                403,
                "PERMISSION_DENIED",
                f"{call.api}.googleapis.com has not been used in project {self.number} before or "
                "it is disabled.",
                reason="SERVICE_DISABLED",
            )
        region = names.get("region", self.regions[0])
        if region not in self.regions and region != "-":
            raise Refusal(404, "NOT_FOUND", f"Location {region} is not found or access is denied.")

    @property
    def enabled(self) -> set[str]:
        """The services that are on."""
        found: list[str] = self.things.setdefault("enabled", [])
        return set(found)

    # --- things --------------------------------------------------------------------------------

    def thing(self, name: str) -> Json:
        """What has this name; 404."""
        if name not in self.things:
            raise Refusal(404, "NOT_FOUND", f"Resource '{name}' was not found.")
        return self.things[name]

    def make(self, name: str, value: Json) -> Json:
        """Keep something new; 409 where it is there."""
        if name in self.things:
            raise Refusal(409, "ALREADY_EXISTS", f"Resource '{name}' already exists.")
        self.things[name] = value
        return value

    def remove(self, name: str) -> None:
        """It, its policy, and all below it; 404."""
        self.thing(name)
        for there in [*self.things]:
            if there == name or there.startswith(f"{name}/"):
                del self.things[there]
        for there in [*self.policies]:
            if there == name or there.startswith(f"{name}/"):
                del self.policies[there]

    def below(self, prefix: str) -> list[Json]:
        """All whose names are this and one word more, by name."""
        return [
            value
            for name, value in sorted(self.things.items())
            if name.startswith(f"{prefix}/") and "/" not in name[len(prefix) + 1 :]
            if name not in self.unlisted
        ]

    # --- names -------------------------------------------------------------------------------

    def at(self, rest: str) -> str:
        """The full name of something in the first region."""
        return f"projects/{self.project}/locations/{self.regions[0]}/{rest}"

    def named(self, place: str) -> str:
        """The full name of what `infra/grants.txt` calls so."""
        kind, _, name = place.partition("/")
        bucket = f"b/run-sources-{self.project}-{self.regions[0]}"
        names = {
            "project": f"projects/{self.project}",
            "database": f"projects/{self.project}/databases/claude-run",
            "secret": f"projects/{self.project}/secrets/{name}",
            "service": self.at(f"services/{name}"),
            "job": self.at(f"jobs/{name}"),
            "repository": self.at("repositories/claude-run"),
            "bucket": bucket,
        }
        return names[kind]

    def member(self, account: str) -> str:
        """What policies call an account of `infra/accounts.txt`."""
        if account == "allUsers":
            return account
        return f"serviceAccount:claude-run-{account}@{self.project}.iam.gserviceaccount.com"

    def url(self, service: str) -> str:
        """The address that a service has from its first moment on."""
        return f"https://claude-run-{service}-{self.number}.{self.regions[0]}.run.app"

    # --- for tests -----------------------------------------------------------------------------

    def snapshot(self) -> tuple[Json, Json, Json]:
        """All of the state, to go back to."""
        return copy.deepcopy((self.things, self.policies, self.uploads))

    def restore(self, snapshot: tuple[Json, Json, Json]) -> None:
        """Go back."""
        self.things, self.policies, self.uploads = copy.deepcopy(snapshot)
        self.changes = 0

    def essence(self) -> Json:
        """The state without times, numbers and the order in which things came to be."""
        policies = {
            name: sorted(
                f"{binding['role']} {member} {json.dumps(binding.get('condition'))}"
                for binding in bindings
                for member in binding["members"]
            )
            for name, bindings in self.policies.items()
            if any(binding["members"] for binding in bindings)
        }
        kept = {
            name: thing for name, thing in self.things.items() if not name.startswith("builds/")
        }
        return {"things": _settled(kept), "policies": policies}


def etag(value: Json) -> str:
    """What changes with the value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _settled(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _settled(one) for name, one in value.items() if name not in VOLATILE}
    if isinstance(value, list):
        return [_settled(one) for one in value]
    return value
