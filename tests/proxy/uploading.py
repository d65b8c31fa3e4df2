"""A client that answers the request for its file with given bytes, in packets of a given size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pymysql

from tests.proxy.clients import Connection


class Answer(NamedTuple):
    """To one LOAD DATA: an error's number, or what the OK packet says."""

    errno: int
    affected: int = 0
    insert_id: int = 0
    warnings: int = 0
    info: str = ""


def upload(connection: Connection, sql: str, data: bytes, size: int = 1000) -> Answer:
    """The answer, as values."""
    try:
        return sent(connection, sql, (data[at : at + size] for at in range(0, len(data), size)))
    except pymysql.err.Error as error:
        return Answer(error.args[0])


def sent(connection: Connection, sql: str, pieces: Iterable[bytes]) -> Answer:
    """Each piece is a packet. Raises pymysql's errors."""
    connection._execute_command(3, sql)
    first = connection._read_packet()
    if not first.is_load_local_packet():
        return _answer(first)
    for piece in pieces:
        if piece:
            connection.write_packet(piece)
    connection.write_packet(b"")
    return _answer(connection._read_packet())


def _answer(packet: Any) -> Answer:
    assert packet.is_ok_packet()
    ok = pymysql.connections.OKPacketWrapper(packet)
    return Answer(0, ok.affected_rows, ok.insert_id, ok.warning_count, ok.message[1:].decode())  # a length comes first
