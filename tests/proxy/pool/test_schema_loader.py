"""The live schema as real servers have it, its changes, and what is reported when shards disagree or are
silent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from config.load import load
from config.settings import Settings
from proxy.pool import schema_loader
from proxy.pool.schema_loader import Bounds, DatabaseFacts, Loaded, SchemaLoader, disagreements
from router.schema import ForeignKey, LiveColumn, LiveTable, SchemaSnapshot, UniqueKey
from router.topology import Topology
from tests.servers import BOTH_SERVERS

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.world.world import World

TWO_SHARDS = pytest.mark.world(shards=2, replicas=0)


@pytest.fixture
def settings(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The world's own configuration."""
    return configured(world, tmp_path, monkeypatch, {})


def configured(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keyspaces: Mapping[str, Any], **sections: Any
) -> Settings:
    from loadtest.world.configuration import PASSWORD_VARIABLE
    from loadtest.world.sqlserver import Passwords

    monkeypatch.setenv(PASSWORD_VARIABLE, Passwords().service)
    config = world.config("eu")
    config["keyspaces"] |= keyspaces
    config |= sections
    path = tmp_path / "fairlead.yaml"
    path.write_text(yaml.safe_dump(config))
    return load(path)


class Reader:
    """A loader, and the snapshots of its last reading."""

    def __init__(self, settings: Settings, bounds: Bounds | None = None) -> None:
        self.topology = Topology.build(settings)
        self.loader = SchemaLoader(self.topology, settings, bounds=bounds)
        self.snapshots: Mapping[str, SchemaSnapshot] = {}

    async def load(self) -> Loaded:
        loaded = await self.loader.load(self.snapshots)
        self.snapshots = loaded.snapshots
        return loaded

    def now(self) -> Loaded:
        return asyncio.run(self.load())


def codes(loaded: Loaded) -> set[str]:
    return {finding.code for finding in loaded.findings if finding.severity == "error" or finding.table == ""}


@BOTH_SERVERS
@TWO_SHARDS
def test_the_shop_is_read_as_it_is(world: World, flavour: str, settings: Settings) -> None:
    loaded = Reader(settings).now()
    assert set(loaded.snapshots) == {"shop"}, "an unsharded keyspace needs no schema"
    shop = loaded.snapshots["shop"]
    assert (shop.keyspace, shop.epoch, dict(shop.drifting)) == ("shop", 1, {})
    assert set(shop.tables) == {"countries", "settings", "customers", "orders"}
    customers = shop.tables["customers"]
    assert [column.name for column in customers.columns] == [
        "id", "name", "email", "country", "balance", "created_at",
    ]  # fmt: skip
    key, name, balance = customers.columns[0], customers.columns[1], customers.columns[4]
    assert (key.data_type, key.nullable, key.collation) == ("bigint", False, None)
    assert (name.column_type, name.charset) == ("varchar(100)", "utf8mb4")
    assert balance.default == "0.00"
    assert shop.tables["orders"].unique_keys == (UniqueKey("PRIMARY", ("customer_id", "id")),)
    assert codes(loaded) == set()
    facts = loaded.databases["shop", "eu-0"]
    assert facts.time_zone == "+00:00" and facts.character_set == "utf8mb4"
    assert ("MariaDB" in facts.version) == (flavour == "mariadb")


STRANGE = [
    "CREATE TABLE parent (id INT PRIMARY KEY)",
    """CREATE TABLE strange (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        word VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT 'it''s',
        nothing INT DEFAULT NULL,
        raw VARBINARY(10),
        made INT GENERATED ALWAYS AS (nothing + 1) VIRTUAL,
        kept INT GENERATED ALWAYS AS (nothing + 2) STORED,
        hidden INT INVISIBLE,
        at DATETIME DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
        parent_id INT, far_id INT,
        UNIQUE KEY prefix (word(5)), UNIQUE KEY pair (nothing, raw), KEY plain_key (at),
        CONSTRAINT up FOREIGN KEY (parent_id) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE SET NULL,
        CONSTRAINT far FOREIGN KEY (far_id) REFERENCES faraway.elsewhere (id))""",
    "CREATE VIEW seen AS SELECT id, word FROM strange",
    "CREATE TRIGGER watch AFTER INSERT ON strange FOR EACH ROW SET @x = 1",
]


