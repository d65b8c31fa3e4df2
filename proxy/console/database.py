"""The SQLite database of one query: read-only by its authorizer, bounded in time, rows, bytes and memory.

    database = Database(tables, …); database.tables_of(query) -> which tables it reads; database.fill(table, rows)
    for each; database.run(query, parameters)

https://www.sqlite.org/c3ref/set_authorizer.html, https://www.sqlite.org/c3ref/progress_handler.html
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from proxy.console.statements import Query, identifier
from proxy.console.table import Table
from router.errors import Refusal, refusal

NAME: Final = "fairlead"
SCHEMAS: Final = (NAME, "information_schema")

CELL: Final = 16 * 1024
"""Characters of one cell that are kept."""
STEPS: Final = 1000
"""Virtual-machine steps between two looks at the clock, well below a millisecond."""
HEAP: Final = 256 << 20
"""Bytes that SQLite may take in the whole process: sorts and recursive queries beyond fail."""

_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: 256 << 10,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 64 << 10,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 100,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 1000,
}
_FUNCTIONS: Final = """
    abs avg char coalesce count cume_dist date datetime dense_rank first_value format glob group_concat hex
    ifnull iif instr json json_array json_array_length json_each json_extract json_object json_type
    json_valid julianday lag last_value lead length like likelihood likely lower ltrim max min nth_value
    ntile nullif percent_rank printf quote rank replace round row_number rtrim sign strftime substr
    substring sum time total trim typeof unicode unixepoch unlikely upper -> ->>
"""
FUNCTIONS: Final = frozenset(_FUNCTIONS.split())
"""SQLite's own functions that queries may call: none of them reads a file, loads code or tells of the process."""

INTEGER, DOUBLE, DATETIME, TEXT, BLOB = "BIGINT", "DOUBLE", "DATETIME", "TEXT", "BLOB"
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer; `type` is one of BIGINT, DOUBLE, DATETIME, TEXT, BLOB."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Rows:
    """An answer."""

    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """`time` in seconds, `size` in bytes."""

    time: float
    rows: int
    size: int


