"""What is measured of Redis: a cell is one command at one depth of pipelining, from 50 clients."""

from dataclasses import dataclass

from loadtest.bench.cells import DIRECT, SHARDED, UNSHARDED, Promise

TWEMPROXY = "twemproxy"
TARGETS = (DIRECT, TWEMPROXY, UNSHARDED, SHARDED)
"""`fairlead` stands before one shard, `fairlead-sharded` and twemproxy before four."""
REFERENCE = TWEMPROXY
CLIENTS = 50
PIPELINES = (1, 16, 64)
MGET_KEYS = 10
_REQUESTS = {1: 60_000, 16: 400_000, 64: 500_000}
"""A second or two on a slow core."""
_LIMITS = {1: 1.0, 16: 0.35}


@dataclass(frozen=True, order=True)
class RedisCell:
    """One line of the table. `command` is GET, SET, or MGET of ten keys."""

    command: str
    pipeline: int
    targets: tuple[str, ...] = TARGETS

    @property
    def name(self) -> str:
        return f"{self.command} P{self.pipeline}"

    @property
    def requests(self) -> int:
        """How many one run makes; MGET's cost about five times as much."""
        share = 5 if self.command == "MGET" else 1
        return _REQUESTS[self.pipeline] // share


def cells() -> list[RedisCell]:
    return [RedisCell(command, pipeline) for command in ("GET", "SET", "MGET") for pipeline in PIPELINES]


def promises() -> list[Promise]:
    """CPU per request over four shards: at most twemproxy's, and 0.35 of it where requests come in pipelines."""
    return [
        Promise(SHARDED, TWEMPROXY, cell.name, _LIMITS[cell.pipeline])
        for cell in cells()
        if cell.pipeline in _LIMITS
    ]
