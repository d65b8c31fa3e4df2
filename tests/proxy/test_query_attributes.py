"""Query attributes: statements get theirs through Fairlead as on a server, and what is malformed the same error.

MariaDB has none: there they are not offered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import mysql.connector
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.sqlserver import SqlServer
from loadtest.world.world import World
from tests.differential.attributed import (
    CLIENT_QUERY_ATTRIBUTES,
    Attributed,
    AttributedConnection,
    Attributes,
    named,
)
from tests.differential.wire import (
    COM_INIT_DB,
    COM_PING,
    COM_RESET_CONNECTION,
    CURSOR_READ_ONLY,
    TYPE_DATETIME,
    TYPE_TIME,
    TYPE_TINY,
    TYPE_VAR_STRING,
    UNSIGNED,
    Answer,
    Prepared,
    Typed,
)
from tests.proxy.clients import client, ids_on, metric, until
from tests.proxy.test_policy_world import CHANGES
from tests.servers import BOTH_SERVERS, ON_MYSQL

on_mysql = pytest.mark.parametrize("flavour", [ON_MYSQL])
CLIENT_MULTI = 1 << 16 | 1 << 17
CLIENT_FOUND_ROWS, CLIENT_DEPRECATE_EOF = 1 << 1, 1 << 24

BOTH = "SELECT mysql_query_attribute_string('n') AS n, mysql_query_attribute_string('m') AS m"
ONE = "SELECT mysql_query_attribute_string('n') AS n"
TWO: Attributes = {b"n": "one", b"m": 2}
NONE: Attributes = {}


@pytest.fixture
def servers(world: World) -> Iterator[World]:
    """With the component on each primary."""
    primaries = [shard.primary for shard in world.shards.values()]
    for server in primaries:
        server.run("INSTALL COMPONENT 'file://component_query_attributes'")
    yield world
    for server in primaries:
        server.run("UNINSTALL COMPONENT 'file://component_query_attributes'")


def through(member: Fairlead, flags: int = CLIENT_MULTI, **options: Any) -> Attributed:
    defaults = {"host": "127.0.0.1", "port": member.port, "user": "demo", "password": "demo", "database": "plain"}
    return _attributed({**defaults, **options}, flags)


def direct(server: SqlServer, flags: int = CLIENT_MULTI) -> Attributed:
    return _attributed({"unix_socket": str(server.socket), "user": "root", "database": "plain"}, flags)


def _attributed(options: dict[str, Any], flags: int) -> Attributed:
    connection = AttributedConnection(
        **options, charset="utf8mb4", autocommit=True, ssl_disabled=True, client_flag=flags,
        max_allowed_packet=256 << 20, read_timeout=60,
    )  # fmt: skip
    return Attributed(connection, deprecate_eof=bool(flags & CLIENT_DEPRECATE_EOF))


def told(answer: Answer) -> tuple[Any, ...]:
    return (answer.kind, answer.columns, answer.rows, answer.affected, answer.warnings, answer.errno)


def conversation(side: Attributed) -> list[tuple[Any, ...]]:
    """Statements of every kind, with and without attributes, in and out of transactions."""
    heard: list[tuple[Any, ...]] = []

    def say(answer: Answer) -> None:
        heard.append(told(answer))

    def text(sql: str | bytes, attributes: Attributes = NONE) -> None:
        say(side.with_attributes(sql, attributes))

    for attributes in VALUES:
        text(BOTH, attributes)
    text("CREATE TABLE seen (id INT PRIMARY KEY AUTO_INCREMENT, n VARCHAR(20), t TEXT)")
    text("INSERT INTO seen (n) VALUES (mysql_query_attribute_string('n'))", TWO)
    for sql in ("BEGIN", ONE, "SAVEPOINT a", "INSERT INTO seen (n) SELECT mysql_query_attribute_string('m')", "COMMIT"):
        text(sql, TWO)
    text("SELECT id, n, mysql_query_attribute_string('n') FROM seen ORDER BY id", {b"n": None})
    text("SET NAMES latin1", TWO)
    text(ONE, {b"n": "ä"})
    text("SET NAMES utf8mb4")
    text("SET @word = 'x'", TWO)
    text("SELECT @word, mysql_query_attribute_string('n')", TWO)
    text("PREPARE s FROM 'SELECT mysql_query_attribute_string(''n'')'", TWO)
    text("EXECUTE s", {b"n": "in SQL"})
    text("SHOW WARNINGS", TWO)
    text("")
    text("SELEKT", TWO)
    text("SELECT nothing FROM seen", TWO)
    text(f"{BOTH}; SELECT 2; {ONE}", TWO)
    heard += [told(side.read_answer()) for _ in range(2)]
    text(f"SELECT 1; SELECT nothing FROM seen; {ONE}", TWO)
    say(side.read_answer())
    text(ONE)
    for command in (COM_PING, COM_RESET_CONNECTION):
        say(side.plain(command))
    say(side.plain(COM_INIT_DB, b"plain"))
    text(ONE, TWO)
    text("INSERT INTO seen (n, t) VALUES (mysql_query_attribute_string('m'), '" + "x" * 100_000 + "')", TWO)
    text("SELECT n, LENGTH(t) FROM seen WHERE t IS NOT NULL")
    heard += prepared(side)
    return heard


VALUES: Sequence[Attributes] = (
    NONE, TWO, {b"n": None, b"m": "x"}, {b"N": "name in capitals"}, {b"n": 1.5, b"m": -(2**63)}, {b"n": 2**64 - 1},
    {b"n": "", b"": "nameless"}, {b"n": "x" * 70_000}, {b"n" * 300: "long name", b"m": True},
    {b"n": Typed(TYPE_DATETIME, b"\x04\xe8\x07\x01\x02"), b"m": Typed(TYPE_TIME, b"\x08\1\0\0\0\0\1\1\1")},
    {b"n": Typed(TYPE_TINY | UNSIGNED, b"\xff"), b"m": Typed(TYPE_DATETIME, b"\0")},
    {**{b"%d" % number: number for number in range(300)}, b"n": "behind 300"},
)  # fmt: skip


def prepared(side: Attributed) -> list[tuple[Any, ...]]:
    heard: list[tuple[Any, ...]] = []

    def run(statement: Prepared, values: Sequence[Any], attributes: Attributes = NONE, **how: Any) -> None:
        heard.append(told(side.execute_with(statement, values, attributes, **how)))

    bare, both = side.prepare(ONE), side.prepare("SELECT ?, ?, mysql_query_attribute_string('n')")
    heard += [told(bare.answer), told(both.answer)]
    for attributes in (NONE, {b"n": "one"}, NONE, {b"n": None}, {b"m": 1, b"n": "x" * 70_000}):
        run(bare, [], attributes)
        run(both, [1, "zwei"], attributes)
        run(both, [None, 3.5], attributes)
    run(both, [5, 6])
    run(both, [7, 8], rebind=False)
    run(both, [7, 8], {b"n": "no types"}, rebind=False)
    run(both, ["x" * 70_000, None], {b"n": "long value"})
    heard.append(told(side.execute_headed(both, named([1, 2], NONE), 0)))
    heard.append(told(side.execute_headed(bare, b"", 0)))
    side.long_data(both, 1, b"long data")
    run(both, [1, Typed(TYPE_VAR_STRING)], {b"n": "beside it"})
    many = side.prepare("SELECT " + " + ".join(["?"] * 300) + ", mysql_query_attribute_string('n')")
    run(many, list(range(300)), {b"n": "behind 300"})
    run(many, list(range(300)), rebind=False)
    rows = side.prepare("SELECT mysql_query_attribute_string('n') UNION ALL SELECT n FROM seen WHERE id <= ?")
    run(rows, [2], {b"n": "by cursor"}, flags=CURSOR_READ_ONLY)
    heard += [told(side.fetch(rows, 1)), told(side.fetch(rows, 9))]
    run(rows, [1], {b"n": "at once"})
    for statement in (bare, both, many, rows):
        side.close_statement(statement)
    run(bare, [], {b"n": "closed"})
    return heard


@on_mysql
@pytest.mark.parametrize("flags", [0, CLIENT_FOUND_ROWS, CLIENT_DEPRECATE_EOF], ids=["plain", "found rows", "no EOF"])
def test_statements_get_their_attributes(servers: World, flags: int) -> None:
    heard = []
    for side in (direct(servers.shards["eu-0"].primary, CLIENT_MULTI | flags),
                 through(servers.fairlead(), CLIENT_MULTI | flags)):  # fmt: skip
        with contextlib.closing(side):
            heard.append(conversation(side))
            side.query("DROP TABLE seen")
    wanted, found = heard
    for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
        assert other == one, f"answer {number}"


MALFORMED = {
    "nothing": b"", "no sets": b"\0", "no set": b"\0\0", "two sets": b"\0\2", "sets of NULL": b"\0\xfb",
    "count NULL": b"\xfb\1", "count 0xff": b"\xff\1", "count cut off": b"\xfc\1", "count over all": b"\xfc\xff\xff\1",
    "count beyond 32 bits": b"\xfe" + b"\xff" * 8 + b"\1", "no bitmap": b"\1\1", "no flag": b"\1\1\0",
    "no types": b"\1\1\0\0", "flag only": b"\1\1\0\1", "half a type": b"\1\1\0\1\xfd", "no name": b"\1\1\0\1\xfd\0",
    "no value": b"\1\1\0\1\xfd\0\1n", "name over the end": b"\1\1\0\1\xfd\0\xfc\xff\xff",
    "name of 2^64": b"\1\1\0\1\xfd\0\xfe" + b"\xff" * 8, "name NULL": b"\1\1\0\1\xfd\0\xfb",
    "number cut off": b"\1\1\0\1\x08\0\1n123", "moment too long": b"\1\1\0\1\x0c\0\1n\x0f" + b"1" * 20,
    "moment of 3 bytes": b"\1\1\0\1\x0b\0\1n\3abc", "boolean": b"\1\1\0\1\xf4\0\1n\1",
    "70,000": b"\xfd\x70\x11\1\1" + bytes(8750) + b"\1" + b"\1\0\0" * 70_000 + b"\7" * 70_000,
    "many without values": b"\xfc\xff\xff\1" + bytes(8192) + b"\1" + b"\1\0\0" * 100,
}  # fmt: skip
MALFORMED_EXECUTE = {
    "count missing": b"", "count NULL": b"\xfb\0\1\xfd\0\0\1v", "count over all": b"\xfc\xff\xff\0\1\xfd\0\0\1v",
    "no name": b"\1\0\1\xfd\0\1v", "name over the end": b"\2\0\1\xfd\0\0\xfd\0\x7fn\1v\1A",
    "parameter's name over the end": b"\1\0\1\xfd\0\x7fn\1v", "no value": b"\2\0\1\xfd\0\0\xfd\0\1n\1v",
    "attribute without a type": b"\2\0\0\1v\1A", "flag missing": b"\1\0",
}  # fmt: skip
ER_MALFORMED_PACKET = 1835


@on_mysql
def test_malformed_packets_are_told_and_nothing_else_happens(servers: World) -> None:
    """A head without a statement behind it, and one with."""
    member = servers.fairlead()
    server = servers.shards["eu-0"].primary
    with contextlib.closing(direct(server)) as one, contextlib.closing(through(member)) as other:
        for name, head in MALFORMED.items():
            for text in ("", "SELECT 1") if name in ("70,000", "many without values") else ("",):
                assert told(one.headed(head, text)) == told(other.headed(head, text)), name
                assert other.with_attributes(ONE, TWO).value == b"one"
        sides = [(side, side.prepare("SELECT ?")) for side in (one, other)]
        for name, rest in MALFORMED_EXECUTE.items():
            found = {told(side.execute_headed(statement, rest)) for side, statement in sides}
            assert {answer[-1] for answer in found} == {ER_MALFORMED_PACKET}, name
        values = [side.execute_with(statement, [7], TWO).value for side, statement in sides]
        assert values == [(7).to_bytes(8, "little")] * 2
        until(lambda: metric(member, "fairlead_buffered_bytes") == 0, "nothing kept of them", member)


@on_mysql
def test_a_statement_of_16_mib_keeps_its_attributes(servers: World) -> None:
    text = "SELECT LENGTH('" + "x" * (17 << 20) + "'), mysql_query_attribute_string('n')"
    for server in (shard.primary for shard in servers.shards.values()):
        server.run("SET GLOBAL max_allowed_packet = 268435456")
    with contextlib.closing(through(servers.fairlead())) as side:
        for attributes, expected in ((NONE, None), (TWO, b"one")):
            answer = side.with_attributes(text, attributes)
            assert answer.rows == ((b"17825792", expected),), answer
        statement = side.prepare("SELECT LENGTH(?), mysql_query_attribute_string('n')")
        answer = side.execute_with(statement, ["y" * (17 << 20)], TWO)
        assert answer.rows[0][1] == b"one", answer


@on_mysql
def test_clients_with_and_without_them_share_a_plan(servers: World) -> None:
    """Zero attributes, which drivers send with every statement, cost no park."""
    member = servers.fairlead()
    with contextlib.closing(through(member)) as side, client(member, database="plain") as plain:
        side.query("CREATE TABLE word (id INT PRIMARY KEY)")
        with plain.cursor() as cursor:
            cursor.execute("SELECT id FROM word WHERE id = 1")
        side.query("SELECT id FROM word WHERE id = 2")
        before = metric(member, "fairlead_parks_total")
        for number in range(20):
            assert side.query(f"SELECT id FROM word WHERE id = {number}").kind == "rows"
            assert side.with_attributes(f"SELECT id FROM word WHERE id = {number}", TWO).kind == "rows"
        assert metric(member, "fairlead_parks_total") == before


@on_mysql
def test_over_shards_what_reads_them_is_refused_and_others_are_answered(servers: World) -> None:
    """The function is a loadable one: what it reads is not known, so that only one shard's statement may call it."""
    first, second = (ids_on(servers, name)[0] for name in ("eu-0", "eu-1"))
    with contextlib.closing(through(servers.fairlead(), database="shop")) as side:
        assert side.with_attributes("SELECT COUNT(*) FROM customers", TWO).value == b"100"
        for sql in (f"SELECT id, mysql_query_attribute_string('n') FROM customers WHERE id IN ({first}, {second})",
                    "SELECT COUNT(*) FROM customers HAVING mysql_query_attribute_string('n') = 'one'"):  # fmt: skip
            assert side.with_attributes(sql, TWO).message.startswith("FL1216"), sql
        hint = "/* fairlead: shard=eu-0 */"
        sql = f"{hint} SELECT id, mysql_query_attribute_string('n') FROM customers WHERE id = {first}"
        assert side.with_attributes(sql, TWO).rows == ((b"%d" % first, b"one"),)
        update = f"UPDATE customers SET balance = balance + 1 WHERE id IN ({first}, {second})"
        assert side.with_attributes(update, TWO).affected == 2
        statement = side.prepare("SELECT id FROM customers WHERE id IN (?, ?) ORDER BY id")
        found = side.execute_with(statement, [first, second], TWO)
        assert [int.from_bytes(row[0] or b"", "little") for row in found.rows] == sorted((first, second))