@BOTH_SERVERS
@TWO_SHARDS
def test_every_kind_of_column_and_key_is_told_apart(world: World, flavour: str, settings: Settings) -> None:
    world.add_keyspace("faraway", ["CREATE TABLE elsewhere (id INT PRIMARY KEY)"])
    for shard in world.shards.values():
        if flavour == "mysql":
            shard.primary.run("SET GLOBAL log_bin_trust_function_creators = 1")
        shard.primary.run(*STRANGE, database="shop")
    try:
        shop = Reader(settings).now().snapshots["shop"]
    finally:
        for shard in world.shards.values():
            shard.primary.run("DROP TABLE strange", database="shop")  # it ties the two databases together
    strange = shop.tables["strange"]
    columns = {column.name: column for column in strange.columns}
    assert columns["id"].auto_increment and not columns["id"].nullable
    assert columns["id"].column_type.startswith("bigint") and "unsigned" in columns["id"].column_type
    assert (columns["word"].collation, columns["word"].default) == ("latin1_bin", "it's")
    assert columns["nothing"].default is None and columns["nothing"].nullable
    assert columns["raw"].collation is None
    assert [name for name, column in columns.items() if column.generated] == ["made", "kept"]
    assert [column.name for column in strange.columns if column not in strange.insertable] == ["hidden"]
    assert set(strange.unique_keys) == {
        UniqueKey("PRIMARY", ("id",)),
        UniqueKey("prefix", ("word",), exact=False),
        UniqueKey("pair", ("nothing", "raw")),
    }
    foreign = {key.name: key for key in strange.foreign_keys}
    assert foreign["up"].columns == ("parent_id",) and foreign["up"].parent == "parent"
    assert set((foreign["up"].on_change or "").split(", ")) == {"CASCADE", "SET NULL"}
    assert foreign["far"] == ForeignKey("far", ("far_id",), "faraway.elsewhere", ("id",), None)
    assert strange.triggers == ("watch",)
    assert shop.tables["seen"].kind == "view"


@pytest.mark.parametrize("flavour", [pytest.param("mysql", marks=pytest.mark.mysql97)])
@TWO_SHARDS
def test_a_unique_key_over_an_expression_is_not_exact(world: World, flavour: str, settings: Settings) -> None:
    for shard in world.shards.values():
        shard.primary.run("CREATE TABLE e (a INT, b INT, UNIQUE KEY f ((a + 1), b))", database="shop")
    assert Reader(settings).now().snapshots["shop"].tables["e"].unique_keys == (UniqueKey("f", ("b",), False),)


@BOTH_SERVERS
@TWO_SHARDS
def test_the_epoch_grows_with_the_content_and_with_nothing_else(world: World, flavour: str, settings: Settings) -> None:
    reader = Reader(settings)
    shards = list(world.shards.values())
    first = reader.now().snapshots["shop"]
    assert reader.now().snapshots["shop"] is first
    for shard in shards:
        shard.primary.run("CREATE INDEX i ON settings (value)", database="shop")
    assert reader.now().snapshots["shop"] is first, "an index that is not unique changes no plan"
    shards[0].primary.run("ALTER TABLE settings ADD note INT", database="shop")
    loaded = reader.now()
    assert loaded.snapshots["shop"].epoch == 2
    shards[1].primary.run("ALTER TABLE countries ADD note INT", database="shop")
    loaded = reader.now()
    assert loaded.snapshots["shop"].epoch == 3
    assert set(loaded.snapshots["shop"].drifting) == {"countries"}, "settings is pinned: only its shard counts"
    assert "drift" in codes(loaded)
    shards[0].primary.run("ALTER TABLE countries ADD note INT", database="shop")
    loaded = reader.now()
    assert (loaded.snapshots["shop"].epoch, dict(loaded.snapshots["shop"].drifting)) == (4, {})
    assert codes(loaded) == set()


CHANGES = [
    "ALTER TABLE customers MODIFY name VARCHAR(101) NOT NULL",
    "ALTER TABLE customers MODIFY name VARCHAR(101) CHARACTER SET latin1 NOT NULL",
    "ALTER TABLE customers MODIFY name VARCHAR(101) CHARACTER SET latin1 NULL",
    "ALTER TABLE customers ALTER COLUMN name SET DEFAULT 'x'",
    "ALTER TABLE customers ALTER COLUMN name SET DEFAULT ''",
    "ALTER TABLE customers RENAME COLUMN name TO label",
    "ALTER TABLE customers MODIFY label VARCHAR(101) FIRST",
    "CREATE UNIQUE INDEX u ON customers (id, label)",
    "ALTER TABLE customers DROP INDEX u, ADD UNIQUE INDEX u (id, label(5))",
    "ALTER TABLE customers RENAME TO buyers",
    "CREATE VIEW v AS SELECT 1 AS one",
    "DROP VIEW v",
    "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (customer_id) REFERENCES buyers (id)",
]


