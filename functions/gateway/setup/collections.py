"""What the function `setup` stores and counts."""

from gateway import deployment, limits, metrics
from gateway.setup import states
from gateway.store import Collection

COLLECTIONS: tuple[Collection, ...] = (
    deployment.COLLECTION,
    states.STATES,
    limits.COLLECTION,
    metrics.COLLECTION,
)