TRIGGER = """CREATE TRIGGER signed BEFORE UPDATE ON customers
    FOR EACH ROW SET NEW.name = COALESCE(mysql_query_attribute_string('n'), 'nobody')"""


@on_mysql
def test_statements_over_shards_take_theirs_along(servers: World) -> None:
    """Nobody sees it in the text when a trigger reads them."""
    keys = [ids_on(servers, name)[0] for name in ("eu-0", "eu-1")]
    names = f"SELECT name FROM customers WHERE id IN ({keys[0]}, {keys[1]})"
    for shard in servers.shards.values():
        shard.primary.run(TRIGGER, database="shop")
    update = f"UPDATE customers SET balance = balance + 1 WHERE id IN ({keys[0]}, {keys[1]})"
    with contextlib.closing(through(servers.fairlead(), database="shop")) as side:

        def named_after(number: int) -> bool:
            return side.query(names).rows == ((b"%d" % number,),) * 2

        assert side.with_attributes(update, {b"n": 1}).affected == 2
        assert named_after(1)
        statement = side.prepare("UPDATE customers SET balance = balance + ? WHERE id IN (?, ?)")
        side.execute_with(statement, [1, *keys], {b"n": 2})
        assert named_after(2)
        side.query("BEGIN")
        for key in keys:
            side.with_attributes(f"UPDATE customers SET balance = balance - 1 WHERE id = {key}", {b"n": 3})
        side.query("COMMIT")
        assert named_after(3)
        side.query(update)
        assert side.query(names).rows == ((b"nobody",),) * 2
    for shard in servers.shards.values():
        shard.primary.run("DROP TRIGGER signed", database="shop")


