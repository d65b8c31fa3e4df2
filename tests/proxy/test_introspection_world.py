"""Schema inspectors see one database: what they ask, of a sharded keyspace and of one server that has all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pymysql
import pytest
import yaml

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from router.engine.columns import LONG, LONGLONG, NULL, STRINGS
from tests.differential.wire import Answer, Raw
from tests.proxy.clients import until
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS, pytest.mark.world(shards=3)]

DB = "studio"
QUERIES: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (Path(__file__).parents[1] / "cases" / "introspection" / "queries.yaml").read_text()
)
SHARDS, ALONE = ("eu-0", "eu-1"), "eu-2"
READER = "reader"
SCHEMA = [
    "CREATE TABLE artists (id INT NOT NULL PRIMARY KEY, name VARCHAR(40) NOT NULL COMMENT 'as printed') COMMENT 'all'",
    """CREATE TABLE albums (
        id BIGINT NOT NULL PRIMARY KEY,
        title VARCHAR(80) NOT NULL DEFAULT 'it''s',
        year SMALLINT UNSIGNED NULL,
        price DECIMAL(8,2) NOT NULL DEFAULT 9.99 COMMENT 'in euro',
        kind ENUM('lp','ep') NOT NULL DEFAULT 'lp',
        made TIMESTAMP NULL,
        cents INT GENERATED ALWAYS AS (price * 100) STORED,
        UNIQUE KEY once (id, title),
        KEY titled (title(10)),
        CONSTRAINT priced CHECK (price >= 0)) COMMENT 'records'""",
    """CREATE TABLE songs (
        album_id BIGINT NOT NULL,
        n INT NOT NULL,
        title VARCHAR(80) NULL,
        PRIMARY KEY (album_id, n),
        KEY titled (title),
        CONSTRAINT of_album FOREIGN KEY (album_id) REFERENCES albums (id) ON DELETE CASCADE)""",
    """CREATE TABLE plays (album_id BIGINT NOT NULL, day INT NOT NULL, PRIMARY KEY (album_id, day))
        PARTITION BY RANGE (day) (PARTITION old VALUES LESS THAN (100), PARTITION new VALUES LESS THAN MAXVALUE)""",
    "CREATE TABLE notes (id INT NOT NULL PRIMARY KEY AUTO_INCREMENT, text VARCHAR(40) NULL)",
    "CREATE TRIGGER dated BEFORE INSERT ON albums FOR EACH ROW SET NEW.year = COALESCE(NEW.year, 2000)",
    "CREATE PROCEDURE counted() SELECT COUNT(*) FROM albums",
    "CREATE SQL SECURITY INVOKER VIEW recent AS SELECT id, title FROM albums WHERE year > 2000",
]
HASHED = {"kind": "sharded", "vindex": "by_id"}
CHANGES = {
    "keyspaces": {
        DB: {
            "shards": list(SHARDS),
            "vindexes": {"by_id": {"function": "hash"}},
            "tables": {
                "artists": {"kind": "reference"},
                "albums": HASHED | {"columns": ["id"]},
                "songs": HASHED | {"columns": ["album_id"]},
                "plays": HASHED | {"columns": ["album_id"]},
                "notes": {"kind": "pinned", "shard": "eu-1"},
            },
        }
    },
    "users": {READER: {"password": {"value": "reader"}, "grants": [{"on": f"{DB}.*", "verbs": ["all"]}]}},
}
ROWS = [
    *(f"INSERT INTO artists VALUES ({n}, 'artist {n}')" for n in range(1, 4)),
    *(f"INSERT INTO albums (id, title, year) VALUES ({n}, 'album {n}', {1995 + n})" for n in range(1, 21)),
    *(f"INSERT INTO songs VALUES ({n}, {m}, 'song')" for n in range(1, 21) for m in (1, 2)),
    *(f"INSERT INTO plays VALUES ({n}, {10 * n})" for n in range(1, 21)),
    "INSERT INTO notes VALUES (1, 'a'), (2, 'b')",
]
KINDS = dict.fromkeys((LONG, LONGLONG), "whole") | dict.fromkeys((*STRINGS, NULL), "text")
TABLES = "artists, albums, songs, plays, notes"


class Sides(NamedTuple):
    flavour: str
    fairlead: Fairlead
    one: Raw
    several: Raw


@pytest.fixture
def sides(world: World, flavour: str) -> Iterator[Sides]:
    world.add_keyspace(DB, SCHEMA)
    alone = world.shards[ALONE].primary
    alone.run(*ROWS, database=DB)
    alone.run(f"CREATE USER {READER} IDENTIFIED BY 'reader'", f"GRANT ALL ON {DB}.* TO {READER}")
    member = world.fleet(CHANGES)["eu"]
    several = _reader(member.port)
    with several.cursor() as cursor:
        until(lambda: _is_known(cursor), "the tables are seen", member)
        for row in ROWS:
            cursor.execute(row)
    for shard in world.shards.values():
        shard.primary.query(f"ANALYZE TABLE {TABLES}", DB)
    one = Raw(_reader(alone.port))
    yield Sides(flavour, member, one, Raw(several))
    one.close()
    several.close()
    alone.run(f"DROP USER {READER}")


def _reader(port: int) -> Any:
    return pymysql.connect(
        host="127.0.0.1", port=port, user=READER, password="reader", database=DB, autocommit=True, ssl_disabled=True
    )


def _is_known(cursor: Any) -> bool:
    cursor.execute("EXPLAIN ROUTE SELECT * FROM songs WHERE album_id = 1")
    return ("route", "ByKey") in cursor.fetchall() or cursor.rowcount > 0


def _asked(side: Raw, case: dict[str, Any]) -> Answer:
    sql = case["sql"].replace("{db}", DB)
    if "with" not in case:
        return side.query(sql)
    prepared = side.prepare(sql)
    if prepared.answer.kind != "ok":
        return prepared.answer
    return side.execute(prepared, [one.replace("{db}", DB) for one in case["with"]])


def _alike(case: dict[str, Any], found: Answer, wanted: Answer) -> str:
    """How the answers differ; empty if they do not."""
    if found.refused or found.kind == "error":
        return f"refused: {found.message}"
    if case.get("answered"):
        return ""
    if _columns(found) != _columns(wanted):
        return f"columns {_columns(found)} for {_columns(wanted)}"
    apart = {name.encode() for name in case.get("apart", ())}
    kept = [at for at, one in enumerate(wanted.columns) if one.name not in apart]
    rows = [[tuple(row[at] for at in kept) for row in _values(answer, case)] for answer in (found, wanted)]
    rows = [[row for row in one if b"performance_schema" not in row] for one in rows]
    if "ORDER BY" not in case["sql"] or case.get("ties"):
        rows = [sorted(one, key=repr) for one in rows]
    return "" if rows[0] == rows[1] else f"{rows[0]} for {rows[1]}"


def _values(answer: Answer, case: dict[str, Any]) -> list[tuple[object, ...]]:
    whole = [KINDS.get(one.type) == "whole" and "with" in case for one in answer.columns]
    return [
        tuple(
            int.from_bytes(cell, "little") if number and isinstance(cell, bytes) else cell
            for cell, number in zip(row, whole, strict=True)
        )
        for row in answer.rows
    ]


def _columns(answer: Answer) -> list[tuple[object, object]]:
    """Names and kinds of values. How wide MySQL's numbers and texts are depends on whether it copies views' rows."""
    return [(one.name, KINDS.get(one.type, one.type)) for one in answer.columns]


def test_inspectors_see_one_database(sides: Sides) -> None:
    found = {}
    for tool, cases in QUERIES.items():
        for case in cases:
            wanted = _asked(sides.one, case)
            if case.get("on", sides.flavour) != sides.flavour or wanted.kind == "error":
                continue
            answer = _asked(sides.several, case)
            found[f"{tool}: {case['sql']}"] = _alike(case, answer, wanted)
    wrong = {sql: difference for sql, difference in found.items() if difference}
    print(f"{sides.flavour}: {len(found) - len(wrong)} of {len(found)} as on one server")
    told = "\n".join(f"{sql}\n    {difference}" for sql, difference in wrong.items())
    assert not wrong, told
    assert len(found) > 150


def test_shards_have_to_agree(world: World, sides: Sides) -> None:
    """About what the configuration does not declare."""
    world.shards["eu-1"].primary.run("DROP VIEW recent", "CREATE VIEW recent AS SELECT 1 AS one", database=DB)
    assert sides.several.query("DESCRIBE recent").message.startswith("FL4")
    assert sides.several.query("SHOW CREATE VIEW recent").message.startswith("FL4")
    assert sides.several.query("DESCRIBE nothing").errno == sides.one.query("DESCRIBE nothing").errno == 1146
