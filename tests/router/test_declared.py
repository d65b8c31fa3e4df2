"""Declared column types that do not suit their sharding function are refused with their line."""

from __future__ import annotations

import pytest

from config.errors import ConfigError
from config.load import load
from router.topology import Topology

FILE = """\
region: eu
regions: {eu: }
shards:
  eu-0: {region: eu, flavour: mariadb, primary: db1, account: {user: f, password: {value: x}}}
keyspaces:
  shop:
    shards: eu-0
    vindexes: {v: VINDEX}
    tables:
      customers: {kind: sharded, vindex: v, columns: FIRST}
      orders: {kind: sharded, vindex: v, columns: SECOND}
users: {demo: {password: {value: demo}}}
listeners: {mysql: {port: 7306}}
"""
HASH = "{function: hash}"
RANGE = "{function: range, ranges: [{shard: eu-0}]}"
LIST = "{function: list, values: {eu-0: [DE, FR]}}"


def build(tmp_path, vindex, first, second):
    (tmp_path / "f.yaml").write_text(
        FILE.replace("VINDEX", vindex).replace("FIRST", first).replace("SECOND", second)
    )
    return Topology.build(load(tmp_path / "f.yaml"))


@pytest.mark.parametrize(
    ("vindex", "first", "second"),
    [
        (HASH, "{id: bigint}", "{customer: bigint unsigned}"),
        (HASH, "{id: bigint}", "[customer]"),
        (HASH, "{id: varchar(9)}", "{customer: char(4)}"),
        (RANGE, "{id: int}", "{customer: bigint}"),
        (LIST, "{id: char(2)}", "{country: varchar(4)}"),
    ],
)
def test_what_fits(tmp_path, vindex, first, second):
    build(tmp_path, vindex, first, second)


@pytest.mark.parametrize(
    ("vindex", "first", "second", "message"),
    [
        (HASH, "{id: bigint}", "{customer: varchar(9)}", "do not compare alike"),
        (HASH, "{id: varchar(9)}", "{c: varchar(9) collate utf8mb4_general_ci}", "do not compare alike"),
        (HASH, "{id: bigint}", "{c: varchar(9) collate utf8mb4_roman_ci}", "cannot be a sharding key"),
        (RANGE, "{id: bigint}", "{c: varchar(9)}", "range takes whole-number columns only"),
        (LIST, "{id: char(2)}", "{c: bigint}", "the value 'DE' cannot be a key of this column"),
    ],
)
def test_what_does_not(tmp_path, vindex, first, second, message):
    with pytest.raises(ConfigError, match=message) as refused:
        build(tmp_path, vindex, first, second)
    assert (refused.value.line, refused.value.key) == (11, "keyspaces.shop.tables.orders.columns")
