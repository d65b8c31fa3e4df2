"""A client that has negotiated query attributes, byte by byte.

Pages: "COM_QUERY" and "COM_STMT_EXECUTE" of MySQL's protocol documentation.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pymysql.connections import Connection

from tests.differential.wire import (
    COM_QUERY,
    COM_STMT_EXECUTE,
    TYPE_NULL,
    Answer,
    Prepared,
    Raw,
    Typed,
    encoded_length,
    typed,
)

CLIENT_QUERY_ATTRIBUTES = 1 << 27
PARAMETER_COUNT_AVAILABLE = 8

Attributes = Mapping[bytes, Any]


class AttributedConnection(Connection):  # type: ignore[type-arg]
    """PyMySQL, which negotiates them where it can and sends none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "client_flag": options.get("client_flag", 0) | CLIENT_QUERY_ATTRIBUTES})

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        if command == COM_QUERY and self.server_capabilities & CLIENT_QUERY_ATTRIBUTES:
            sql = b"\x00\x01" + (sql.encode(self.encoding, "surrogateescape") if isinstance(sql, str) else sql)
        super()._execute_command(command, sql)  # type: ignore[misc]


class Attributed(Raw):
    """Statements with attributes, text and prepared."""

    def with_attributes(self, sql: str | bytes, attributes: Attributes) -> Answer:
        return self.headed(query_head(attributes), sql)

    def headed(self, head: bytes, sql: str | bytes = b"") -> Answer:
        """COM_QUERY with just any head."""
        text = sql.encode() if isinstance(sql, str) else sql
        return self._asked(bytes((COM_QUERY,)) + head + text, self._result)

    def query(self, sql: str | bytes) -> Answer:
        return self.with_attributes(sql, {})

    def execute_with(
        self, statement: Prepared, values: Sequence[Any], attributes: Attributes, *, rebind: bool = True, flags: int = 0
    ) -> Answer:
        return self.execute_headed(statement, named(values, attributes, rebind), flags | PARAMETER_COUNT_AVAILABLE)

    def execute_headed(self, statement: Prepared, rest: bytes, flags: int = PARAMETER_COUNT_AVAILABLE) -> Answer:
        """COM_STMT_EXECUTE with just anything behind its first ten bytes."""

        def read() -> Answer:
            answer = self._result(binary=True)
            statement.columns = answer.columns
            return answer

        return self._asked(struct.pack("<BIBI", COM_STMT_EXECUTE, statement.id, flags, 1) + rest, read)

    def execute(
        self, statement: Prepared, values: Sequence[Any] = (), *, rebind: bool = True, flags: int = 0
    ) -> Answer:  # fmt: skip
        return self.execute_with(statement, values, {}, rebind=rebind, flags=flags)


def query_head(attributes: Attributes) -> bytes:
    """What stands between COM_QUERY and its text."""
    given = [(name, typed(value)) for name, value in attributes.items()]
    return encoded_length(len(given)) + b"\x01" + (parameters(given) if given else b"")


def named(values: Sequence[Any], attributes: Attributes, rebind: bool = True) -> bytes:
    """What COM_STMT_EXECUTE has behind its first ten bytes."""
    given = [(b"", typed(value)) for value in values] + [(name, typed(value)) for name, value in attributes.items()]
    return encoded_length(len(given)) + (parameters(given, rebind) if given else b"")


def parameters(given: Sequence[tuple[bytes, Typed]], rebind: bool = True) -> bytes:
    nulls = bytearray((len(given) + 7) // 8)
    for index, (_, one) in enumerate(given):
        nulls[index // 8] |= (one.type == TYPE_NULL) << index % 8
    types = b"".join(struct.pack("<H", one.type) + encoded_length(len(name)) + name for name, one in given)
    return bytes(nulls) + (b"\x01" + types if rebind else b"\x00") + b"".join(one.data for _, one in given)
