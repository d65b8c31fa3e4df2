"""One run: servers, rows, terminals, and what must hold of the rows behind it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, Literal

from loadtest.tpcc.conditions import CONDITIONS, TOTALS
from loadtest.tpcc.database import DATABASE, Tpcc
from loadtest.tpcc.scale import Scale
from loadtest.tpcc.terminal import MIX, Ledger, Terminal
from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import Shape
from loadtest.world.world import World

Target = Literal["fairlead", "one-server"]
Say = Callable[[str], None]
JOIN_TIMEOUT = 60.0
"""Seconds a terminal may need for the transaction that it is at when the time is up."""


@dataclass(frozen=True)
class Plan:
    scale: Scale = field(default_factory=Scale)
    shards: int = 4
    terminals: int = 8
    seconds: float = 20.0
    remote: float = 1.0
    target: Target = "fairlead"
    flavour: str = "mariadb"
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """`broken`: condition -> the rows that break it. `unasked`: condition -> why the target did not answer it."""

    seconds: float
    ledgers: list[Ledger]
    broken: dict[str, str]
    unasked: dict[str, str]

    @property
    def done(self) -> Counter[str]:
        return Counter({name: sum(len(ledger.seconds[name]) for ledger in self.ledgers) for name in MIX})

    @property
    def rolled_back(self) -> int:
        return sum(ledger.rolled_back for ledger in self.ledgers)

    @property
    def remote(self) -> int:
        return sum(ledger.remote for ledger in self.ledgers)

    @property
    def retries(self) -> int:
        return sum(ledger.retries.total() for ledger in self.ledgers)

    @property
    def errors(self) -> Counter[str]:
        return sum((ledger.errors for ledger in self.ledgers), Counter())

    @property
    def per_minute(self) -> float:
        """New orders, tpmC: without the waiting times that the specification asks for."""
        return self.done["new_order"] * 60 / self.seconds

    @property
    def ok(self) -> bool:
        return not self.broken and not self.unasked and not self.errors and self.done.total() > 0

    def latency(self, name: str) -> tuple[float, float]:
        """Median and 95th percentile in milliseconds."""
        taken = sorted(second for ledger in self.ledgers for second in ledger.seconds[name])
        return (1e3 * median(taken), 1e3 * taken[int(0.95 * (len(taken) - 1))]) if taken else (0.0, 0.0)


def run(plan: Plan, say: Say) -> Outcome:
    """Raises the world's ServerFailed and ServerMissing."""
    shards = plan.shards if plan.target == "fairlead" else 1
    shape = Shape(regions=("eu",), shards=shards, replicas=0, flavour=plan.flavour)
    say(f"starting {shards} servers with {plan.scale.warehouses} warehouses")
    with World(shape, datasets=[Tpcc(plan.scale)]) as world, _connecting(world, plan) as connect:
        say(f"{plan.terminals} terminals for {plan.seconds:g} s")
        ledgers = work(plan, connect)
        say("looking at what is left")
        broken, unasked = judge(connect, plan.scale)
        return Outcome(plan.seconds, ledgers, broken, unasked)


Connect = Callable[[], Any]


@contextmanager
def _connecting(world: World, plan: Plan) -> Iterator[Connect]:
    if plan.target == "fairlead":
        fairlead: Fairlead = world.fairlead()
        yield lambda: fairlead.connect(database=DATABASE)
    else:
        (shard,) = world.shards.values()
        yield lambda: shard.primary.connect(database=DATABASE)


def work(plan: Plan, connect: Connect) -> list[Ledger]:
    """All terminals for the whole time."""
    until = time.monotonic() + plan.seconds
    homes = [1 + n % plan.scale.warehouses for n in range(plan.terminals)]
    terminals = [
        Terminal(connect, plan.scale, home, (plan.seed, n), plan.remote) for n, home in enumerate(homes)
    ]
    threads = [threading.Thread(target=one.run, args=[until], daemon=True) for one in terminals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(plan.seconds + JOIN_TIMEOUT)
        if thread.is_alive():
            terminals[0].ledger.errors["a terminal does not come back"] += 1
    return [terminal.ledger for terminal in terminals]


def judge(connect: Connect, scale: Scale) -> tuple[dict[str, str], dict[str, str]]:
    """What does not hold, and what could not be asked."""
    broken: dict[str, str] = {}
    unasked: dict[str, str] = {}
    connection = connect()
    with connection.cursor() as cursor:
        for name, statement in CONDITIONS.items():
            _note(name, broken, unasked, partial(_rows, cursor, statement))
        for name, pair in TOTALS.items():
            _note(name, broken, unasked, partial(_unlike, cursor, pair, scale))
    connection.close()
    return broken, unasked


def _note(name: str, broken: dict[str, str], unasked: dict[str, str], found: Callable[[], Any]) -> None:
    try:
        rows = found()
    except Exception as error:  # whatever a driver raises is the answer
        unasked[name] = str(error)[:200]
        return
    if rows:
        broken[name] = str(rows[:3])


def _rows(cursor: Any, statement: str) -> list[Any]:
    cursor.execute(statement)
    return list(cursor.fetchall())


def _unlike(cursor: Any, pair: tuple[str, str], scale: Scale) -> list[Any]:
    (one,), (other,) = (_rows(cursor, statement.format(first=scale.customers))[0] for statement in pair)
    return [] if (one or 0) == (other or 0) else [one, other]
