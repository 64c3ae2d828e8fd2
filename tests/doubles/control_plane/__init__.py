"""Google Cloud's control plane on this machine, as far as gcloud asks it for a deployment.

The real gcloud is told where each API is and reaches all through one proxy, this server. What is
made stays as state: tests look at it. What Google refuses is refused, with Google's own status and
words where a user of ours will read them. One module for each API.
"""

from doubles.control_plane import (
    builds,
    firestore,
    iam,
    network,
    projects,
    registry,
    run_images,
    run_jobs,
    run_services,
    scheduler,
    secrets,
    services,
    storage,
)
from doubles.control_plane.plane import ControlPlane
from doubles.control_plane.server import serve

# Importing them is what makes the routes known.
APIS = (
    builds,
    firestore,
    iam,
    network,
    projects,
    registry,
    run_images,
    run_jobs,
    run_services,
    scheduler,
    secrets,
    services,
    storage,
)

__all__ = ["ControlPlane", "serve"]
