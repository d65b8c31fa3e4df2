"""The metastore: small facts that all Fairleads share, in one order, with watches and leases.

Configuration versions, who leads, who is there: never a row, never a key of a row, never on the way of a query.
`MemoryStore` and `SqliteStore` are the adapters; one test-suite holds for both (tests/metastore/).

Every change has a *revision*, a number that grows by one per transaction. A store is safe to use from several threads,
and belongs to the process that opened it: not to its forks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

MAX_KEY = 512
"""Bytes of a key."""
MAX_VALUE = 1 << 20
"""Bytes of a value."""
MAX_OPERATIONS = 128
"""Operations and compares of one transaction."""
MAX_LISTED = 10_000
"""Keys of one listing."""
LOG_KEPT = 10_000
"""Changes that a watch may lie behind; after more of them it starts anew with a full listing."""
LOG_BYTES = 64 << 20
"""The same in bytes of their values."""
MIN_TTL, MAX_TTL = 0.1, 86_400.0


class MetastoreError(Exception):
    """The request was not carried out."""


class Unavailable(MetastoreError):
    """The store cannot be reached now. Of a write, whether it was carried out may be unknown."""


class LeaseLost(MetastoreError):
    """The lease has run out or was revoked: what it held is gone."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """`created` and `modified` are revisions; `lease` is 0 without one."""

    key: str
    value: bytes
    created: int
    modified: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """Keys in their order, as of `revision`. `more`: there are others behind the last one."""

    items: tuple[KeyValue, ...]
    revision: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    """Holds when the key was last modified at this revision; 0: when there is no such key."""

    key: str
    modified: int


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class Committed:
    """`succeeded`: the compares held and the operations were carried out, all at `revision`."""

    succeeded: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Event:
    """`value` is None for a key that is gone."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Changes:
    """All events of whole revisions, in order, up to `revision`.

    `resync`: too much was missed to tell; the events are all keys that there are, and what else was known is gone.
    """

    revision: int
    events: tuple[Event, ...]
    resync: bool = False


class Watch(ABC):
    """The changes under a prefix behind a revision, each once, in order. For one thread."""

    @abstractmethod
    def next(self, timeout: float) -> Changes | None:
        """Waits for changes, at most so many seconds; None when there were none. Raises Unavailable: then ask again."""

    @abstractmethod
    def close(self) -> None: ...


class Store(ABC):
    """Raises Unavailable from every method; ValueError for what is beyond the bounds above."""

    @abstractmethod
    def get(self, key: str) -> KeyValue | None: ...

    @abstractmethod
    def list(self, prefix: str, *, after: str = "", limit: int = MAX_LISTED) -> Listing:
        """Keys that begin with `prefix` and come behind `after`."""

    @abstractmethod
    def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> Committed:
        """All operations when all compares hold, else none. Raises LeaseLost for a put under a lease that is gone."""

    @abstractmethod
    def watch(self, prefix: str, after: int) -> Watch:
        """Changes of revisions greater than `after`: a `Listing.revision`, so that nothing comes between."""

    @abstractmethod
    def grant(self, ttl: float) -> int:
        """A new lease that runs out after `ttl` seconds unless it is kept alive; its keys go with it."""

    @abstractmethod
    def keep_alive(self, lease: int) -> None:
        """Runs for its whole ttl again from now. Raises LeaseLost."""

    @abstractmethod
    def revoke(self, lease: int) -> None:
        """Ends it, and its keys. One that is gone already is fine."""

    @abstractmethod
    def close(self) -> None: ...

    # --- in terms of the others -----------------------------------------------------------------------------

    def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """-> the revision"""
        return self.txn((), (Put(key, value, lease),)).revision

    def delete(self, key: str) -> int:
        return self.txn((), (Delete(key),)).revision

    def replace(self, key: str, value: bytes, modified: int, lease: int = 0) -> bool:
        """Only if the key was last modified at that revision (0: is absent)."""
        return self.txn((Compare(key, modified),), (Put(key, value, lease),)).succeeded


def check_key(key: str) -> None:
    if not 0 < len(key.encode("utf-8", "surrogatepass")) <= MAX_KEY or not key.isprintable():
        raise ValueError(f"a key of the metastore is 1 to {MAX_KEY} bytes of printable text")


def check_txn(compares: Sequence[Compare], operations: Sequence[Operation]) -> None:
    if len(compares) + len(operations) > MAX_OPERATIONS:
        raise ValueError(f"a transaction of the metastore has at most {MAX_OPERATIONS} parts")
    for part in (*compares, *operations):
        check_key(part.key)
    if len({one.key for one in operations}) != len(operations):
        raise ValueError("a transaction of the metastore changes a key only once")
    for one in operations:
        if isinstance(one, Put) and len(one.value) > MAX_VALUE:
            raise ValueError(f"{one.key} is larger than a value of the metastore may be: {MAX_VALUE} bytes")


def check_ttl(ttl: float) -> None:
    if not MIN_TTL <= ttl <= MAX_TTL:
        raise ValueError(f"a lease runs {MIN_TTL:g} to {MAX_TTL:g} seconds")


def check_limit(limit: int) -> None:
    if not 0 < limit <= MAX_LISTED:
        raise ValueError(f"a listing has 1 to {MAX_LISTED} keys")
