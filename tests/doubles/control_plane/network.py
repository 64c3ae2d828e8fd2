"""What is deployed, as the network sees it: IAM in front, and whether it is well."""

from typing import Any

from doubles.control_plane import run_services
from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.routes import Call, Refusal, route

# Over each answer of our own code.
OURS = {"X-Request-Id": "0123456789abcdef"}


@route("POST", "network", "/webhooks/github", permission="run.routes.invoke", changes=False)
def webhook(plane: ControlPlane, call: Call) -> Any:  # noqa: ANN401 - JSON
    """A delivery: `webhook` refuses the one that nobody has signed."""
    name, _ = run_services.find_by_host(plane, call.host)
    is_signed = "x-hub-signature-256" in call.headers or not plane.signed
    if not run_services.is_public(plane, name) or not is_signed:
        raise Refusal(401, "UNAUTHENTICATED", "The delivery is not GitHub's.")
    return {"status": "processed"}


@route("GET", "network", "/health", permission="run.routes.invoke")
def health(plane: ControlPlane, call: Call) -> Any:  # noqa: ANN401 - JSON
    """`GET /health` at a service's address, or at that of a tag of it."""
    name, tag = run_services.find_by_host(plane, call.host)
    if not run_services.is_public(plane, name):
        raise Refusal(403, "PERMISSION_DENIED", "Your client does not have permission.")
    service = name.rpartition("/")[2]
    # What has got so far our own code answers: `api` tells everybody how it is, the runner nobody.
    if service == "claude-run-runner":
        raise Refusal(401, "UNAUTHENTICATED", "There is no token.", headers=OURS)
    status = plane.health.get(f"{service}:{tag}" if tag else service, 200)
    if status != 200:
        raise Refusal(status, "UNAVAILABLE", "The service is not well.")
    return {"status": "healthy"}
