"""A lease as its holder sees it: kept alive by whoever calls, with a deadline of its own clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from metastore.store import LeaseLost, Store

MARGIN = 0.2
"""The part of its time in which a holder already counts a lease as gone, for clocks do not run alike."""
RENEW = 1 / 3
"""The part of its time after which a lease should be renewed."""


class Lease:
    """Taken when made, given back at the end of a `with`. Raises Unavailable when it cannot be had."""

    def __init__(self, store: Store, ttl: float, now: Callable[[], float] = time.monotonic) -> None:
        self.ttl = ttl
        self._store = store
        self._now = now
        # Counted from before the request: the store's own time begins later, so it ends later as well.
        begun = now()
        self.id = store.grant(ttl)
        self._renewed = begun

    @property
    def alive(self) -> bool:
        """May the holder still act on it? By this process's clock alone, with a margin."""
        return self._now() < self._renewed + self.ttl * (1 - MARGIN)

    @property
    def renew_at(self) -> float:
        """When `renew` is due, on the clock given."""
        return self._renewed + self.ttl * RENEW

    def renew(self) -> None:
        """Raises LeaseLost, Unavailable; after Unavailable it may be tried again while `alive`."""
        begun = self._now()
        self._store.keep_alive(self.id)
        self._renewed = begun

    def renew_if_due(self) -> None:
        if self._now() >= self.renew_at:
            self.renew()

    def must_be_alive(self) -> None:
        """Raises LeaseLost."""
        if not self.alive:
            raise LeaseLost("the lease was not renewed in time")

    def release(self) -> None:
        self._renewed = float("-inf")
        self._store.revoke(self.id)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