@on_mysql
def test_values_are_not_logged(servers: World) -> None:
    member = servers.kept({"telemetry": {"slow_query": "1us"}})
    with contextlib.closing(through(member)) as side:
        assert side.with_attributes(ONE, {b"n": "secret-value"}).value == b"secret-value"
        assert side.headed(b"\1\1\0\1\xfd\0\1n\xffsecret-value").errno == ER_MALFORMED_PACKET
        assert "secret-value" not in member.log_tail(1000) + member.http("/metrics")


@on_mysql
@pytest.mark.world(regions=2)
def test_under_a_policy_the_function_is_one_of_unknown_meaning(servers: World) -> None:
    member = servers.fleet(CHANGES)["eu"]
    with contextlib.closing(through(member, user="analyst", password="x", database="shop")) as side:
        key = ids_on(servers, "us-0")[0]
        for what in ("mysql_query_attribute_string('n')", "id, email = mysql_query_attribute_string('n')"):
            answer = side.with_attributes(f"SELECT {what} FROM customers WHERE id = {key}", TWO)
            assert answer.refused, answer
        wanted = side.query(f"SELECT id, email FROM customers WHERE id = {key}")
        assert side.with_attributes(f"SELECT id, email FROM customers WHERE id = {key}", TWO) == wanted


