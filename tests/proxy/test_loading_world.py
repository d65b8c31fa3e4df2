"""Values that are loaded into a scratch server arrive as they were, on both kinds of servers."""

from __future__ import annotations

import pytest

from loadtest.world.world import World
from proxy.scatter.scratch import AS_BEFORE, NEUTRAL
from router.engine.loading import Loaded, form_of, row, writers
from router.schema import LiveColumn
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS]

COLUMNS = {
    "id": "BIGINT UNSIGNED NOT NULL PRIMARY KEY",
    "tiny": "TINYINT", "zero": "INT(7) ZEROFILL", "exact": "DECIMAL(65,30)", "f": "FLOAT", "fd": "FLOAT(7,2)",
    "d": "DOUBLE", "dd": "DOUBLE(12,3)", "bits": "BIT(40)", "e": "ENUM('2','1','b')", "s": "SET('1','2','x')",
    "day": "DATE", "at": "DATETIME(6)", "stamp": "TIMESTAMP(3) NULL", "span": "TIME(6)", "y": "YEAR",
    "c": "CHAR(9) CHARACTER SET latin1", "v": "VARCHAR(40) CHARACTER SET utf8mb4",
    "wide": "VARCHAR(9) CHARACTER SET utf16",
    "t": "LONGTEXT", "raw": "VARBINARY(300)", "pad": "BINARY(5)", "b": "LONGBLOB", "place": "GEOMETRY",
}  # fmt: skip
ROWS = [
    "(18446744073709551615, -128, 42, 0.000000000000000000000000000001, 0.1, 1.1, 1e0/3, 2.0005, b'1', '1', '1,x', "
    "'0000-00-00', '9999-12-31 23:59:59.999999', FROM_UNIXTIME(1761438600.125), '-838:59:59', 0, 'é''\\\\', "
    "'日本 ''x'' \\\\ 🚢', 'ab''', 'line\nbreak', REPEAT('\\0\\'\"', 50), 'a', x'00ff27', "
    "ST_GeomFromText('POINT(1 2)'))",
    "(0, NULL, NULL, -99999999999999999999999999999999999.5, 16777217, -0.01, -1.7976931348623157e308, -0.001, "
    "b'1111111111111111111111111111111111111111', 'nothing', '', '2004-02-31', '2000-00-00', "
    "FROM_UNIXTIME(1761442200), '00:00:00.000001', 2155, '', '', '', '', '', '', '', NULL)",
    f"(1{', NULL' * 23})",
    "(2, 0, 0, 0, 3.4e38, 0, 5e-324, 0, 0, 'b', 'x', '2026-01-01', '2026-01-01', '0000-00-00', '12:00', 2000, ' x  ', "
    "'x  ', NULL, NULL, x'', x'2000', NULL, NULL)",
]
MODE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"


def loaded(name: str) -> Loaded:
    kind = COLUMNS[name].split()[0].partition("(")[0].lower()
    form = form_of(LiveColumn(name, kind, kind))
    assert form is not None, kind
    return Loaded(name, form)


@pytest.mark.parametrize("client", ["utf8mb4", "latin1"])
def test_every_type_arrives_bit_by_bit(world: World, client: str) -> None:
    """Also through a session with another character set, time zone and sql_mode; none of them changes by it."""
    server = world.shards["eu-0"].primary
    columns = [loaded(name) for name in COLUMNS]
    asked = ", ".join(one.asked for one in columns)
    settings = "SELECT @@sql_mode, @@time_zone, @@character_set_client, @@character_set_results, @@collation_connection"
    with server.connection(database="plain") as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = %s, time_zone = '+00:00'", (MODE,))
        cursor.execute(f"CREATE TEMPORARY TABLE one ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
        for values in ROWS:
            cursor.execute(f"INSERT INTO one VALUES {values}")
        cursor.execute("CREATE TEMPORARY TABLE other LIKE one")
        cursor.execute(f"SET NAMES {client}, time_zone = '-05:30', sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,ANSI_QUOTES'")
        connection.use_unicode, connection.decoders = False, {}
        cursor.execute(settings)
        before = cursor.fetchall()
        cursor.execute(f"SELECT {asked} FROM one ORDER BY id")
        found = cursor.fetchall()
        cursor.execute(NEUTRAL)
        cells = ([_bytes(cell) for cell in each] for each in found)
        literals = b",".join(row(each, writers(columns)) for each in cells)
        connection.query(b"INSERT INTO other VALUES " + literals)
        cursor.execute(AS_BEFORE)
        cursor.execute(settings)
        assert cursor.fetchall() == before
        cursor.execute("SET sql_mode = '', time_zone = '+00:00'")
        for name in COLUMNS:
            raw = f"HEX(CAST({name} AS BINARY)), HEX({name}), {name} + 0e0, {name} IS NULL"
            if name == "place":
                raw = "HEX(CAST(place AS BINARY)), place IS NULL"
            cursor.execute(f"SELECT {raw} FROM one ORDER BY id")
            first = cursor.fetchall()
            cursor.execute(f"SELECT {raw} FROM other ORDER BY id")
            assert cursor.fetchall() == first, name
        cursor.execute("SELECT COUNT(*) FROM other")
        assert int(cursor.fetchone()[0]) == len(ROWS)


def _bytes(cell: object) -> bytes | None:
    if cell is None:
        return None
    return cell if isinstance(cell, bytes) else str(cell).encode("latin-1")
