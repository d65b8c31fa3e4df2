"""Writes to several shards, all or nothing: by two-phase commit, through crashes at every step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.sqlserver import OWN_PRIVILEGES, OWN_SCHEMA
from loadtest.world.world import World
from tests.proxy.clients import ask, client, fails, ids_on, metric, raw, refused, threads_of, until, value
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

MARKED = Decimal("4242.00")
DUPLICATE, LOCK_TIMEOUT = 1062, 1205
QUICK = {"transactions": {"recovery": "100ms", "in_doubt": "300ms", "ask": "5s"}}
LOST = (2006, 2013, 0, 1158)


class Fragile(Fairlead):
    """Its worker dies where `fault` says."""

    @property
    def fault_file(self) -> Path:
        return self.file.with_suffix(".fault")

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "FAIRLEAD_FAULTS": str(self.fault_file)}

    def die_at(self, point: str) -> None:
        self.fault_file.write_text(point)


@pytest.fixture
def fragile(world: World) -> Iterator[Fragile]:
    member = world.fleet(QUICK, Fragile)["eu"]
    assert isinstance(member, Fragile)
    yield member
    assert in_doubt(world) == 0


def marked(world: World) -> dict[str, int]:
    """Shard -> customers that carry the mark, as committed."""
    text = f"SELECT COUNT(*) FROM shop.customers WHERE balance = {MARKED}"
    return {name: int(shard.primary.value(text)) for name, shard in world.shards.items()}


def in_doubt(world: World) -> int:
    return sum(len(shard.primary.query("XA RECOVER")) for shard in world.shards.values())


def decisions(world: World) -> list[tuple[Any, ...]]:
    found = []
    for shard in world.shards.values():
        if shard.primary.query(f"SHOW DATABASES LIKE '{OWN_SCHEMA}'"):
            found += shard.primary.query(f"SELECT gtrid, outcome, parts FROM {OWN_SCHEMA}.decision")
    return found


MARK_ALL = f"UPDATE customers SET balance = {MARKED}"


def test_all_shards_or_none(world: World) -> None:
    member = world.fairlead()
    older = set(decisions(world))
    counts = {name: len(ids_on(world, name, 100)) for name in world.shards}
    with client(member) as connection, connection.cursor() as cursor:
        before = metric(member, "fairlead_atomic_transactions_total", outcome="committed")
        assert cursor.execute(MARK_ALL) == 100
        assert marked(world) == counts
        assert metric(member, "fairlead_atomic_transactions_total", outcome="committed") == before + 1
        keys = [ids_on(world, name)[0] for name in world.shards]
        rows = ", ".join(f"({key}, 999{n}, 'kettle', 1, 'new', '2026-01-01')" for n, key in enumerate(keys))
        cursor.execute(f"INSERT INTO orders (customer_id, id, item, amount, status, created_at) VALUES {rows}")
        # The last row's key is taken, so the first one's goes back as well.
        fresh = f"({keys[0]}, 99999, 'lamp', 1, 'new', '2026-01-01')"
        taken = f"({keys[1]}, 9991, 'lamp', 1, 'new', '2026-01-01')"
        text = f"INSERT INTO orders (customer_id, id, item, amount, status, created_at) VALUES {fresh}, {taken}"
        fails(connection, text, DUPLICATE)
        assert value(connection, "SELECT COUNT(*) FROM orders WHERE id IN (9990, 9991, 99999)") == 2
        assert cursor.execute("UPDATE countries SET currency = 'XXX' WHERE code = 'DE'") == 1
    assert [shard.primary.value("SELECT currency FROM shop.countries WHERE code = 'DE'")
            for shard in world.shards.values()] == ["XXX"] * len(world.shards)  # fmt: skip
    assert in_doubt(world) == 0 and {outcome for _, outcome, _ in {*decisions(world)} - older} == {"commit"}


def test_prepared_and_explained(world: World) -> None:
    member = world.fairlead()
    with raw(member) as side:
        update = side.prepare("UPDATE customers SET balance = ?")
        assert side.execute(update, ["4242.00"]).affected == 100
    assert sum(marked(world).values()) == 100
    with client(member) as connection:
        steps = ask(connection, f"EXPLAIN ROUTE {MARK_ALL}")
        assert any("two-phase commit" in detail for _, detail in steps)
        assert ask(connection, "SHOW FAIRLEAD TRANSACTIONS UNRESOLVED") == []


def test_parts_that_change_nothing(world: World) -> None:
    with client(world.fairlead()) as connection, connection.cursor() as cursor:
        for name in world.shards:
            (key,) = ids_on(world, name)
            email = value(connection, f"SELECT email FROM customers WHERE id = {key}")
            text = f"UPDATE customers SET balance = {MARKED} WHERE email = '{email}'"
            assert cursor.execute(text) == 1 and marked(world)[name] == 1
        assert cursor.execute("UPDATE customers SET balance = 1 WHERE email = 'nobody'") == 0
    assert in_doubt(world) == 0


def test_connections_are_used_again(world: World) -> None:
    member = world.fairlead()
    with client(member) as connection:
        ask(connection, MARK_ALL)
        before = {name: set(threads_of(shard.primary)) for name, shard in world.shards.items()}
        for n in range(20):
            ask(connection, f"UPDATE customers SET balance = {n}")
        for name, shard in world.shards.items():
            assert before[name] <= set(threads_of(shard.primary))


def test_a_lock_that_is_not_given_rolls_all_back(world: World) -> None:
    member = world.fairlead()
    with client(member) as holder, client(member) as connection:
        holder.begin()
        ask(holder, f"SELECT * FROM customers WHERE id = {ids_on(world, 'eu-1')[0]} FOR UPDATE")
        ask(connection, "SET innodb_lock_wait_timeout = 1")
        fails(connection, MARK_ALL, LOCK_TIMEOUT)
        assert not any(marked(world).values())
        holder.rollback()
        ask(connection, MARK_ALL)
    assert sum(marked(world).values()) == 100


POINTS = {"begun": False, "executed": False, "prepared": False, "written": False, "decided": True, "finished": True}


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_every_step(world: World, fragile: Fragile, point: str) -> None:
    """What was decided is committed everywhere, everything else nowhere, and nobody waits for it for long."""
    with client(fragile) as connection:
        ask(connection, "SELECT 1")
        fragile.die_at(point)
        fails(connection, MARK_ALL, *LOST)
    until(lambda: in_doubt(world) == 0, "recovery", fragile)
    assert sum(marked(world).values()) == (100 if POINTS[point] else 0)
    fragile.wait_ready()
    with client(fragile) as connection:
        ask(connection, "UPDATE customers SET balance = 1")
    assert not any(marked(world).values())


def test_another_fairlead_clears_up(world: World, fragile: Fragile) -> None:
    other = world.fleet(QUICK)["eu"]
    with client(fragile) as connection:
        fragile.die_at("prepared")
        with pytest.raises(pymysql.err.Error):
            ask(connection, MARK_ALL)
    fragile.kill_group()
    until(lambda: in_doubt(world) == 0, "recovery", other)
    assert not any(marked(world).values())
    assert metric(other, "fairlead_atomic_transactions_total", outcome="recovered_abort") >= 1
    assert [outcome for _, outcome, _ in decisions(world) if outcome == "abort"]


def test_unresolved_ones_are_shown_and_kept_while_the_decider_is_away(world: World, fragile: Fragile) -> None:
    home = world.shards["eu-0"].primary
    with client(world.fairlead()) as watcher:
        with client(fragile) as connection:
            fragile.die_at("decided")
            fails(connection, MARK_ALL, *LOST)
        home.kill()
        try:
            found = until(lambda: ask(watcher, "SHOW FAIRLEAD TRANSACTIONS UNRESOLVED"), "it is shown", fragile)
            assert found[0][1:4] == ("eu-0", "eu-1", "unknown")
            time.sleep(1)  # longer than in_doubt: nothing is guessed
            assert in_doubt_on(world, "eu-1") == 1
        finally:
            home.launch()
            home.wait_ready()
        until(lambda: in_doubt(world) == 0, "recovery", fragile)
        assert sum(marked(world).values()) == 100
        assert ask(watcher, "SHOW FAIRLEAD TRANSACTIONS UNRESOLVED") == []


def in_doubt_on(world: World, shard: str) -> int:
    return len(world.shards[shard].primary.query("XA RECOVER"))


def test_decisions_go_when_their_parts_are_committed(world: World, fragile: Fragile) -> None:
    home = world.shards["eu-0"].primary
    with client(fragile) as connection:
        ask(connection, MARK_ALL)
    fresh = max(gtrid for gtrid, *_ in decisions(world))
    home.run(
        f"INSERT INTO {OWN_SCHEMA}.decision VALUES "
        "('000000000001.0000000000000001.eu-0', 'commit', 'eu-1', NOW() - INTERVAL 2 MINUTE), "
        "('000000000002.0000000000000002.eu-0', 'commit', 'gone', NOW() - INTERVAL 2 MINUTE), "
        "('000000000003.0000000000000003.eu-0', 'abort', '', NOW() - INTERVAL 2 MINUTE), "
        "('000000000004.0000000000000004.eu-0', 'abort', '', NOW() - INTERVAL 2 DAY)"
    )
    until(lambda: old_decisions(world) == [2, 3], "old decisions go", fragile)
    assert fresh in [gtrid for gtrid, *_ in decisions(world)], "the one just made stays"


def old_decisions(world: World) -> list[int]:
    return sorted(int(gtrid[:12], 16) for gtrid, *_ in decisions(world) if gtrid < b"0001")


def test_a_shard_that_may_not_take_part_is_named(world: World) -> None:
    server = world.shards["eu-1"].primary
    server.run(f"REVOKE {OWN_PRIVILEGES} ON {OWN_SCHEMA}.* FROM fairlead@'127.0.0.1'")
    try:
        server.run(f"DROP DATABASE IF EXISTS {OWN_SCHEMA}")
        member = world.fleet({"limits": {"drain": "0s"}})["eu"]
        with client(member) as connection:
            assert "eu-1" in refused(connection, MARK_ALL, "FL3022")
    finally:
        server.run(f"GRANT {OWN_PRIVILEGES} ON {OWN_SCHEMA}.* TO fairlead@'127.0.0.1'")


@pytest.mark.world(regions=2)
def test_shards_of_another_region_are_refused(world: World) -> None:
    with client(world.fairlead()) as connection:
        refused(connection, MARK_ALL, "FL3021")
        mine = [key for key in (region_id("eu", n) for n in range(1, 30)) if shard_of_id(world.shape, key)]
        assert ask(connection, f"UPDATE customers SET balance = {MARKED} WHERE id IN {tuple(mine)}") == []
    assert sum(marked(world).values()) == len(mine)
