"""The columns of Fairlead's own answers, as a server of the flavour describes them to this client.

Measured on MariaDB 10.11 and MySQL 9.7; the differential tests hold them to it.
"""

from __future__ import annotations

from typing import NamedTuple

from proxy.mysql.constants import collations
from proxy.mysql.constants.collations import BINARY
from proxy.mysql.constants.field_types import ColumnFlag, FieldType
from proxy.mysql.packets.resultset import ColumnDefinition41
from proxy.sessions.session import UTF8_CHARSETS, Session
from router.errors import refusal
from router.plan import SessionColumn

MARIADB_DECIMALS, MYSQL_DECIMALS = 39, 31
"""`decimals` of a string column: "not fixed"."""
MYSQL_UTF8MB4 = 255
_WIDTHS = {"utf8mb4": 4, "gb18030": 4, "utf8mb3": 3, "utf8": 3, "ujis": 3, "eucjpms": 3}
_WIDTHS |= dict.fromkeys(("gbk", "big5", "sjis", "cp932", "euckr", "gb2312"), 2)
_NAME_LENGTH = 64
_VARIABLE_LENGTH = 21845
"""MySQL's characters for a system variable of text."""

_NUMBER = ColumnFlag.BINARY
_NOT_NULL = ColumnFlag.NOT_NULL
_UNSIGNED = ColumnFlag.UNSIGNED
NUMBERS = {
    "connection_id": _NUMBER | _UNSIGNED,
    "last_insert_id": _NUMBER | _UNSIGNED,
    "row_count": _NUMBER,
    "found_rows": _NUMBER,
    "warning_count": _NUMBER | _UNSIGNED,
    "error_count": _NUMBER | _UNSIGNED,
}
"""Facts that are numbers, with their flags."""


class Results(NamedTuple):
    """What strings are sent in: the default collation of character_set_results, and its bytes per character."""

    charset: str
    collation: int
    width: int
    decimals: int


def results_of(session: Session) -> Results:
    """character_set_results of the session; NULL is the servers' own, which is utf8mb3."""
    literal = (session.state.literal("character_set_results") or "'utf8mb4'").strip("'").lower()
    charset = {"null": "utf8mb3", "default": "utf8mb4"}.get(literal, literal)
    decimals = MARIADB_DECIMALS if session.mariadb else MYSQL_DECIMALS
    if charset == "utf8mb4" and not session.mariadb:
        return Results(charset, MYSQL_UTF8MB4, 4, decimals)
    number = collations.default_of("utf8mb3" if charset == "utf8" else charset)
    return Results(charset, number or BINARY, _WIDTHS.get(charset, 1), decimals)


def text_column(
    session: Session, label: str, characters: int, flags: ColumnFlag = ColumnFlag.NONE
) -> ColumnDefinition41:
    """A computed string. Raises Refusal for a label that the client's character set cannot be trusted to hold."""
    found = results_of(session)
    if not label.isascii() and found.charset not in UTF8_CHARSETS:
        raise refusal("STATEMENT_FORM", "SELECT", f"a column name beyond ASCII in {found.charset}")
    length = characters * found.width
    return ColumnDefinition41(label, FieldType.VAR_STRING, found.collation, length, flags, found.decimals)


def number_column(label: str, flags: ColumnFlag) -> ColumnDefinition41:
    """A computed BIGINT."""
    return ColumnDefinition41(label, FieldType.LONGLONG, BINARY, 21, flags)


def fact_column(session: Session, column: SessionColumn, value: str) -> ColumnDefinition41:
    """The column of a fact. `value`: of a text that is as long as its column, as VERSION() is."""
    label, fact = column.label, column.fact
    if fact in NUMBERS:
        return _number(session, column)
    match fact:
        case "database":
            return text_column(session, label, _NAME_LENGTH)
        case "user" | "current_user":
            return text_column(session, label, 384 if session.mariadb else 288)
    characters = len(value) if session.mariadb or not column.variable else _VARIABLE_LENGTH
    return text_column(session, label, characters, ColumnFlag.NONE if column.variable else _NOT_NULL)


def _number(session: Session, column: SessionColumn) -> ColumnDefinition41:
    flags = NUMBERS[column.fact]
    if column.variable:
        return number_column(column.label, flags)
    if column.fact == "connection_id" and session.mariadb:
        return ColumnDefinition41(column.label, FieldType.LONG, BINARY, 10, flags | _NOT_NULL)
    return number_column(column.label, flags | _NOT_NULL)


def database_column(session: Session, label: str) -> ColumnDefinition41:
    """SHOW DATABASES, a query of information_schema on both flavours."""
    found = results_of(session)
    flags = ColumnFlag.NOT_NULL | ColumnFlag.NO_DEFAULT_VALUE
    if session.mariadb:
        schema, org_table, org_name = "information_schema", "SCHEMATA", "SCHEMA_NAME"
    else:
        flags |= ColumnFlag.BINARY
        schema, org_table, org_name = "", "schemata", label
    return ColumnDefinition41(
        label, FieldType.VAR_STRING, found.collation, _NAME_LENGTH * found.width, flags,
        org_name=org_name, table="SCHEMATA", org_table=org_table, schema=schema,
    )  # fmt: skip


def warning_columns(session: Session) -> tuple[ColumnDefinition41, ...]:
    """SHOW WARNINGS and SHOW ERRORS."""
    code = 4 if session.mariadb else 5
    return (
        text_column(session, "Level", 7, _NOT_NULL),
        ColumnDefinition41("Code", FieldType.LONG, BINARY, code, _NOT_NULL | _NUMBER | _UNSIGNED),
        text_column(session, "Message", 512, _NOT_NULL),
    )
