"""64 clients move money between accounts on different shards while Fairleads and a shard are killed -9 at random.

Afterwards the total is what it was, every transfer whose COMMIT was answered with OK is there, none is half there, and
nothing is in doubt. `FAIRLEAD_FAULT_SECONDS` (default 6) says for how long; `make money` takes 60.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

import pymysql

from loadtest.world.fairlead import Fairlead
from loadtest.world.process import ServerFailed
from loadtest.world.world import World
from tests.proxy.clients import ids_on, until
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

CLIENTS = 64
SECONDS = float(os.environ.get("FAIRLEAD_FAULT_SECONDS", "6"))
SEED = int(os.environ.get("SEED", "6"))
ACCOUNTS = 80
FIRST_ORDER = 1_000_000
CHANGES = {
    "transactions": {"recovery": "200ms", "in_doubt": "1s", "ask": "3s"},
    "health": {"interval": "200ms"},
    "limits": {"queue_wait": "2s"},
}


@dataclass
class Client:
    """Moves money until it is told to stop; remembers which transfers were acknowledged."""

    number: int
    members: list[Fairlead]
    accounts: list[int]
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    tried: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def run(self, stop: threading.Event) -> None:
        dice = random.Random(SEED * 1000 + self.number)
        while not stop.is_set():
            with contextlib.suppress(OSError, EOFError):
                try:
                    self._connection(dice, stop)
                except pymysql.err.Error as error:
                    errno, text = (*error.args, "", "")[:2]
                    self.errors[f"{errno} {str(text)[:6]}"] += 1
            stop.wait(0.02)

    def _connection(self, dice: random.Random, stop: threading.Event) -> None:
        member = dice.choice(self.members)
        with contextlib.closing(member.connect(connect_timeout=2, read_timeout=30)) as connection:
            cursor = connection.cursor()
            cursor.execute("SET innodb_lock_wait_timeout = 1")
            while not stop.is_set():
                self._transfer(connection, cursor, dice)

    def _transfer(self, connection, cursor, dice: random.Random) -> None:  # type: ignore[no-untyped-def]
        payer, payee = dice.sample(self.accounts, 2)
        amount = Decimal(dice.randrange(1, 500)) / 100
        self.tried += 1
        order = FIRST_ORDER + self.number * 100_000 + self.tried
        if dice.random() < 0.2:
            # In one statement, autocommitted.
            text = "UPDATE customers SET balance = CASE WHEN id = %s THEN balance - %s ELSE balance + %s END "
            cursor.execute(text + "WHERE id IN (%s, %s)", (payer, amount, amount, payer, payee))
            return
        connection.begin()
        cursor.execute("UPDATE customers SET balance = balance - %s WHERE id = %s", (amount, payer))
        cursor.execute("UPDATE customers SET balance = balance + %s WHERE id = %s", (amount, payee))
        insert = "INSERT INTO orders (customer_id, id, item, amount, status, created_at) VALUES "
        for account in (payer, payee):
            cursor.execute(f"{insert}(%s, %s, 'transfer', %s, 'paid', '2026-01-01')", (account, order, amount))
        connection.commit()
        self.acknowledged.append((payer, order))


def total(world: World) -> Decimal:
    return sum((shard.primary.value("SELECT SUM(balance) FROM shop.customers") for shard in world.shards.values()),
               start=Decimal(0))  # fmt: skip


def transfers(world: World) -> dict[int, int]:
    """Order -> how many of its two halves are there."""
    found: dict[int, int] = {}
    for shard in world.shards.values():
        for (order,) in shard.primary.query(f"SELECT id FROM shop.orders WHERE id >= {FIRST_ORDER}"):
            found[order] = found.get(order, 0) + 1
    return found


def in_doubt(world: World) -> int:
    return sum(len(shard.primary.query("XA RECOVER")) for shard in world.shards.values())


def wreck(world: World, members: list[Fairlead], stop: threading.Event) -> dict[str, int]:
    """Kills one after the other and starts it again."""
    dice = random.Random(SEED)
    done = {"workers": 0, "Fairleads": 0, "shards": 0}
    while not stop.wait(dice.uniform(0.4, 1.2)):
        what = dice.choice(list(done))
        if what == "shards":
            server = world.shards["eu-1"].primary
            server.kill()
            stop.wait(dice.uniform(0.1, 0.5))
            server.launch()
            server.wait_ready()
        else:
            member = dice.choice(members)
            with contextlib.suppress(ServerFailed):
                if what == "workers":
                    for pid in member.workers_now():  # type: ignore[attr-defined]
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, 9)
                else:
                    member.kill_group()
                    member.launch()
        done[what] += 1
    return done


class Mortal(Fairlead):
    """Whose workers can be found."""

    def workers_now(self) -> list[int]:
        children = f"/proc/{self.pid}/task/{self.pid}/children"
        with open(children) as file:
            pids = [int(one) for one in file.read().split()]
        return [pid for pid in pids if b"admin" not in _title(pid)]


def _title(pid: int) -> bytes:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", "rb") as file:
        return file.read()
    return b""


def test_the_total_is_what_it_was(world: World) -> None:
    members: list[Fairlead] = [world.fleet(CHANGES, Mortal)["eu"] for _ in range(2)]
    before = total(world)
    accounts = ids_on(world, "eu-0", ACCOUNTS // 2) + ids_on(world, "eu-1", ACCOUNTS // 2)
    clients = [Client(number, members, accounts) for number in range(CLIENTS)]
    stop, calm = threading.Event(), threading.Event()
    threads = [threading.Thread(target=one.run, args=(stop,), daemon=True) for one in clients]
    for thread in threads:
        thread.start()
    threading.Timer(SECONDS, calm.set).start()
    done = wreck(world, members, calm)
    stop.set()
    deadline = time.monotonic() + 60
    for thread in threads:
        thread.join(max(0.1, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads)
    for shard in world.shards.values():
        shard.primary.launch()
        shard.primary.wait_ready()
    for member in members:
        member.launch()
        member.wait_ready()
    until(lambda: in_doubt(world) == 0, "nothing is in doubt", members[0], 30.0)
    errors = sum((one.errors for one in clients), start=Counter[str]())
    acknowledged = [order for one in clients for _, order in one.acknowledged]
    found = transfers(world)
    print(f"{len(acknowledged)} acknowledged of {sum(one.tried for one in clients)}; {done}; errors {dict(errors)}")
    assert total(world) == before
    assert [order for order, halves in found.items() if halves != 2] == []
    assert [order for order in acknowledged if order not in found] == []
    assert len(acknowledged) > CLIENTS
