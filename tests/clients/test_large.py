"""Values of 64 MB and results of a million rows, with the proxy's memory in view."""

from __future__ import annotations

import contextlib
import hashlib

import pytest

from tests.clients.conftest import Way
from tests.clients.drivers import CommandLine, Driver
from tests.differential.wire import Raw
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS, pytest.mark.timeout(300)]

MB = 10**6
VALUE = 64 * MB
PACKET_LIMIT = 64 << 20
"""limits.max_packet's default: what one request may make the proxy hold."""
RESULT_GROWTH = 20 * MB
ROWS = 1_000_000
DIGITS = "INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)"
MILLION = (
    "SELECT a.d + b.d * 10 + c.d * 100 + e.d * 1000 + f.d * 10000 + g.d * 100000 AS n, "
    "REPEAT('x', 50) AS filler FROM digits a, digits b, digits c, digits e, digits f, digits g"
)


@pytest.fixture
def digits(way: Way) -> None:
    primary = way.world.shards["eu-0"].primary
    primary.run("CREATE TABLE digits (d INT PRIMARY KEY)", DIGITS, database="plain")


@pytest.fixture
def blobs(way: Way) -> None:
    way.world.shards["eu-0"].primary.run(
        "CREATE TABLE blobs (id INT PRIMARY KEY, value LONGBLOB NOT NULL)", database="plain"
    )


def value() -> bytes:
    """64 MB without a byte that a text statement must escape: the statement then fits the packet limit."""
    block = bytes(byte for byte in range(32, 127) if byte not in b"'\"\\")
    return (block * (VALUE // len(block) + 1))[:VALUE]


@pytest.mark.usefixtures("blobs")
def test_a_64_mb_value_goes_in_and_out(driver: Driver, way: Way) -> None:
    sent = value()
    with contextlib.closing(driver.connect(way.target)) as session:
        with way.memory() as request:
            session.query("INSERT INTO blobs VALUES (1, %s)", (sent.decode(),))
            session.commit()
        stored = way.world.shards["eu-0"].primary.value("SELECT SHA2(value, 256) FROM plain.blobs")
        assert stored == hashlib.sha256(sent).hexdigest()
        with way.memory() as result:
            ((received,),) = session.query("SELECT value FROM blobs WHERE id = 1")
        assert received == sent
    assert result.growth < RESULT_GROWTH
    assert request.growth < PACKET_LIMIT + RESULT_GROWTH


@pytest.mark.usefixtures("blobs")
def test_a_64_mb_parameter_is_bound(driver: Driver, way: Way) -> None:
    if not driver.prepares:
        pytest.skip(f"{driver.name} has no prepared statements")
    sent = value()
    with contextlib.closing(driver.connect(way.target)) as session:
        with way.memory() as request:
            session.prepared("INSERT INTO blobs VALUES (?, ?)", (2, sent))
            session.commit()
        # Read back as text: Connector/Python itself cuts rows of prepared statements at 16 MB.
        ((received,),) = session.query("SELECT value FROM blobs WHERE id = 2")
        assert bytes(received) == sent
    assert request.growth < PACKET_LIMIT + RESULT_GROWTH


@pytest.mark.usefixtures("digits")
def test_a_million_rows_stream_through(driver: Driver, way: Way) -> None:
    with contextlib.closing(driver.connect(way.target)) as session:
        with way.memory() as memory:
            count = total = 0
            for number, filler in session.stream(MILLION):
                count += 1
                total += number
                assert len(filler) == 50
        assert (count, total) == (ROWS, ROWS * (ROWS - 1) // 2)
        assert session.query("SELECT 1") == [(1,)]
    assert memory.growth < RESULT_GROWTH


@pytest.mark.usefixtures("digits")
def test_a_reader_that_stops_holds_the_proxy_to_its_buffers(way: Way) -> None:
    """A client that reads nothing for a while makes the server wait, not the proxy grow."""
    from tests.clients.drivers import PyMySQL

    with contextlib.closing(PyMySQL().connect(way.target)) as session, way.memory() as memory:
        rows = session.stream(MILLION)
        first = next(rows)
        # Another client is served meanwhile: the stalled one holds nothing but its own connection.
        with contextlib.closing(PyMySQL().connect(way.target)) as other:
            for _ in range(50):
                assert other.query("SELECT COUNT(*) FROM digits") == [(10,)]
        assert len(first) == 2
        assert sum(1 for _ in rows) == ROWS - 1
    assert memory.growth < RESULT_GROWTH


@pytest.mark.usefixtures("digits")
def test_command_line_clients_print_a_million_rows(command_line: CommandLine, way: Way) -> None:
    with way.memory() as memory:
        assert command_line.count_lines(way.target, MILLION) == ROWS
    assert memory.growth < RESULT_GROWTH


@pytest.mark.usefixtures("blobs")
def test_command_line_clients_carry_a_64_mb_value(command_line: CommandLine, way: Way) -> None:
    sent = value().decode()
    command_line.run(way.target, f"INSERT INTO blobs VALUES (1, '{sent}');\n")
    with way.memory() as result:
        received = command_line.run(way.target, "SELECT value FROM blobs WHERE id = 1", "--raw")
    assert received == f"{sent}\n"
    assert result.growth < RESULT_GROWTH


@pytest.mark.parametrize("prepared", [False, True])
def test_an_error_of_fairlead_is_numbered_behind_all_packets_of_its_command(way: Way, prepared: bool) -> None:
    """Drivers give the connection up when a packet has not the number that follows."""
    member = way.world.fairlead()
    text = f"SELECT 1 /* {'x' * (17 << 20)} */ FROM customers, orders ORDER BY nothing"
    connection = Raw(member.connect())
    try:
        answer = connection.prepare(text).answer if prepared else connection.query(text)
        assert answer.refused, answer
        assert connection.query("SELECT 1").value == b"1"
    finally:
        connection.close()