WATCHED = [
    "ALTER TABLE customers ADD CONSTRAINT fair CHECK (id > 0 OR `name` > 'a')",
    "ALTER TABLE customers DROP CONSTRAINT fair",
    "CREATE INDEX named ON customers (name)",
    "CREATE TABLE parts (id INT, Secret INT)",
    "ALTER TABLE parts PARTITION BY HASH (Secret) PARTITIONS 2",
    "ALTER TABLE parts REMOVE PARTITIONING",
]


@BOTH_SERVERS
@TWO_SHARDS
def test_a_policy_needs_checks_and_partitions(
    world: World, flavour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = {"domains": {"eea": {"regions": ["eu"]}}}
    settings = configured(world, tmp_path, monkeypatch, {}, policy=policy)
    primary, remembering = world.shards["eu-0"].primary, Reader(settings)
    remembering.now()
    found: list[Mapping[str, LiveTable]] = []
    for change in WATCHED:
        primary.run(change, database="shop")
        found.append(remembering.now().snapshots["shop"].tables)
        assert found[-1] == Reader(settings).now().snapshots["shop"].tables, change
    (check,) = found[0]["customers"].checks
    assert check.name == "fair" and {"id", "name"} <= check.words
    assert found[1]["customers"].checks == ()
    assert [tables["parts"].partitioned_by for tables in found[3:]] == [set(), {"secret"}, set()]


@BOTH_SERVERS
@TWO_SHARDS
def test_no_change_escapes_the_fingerprint(world: World, flavour: str, settings: Settings) -> None:
    """After each of them a loader that remembers must find what one that starts afresh finds."""
    primary = world.shards["eu-0"].primary
    remembering = Reader(settings)
    remembering.now()
    for change in CHANGES:
        primary.run("SET SESSION foreign_key_checks = 0; " + change, database="shop")
        loaded = remembering.now()
        assert loaded.snapshots["shop"].tables == Reader(settings).now().snapshots["shop"].tables, change


@TWO_SHARDS
def test_what_is_unchanged_is_not_read_again(
    world: World, flavour: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(settings)
    reader.now()
    asked: list[str] = []
    real = schema_loader._Reader.tables

    async def counting(self: schema_loader._Reader) -> list[LiveTable]:
        asked.append("tables")
        return await real(self)

    monkeypatch.setattr(schema_loader._Reader, "tables", counting)
    reader.now()
    assert asked == []
    world.shards["eu-1"].primary.run("CREATE TABLE more (id INT PRIMARY KEY)", database="shop")
    reader.now()
    assert asked == ["tables"], "only of the shard that changed"


@TWO_SHARDS
def test_a_schema_that_changes_under_the_reading_is_read_again(
    world: World, flavour: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary = world.shards["eu-0"].primary
    real = schema_loader._Reader.tables
    left = [f"CREATE TABLE late{n} (id INT PRIMARY KEY)" for n in range(2)]

    async def with_ddl_behind(self: schema_loader._Reader) -> list[LiveTable]:
        tables = await real(self)
        if left and self._connection.id and not [one for one in tables if one.name == "late1"]:
            primary.run(left.pop(0), database="shop")
        return tables

    monkeypatch.setattr(schema_loader._Reader, "tables", with_ddl_behind)
    tables = Reader(settings).now().snapshots["shop"].tables
    assert {"late0", "late1"} <= set(tables) and left == []


@TWO_SHARDS
def test_a_shard_that_is_silent_keeps_what_was_read(world: World, flavour: str, settings: Settings) -> None:
    reader = Reader(settings)
    first = reader.now().snapshots["shop"]
    world.shards["eu-1"].primary.kill()
    loaded = reader.now()
    assert loaded.snapshots["shop"] is first
    assert codes(loaded) == {"unread"}
    fresh = Reader(settings).now()
    assert fresh.snapshots["shop"].tables == first.tables, "one shard is enough to begin with"
    world.shards["eu-0"].primary.kill()
    assert asyncio.run(SchemaLoader(reader.topology, settings).load({"shop": first})).snapshots["shop"] is first
    nothing = Reader(settings).now()
    assert dict(nothing.snapshots) == {} and codes(nothing) == {"unread"}


@pytest.mark.world(shards=1, replicas=1)
def test_a_replica_is_asked_when_the_primary_is_silent(world: World, flavour: str, settings: Settings) -> None:
    world.wait_replicas()
    world.shards["eu-0"].primary.kill()
    loaded = Reader(settings).now()
    assert set(loaded.snapshots["shop"].tables) >= {"customers"} and codes(loaded) == set()


@TWO_SHARDS
def test_a_hanging_server_costs_its_deadline_and_no_more(
    world: World, flavour: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_loader, "DEADLINE", 0.8)
    reader = Reader(settings)
    world.shards["eu-1"].primary.pause()
    began = time.monotonic()
    try:
        loaded = reader.now()
    finally:
        world.shards["eu-1"].primary.resume()
    assert time.monotonic() - began < settings.limits.connect
    assert codes(loaded) == {"unread"} and "customers" in loaded.snapshots["shop"].tables


@TWO_SHARDS
def test_more_than_the_bounds_is_refused(world: World, flavour: str, settings: Settings) -> None:
    loaded = Reader(settings, Bounds(tables=3)).now()
    assert codes(loaded) == {"too-large"} and dict(loaded.snapshots) == {}
    assert codes(Reader(settings, Bounds(rows=15)).now()) == {"too-large"}


@BOTH_SERVERS
@TWO_SHARDS
def test_names_are_quoted_and_told_apart_by_case(
    world: World, flavour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["We'ird", "we'ird", "straße", "per%{cent}", 'quo"te']
    made = {
        name: {
            "shards": ["eu-0", "eu-1"],
            "vindexes": {"v": {"function": "hash"}},
            "tables": {"t": {"kind": "sharded", "vindex": "v", "columns": ["id"]}},
        }
        for name in names
    }
    settings = configured(world, tmp_path, monkeypatch, made)
    for number, name in enumerate(names):
        world.add_keyspace(name, [f"CREATE TABLE t (id BIGINT PRIMARY KEY, c{number} INT)"])
    loaded = Reader(settings).now()
    for number, name in enumerate(names):
        found = loaded.snapshots[name].tables
        assert [column.name for column in found["t"].columns] == ["id", f"c{number}"], name
    assert codes(loaded) == set()


@TWO_SHARDS
def test_a_database_that_is_not_there_is_reported(
    world: World, flavour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {"shards": ["eu-0", "eu-1"], "tables": {"t": {"kind": "reference"}}}
    loaded = Reader(configured(world, tmp_path, monkeypatch, {"gone": missing})).now()
    assert {finding.code for finding in loaded.findings if finding.keyspace == "gone"} == {"database-missing"}


@TWO_SHARDS
def test_shards_that_disagree_in_their_variables_are_reported(world: World, flavour: str, settings: Settings) -> None:
    primary = world.shards["eu-1"].primary
    before = primary.query("SELECT @@global.sql_mode, @@global.time_zone")[0]
    primary.run("SET GLOBAL sql_mode = 'ANSI_QUOTES'", "SET GLOBAL time_zone = '+05:00'")
    primary.run("ALTER DATABASE shop COLLATE utf8mb4_bin")
    try:
        loaded = Reader(settings).now()
    finally:
        primary.run(f"SET GLOBAL sql_mode = '{before[0]}'", f"SET GLOBAL time_zone = '{before[1]}'")
        primary.run("ALTER DATABASE shop COLLATE utf8mb4_general_ci")
    assert {"sql-mode-differs", "time-zone-differs", "collation-differs"} <= codes(loaded)


def test_folded_names_are_reported() -> None:
    plain = DatabaseFacts("10.11", "", "UTC", 0, "utf8mb4", "utf8mb4_general_ci")
    folded = DatabaseFacts("10.11", "", "UTC", 1, "utf8mb4", "utf8mb4_general_ci")
    found = {finding.code for finding in disagreements("shop", {"a": plain, "b": folded})}
    assert found == {"lower-case-table-names", "lower-case-table-names-differs"}


def test_tables_whose_names_differ_in_case_only_are_kept_apart() -> None:
    """Their rows may come interleaved: information_schema sorts names without regard to case."""
    from config.words import Flavour

    def column(table: str, name: str) -> tuple[object, ...]:
        return (table, name, "int", "int(11)", "NO", None, "", None, None, None)

    columns = [column("T", "a"), column("t", "x"), column("T", "b"), column("t", "y")]
    tables = schema_loader.tables_of(
        Flavour.MARIADB, [("T", "BASE TABLE"), ("t", "BASE TABLE")], columns, [], [], [], []
    )
    assert [[one.name for one in table.columns] for table in tables] == [["a", "b"], ["x", "y"]]


def test_defaults_read_alike_from_both_flavours() -> None:
    from config.words import Flavour

    def default(flavour: Flavour, text: str | None) -> str | None:
        row = ("t", "c", "int", "int", "YES", text, "", None, None, None)
        (table,) = schema_loader.tables_of(flavour, [("t", "BASE TABLE")], [row], [], [], [], [])
        column: LiveColumn = table.columns[0]
        return column.default

    assert default(Flavour.MARIADB, "NULL") is default(Flavour.MYSQL, None) is None
    assert default(Flavour.MARIADB, "'it''s'") == default(Flavour.MYSQL, "it's") == "it's"
    assert default(Flavour.MARIADB, "current_timestamp()") == "current_timestamp()"
