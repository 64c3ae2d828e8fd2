"""`python -m gateway.store.listing` prints `infra/firestore.txt`: what Firestore is told."""

import sys

from gateway.store.schema import Schema, firestore_lines

HEAD = "# What Firestore is told of the collections. `make infra` writes it from the code.\n"


def listing() -> str:
    """The whole file."""
    from gateway.opening import COLLECTIONS

    return "\n".join([HEAD, *firestore_lines(Schema(COLLECTIONS))]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(listing())
