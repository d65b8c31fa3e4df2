"""The topology: indexes, homes, lookups, and what it keeps of the settings."""

from __future__ import annotations

import dataclasses

import pytest

from config.settings import (
    Address,
    ColumnType,
    HashVindex,
    KeyspaceSettings,
    Peer,
    PinnedTable,
    ReferenceTable,
    RegionBitsVindex,
    RegionSettings,
    ReplicaSettings,
    Settings,
    ShardedTable,
    ShardSettings,
)
from config.words import Flavour, MultiShardWrites, Scatter
from router.topology import ServerRole, TableKind, Topology


def shard(region: str, port: int | None = None, *replicas: int) -> ShardSettings:
    return ShardSettings(
        region=region,
        flavour=Flavour.MARIADB,
        primary=Address("127.0.0.1", port) if port else None,
        replicas=tuple(ReplicaSettings(address=Address("127.0.0.1", one)) for one in replicas),
    )


SETTINGS = Settings(
    region="eu",
    regions={
        "eu": RegionSettings(peer=Peer(host="eu.example", port=7326)),
        "us": RegionSettings(peer=Peer(host="us.example", port=7326, names=("us.example", "us-old"))),
        "ap": RegionSettings(),
    },
    shards={
        "eu-0": shard("eu", 7401, 7402),
        "us-0": shard("us"),
        "eu-1": shard("eu", 7403),
    },
    keyspaces={
        "shop": KeyspaceSettings(
            shards=("eu-0", "eu-1", "us-0"),
            multi_shard_writes=MultiShardWrites.BEST_EFFORT,
            scatter=Scatter.REFUSE,
            vindexes={
                "by_id": RegionBitsVindex(shift=40, bits=8, regions={"eu": (1,), "us": (2,)}),
                "by_hash": HashVindex(),
            },
            tables={
                "customers": ShardedTable(vindex="by_id", columns={"id": ColumnType("bigint", "bigint")}),
                "orders": ShardedTable(vindex="by_id", columns={"customer_id": None}),
                "countries": ReferenceTable(),
                "settings": PinnedTable(shard="eu-1"),
            },
        ),
        "plain": KeyspaceSettings(shards=("eu-1",)),
    },
    users={},
    listeners={},
)
TOPOLOGY = Topology.build(SETTINGS)


def test_every_index_is_a_position():
    for things in (TOPOLOGY.regions, TOPOLOGY.shards, TOPOLOGY.servers, TOPOLOGY.keyspaces, TOPOLOGY.tables):
        assert [one.index for one in things] == list(range(len(things)))


def test_homes():
    assert TOPOLOGY.region.name == "eu"
    assert [str(one) for one in TOPOLOGY.local_shards] == ["eu-0", "eu-1"]
    assert not TOPOLOGY.shard("us-0").is_local
    assert [str(one) for one in TOPOLOGY.peers] == ["us"]


def test_the_same_file_read_in_another_region():
    other = Topology.build(dataclasses.replace(SETTINGS, region="us"))
    assert [str(one) for one in other.local_shards] == ["us-0"]
    assert [one.name for one in other.shards] == [one.name for one in TOPOLOGY.shards]


def test_servers():
    assert [(str(one), one.shard, one.role) for one in TOPOLOGY.servers] == [
        ("127.0.0.1:7401", 0, ServerRole.PRIMARY),
        ("127.0.0.1:7402", 0, ServerRole.REPLICA),
        ("127.0.0.1:7403", 2, ServerRole.PRIMARY),
    ]
    assert TOPOLOGY.shard("eu-1").servers == TOPOLOGY.servers[2:]
    assert TOPOLOGY.shard("us-0").servers == ()


def test_keyspaces():
    shop, plain = TOPOLOGY.keyspace("shop"), TOPOLOGY.keyspace("plain")
    assert (shop.unsharded, plain.unsharded) == (False, True)
    assert (shop.multi_shard_writes, shop.scatter) == (MultiShardWrites.BEST_EFFORT, Scatter.REFUSE)
    assert TOPOLOGY.keyspace("Shop") is None
    assert TOPOLOGY.shard("nowhere") is None and TOPOLOGY.region_named("nowhere") is None


def test_tables():
    shop = TOPOLOGY.keyspace("shop")
    customers, orders = shop.table("customers"), shop.table("orders")
    assert customers.vindex is orders.vindex is shop.vindexes["by_id"]
    assert (customers.kind, customers.columns, customers.shards) == (TableKind.SHARDED, ("id",), (0, 1, 2))
    assert customers.types == (ColumnType("bigint", "bigint"),) and orders.types == (None,)
    assert shop.table("countries").shards == (0, 2, 1)
    assert shop.table("settings").shard == TOPOLOGY.shard("eu-1").index
    assert shop.table("unknown") is None
    with pytest.raises(ValueError):
        _ = customers.shard


def test_certificates_name_peers():
    assert TOPOLOGY.region_of_certificate(("us-old",)).name == "us"
    assert TOPOLOGY.region_of_certificate(("x", "us.example")).name == "us"
    assert TOPOLOGY.region_of_certificate(("eu",)) is None, "a peer is another region, never the own one"
    assert TOPOLOGY.region_of_certificate(("ap",)) is None, "a region without a peer cannot come in"
    assert TOPOLOGY.regions[0].certificate_names == ("eu",)


def test_it_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TOPOLOGY.shards[0].name = "x"
    with pytest.raises(TypeError):
        TOPOLOGY.keyspaces[0].tables["x"] = None


def test_secrets_do_not_show():
    assert "settings=" not in repr(TOPOLOGY.shards[0])
