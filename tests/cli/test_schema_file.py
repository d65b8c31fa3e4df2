"""Schemas from files: what mysqldump and SHOW CREATE TABLE print, and JSON."""

from __future__ import annotations

import json

import pytest

from cli.schema_file import SchemaFileError, read_schema
from config.settings import KeyspaceSettings, ReferenceTable, RegionSettings, Settings, ShardSettings
from config.words import Flavour
from router.keys import KeyType, key_type_of
from router.topology import Topology

DUMP = """\
-- MariaDB dump; not a statement
/*!40101 SET NAMES utf8mb4 */;
DROP TABLE IF EXISTS `orders`;
CREATE TABLE `orders` (
  `id` bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  `customer_id` int(11) NOT NULL DEFAULT 7 COMMENT 'a; b',
  `code` varchar(64) CHARACTER SET latin1 COLLATE latin1_bin DEFAULT NULL,
  `number` int(10) unsigned zerofill GENERATED ALWAYS AS (`id` + 1) VIRTUAL,
  `hidden` char(2) INVISIBLE,
  `kind` enum('a','b;c') NOT NULL DEFAULT 'a',
  `at` timestamp(6) NOT NULL DEFAULT current_timestamp(6) ON UPDATE current_timestamp(6),
  PRIMARY KEY (`id`),
  UNIQUE KEY `code` (`customer_id`,`code`(10)),
  UNIQUE KEY `both` (`customer_id`,`number`),
  KEY `at` (`at`),
  CONSTRAINT `fk` FOREIGN KEY (`customer_id`) REFERENCES `customers` (`id`) ON DELETE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci COMMENT='it''s; a table';
INSERT INTO `orders` VALUES (1,'CREATE TABLE fake (x int);');
create table if not exists plain (a int primary key, b varchar(9) unique, c binary(16))
"""


@pytest.fixture
def read(tmp_path):
    def read(text: str, name: str = "schema.sql", flavour: Flavour = Flavour.MARIADB):
        (tmp_path / name).write_text(text)
        settings = Settings(
            region="eu",
            regions={"eu": RegionSettings()},
            shards={"eu-0": ShardSettings(region="eu", flavour=flavour)},
            keyspaces={"shop": KeyspaceSettings(shards=("eu-0",), tables={"orders": ReferenceTable()})},
            users={},
            listeners={},
        )
        return read_schema(tmp_path / name, Topology.build(settings).keyspaces[0])

    return read


def test_a_dump(read):
    schema = read(DUMP)
    assert schema.keyspace == "shop" and list(schema.tables) == ["orders", "plain"]
    orders = schema.table("orders")
    assert [column.name for column in orders.columns] == [
        "id",
        "customer_id",
        "code",
        "number",
        "hidden",
        "kind",
        "at",
    ]
    assert [column.name for column in orders.insertable] == [
        "id",
        "customer_id",
        "code",
        "number",
        "kind",
        "at",
    ]


def test_columns(read):
    orders = read(DUMP).table("orders")
    one = orders.column("id")
    assert (one.data_type, one.column_type, one.nullable, one.auto_increment) == (
        "bigint",
        "bigint unsigned",
        False,
        True,
    )
    assert orders.column("customer_id").default == "7"
    assert orders.column("code").collation == "latin1_bin" and orders.column("code").nullable
    assert orders.column("hidden").collation == "utf8mb4_unicode_ci"
    assert orders.column("number").generated and orders.column("hidden").invisible
    assert orders.column("at").default is not None


def test_unique_keys(read):
    keys = {key.name: (key.columns, key.exact) for key in read(DUMP).table("orders").unique_keys}
    assert keys == {
        "PRIMARY": (("id",), True),
        "code": (("customer_id", "code"), False),
        "both": (("customer_id", "number"), True),
    }
    plain = read(DUMP).table("plain")
    assert {key.name: key.columns for key in plain.unique_keys} == {"PRIMARY": ("a",), "b": ("b",)}
    assert plain.column("c").column_type == "binary(16)"


@pytest.mark.parametrize(
    ("flavour", "declared", "key_type"),
    [
        (Flavour.MARIADB, "varchar(9)", KeyType.CI_PAD),
        (Flavour.MYSQL, "varchar(9)", KeyType.CI_NOPAD),
        (Flavour.MYSQL, "varchar(9) collate utf8mb4_bin", KeyType.BYTES_PAD),
        (Flavour.MYSQL, "varchar(9) character set latin1", KeyType.CI_PAD),
        (Flavour.MARIADB, "bigint(20) unsigned", KeyType.INT_UNSIGNED),
        (Flavour.MARIADB, "int zerofill", KeyType.INT_UNSIGNED),
        (Flavour.MARIADB, "varbinary(9)", KeyType.BYTES),
    ],
)
def test_key_types_from_both_forms(read, flavour, declared, key_type):
    sql = read(f"CREATE TABLE t (k {declared})", flavour=flavour).table("t").column("k")
    text = json.dumps({"t": {"columns": {"k": declared}}})
    plain = read(text, "schema.json", flavour).table("t").column("k")
    assert key_type_of(sql.column_type, sql.collation) is key_type
    assert key_type_of(plain.column_type, plain.collation) is key_type


def test_json(read):
    text = json.dumps({"t": {"columns": {"id": "bigint", "n": "text"}, "unique": {"PRIMARY": ["id"]}}})
    table = read(text, "schema.json").table("t")
    assert [column.name for column in table.columns] == ["id", "n"]
    assert table.unique_keys[0].primary


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("SELECT 1;", "schema.sql", "holds no table"),
        ("CREATE TABLE t (id ???)", "schema.sql", "CREATE TABLE t"),
        ("CREATE TABLE t LIKE u", "schema.sql", "has no columns of its own"),
        ("CREATE TABLE t AS SELECT 1", "schema.sql", "has no columns of its own"),
        ("{", "schema.json", "not JSON"),
        ("[]", "schema.json", "must be an object"),
        ('{"t": 5}', "schema.json", "t needs columns"),
        ('{"t": {"columns": ["a"]}}', "schema.json", "t.columns must be an object"),
    ],
)
def test_files_that_are_no_schema(read, text, name, message):
    with pytest.raises(SchemaFileError, match=message):
        read(text, name)


def test_a_real_servers_own_words(read):
    """MySQL's dump puts partitions and engine attributes into version comments."""
    schema = read(
        "CREATE TABLE `t` (\n  `id` bigint NOT NULL,\n"
        "  `v` varchar(9) COLLATE utf8mb4_0900_bin DEFAULT NULL,\n"
        "  PRIMARY KEY (`id`) /*!50606 USING BTREE */\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 "
        "COLLATE=utf8mb4_0900_ai_ci\n/*!50100 PARTITION BY HASH (`id`)\nPARTITIONS 4 */;",
        flavour=Flavour.MYSQL,
    )
    assert schema.table("t").column("v").collation == "utf8mb4_0900_bin"
