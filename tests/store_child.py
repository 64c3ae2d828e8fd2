"""What tests of the store do in processes of their own: `python -m store_child WHAT URL …`."""

import sys
from itertools import count

from gateway.store import Create, open_store
from store_contract import COLLECTIONS, increments


def main() -> None:
    """Do it."""
    what, url, *rest = sys.argv[1:]
    store = open_store(url, collections=COLLECTIONS)
    if what == "count":
        increments(store, "parts/count", int(rest[0]))
    else:
        # For ever: say each name once its document is stored for good.
        for number in count():
            path = f"parts/{rest[0]}-{number:06d}"
            store.write([Create(path, {"payload": "x" * 3_000}), Create(f"{path}/parts/b", {})])
            sys.stdout.write(f"{path}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
