"""sysbench's table and rows, made here so that every server holds the same ones, whole or in parts."""

import random
from collections.abc import Callable, Iterable

from loadtest.world.sqlserver import SqlServer

# As oltp_common.lua's create_table and its index, with --auto_inc=off.
CREATE_TABLE = (
    "CREATE TABLE sbtest1 (id INTEGER NOT NULL, k INTEGER DEFAULT '0' NOT NULL, "
    "c CHAR(120) DEFAULT '' NOT NULL, pad CHAR(60) DEFAULT '' NOT NULL, PRIMARY KEY (id), KEY k_1 (k)) "
    "ENGINE = innodb"
)
INSERT = "INSERT INTO sbtest1 (id, k, c, pad) VALUES (%s, %s, %s, %s)"
Row = tuple[int, int, str, str]


def rows(count: int, seed: int = 1) -> list[Row]:
    """Rows 1..count: `c` is ten and `pad` five groups of eleven digits, as sysbench fills them."""
    draw = random.Random(seed)
    return [
        (number, draw.randint(1, count), _digits(draw, 10), _digits(draw, 5))
        for number in range(1, count + 1)
    ]


def _digits(draw: random.Random, groups: int) -> str:
    return "-".join(f"{draw.randrange(10**11):011d}" for _ in range(groups))


def load(server: SqlServer, database: str, content: Iterable[Row]) -> None:
    """Makes the keyspace and its table on one server and fills it."""
    server.create_keyspace(database)
    server.run("DROP TABLE IF EXISTS sbtest1", CREATE_TABLE, database=database)
    server.insert(INSERT, list(content), database)
    server.run("ANALYZE TABLE sbtest1", database=database)


def split(
    content: Iterable[Row], shards: Iterable[str], shard_of: Callable[[int], str]
) -> dict[str, list[Row]]:
    """{shard: its rows} by the sharding function of the key `id`; every shard is in the answer."""
    parts: dict[str, list[Row]] = {shard: [] for shard in shards}
    for row in content:
        parts[shard_of(row[0])].append(row)
    return parts
