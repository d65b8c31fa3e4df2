"""The bench's Fairlead: a configuration that is accepted, and rows where it will look for them."""

from pathlib import Path

import pytest
import yaml

from config.load import load
from loadtest.bench import subject
from loadtest.bench.placement import shard_of
from loadtest.world.mariadb import MariaDB
from router.keys import KeyType, key
from router.topology import Topology


def topology(tmp_path: Path, count: int, connections: int = 64) -> Topology:
    servers = [MariaDB(f"s{n}", tmp_path, port=7400 + n, server_id=n + 1) for n in range(count)]
    names = [server.name for server in servers]
    keyspaces = {"sball": {"shards": names[:1]}, "sbtest": subject.sharded(names, {"sbtest1": "id"})}
    content = subject.configuration(servers, keyspaces, port=7306, http_port=7380, connections=connections)
    path = tmp_path / "fairlead.yaml"
    path.write_text(yaml.safe_dump(content))
    return Topology.build(load(path, environment=subject.ENVIRONMENT))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_rows_are_loaded_where_the_router_looks(tmp_path: Path, count: int) -> None:
    built = topology(tmp_path, count)
    keyspace = built.keyspace("sbtest")
    assert keyspace is not None
    table = keyspace.table("sbtest1")
    assert table is not None and table.vindex is not None
    placed = shard_of([shard.name for shard in keyspace.shards])
    for number in (*range(1, 500), 10_000, 2**31 - 1):
        routed = table.vindex.shard_of((key(number, KeyType.INT_SIGNED),))
        assert built.shards[routed].name == placed(number)


def test_the_whole_table_is_an_unsharded_keyspace(tmp_path: Path) -> None:
    keyspace = topology(tmp_path, 4).keyspace("sball")
    assert keyspace is not None and keyspace.unsharded
    assert [shard.name for shard in keyspace.shards] == ["s0"]