@on_mysql
@pytest.mark.world(regions=2)
def test_a_peer_passes_them_on(servers: World) -> None:
    key = ids_on(servers, "us-0")[0]
    servers.fairlead("us")
    with contextlib.closing(through(servers.fairlead("eu"), database="shop")) as side:
        sql = f"/* fairlead: shard=us-0 */ SELECT mysql_query_attribute_string('n') FROM customers WHERE id = {key}"
        assert side.with_attributes(sql, TWO).rows == ((b"one",),)
        assert side.query(sql).rows == ((None,),)


@on_mysql
def test_connector_python_adds_attributes(servers: World) -> None:
    options = {"user": "demo", "password": "demo", "database": "plain", "ssl_disabled": True, "use_pure": True}
    with mysql.connector.connect(host="127.0.0.1", port=servers.fairlead().port, **options) as connection:
        for how in ({}, {"prepared": True}):
            with connection.cursor(**how) as cursor:
                cursor.add_attribute("n", "from a driver")
                cursor.add_attribute("m", 7)
                cursor.execute(BOTH)
                assert cursor.fetchall() == [("from a driver", "7")]
                cursor.clear_attributes()
                cursor.execute(BOTH)
                assert cursor.fetchall() == [(None, None)]


@BOTH_SERVERS
def test_they_are_offered_as_the_servers_do(world: World) -> None:
    offered = []
    for connection in (world.fairlead().connect(), world.shards["eu-0"].primary.connect()):
        with contextlib.closing(connection):
            offered.append(connection.server_capabilities & CLIENT_QUERY_ATTRIBUTES)
    assert offered[0] == offered[1] == (CLIENT_QUERY_ATTRIBUTES if world.shape.flavour == "mysql" else 0)
