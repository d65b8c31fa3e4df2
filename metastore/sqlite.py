"""The metastore of one host: an SQLite file that any number of processes share.

WAL, every transaction synced. A watch looks at `PRAGMA data_version` (microseconds) at a fixed interval. Leases run on
the host's CLOCK_BOOTTIME, which all processes share and nobody sets; after a reboot all of them have run out. The
file must lie on a local disk: WAL needs shared memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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

BUSY = 5.0
"""Seconds to wait for other writers."""
POLL = 0.05
"""Seconds between two looks of a watch."""
FORMAT = 1
BATCH = 1_000
"""Events of one answer of a watch; whole revisions always."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_AFTER_ALL = "\U0010ffff"

_SCHEMA = """
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, lost INTEGER NOT NULL,
                    log_bytes INTEGER NOT NULL);
CREATE TABLE keys (key TEXT PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, modified INTEGER NOT NULL,
                   lease INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX keys_by_lease ON keys (lease) WHERE lease <> 0;
CREATE TABLE log (place INTEGER PRIMARY KEY AUTOINCREMENT, revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB);
CREATE INDEX log_by_revision ON log (revision);
CREATE TABLE leases (lease INTEGER PRIMARY KEY AUTOINCREMENT, ttl REAL NOT NULL, deadline REAL NOT NULL,
                     boot TEXT NOT NULL);
INSERT INTO state VALUES (1, 0, 0, 0);
"""


def boot_seconds() -> float:
    """A clock that all processes of the host share; it goes on while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    return _BOOT_ID.read_text().strip()


class SqliteStore(Store):
    """`create`: make the file when it is not there; without it an absent file is Unavailable."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        busy: float = BUSY,
        poll: float = POLL,
        log_kept: int = LOG_KEPT,
        now: Callable[[], float] = boot_seconds,
    ) -> None:
        self.path = path
        self.busy = busy
        self.poll = poll
        self._log_kept = log_kept
        self._now = now
        self._boot = boot_id()
        self._lock = threading.RLock()
        self._file = _File(path, busy)
        with self._lock, _told(path):
            if create and not path.exists():
                _create(path, busy)
            self._file.open()

    # --- reading --------------------------------------------------------------------------------------------

    def get(self, key: str) -> KeyValue | None:
        check_key(key)
        with self._reading() as db:
            row = db.execute("SELECT key, value, created, modified, lease FROM keys WHERE key = ?", (key,)).fetchone()
        return KeyValue(*row) if row else None

    def list(self, prefix: str, *, after: str = "", limit: int = MAX_LISTED) -> Listing:
        check_limit(limit)
        with self._reading() as db:
            return _listing(db, prefix, after, limit)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the store, without what has run out."""
        with self._lock, _told(self.path):
            db = self._file.connection()
            if self._is_due(db):
                with _transaction(db, "IMMEDIATE"):
                    self._expire(db)
            with _transaction(db, "DEFERRED"):
                yield db

    # --- writing --------------------------------------------------------------------------------------------

    def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> Committed:
        check_txn(compares, operations)
        with self._writing() as db:
            self._expire(db)
            if not all(_modified(db, one.key) == one.modified for one in compares):
                return Committed(False, _revision(db))
            if not all(self._has(db, one.lease) for one in operations if isinstance(one, Put) and one.lease):
                raise LeaseLost("the lease of a put is gone")
            self._apply(db, operations)
            return Committed(True, _revision(db))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _told(self.path):
            db = self._file.connection()
            with _transaction(db, "IMMEDIATE"):
                yield db

    def _apply(self, db: sqlite3.Connection, operations: Sequence[Operation]) -> None:
        """At one new revision, unless nothing changes."""
        effective = [one for one in operations if isinstance(one, Put) or _modified(db, one.key)]
        if not effective:
            return
        revision = _revision(db) + 1
        db.execute("UPDATE state SET revision = ?", (revision,))
        for one in effective:
            value = _carry_out(db, one, revision)
            db.execute("INSERT INTO log (revision, key, value) VALUES (?, ?, ?)", (revision, one.key, value))
            db.execute("UPDATE state SET log_bytes = log_bytes + ?", (len(value or b""),))
        self._compact(db)

    def _compact(self, db: sqlite3.Connection) -> None:
        """Forgets the oldest revisions beyond the log's length, and beyond its bytes."""
        newest = db.execute("SELECT max(place) FROM log").fetchone()[0]
        self._forget(db, db.execute("SELECT revision FROM log WHERE place = ?", (newest - self._log_kept,)).fetchone())
        while db.execute("SELECT log_bytes FROM state").fetchone()[0] > LOG_BYTES:
            self._forget(db, db.execute("SELECT min(revision) FROM log").fetchone())

    def _forget(self, db: sqlite3.Connection, until: tuple[int] | None) -> None:
        if until is not None:
            query = "SELECT coalesce(sum(length(value)), 0) FROM log WHERE revision <= ?"
            size = db.execute(query, until).fetchone()[0]
            db.execute("DELETE FROM log WHERE revision <= ?", until)
            db.execute("UPDATE state SET lost = ?, log_bytes = log_bytes - ?", (*until, size))

    # --- leases ---------------------------------------------------------------------------------------------

    def grant(self, ttl: float) -> int:
        check_ttl(ttl)
        with self._writing() as db:
            self._expire(db)
            given = (ttl, self._now() + ttl, self._boot)
            return int(db.execute("INSERT INTO leases (ttl, deadline, boot) VALUES (?, ?, ?)", given).lastrowid or 0)

    def keep_alive(self, lease: int) -> None:
        with self._writing() as db:
            self._expire(db)
            if not self._has(db, lease):
                raise LeaseLost("the lease is gone")
            db.execute("UPDATE leases SET deadline = ? + ttl WHERE lease = ?", (self._now(), lease))

    def revoke(self, lease: int) -> None:
        with self._writing() as db:
            self._expire(db)
            self._end(db, [lease])

    def _has(self, db: sqlite3.Connection, lease: int) -> bool:
        return db.execute("SELECT 1 FROM leases WHERE lease = ?", (lease,)).fetchone() is not None

    def _is_due(self, db: sqlite3.Connection) -> bool:
        query = "SELECT 1 FROM leases WHERE deadline <= ? OR boot <> ? LIMIT 1"
        return db.execute(query, (self._now(), self._boot)).fetchone() is not None

    def _expire(self, db: sqlite3.Connection) -> None:
        query = "SELECT lease FROM leases WHERE deadline <= ? OR boot <> ?"
        self._end(db, [lease for (lease,) in db.execute(query, (self._now(), self._boot)).fetchall()])

    def _end(self, db: sqlite3.Connection, leases: Sequence[int]) -> None:
        gone: list[Operation] = []
        for lease in leases:
            db.execute("DELETE FROM leases WHERE lease = ?", (lease,))
            gone += [Delete(key) for (key,) in db.execute("SELECT key FROM keys WHERE lease = ?", (lease,))]
        self._apply(db, gone)

    # --- watches --------------------------------------------------------------------------------------------

    def watch(self, prefix: str, after: int) -> Watch:
        return _SqliteWatch(self, prefix, after)

    def expire_if_due(self) -> None:
        """For watches: nobody else may be there to see a lease run out."""
        with self._reading():
            pass

    def close(self) -> None:
        with self._lock:
            self._file.close(for_good=True)


