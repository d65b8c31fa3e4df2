"""The metastore of one process: for tests, and for a Fairlead that has none."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metastore.store import (
    LOG_BYTES,
    LOG_KEPT,
    MAX_LISTED,
    Changes,
    Committed,
    Compare,
    Delete,
    Event,
    KeyValue,
    LeaseLost,
    Listing,
    Operation,
    Put,
    Store,
    Unavailable,
    Watch,
    check_key,
    check_limit,
    check_ttl,
    check_txn,
)


@dataclass(slots=True)
class _Lease:
    ttl: float
    deadline: float


class MemoryStore(Store):
    """`log_kept`: events that watches may lie behind."""

    def __init__(self, *, log_kept: int = LOG_KEPT, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._keys: dict[str, KeyValue] = {}
        self._log: deque[Event] = deque()
        self._log_kept = log_kept
        self._log_bytes = 0
        self._lost = 0
        self._revision = 0
        self._leases: dict[int, _Lease] = {}
        self._next_lease = 1
        self._closed = False
        self._change = threading.Condition(threading.RLock())

    def get(self, key: str) -> KeyValue | None:
        check_key(key)
        with self._change:
            self._settle()
            return self._keys.get(key)

    def list(self, prefix: str, *, after: str = "", limit: int = MAX_LISTED) -> Listing:
        check_limit(limit)
        with self._change:
            self._settle()
            found = sorted(key for key in self._keys if key.startswith(prefix) and key > after)
            items = tuple(self._keys[key] for key in found[:limit])
            return Listing(items, self._revision, len(found) > limit)

    def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> Committed:
        check_txn(compares, operations)
        with self._change:
            self._settle()
            if not all(self._modified(one.key) == one.modified for one in compares):
                return Committed(False, self._revision)
            if any(isinstance(one, Put) and one.lease and one.lease not in self._leases for one in operations):
                raise LeaseLost("the lease of a put is gone")
            self._apply(operations)
            return Committed(True, self._revision)

    def _modified(self, key: str) -> int:
        found = self._keys.get(key)
        return found.modified if found else 0

    def _apply(self, operations: Sequence[Operation]) -> None:
        """At one new revision, unless nothing changes."""
        effective = [one for one in operations if isinstance(one, Put) or one.key in self._keys]
        if not effective:
            return
        self._revision += 1
        for one in effective:
            if isinstance(one, Put):
                old = self._keys.get(one.key)
                created = old.created if old else self._revision
                self._keys[one.key] = KeyValue(one.key, one.value, created, self._revision, one.lease)
            else:
                del self._keys[one.key]
            self._record(Event(one.key, one.value if isinstance(one, Put) else None, self._revision))
        self._change.notify_all()

    def _record(self, event: Event) -> None:
        self._log.append(event)
        self._log_bytes += len(event.value or b"")
        while len(self._log) > self._log_kept or self._log_bytes > LOG_BYTES:
            old = self._log.popleft()
            self._log_bytes -= len(old.value or b"")
            self._lost = old.revision

    # --- leases ---------------------------------------------------------------------------------------------

    def grant(self, ttl: float) -> int:
        check_ttl(ttl)
        with self._change:
            self._settle()
            number, self._next_lease = self._next_lease, self._next_lease + 1
            self._leases[number] = _Lease(ttl, self._now() + ttl)
            return number

    def keep_alive(self, lease: int) -> None:
        with self._change:
            self._settle()
            found = self._leases.get(lease)
            if found is None:
                raise LeaseLost("the lease is gone")
            found.deadline = self._now() + found.ttl

    def revoke(self, lease: int) -> None:
        with self._change:
            self._settle()
            self._end({lease})

    def _settle(self) -> None:
        """Before everything: is the store open, and which leases have run out?"""
        if self._closed:
            raise Unavailable("the metastore was closed")
        now = self._now()
        self._end({number for number, lease in self._leases.items() if lease.deadline <= now})

    def _end(self, leases: set[int]) -> None:
        for number in leases:
            self._leases.pop(number, None)
        if leases:
            self._apply([Delete(key) for key, found in self._keys.items() if found.lease in leases])

    # --- watches --------------------------------------------------------------------------------------------

    def watch(self, prefix: str, after: int) -> Watch:
        return _MemoryWatch(self, prefix, after)

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()


class _MemoryWatch(Watch):
    def __init__(self, store: MemoryStore, prefix: str, after: int) -> None:
        self._store = store
        self._prefix = prefix
        self._after = after

    def next(self, timeout: float) -> Changes | None:
        store = self._store
        until = time.monotonic() + timeout
        with store._change:
            while True:
                store._settle()
                found = self._take()
                left = until - time.monotonic()
                if found is not None or left <= 0:
                    return found
                store._change.wait(min(left, self._until_expiry()))

    def _until_expiry(self) -> float:
        """A lease that runs out is a change that nobody makes."""
        deadlines = [lease.deadline for lease in self._store._leases.values()]
        return max(0.001, min(deadlines) - self._store._now()) if deadlines else 3600.0

    def _take(self) -> Changes | None:
        store = self._store
        if self._after < store._lost or self._after > store._revision:
            listing = store.list(self._prefix)
            self._after = store._revision
            events = tuple(Event(one.key, one.value, one.modified) for one in listing.items)
            return Changes(self._after, events, resync=True)
        news = [one for one in store._log if one.revision > self._after and one.key.startswith(self._prefix)]
        self._after = store._revision
        return Changes(self._after, tuple(news)) if news else None

    def close(self) -> None:
        pass