class Database:
    """One query's. Used by one thread at a time; `functions`: name -> what it computes of its arguments."""

    def __init__(
        self, tables: Iterable[Table], bounds: Bounds, functions: Mapping[str, Callable[..., Any]] = {}
    ) -> None:
        self._bounds = bounds
        self._ends = time.monotonic() + bounds.time
        self._cancelled = False
        self._used: set[tuple[str, str]] = set()
        self._db = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=0
        )
        for setting in ("temp_store = MEMORY", f"hard_heap_limit = {HEAP}", "trusted_schema = OFF"):
            self._db.execute(f"PRAGMA {setting}")
        for schema in SCHEMAS:
            self._db.execute(f"ATTACH ':memory:' AS {schema}")
        self._db.execute("BEGIN")
        for table in tables:
            self._db.execute(table.ddl())
        self._db.execute("COMMIT")
        self._own = frozenset(name.lower() for name in functions)
        for name, function in functions.items():
            self._db.create_function(name, -1, function)
        for limit, value in _LIMITS.items():
            self._db.setlimit(limit, value)
        self._db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)

    def close(self) -> None:
        self._db.close()

    def cancel(self) -> None:
        """From another thread: ends what runs."""
        self._cancelled = True

    # --- making ---------------------------------------------------------------------------------------------

    def tables_of(self, query: Query) -> set[tuple[str, str]]:
        """(schema, table) of everything that the query reads, and maybe more of that name.

        Raises Refusal when it is none, or not allowed.
        """
        with self._guarded():
            self._db.execute(f"EXPLAIN {query.sql}", (None,) * query.parameters)
        return set(self._used)

    def fill(self, table: Table, rows: Iterable[Sequence[Any]]) -> None:
        holes = ", ".join("?" * len(table.columns))
        cut = (tuple(_kept(cell) for cell in row) for row in rows)
        self._db.execute("BEGIN")
        self._db.executemany(f"INSERT INTO {table.place()} VALUES ({holes})", cut)
        self._db.execute("COMMIT")

    def start(self) -> None:
        """The query's time counts from here: making the tables is ours."""
        self._ends = time.monotonic() + self._bounds.time

    # --- asking ---------------------------------------------------------------------------------------------

    def columns_of(self, query: Query) -> tuple[Column, ...]:
        """What a prepared query announces, without its rows."""
        with self._guarded():
            names = self._names(self._db.execute(f"SELECT * FROM ({query.shape}) LIMIT 0"))
        return tuple(
            Column(name, kind or TEXT) for name, kind in zip(names, self._declared(query), strict=True)
        )

    def run(self, query: Query, parameters: Sequence[Any] = ()) -> Rows:
        """Raises Refusal: for what is not allowed, for a syntax error, beyond a bound."""
        if len(parameters) != query.parameters:
            raise refusal("CONSOLE_SYNTAX", f"{query.parameters} parameters are needed")
        with self._guarded():
            cursor = self._db.execute(query.sql, tuple(parameters))
            names = self._names(cursor)
            rows = self._fetch(cursor)
        declared = self._declared(query)
        columns = tuple(
            Column(name, _type_of(kind, [row[index] for row in rows]))
            for index, (name, kind) in enumerate(zip(names, declared, strict=True))
        )
        return Rows(columns, rows)

    def _names(self, cursor: sqlite3.Cursor) -> list[str]:
        if cursor.description is None:
            raise refusal("CONSOLE_READ_ONLY", "this is no query")
        return [_shown_name(column[0]) for column in cursor.description]

    def _fetch(self, cursor: sqlite3.Cursor) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        size = 0
        for row in cursor:
            rows.append(row)
            size += sum(len(cell) if isinstance(cell, str | bytes) else 9 for cell in row)
            if len(rows) > self._bounds.rows:
                raise refusal("CONSOLE_LARGE", f"{self._bounds.rows} rows")
            if size > self._bounds.size:
                raise refusal("CONSOLE_LARGE", f"{self._bounds.size} bytes")
        return rows

    def _declared(self, query: Query) -> list[str]:
        """The declared type of each column, '' for expressions. The query is known to be allowed by now."""
        self._db.execute(f"CREATE TEMP VIEW shape AS {query.shape}")
        try:
            with self._timed():
                found = self._db.execute("PRAGMA temp.table_info(shape)").fetchall()
        finally:
            self._db.execute("DROP VIEW temp.shape")
        return [str(row[2]) if row[2] in (INTEGER, DOUBLE, DATETIME, TEXT, BLOB) else "" for row in found]

    # --- what guards it -------------------------------------------------------------------------------------

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """For the client's own text."""
        self._used.clear()
        self._db.set_authorizer(self._authorize)
        try:
            with self._timed():
                yield
        finally:
            self._db.set_authorizer(None)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        self._db.set_progress_handler(self._is_over, STEPS)
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, OverflowError, MemoryError) as error:
            raise self._told(error) from None
        finally:
            self._db.set_progress_handler(None, 0)

    def _is_over(self) -> bool:
        return self._cancelled or time.monotonic() > self._ends

    def _authorize(
        self, action: int, one: str | None, two: str | None, schema: str | None, _: str | None
    ) -> int:
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ:
            return self._authorize_read(one or "", schema)
        if action == sqlite3.SQLITE_FUNCTION and (two or "").lower() in FUNCTIONS | self._own:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    def _authorize_read(self, table: str, schema: str | None) -> int:
        if table.lower().startswith(("sqlite_", "pragma_")) or schema not in (None, *SCHEMAS):
            return sqlite3.SQLITE_DENY
        # Without a schema: a table of which no column is read, or a subquery, which must not be called as a table.
        self._used |= {(one, table.lower()) for one in SCHEMAS if schema in (None, one)}
        return sqlite3.SQLITE_OK

    def _told(self, error: BaseException) -> Refusal:
        text = str(error)
        if self._is_over() and "interrupted" in text:
            return refusal("CONSOLE_TIME", f"{self._bounds.time:g} s")
        if isinstance(error, MemoryError) or "out of memory" in text:
            return refusal("CONSOLE_LARGE", f"{HEAP >> 20} MiB of memory")
        if "too big" in text:
            return refusal("CONSOLE_LARGE", f"{_LIMITS[sqlite3.SQLITE_LIMIT_LENGTH]} bytes in one value")
        if isinstance(error, sqlite3.DatabaseError) and ("authoriz" in text or "prohibited" in text):
            return refusal("CONSOLE_READ_ONLY", text)
        for lead, entry in (
            ("no such table: ", "CONSOLE_NO_TABLE"),
            ("no such column: ", "CONSOLE_NO_COLUMN"),
        ):
            if text.startswith(lead):
                return refusal(entry, text.removeprefix(lead))
        return refusal("CONSOLE_SYNTAX", text)


def _kept(cell: Any) -> Any:
    """As SQLite stores it; a long text is cut, with a mark."""
    if isinstance(cell, str) and len(cell) > CELL:
        return cell[: CELL - 1] + "…"
    if isinstance(cell, bool):
        return int(cell)
    if isinstance(cell, int) and not -(2**63) <= cell < 2**63:
        return str(cell)
    return cell


def _shown_name(name: str) -> str:
    """'"@@version"()' -> '@@version': the query asked for a variable."""
    return name[1:-3] if name.startswith('"@@') and name.endswith('"()') else name


def _type_of(declared: str, values: Sequence[Any]) -> str:
    """The declared type when all values are of it, else what they are."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return declared or TEXT
    if kinds == {int}:
        return DOUBLE if declared == DOUBLE else INTEGER
    if kinds <= {int, float}:
        return DOUBLE
    if kinds == {bytes}:
        return BLOB
    if declared == DATETIME and all(value is None or _is_datetime(value) for value in values):
        return DATETIME
    return TEXT


def _is_datetime(value: Any) -> bool:
    return isinstance(value, str) and _DATETIME.fullmatch(value) is not None


def qualified(schema: str, table: str) -> str:
    return f"{identifier(schema)}.{identifier(table)}"
