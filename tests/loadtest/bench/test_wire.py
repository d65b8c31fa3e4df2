"""The load's own MySQL client, against bytes and against a server that obeys the test."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from loadtest.bench import packets
from loadtest.bench.packets import ConnectionLost, ServerError, Statement, WireError
from loadtest.bench.wire import Connection
from tests.loadtest.bench import fake_mysql
from tests.loadtest.bench.fake_mysql import FakeMysql, error, result_set


def converse(server: FakeMysql, use: Callable[[Connection], Awaitable[None]]) -> None:
    async def with_port(port: int) -> None:
        connection = await Connection.open("127.0.0.1", port, "u", fake_mysql.PASSWORD, "d", timeout=5)
        try:
            await use(connection)
        finally:
            connection.close()

    asyncio.run(asyncio.wait_for(server.serve(with_port), 10))


# --- bytes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "head"),
    [(0, b"\0"), (250, b"\xfa"), (251, b"\xfc\xfb\0"), (65535, b"\xfc\xff\xff"), (65536, b"\xfd\0\0\x01")],
)
def test_lengths_go_there_and_back(size: int, head: bytes) -> None:
    assert packets.encode_length(size) == head
    assert packets.length_encoded_int(head, 0) == (size, len(head))


def test_null_is_no_empty_string() -> None:
    assert packets.length_encoded_bytes(b"\xfb\x00", 0) == (None, 1)
    assert packets.length_encoded_bytes(b"\x00", 0) == (b"", 1)


def test_scrambles_are_those_of_the_servers() -> None:
    """Computed with PyMySQL 1.1 for the password "secret" and the challenge 12345678abcdefghijkl."""
    from pymysql import _auth

    challenge = fake_mysql.CHALLENGE
    assert packets.native_scramble(b"secret", challenge) == _auth.scramble_native_password(b"secret", challenge)
    assert packets.sha2_scramble(b"secret", challenge) == _auth.scramble_caching_sha2(b"secret", challenge)
    assert packets.native_scramble(b"", challenge) == packets.sha2_scramble(b"", challenge) == b""


def test_greeting() -> None:
    found = packets.parse_greeting(fake_mysql.greeting(b"caching_sha2_password"))
    plugin, capabilities = "caching_sha2_password", 0x81FFF7FE
    assert found == packets.Greeting("5.5.5-10.11.6-MariaDB", 77, fake_mysql.CHALLENGE, plugin, capabilities)


def test_a_server_that_is_full_says_so_instead_of_greeting() -> None:
    with pytest.raises(ServerError, match=r"1040.*Too many"):
        packets.parse_greeting(b"\xff\x10\x04Too many connections")


def test_binary_row_with_null_and_every_kind() -> None:
    row = b"\x00\x08" + (7).to_bytes(8, "little") + b"\xff\xff\xff\xff" + b"\x03abc"
    types = [(8, False), (3, True), (253, False), (253, False)]
    row = b"\x00" + bytes((0b00100000,)) + row[2:]
    assert packets.parse_binary_row(row, types) == (7, 0xFFFFFFFF, b"abc", None)


def test_execute_binds_types_and_nulls() -> None:
    payload = packets.execute_payload(Statement(9, 3, 0), [5, None, "é"])
    head, rest = payload[:10], payload[10:]
    assert head == b"\x17" + (9).to_bytes(4, "little") + b"\0" + (1).to_bytes(4, "little")
    assert rest == b"\x02" + b"\x01" + b"\x08\0\x06\0\xfd\0" + (5).to_bytes(8, "little") + b"\x02\xc3\xa9"


def test_types_are_sent_once() -> None:
    payload = packets.execute_payload(Statement(9, 1, 0), [5], types=False)
    assert payload[10:] == b"\0" + b"\0" + (5).to_bytes(8, "little")


def test_execute_wants_as_many_values_as_parameters() -> None:
    with pytest.raises(ValueError, match="1 values for 2"):
        packets.execute_payload(Statement(1, 2, 0), [5])


# --- the connection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0, 1, 3, 7])
def test_rows_arrive_whole_however_they_are_cut(chunk: int) -> None:
    answer = result_set([b"a", b"b"], [[b"1", None], [b"x" * 300, b""]])

    async def use(connection: Connection) -> None:
        result = await connection.query("SELECT 1")
        assert result.columns == ("a", "b")
        assert result.rows == [(b"1", None), (b"x" * 300, b"")]

    server = FakeMysql(lambda _: answer, chunk=chunk)
    converse(server, use)
    assert server.commands == [b"\x03SELECT 1"]


def test_a_server_may_switch_the_method() -> None:
    async def use(connection: Connection) -> None:
        assert connection.alive

    converse(FakeMysql(lambda _: None, plugin=b"ed25519", switch_to=b"mysql_native_password"), use)


def test_a_method_that_is_not_spoken_is_named() -> None:
    with pytest.raises(WireError, match="ed25519"):
        converse(FakeMysql(lambda _: None, switch_to=b"ed25519"), _nothing)


async def _nothing(_: Connection) -> None:
    return None


def test_an_error_leaves_the_connection_usable() -> None:
    answers = iter([error(1064, b"42000", b"You have an error"), result_set([b"a"], [[b"1"]])])

    async def use(connection: Connection) -> None:
        with pytest.raises(ServerError) as caught:
            await connection.query("SELEC 1")
        assert (caught.value.errno, caught.value.sqlstate) == (1064, "42000")
        assert (await connection.query("SELECT 1")).rows == [(b"1",)]

    converse(FakeMysql(lambda _: next(answers)), use)


def test_an_error_after_rows_is_an_error() -> None:
    whole = result_set([b"a"], [[b"1"]])
    cut = whole[: -len(packets.packet(fake_mysql.EOF_PACKET))] + error(1317, b"70100", b"interrupted")

    async def use(connection: Connection) -> None:
        with pytest.raises(ServerError, match="1317"):
            await connection.query("SELECT 1")

    converse(FakeMysql(lambda _: cut), use)


def test_a_connection_that_ends_amid_an_answer_is_lost() -> None:
    answers = iter([result_set([b"a"], [[b"1"]]), None])

    async def use(connection: Connection) -> None:
        await connection.query("SELECT 1")
        with pytest.raises(ConnectionLost):
            await connection.query("SELECT 2")
        with pytest.raises(ConnectionLost):
            await connection.query("SELECT 3")

    converse(FakeMysql(lambda _: next(answers)), use)


def test_a_late_answer_is_never_taken_for_the_next() -> None:
    async def use(connection: Connection) -> None:
        with pytest.raises(TimeoutError):
            await connection.query("SELECT 1", timeout=0.05)
        assert not connection.alive

    converse(FakeMysql(lambda _: b""), use)


def test_statement_without_parameters_or_columns() -> None:
    prepared = packets.packet(b"\0" + (3).to_bytes(4, "little") + b"\0\0\0\0" + b"\0\0\0", 1)

    async def use(connection: Connection) -> None:
        assert await connection.prepare("COMMIT") == Statement(3, 0, 0)

    converse(FakeMysql(lambda _: prepared), use)


def test_statement_with_parameters_and_columns() -> None:
    head = b"\0" + (3).to_bytes(4, "little") + b"\x01\0\x02\0" + b"\0\0\0"
    parameter, result = fake_mysql.column(b"?"), fake_mysql.column(b"c")
    payloads = [head, parameter, parameter, fake_mysql.EOF_PACKET, result, fake_mysql.EOF_PACKET]
    answer = b"".join(packets.packet(payload, number) for number, payload in enumerate(payloads, 1))

    async def use(connection: Connection) -> None:
        assert await connection.prepare("SELECT ?") == Statement(3, 2, 1)

    converse(FakeMysql(lambda _: answer, chunk=5), use)


@pytest.mark.parametrize(("end", "is_reset"), [(Connection.abort, True), (Connection.close, False)])
def test_abort_is_a_reset_and_close_is_not(end: Callable[[Connection], None], is_reset: bool) -> None:
    server = FakeMysql(lambda _: None)

    async def use(connection: Connection) -> None:
        end(connection)
        await asyncio.wait_for(server.closed.wait(), 5)

    converse(server, use)
    assert server.reset is is_reset


def test_after_a_half_close_answers_are_read_but_nothing_is_sent() -> None:
    async def use(connection: Connection) -> None:
        asking = asyncio.ensure_future(connection.query("SELECT 1"))
        await asyncio.sleep(0)
        connection.half_close()
        assert (await asking).rows == [(b"1",)]
        with pytest.raises(ConnectionLost):
            await connection.query("SELECT 2")

    converse(FakeMysql(lambda _: result_set([b"a"], [[b"1"]])), use)