class _SqliteWatch(Watch):
    """On a connection of its own, so that the changes of this very process count as well."""

    def __init__(self, store: SqliteStore, prefix: str, after: int) -> None:
        self._store = store
        self._prefix = prefix
        self._after = after
        self._file = _File(store.path, store.busy)
        self._seen: object = None

    def next(self, timeout: float) -> Changes | None:
        until = time.monotonic() + timeout
        while True:
            self._store.expire_if_due()
            with _told(self._store.path):
                found = self._look()
            left = until - time.monotonic()
            if found is not None or left <= 0:
                return found
            time.sleep(min(left, self._store.poll))

    def _look(self) -> Changes | None:
        before = self._file.identity
        db = self._file.connection()
        if before not in ((0, 0), self._file.identity):
            # Another file, with revisions of its own: everything anew.
            self._after = -1
        version = (self._file.identity, db.execute("PRAGMA data_version").fetchone()[0])
        if version == self._seen:
            return None
        with _transaction(db, "DEFERRED"):
            revision, events, resync = self._read(db)
        if self._after == revision:
            self._seen = version
        return self._answer(revision, events, resync)

    def _read(self, db: sqlite3.Connection) -> tuple[int, Sequence[Event], bool]:
        """(up to which revision, the events, is it all anew)"""
        revision, lost = db.execute("SELECT revision, lost FROM state").fetchone()
        if self._after < lost or self._after > revision:
            listing = _listing(db, self._prefix, "", MAX_LISTED)
            return revision, [Event(one.key, one.value, one.modified) for one in listing.items], True
        events = self._events(db, "revision > ?", self._after, BATCH + 1)
        if len(events) <= BATCH:
            return revision, events, False
        last = events[-1].revision
        whole = [one for one in events if one.revision < last]
        if whole:
            return last - 1, whole, False
        # One revision of more events than a batch: the end of a lease that held many keys.
        return last, self._events(db, "revision = ?", last, -1), False

    def _events(self, db: sqlite3.Connection, which: str, revision: int, limit: int) -> list[Event]:
        query = f"SELECT key, value, revision FROM log WHERE {which} AND key >= ? AND key < ? ORDER BY place LIMIT ?"
        return [Event(*row) for row in db.execute(query, (revision, self._prefix, self._prefix + _AFTER_ALL, limit))]

    def _answer(self, revision: int, events: Sequence[Event], resync: bool) -> Changes | None:
        self._after = revision
        return Changes(revision, tuple(events), resync) if events or resync else None

    def close(self) -> None:
        self._file.close(for_good=True)


