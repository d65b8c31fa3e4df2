"""Who is there: names under a lease, gone with it."""

from __future__ import annotations

from metastore.lease import Lease
from metastore.store import Store

LIVE = "live/"


def register(store: Store, kind: str, name: str, value: bytes, lease: Lease) -> int:
    """Puts (or changes) an entry for as long as the lease lives. -> the revision. Raises LeaseLost, Unavailable."""
    return store.put(f"{LIVE}{kind}/{name}", value, lease.id)


def discover(store: Store, kind: str) -> dict[str, bytes]:
    """Name -> value of all that are there now."""
    prefix = f"{LIVE}{kind}/"
    return {one.key.removeprefix(prefix): one.value for one in store.list(prefix).items}
