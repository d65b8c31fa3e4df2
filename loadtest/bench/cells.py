"""What is measured: a cell is one sysbench script in one protocol at one number of threads."""

from dataclasses import dataclass

from loadtest.bench.sysbench import SCRIPTS

DIRECT, HAPROXY, PROXYSQL = "direct", "haproxy", "proxysql"
UNSHARDED, SHARDED = "fairlead", "fairlead-sharded"
TARGETS = (DIRECT, HAPROXY, PROXYSQL, UNSHARDED, SHARDED)
POINT_SELECT = "oltp_point_select"
THREADS = (1, 16, 64)
# The reference that every ratio is taken to, round by round.
REFERENCE = HAPROXY


@dataclass(frozen=True, order=True)
class Cell:
    """One line of the table. `targets` run back to back within a round."""

    script: str
    prepared: bool
    threads: int
    targets: tuple[str, ...]

    @property
    def protocol(self) -> str:
        return "prepared" if self.prepared else "text"

    @property
    def name(self) -> str:
        return f"{self.script} {self.protocol} {self.threads}"


def short_cells() -> list[Cell]:
    """The cells of the promise: point selects over 4 shards, both protocols, 16 and 64 threads."""
    targets = (DIRECT, HAPROXY, PROXYSQL, SHARDED)
    return [
        Cell(POINT_SELECT, prepared, threads, targets) for prepared in (False, True) for threads in (16, 64)
    ]


def full_cells() -> list[Cell]:
    """Every script, both protocols, 1, 16 and 64 threads; the sharded target where it can run the script."""
    return [
        Cell(
            script,
            prepared,
            threads,
            tuple(name for name in TARGETS if name != SHARDED or script == POINT_SELECT),
        )
        for script in SCRIPTS
        for prepared in (False, True)
        for threads in THREADS
    ]


@dataclass(frozen=True)
class Promise:
    """A limit on the median ratio of CPU per query between two targets in one cell."""

    target: str
    against: str
    cell: str
    at_most: float


def promises() -> list[Promise]:
    """The limits that the project has set itself for point selects routed over 4 shards."""
    limits = []
    for prepared in (False, True):
        for threads in (16, 64):
            cell = Cell(POINT_SELECT, prepared, threads, ()).name
            limits.append(Promise(SHARDED, HAPROXY, cell, 1.05 if prepared else 1.00))
            limits.append(Promise(SHARDED, PROXYSQL, cell, 0.60))
    return limits