# --- the file -----------------------------------------------------------------------------------------------


class _File:
    """A connection to the file that has this name *now*: SQLite would go on with one that was removed or replaced."""

    def __init__(self, path: Path, busy: float) -> None:
        self._path = path
        self._busy = busy
        self._db: sqlite3.Connection | None = None
        self.identity: tuple[int, int] = (0, 0)
        self._closed = False
        self._process = os.getpid()

    def connection(self) -> sqlite3.Connection:
        """Raises OSError, sqlite3.Error, Unavailable."""
        if self._closed or self._process != os.getpid():
            whose = "was closed" if self._closed else "belongs to the process that opened it"
            raise Unavailable(f"the metastore {whose}")
        stat = os.stat(self._path)
        if self._db is None or (stat.st_dev, stat.st_ino) != self.identity:
            self.close()
            self.open()
        assert self._db is not None
        return self._db

    def open(self) -> None:
        stat = os.stat(self._path)
        self._db = _connect(self._path, self._busy)
        self.identity = (stat.st_dev, stat.st_ino)
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found != FORMAT:
            self.close()
            raise Unavailable(f"{self._path} is no metastore of format {FORMAT}: its user_version is {found}")

    def close(self, *, for_good: bool = False) -> None:
        self._closed = self._closed or for_good
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _connect(path: Path, busy: float) -> sqlite3.Connection:
    quoted = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    db = sqlite3.connect(
        f"file:{quoted}?mode=rw", uri=True, timeout=busy, isolation_level=None, check_same_thread=False
    )
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 4194304")
    return db


def _create(path: Path, busy: float) -> None:
    """Whole under another name, then in its place, by one process at a time."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    guard = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not path.exists():
            _create_alone(path, busy)
    finally:
        os.close(guard)


def _create_alone(path: Path, busy: float) -> None:
    fresh = path.with_name(f"{path.name}.new")
    _remove(fresh)
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(_connect(fresh, busy)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT")
    # What a removed file has left behind would be taken for the new one's.
    _remove(path)
    fresh.rename(path)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the file system and SQLite say, as Unavailable."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"the metastore {path} cannot be used: {error}") from error


@contextmanager
def _transaction(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    db.execute(f"BEGIN {kind}")
    try:
        yield
    except BaseException:
        # After some errors SQLite has rolled back already.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    try:
        db.execute("COMMIT")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


# --- statements ---------------------------------------------------------------------------------------------


def _revision(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT revision FROM state").fetchone()[0])


def _modified(db: sqlite3.Connection, key: str) -> int:
    row = db.execute("SELECT modified FROM keys WHERE key = ?", (key,)).fetchone()
    return int(row[0]) if row else 0


def _carry_out(db: sqlite3.Connection, one: Operation, revision: int) -> bytes | None:
    """-> the value that the log keeps"""
    if isinstance(one, Delete):
        db.execute("DELETE FROM keys WHERE key = ?", (one.key,))
        return None
    db.execute(
        "INSERT INTO keys (key, value, created, modified, lease) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) "
        "DO UPDATE SET value = excluded.value, modified = excluded.modified, lease = excluded.lease",
        (one.key, one.value, revision, revision, one.lease),
    )
    return one.value


def _listing(db: sqlite3.Connection, prefix: str, after: str, limit: int) -> Listing:
    query = (
        "SELECT key, value, created, modified, lease FROM keys "
        "WHERE key >= ? AND key < ? AND key > ? ORDER BY key LIMIT ?"
    )
    rows = db.execute(query, (prefix, prefix + _AFTER_ALL, after, limit + 1)).fetchall()
    return Listing(tuple(KeyValue(*row) for row in rows[:limit]), _revision(db), len(rows) > limit)
