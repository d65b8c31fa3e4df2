from collections.abc import Mapping
from typing import Any, NamedTuple

from _speedups.stats import StatsPage

FAMILIES: tuple[str, ...]
PARK_REASONS: tuple[str, ...]
ERROR_CLASSES: tuple[str, ...]
COUNTERS: tuple[str, ...]
GAUGES: tuple[str, ...]
ARRAYS: Mapping[str, tuple[str, ...]]
SHARD_COUNTERS: tuple[str, ...]
SHARD_GAUGES: tuple[str, ...]
SLOW_MOST: int

class Hot(NamedTuple):
    hash: int
    samples: int
    over: int
    pattern: str | None
    text: bytes | None

class SlowCommand(NamedTuple):
    seq: int
    worker: int
    shard: int
    ts_ns: int
    us: int
    command: str
    words: int
    client: int
    failed: bool
    pattern: str | None
    hash: int
    text: bytes | None

class RedisPage:
    def __init__(self, page: StatsPage) -> None: ...
    def sum(self) -> dict[str, Any]: ...
    def shard(self, shard: int) -> dict[str, Any]: ...
    def hot(self, shard: int, limit: int = ...) -> list[Hot]: ...
    def slow(self, limit: int = ..., shard: int | None = None) -> list[SlowCommand]: ...
    def alias(self, hash: int) -> str: ...
    def reset_slow(self) -> None: ...

class RedisBlock:
    def __init__(self, page: StatsPage, worker: int) -> None: ...
    def family(self, name: str) -> None: ...
    def error(self, name: str) -> None: ...
