"""What a change of configuration means for stored rows: nothing said means nothing moves."""

from __future__ import annotations

import dataclasses

import pytest

from config.settings import (
    Buckets,
    HashVindex,
    KeyspaceSettings,
    ListVindex,
    PinnedTable,
    RangeStep,
    RangeVindex,
    ReferenceTable,
    RegionBitsVindex,
    RegionHashVindex,
    RegionSettings,
    Settings,
    ShardedTable,
    ShardSettings,
)
from config.words import Flavour
from router.placement import placement_changes
from router.topology import Topology

NAMES = ("eu-0", "eu-1", "us-0", "us-1")


def settings(vindex=None, shards=NAMES, table=None, order=NAMES) -> Settings:
    return Settings(
        region="eu",
        regions={"eu": RegionSettings(), "us": RegionSettings()},
        shards={name: ShardSettings(region=name[:2], flavour=Flavour.MARIADB) for name in order},
        keyspaces={
            "shop": KeyspaceSettings(
                shards=shards,
                vindexes={"v": vindex or HashVindex()},
                tables={"t": table or ShardedTable(vindex="v", columns={"id": None})},
            ),
            "plain": KeyspaceSettings(shards=shards[:1]),
        },
        users={},
        listeners={},
    )


def changes(old: Settings, new: Settings) -> list[str]:
    return placement_changes(Topology.build(old), Topology.build(new))


def test_nothing_changes():
    assert changes(settings(), settings()) == []


def test_the_order_of_shards_in_the_file_means_nothing():
    assert changes(settings(), settings(order=NAMES[::-1])) == []


def test_writing_the_even_split_out_means_nothing():
    quarters = {name: Buckets(((i * 1024, i * 1024 + 1023),)) for i, name in enumerate(NAMES)}
    assert changes(settings(), settings(HashVindex(buckets=quarters))) == []


def test_another_shard_moves_buckets():
    old = settings(shards=NAMES[:2])
    assert changes(old, settings(shards=NAMES[:3])) == ["shop.t: 2047 of 4096 buckets must be moved first"]


def steps(*pairs):
    return RangeVindex(ranges=tuple(RangeStep(below=below, shard=shard) for below, shard in pairs))


@pytest.mark.parametrize(
    ("old", "new", "moves"),
    [
        (steps((10, "eu-0"), (20, "eu-1")), steps((10, "eu-0"), (20, "eu-1"), (None, "us-0")), False),
        (steps((10, "eu-0"), (20, "eu-1")), steps((5, "eu-0"), (10, "eu-0"), (20, "eu-1")), False),
        (steps((10, "eu-0"), (20, "eu-1")), steps((11, "eu-0"), (20, "eu-1")), True),
        (steps((10, "eu-0"), (20, "eu-1")), steps((10, "eu-0")), True),
        (ListVindex(values={"eu-0": ("a",)}), ListVindex(values={"eu-0": ("a", "b")}), False),
        (ListVindex(values={"eu-0": ("a",)}), ListVindex(values={"eu-1": ("a",)}), True),
        (ListVindex(values={"eu-0": ("a", "b")}), ListVindex(values={"eu-0": ("a",)}), True),
        (
            RegionBitsVindex(shift=40, bits=8, regions={"eu": (1,)}),
            RegionBitsVindex(shift=40, bits=8, regions={"us": (2,), "eu": (1,)}),
            False,
        ),
        (
            RegionBitsVindex(shift=40, bits=8, regions={"eu": (1,), "us": (2,)}),
            RegionBitsVindex(shift=41, bits=8, regions={"eu": (1,), "us": (2,)}),
            True,
        ),
        (
            RegionBitsVindex(shift=40, bits=8, regions={"eu": (1,), "us": (2,)}),
            RegionBitsVindex(shift=40, bits=8, regions={"eu": (2,), "us": (1,)}),
            True,
        ),
        (HashVindex(), steps((None, "eu-0")), True),
    ],
)
def test_rules(old, new, moves):
    assert bool(changes(settings(old), settings(new))) is moves


def test_region_hash_buckets():
    table = ShardedTable(vindex="v", columns={"country": None, "id": None})
    regions = {"eu": ("1",), "us": ("2",)}
    buckets = {"eu": {"eu-0": Buckets(((0, 2000),)), "eu-1": Buckets(((2001, 4095),))}}
    old = settings(RegionHashVindex(regions=regions), table=table)
    new = settings(RegionHashVindex(regions=regions, buckets=buckets), table=table)
    assert changes(old, new) == ["shop.t: 47 of 8192 buckets must be moved first"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (PinnedTable(shard="eu-0"), PinnedTable(shard="us-0"), "shop.t: its rows stay on eu-0, not on us-0"),
        (
            ReferenceTable(),
            PinnedTable(shard="us-0"),
            "shop.t: it was reference and becomes pinned; its rows stay where they are",
        ),
        (
            ShardedTable(vindex="v", columns={"id": None}),
            ShardedTable(vindex="v", columns={"customer": None}),
            "shop.t: it is sharded by customer, its rows lie by id",
        ),
    ],
)
def test_tables(old, new, sentence):
    assert changes(settings(table=old), settings(table=new)) == [sentence]


def test_the_case_of_column_names_means_nothing():
    upper = ShardedTable(vindex="v", columns={"ID": None})
    assert changes(settings(), settings(table=upper)) == []


def test_reference_tables_on_more_shards():
    old, new = settings(shards=NAMES[:2], table=ReferenceTable()), settings(table=ReferenceTable())
    assert changes(old, new) == ["shop.t: its rows must be copied to us-0, us-1 first"]


def test_unsharded_keyspaces():
    old = settings(table=ReferenceTable())
    new = dataclasses.replace(old, keyspaces={**old.keyspaces, "plain": KeyspaceSettings(shards=("us-1",))})
    assert changes(old, new) == ["all tables of plain: their rows stay on eu-0, not on us-1"]


def test_removing_a_table_is_not_moving_it():
    old = settings()
    new = dataclasses.replace(old, keyspaces={"plain": old.keyspaces["plain"]})
    assert changes(old, new) == []
