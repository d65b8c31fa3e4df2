"""The world that other tests stand on."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pymysql
import pytest
import xxhash

from loadtest.world import ports
from loadtest.world.world import World
from tests.servers import BOTH_SERVERS

COUNT_CUSTOMERS = "SELECT COUNT(*) FROM shop.customers"


def published_shard(identifier: int) -> str:
    """docs/sharding.md: the region bits, then xxh64's top 12 bits over that region's two shards in order."""
    region = {1: "eu", 2: "us"}[identifier >> 40]
    bucket = xxhash.xxh64_intdigest(identifier.to_bytes(8, "little")) >> 52
    return f"{region}-{bucket * 2 // 4096}"


@BOTH_SERVERS
def test_every_customer_is_loaded_once_where_it_belongs(world: World) -> None:
    found = {}
    for name, shard in world.shards.items():
        for (identifier,) in shard.primary.query("SELECT id FROM shop.customers"):
            assert identifier not in found
            found[identifier] = name
    assert len(found) == 100 * len(world.regions)
    assert all(published_shard(identifier) == name for identifier, name in found.items())


@BOTH_SERVERS
def test_service_account_serves_keyspaces_and_nothing_else(world: World) -> None:
    primary = world.shards["eu-0"].primary
    connection = primary.connect_tcp(database="shop")
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE scratch (a INT)")
        cursor.execute("INSERT INTO scratch VALUES (1)")
        for refused in ("SELECT * FROM mysql.user", "SHUTDOWN", "SET GLOBAL max_connections = 5"):
            with pytest.raises(pymysql.err.Error, match=r"denied|need"):
                cursor.execute(refused)
    connection.close()


@BOTH_SERVERS
@pytest.mark.world(shards=1, replicas=1)
def test_replica_follows_and_reset_undoes_a_failover(world: World) -> None:
    shard = world.shards["eu-0"]
    old, new = shard.primary, shard.promote()
    new.run("DELETE FROM customers", database="shop")
    shard.wait_replicas()
    assert old.value(COUNT_CUSTOMERS) == 0
    assert (old.read_only, new.read_only) == (True, False)
    world.reset()
    assert shard.primary is old
    assert (old.value(COUNT_CUSTOMERS), new.value(COUNT_CUSTOMERS)) == (100, 100)
    assert (old.read_only, new.read_only) == (False, True)


def test_reset_puts_rows_schemas_and_processes_back(world: World) -> None:
    first, second = (shard.primary for shard in world.shards_of("eu"))
    before = first.value(COUNT_CUSTOMERS)
    first.run("DELETE FROM customers", "ALTER TABLE orders ADD extra INT", database="shop")
    second.run("CREATE DATABASE stray", "CREATE TABLE shop.stray (a INT)")
    second.kill()
    world.reset()
    assert first.value(COUNT_CUSTOMERS) == before
    assert "extra" not in first.query("SHOW CREATE TABLE shop.orders")[0][1]
    assert second.databases() == ["shop"]
    assert ("stray",) not in second.query("SHOW TABLES FROM shop")


def test_kept_rows_survive_kill_9(world: World) -> None:
    primary = world.shards["eu-0"].primary
    primary.run("CREATE TABLE kept (a INT)", "INSERT INTO kept VALUES (1)", database="plain")
    primary.kill()
    primary.start()
    assert primary.value("SELECT COUNT(*) FROM plain.kept") == 1


CHILD = """
from loadtest.world.ports import reserve
from loadtest.world.redis import Redis
from pathlib import Path
import sys, time
server = Redis("redis", Path(sys.argv[1]), port=reserve()[0])
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.servers
def test_servers_die_with_a_killed_parent(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", CHILD, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        watch = os.pidfd_open(server)
        parent.send_signal(signal.SIGKILL)
    # A pidfd becomes readable when its process ends.
    assert select.select([watch], [], [], 10)[0]
    os.close(watch)


def test_reserved_ports_are_free_and_held() -> None:
    held = ports.reserve(50)
    assert len(set(held)) == 50
    assert all(ports.is_free(port) for port in held)
    assert not set(held) & set(ports.reserve(50))
