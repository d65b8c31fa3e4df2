"""Who leads, and locks: the key that is there first, under a lease, with an epoch that only grows.

An epoch is the revision at which the key was made. Whoever acts on a leadership or lock hands its epoch to the
resource, which refuses a smaller one than it has seen: a holder that was paused beyond its lease does not know that it
is one no more, so no lock is safe without that (fencing).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from metastore.lease import Lease
from metastore.store import Compare, Delete, Store

LOCKS, LEADERS = "lock/", "lead/"


@dataclass(frozen=True, slots=True)
class Held:
    """A name that this lease holds, since `epoch`."""

    key: str
    holder: bytes
    epoch: int
    lease: Lease

    @property
    def still(self) -> bool:
        """May this process still think that it holds it? Asks nobody."""
        return self.lease.alive


def campaign(store: Store, name: str, holder: bytes, lease: Lease, patience: float) -> Held | None:
    """Waits until this holder leads, at most `patience` seconds, and renews the lease meanwhile.

    Raises Unavailable, LeaseLost.
    """
    return _take(store, LEADERS + name, holder, lease, patience)


def lock(store: Store, name: str, holder: bytes, lease: Lease, patience: float) -> Held | None:
    """The same for a lock."""
    return _take(store, LOCKS + name, holder, lease, patience)


def leader(store: Store, name: str) -> tuple[bytes, int] | None:
    """(holder, epoch) of who leads now."""
    found = store.get(LEADERS + name)
    return (found.value, found.created) if found else None


def resign(store: Store, held: Held) -> None:
    """Gives a name back, if it is still this holder's."""
    found = store.get(held.key)
    if found is not None and found.created == held.epoch:
        store.txn((Compare(held.key, found.modified),), (Delete(held.key),))


def _take(store: Store, key: str, holder: bytes, lease: Lease, patience: float) -> Held | None:
    until = time.monotonic() + patience
    watch = None
    try:
        while True:
            lease.renew_if_due()
            lease.must_be_alive()
            if store.replace(key, holder, 0, lease.id):
                return _held(store, key, holder, lease)
            listing = store.list(key, limit=1)
            if not listing.items or listing.items[0].key != key:
                continue
            watch = watch or store.watch(key, listing.revision)
            left = until - time.monotonic()
            if left <= 0:
                return None
            watch.next(min(left, lease.ttl / 4))
    finally:
        if watch is not None:
            watch.close()


def _held(store: Store, key: str, holder: bytes, lease: Lease) -> Held | None:
    """It may have run out in the moment after."""
    found = store.get(key)
    if found is None or found.lease != lease.id:
        return None
    return Held(key, holder, found.created, lease)
