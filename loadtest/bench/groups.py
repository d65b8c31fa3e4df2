"""What it takes to put 100,000 groups of four shards together, beside four clients that each read their shard's part.

The parts are asked for directly and all at the same moment, so both ways keep the servers equally busy; the rest is
what merging costs. Every round does both, in an order drawn anew. Clients are the `mariadb` program, whose time is
short and the same.
"""

import random
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from shutil import which
from typing import Any

from loadtest.bench import machine
from loadtest.bench.errors import CannotMeasure
from loadtest.bench.progress import Progress
from loadtest.bench.stats import Interval, median_interval
from loadtest.world.dataset import Rows
from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import Shape
from loadtest.world.sqlserver import SERVICE_USER, Passwords, SqlServer
from loadtest.world.world import World

DATABASE, SHARDS = "groups", 4
ROWS, GROUPS = 1_000_000, 100_000
LIMIT = 1.7
"""Of the time of the four clients."""
STATEMENT = "SELECT k, COUNT(*), SUM(v), MAX(v) FROM facts GROUP BY k"
TIMEOUT = 120.0


@dataclass(frozen=True)
class Facts:
    """One table whose rows are on the shards by `id` and are grouped by `k`, which is no key."""

    rows_in_all: int
    groups: int
    database: str = DATABASE

    def shards(self, shape: Shape) -> list[str]:
        return shape.all_shards()

    def keyspace(self, shape: Shape) -> dict[str, Any]:
        return {
            "shards": self.shards(shape),
            "vindexes": {"by_id": {"function": "hash"}},
            "tables": {"facts": {"kind": "sharded", "vindex": "by_id", "columns": ["id"]}},
        }

    def schema(self) -> list[str]:
        return ["CREATE TABLE facts (id BIGINT NOT NULL PRIMARY KEY, k INT NOT NULL, v INT NOT NULL)"]

    def rows(self, shape: Shape, shard: str) -> Iterable[Rows]:
        return ()

    def fill(self, world: World) -> None:
        """By the servers themselves. Where a row lies does not matter to a grouped read."""
        names = self.shards(world.shape)
        for place, name in enumerate(names):
            world.shards[name].primary.run(
                f"INSERT INTO facts SELECT seq * {len(names)} + {place}, (seq * 7919 + {place}) % {self.groups}, "
                f"seq % 1000 FROM seq_1_to_{self.rows_in_all // len(names)}",
                "ANALYZE TABLE facts",
                database=self.database,
            )


@dataclass(frozen=True)
class Cost:
    """Seconds by round of both ways."""

    rows: int
    groups: int
    merged: tuple[float, ...]
    parts: tuple[float, ...]

    @property
    def ratio(self) -> Interval:
        return median_interval([ours / theirs for ours, theirs in zip(self.merged, self.parts, strict=True)])

    @property
    def kept(self) -> bool:
        return self.ratio.median <= LIMIT

    def as_dict(self) -> dict[str, Any]:
        ratio = self.ratio
        return {
            "rows": self.rows, "groups": self.groups, "merged": self.merged, "parts": self.parts,
            "ratio": {"median": ratio.median, "low": ratio.low, "high": ratio.high, "coverage": ratio.coverage},
            "limit": LIMIT, "kept": self.kept,
        }  # fmt: skip


def measure(rounds: int, progress: Progress, rows: int = ROWS, groups: int = GROUPS, seed: int = 1) -> Cost:
    """Raises CannotMeasure and the world's errors."""
    if which("mariadb") is None:
        raise CannotMeasure("the program mariadb is not on PATH; wanted: mariadb-client")
    facts = Facts(rows, groups)
    shape = Shape(regions=("eu",), shards=SHARDS, replicas=0)
    with World(shape, datasets=[facts]) as world:
        progress.say(f"filling {SHARDS} servers with {rows:,} rows")
        facts.fill(world)
        fairlead = world.fairlead()
        servers = [world.shards[name].primary for name in facts.shards(shape)]
        _check(fairlead, servers, facts)
        ways = {"merged": [_through(fairlead)], "parts": [_to(server) for server in servers]}
        return Cost(rows, groups, **_timed(ways, rounds, random.Random(seed), progress))


def _timed(
    ways: dict[str, list[list[str]]], rounds: int, dice: random.Random, progress: Progress
) -> dict[str, tuple[float, ...]]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, rounds):  # the first warms up and does not count
        for name in dice.sample(sorted(ways), len(ways)):
            seconds = _together(ways[name])
            if number >= 0:
                found[name].append(seconds)
        progress.step(number + 1, rounds, f"merged {found['merged'][-1:]}, parts {found['parts'][-1:]}")
    return {name: tuple(seconds) for name, seconds in found.items()}


def _together(commands: Sequence[Sequence[str]]) -> float:
    """Seconds until all of them have read all."""
    began = time.monotonic()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    if any(one.wait(TIMEOUT) for one in running):
        raise CannotMeasure("a client failed; its message is above")
    return time.monotonic() - began


def _through(fairlead: Fairlead) -> list[str]:
    return [
        *_client(), "--host=127.0.0.1", f"--port={fairlead.port}", "--user=demo", "--password=demo", DATABASE,
        "-e", STATEMENT,
    ]  # fmt: skip


def _to(server: SqlServer) -> list[str]:
    return [
        *_client(), "--host=127.0.0.1", f"--port={server.port}", f"--user={SERVICE_USER}",
        f"--password={Passwords().service}", DATABASE, "-e", STATEMENT,
    ]  # fmt: skip


def _client() -> list[str]:
    return ["mariadb", "--no-defaults", "--quick", "--batch", "--skip-ssl"]


def _check(fairlead: Fairlead, servers: Sequence[SqlServer], facts: Facts) -> None:
    """The merged groups are those of all parts, or the times are of something else."""
    summed: dict[int, list[int]] = {}
    for server in servers:
        for k, count, total, most in server.query(STATEMENT, DATABASE):
            so_far = summed.setdefault(k, [0, 0, most])
            summed[k] = [so_far[0] + count, so_far[1] + int(total), max(so_far[2], most)]
    merged = {k: [count, int(total), most] for k, count, total, most in fairlead.query(STATEMENT, database=DATABASE)}
    if merged != summed or len(summed) != facts.groups:
        raise CannotMeasure(f"{len(merged)} groups were merged of {len(summed)}, or other numbers")


def lines(cost: Cost) -> list[str]:
    ratio, verdict = cost.ratio, "kept" if cost.kept else "BROKEN"
    return [
        *(f"{name}: {value}" for name, value in machine.describe({}).items()),
        f"{cost.groups:,} groups of {cost.rows:,} rows on {SHARDS} shards, {len(cost.merged)} rounds",
        f"four clients, each its shard's part   {median_interval(cost.parts).median:8.3f} s",
        f"one client, merged by Fairlead        {median_interval(cost.merged).median:8.3f} s",
        f"ratio {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}], limit {LIMIT}: {verdict}",
    ]


