from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

PARK_REASONS: tuple[str, ...]
ERROR_CLASSES: tuple[str, ...]
PIN_REASONS: tuple[str, ...]
BACKEND_STATES: tuple[str, ...]
BACKEND_ROLES: tuple[str, ...]
FLAVOURS: tuple[str, ...]
NAME_KINDS: tuple[str, ...]
COUNTERS: tuple[str, ...]
GAUGES: tuple[str, ...]
STATES: tuple[str, ...]
ARRAYS: Mapping[str, tuple[str, ...]]
SHARD_COUNTERS: tuple[str, ...]
SHARD_GAUGES: tuple[str, ...]
SLOW_FLAGS: Mapping[str, int]
NO_LAG: int
NONE: int
ACTIVE: int
LOCAL: int
BUCKETS: int
DIGEST_HIST: int
TEXT_KEPT: int

class LayoutError(ValueError): ...

class Name(NamedTuple):
    text: str
    attr: int
    active: bool
    local: bool
    limit: int

class Timing(NamedTuple):
    samples: int
    sum_us: int
    max_us: int
    buckets: list[int]

class Digest(NamedTuple):
    fingerprint: int
    user: int
    keyspace: int
    text: str
    truncated: bool
    first_seen_ns: int
    last_seen_ns: int
    errors: int
    warnings: int
    bytes_out: int
    shard_mask: int
    time: Timing
    mark: str | None

class Slow(NamedTuple):
    seq: int
    worker: int
    ts_ns: int
    fingerprint: int
    user: int
    keyspace: int
    shard: int
    total_us: int
    backend_us: int
    wait_us: int
    bytes_out: int
    session: int
    error: int
    flags: int

class Health(NamedTuple):
    backend: int
    state: str
    role: str
    flavour: str
    server_version: int
    server_id: int
    lag_ms: int | None
    last_ok_ns: int
    checked_ns: int
    changed_ns: int
    position: int
    failures: int

class Slot(NamedTuple):
    pid: int
    started_ns: int
    restarts: int
    last_exit: int

class Shape(NamedTuple):
    workers: int
    shards: int
    backends: int
    users: int
    keyspaces: int
    regions: int
    digests: int
    slow: int

def bucket(us: int) -> int: ...
def bucket_bounds(index: int) -> tuple[int, int | None]: ...
def digest_bounds(index: int) -> tuple[int, int | None]: ...
def now_ns() -> int: ...
def pack_position(source: int, sequence: int) -> int: ...
def reached(replica: int, wanted: int) -> bool: ...

class StatsPage:
    @classmethod
    def create(
        cls,
        workers: int,
        shards: int,
        backends: int,
        digests: int = ...,
        slow: int = ...,
        users: int = ...,
        keyspaces: int = ...,
        regions: int = ...,
    ) -> Self: ...
    @classmethod
    def attach(cls, buffer: Any) -> Self: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def size(self) -> int: ...
    @property
    def memory(self) -> memoryview: ...
    def worker(self, index: int, lane: int = ...) -> WorkerBlock: ...
    def counters(self, index: int) -> dict[str, Any]: ...
    def sum(self) -> dict[str, Any]: ...
    def slot(self, index: int) -> Slot: ...
    def worker_started(self, index: int, pid: int) -> None: ...
    def worker_exited(self, index: int, status: int = ...) -> None: ...
    def clear_worker(self, index: int) -> None: ...
    def shard(self, index: int, shard: int) -> dict[str, Any]: ...
    def shard_sum(self, shard: int) -> dict[str, Any]: ...
    def histogram(self, shard: int, which: str = ...) -> Timing: ...
    def digests(self) -> list[Digest]: ...
    def digest_use(self) -> tuple[int, int]: ...
    def slow(self, after_seq: int = ..., limit: int = ...) -> list[Slow]: ...
    def limit_cells(self, backend: int) -> list[tuple[int, int]]: ...
    def limit_take(self, backend: int, worker: int, limit: int) -> bool: ...
    def limit_give(self, backend: int, worker: int) -> None: ...
    def limit_want(self, backend: int, worker: int, want: int) -> None: ...
    def set_limit(self, backend: int, limit: int) -> None: ...
    def limit_yields(self, backend: int, worker: int, limit: int) -> bool: ...
    def health(self, backend: int) -> Health: ...
    def publish_health(
        self,
        backend: int,
        state: str,
        role: str,
        flavour: str = ...,
        server_version: int = ...,
        server_id: int = ...,
        lag_ms: int | None = ...,
        position: int = ...,
    ) -> None: ...
    def position(self, user: int, shard: int) -> int: ...
    def raise_position(self, user: int, shard: int, value: int) -> None: ...
    def declare(self, kind: str, entries: Iterable[tuple[str, int, bool]]) -> list[int]: ...
    def names(self, kind: str) -> list[Name]: ...
    def index_of(self, kind: str, text: str) -> int: ...
    def state(self) -> dict[str, int]: ...
    def started(self, pid: int) -> None: ...
    def config_loaded(self, epoch: int) -> None: ...
    def config_refused(self) -> None: ...
    def drain(self) -> None: ...

class WorkerBlock:
    page: StatsPage
    index: int
    lane: int
    def __init__(self, page: StatsPage, index: int, lane: int = ...) -> None: ...
    def add(self, name: str, n: int = ...) -> None: ...
    def set(self, name: str, value: int) -> None: ...
    def park(self, reason: str) -> None: ...
    def error(self, name: str) -> None: ...
    def pin(self, reason: str, n: int = ...) -> None: ...
    def heartbeat(self) -> None: ...
    def started(self, pid: int, epoch: int) -> None: ...
    def shard_add(self, shard: int, name: str, n: int = ...) -> None: ...
    def shard_time(self, shard: int, proxy_us: int, backend_us: int) -> None: ...
    def claim(
        self, fingerprint: int, text: bytes, user: int = ..., keyspace: int = ..., idle_ns: int = ...
    ) -> tuple[int, int]: ...
    def exposure(self, outcome: str) -> None: ...
    def atomic(self, outcome: str) -> None: ...
    def in_doubt(self, parts: int) -> None: ...
    def scratch(self, outcome: str, rows: int, size: int) -> None: ...
    def shadow(self, change: str) -> None: ...
    def digest_mark(self, index: int, generation: int, mark: int) -> None: ...
    def digests_unmark(self) -> None: ...
    def digest_add(
        self,
        index: int,
        generation: int,
        us: int,
        error: bool = ...,
        shard: int = ...,
        bytes_out: int = ...,
        warnings: int = ...,
    ) -> None: ...
    def slow_add(
        self,
        fingerprint: int,
        total_us: int,
        backend_us: int,
        wait_us: int,
        index: int = ...,
        generation: int = ...,
        shard: int = ...,
        user: int = ...,
        keyspace: int = ...,
        error: int = ...,
        flags: int = ...,
        bytes_out: int = ...,
        session: int = ...,
    ) -> None: ...
