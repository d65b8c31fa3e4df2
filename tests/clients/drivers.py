"""Every client library behind one small face, so that one test body runs through all of them.

A driver keeps its own habits (buffering, escaping, autocommit off by default): they are what is being tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import aiomysql
import mysql.connector
import MySQLdb
import MySQLdb.cursors
import pymysql
import pymysql.cursors

Row = tuple[Any, ...]
T = TypeVar("T")

BATCH = 1000


@dataclass(frozen=True)
class Target:
    """Where to connect, and as whom. `ca`: check the server's certificate against this file."""

    port: int
    user: str = "demo"
    password: str = "demo"
    database: str | None = "plain"
    ca: str | None = None

    def with_database(self, name: str | None) -> Target:
        return replace(self, database=name)


class Failure(Exception):
    """A driver's error, whatever its class: MySQL's errno and the message."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(f"({errno}) {message}")
        self.errno = errno


class Session(Protocol):
    """One connection."""

    def query(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Text protocol; `%s` where the arguments go."""

    def prepared(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Binary protocol; `?` where the arguments go."""

    def stream(self, sql: str) -> Iterator[Row]:
        """Rows as they come, none kept."""

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def ping(self) -> None: ...

    def select_database(self, name: str) -> None: ...

    def close(self) -> None: ...


class Driver(Protocol):
    """A client library."""

    @property
    def name(self) -> str: ...

    @property
    def prepares(self) -> bool:
        """Speaks COM_STMT_PREPARE."""

    @property
    def sends_bytes(self) -> bool:
        """Takes `bytes` as an argument of a text statement."""

    def connect(self, target: Target) -> Session: ...


@contextlib.contextmanager
def translated(*errors: type[BaseException]) -> Iterator[None]:
    """Turns a library's errors into Failure."""
    try:
        yield
    except errors as error:
        first, *rest = [*error.args, ""]
        errno = getattr(error, "errno", None) or (first if isinstance(first, int) else 0)
        raise Failure(int(errno), " ".join(map(str, rest)).strip() or str(error)) from error


# --- PyMySQL ------------------------------------------------------------------------------------------------


class PyMySQL:
    name = "PyMySQL"
    prepares = False
    sends_bytes = True

    def connect(self, target: Target) -> Session:
        with translated(pymysql.err.Error):
            return _PyMySQLSession(
                pymysql.connect(
                    host="127.0.0.1",
                    port=target.port,
                    user=target.user,
                    password=target.password,
                    database=target.database,
                    max_allowed_packet=256 << 20,
                    **(
                        {"ssl_ca": target.ca, "ssl_verify_identity": True}
                        if target.ca
                        else {"ssl_disabled": True}
                    ),
                )
            )


class _PyMySQLSession:
    def __init__(self, connection: Any) -> None:
        self.raw = connection

    def query(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        with translated(pymysql.err.Error), self.raw.cursor() as cursor:
            cursor.execute(sql, arguments or None)
            return list(cursor.fetchall())

    def prepared(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        raise TypeError("PyMySQL has no prepared statements")

    def stream(self, sql: str) -> Iterator[Row]:
        with translated(pymysql.err.Error), self.raw.cursor(pymysql.cursors.SSCursor) as cursor:
            cursor.execute(sql)
            yield from cursor

    def commit(self) -> None:
        self.raw.commit()

    def rollback(self) -> None:
        self.raw.rollback()

    def ping(self) -> None:
        self.raw.ping(reconnect=False)

    def select_database(self, name: str) -> None:
        with translated(pymysql.err.Error):
            self.raw.select_db(name)

    def close(self) -> None:
        self.raw.close()


# --- mysqlclient --------------------------------------------------------------------------------------------


class MySQLClient:
    name = "mysqlclient"
    prepares = False
    sends_bytes = True

    def connect(self, target: Target) -> Session:
        options: dict[str, Any] = {"ssl": {"ca": target.ca}, "ssl_mode": "VERIFY_CA"} if target.ca else {}
        with translated(MySQLdb.Error):
            return _MySQLClientSession(
                MySQLdb.connect(
                    host="127.0.0.1",
                    port=target.port,
                    user=target.user,
                    password=target.password,
                    charset="utf8mb4",
                    **({"database": target.database} if target.database else {}),
                    **options,
                )
            )


class _MySQLClientSession(_PyMySQLSession):
    def query(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        with translated(MySQLdb.Error), contextlib.closing(self.raw.cursor()) as cursor:
            cursor.execute(sql, tuple(arguments) or None)
            return list(cursor.fetchall())

    def prepared(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        raise TypeError("mysqlclient has no prepared statements")

    def stream(self, sql: str) -> Iterator[Row]:
        with (
            translated(MySQLdb.Error),
            contextlib.closing(self.raw.cursor(MySQLdb.cursors.SSCursor)) as cursor,
        ):
            cursor.execute(sql)
            while rows := cursor.fetchmany(BATCH):
                yield from rows

    def ping(self) -> None:
        self.raw.ping()

    def select_database(self, name: str) -> None:
        with translated(MySQLdb.Error):
            self.raw.select_db(name)


# --- aiomysql -----------------------------------------------------------------------------------------------


class AioMySQL:
    name = "aiomysql"
    prepares = False
    # aiomysql 0.3.2 calls PyMySQL's escape_item without the table that PyMySQL 1.2 wants for bytes.
    sends_bytes = False

    def connect(self, target: Target) -> Session:
        session = _AioMySQLSession()
        context = ssl.create_default_context(cafile=target.ca) if target.ca else None
        with translated(pymysql.err.Error):
            session.raw = session.run(
                aiomysql.connect(
                    host="127.0.0.1",
                    port=target.port,
                    user=target.user,
                    password=target.password,
                    db=target.database,
                    charset="utf8mb4",
                    ssl=context,
                )
            )
        return session


class _AioMySQLSession:
    raw: Any

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def awaited() -> T:
            return await work

        return self._runner.run(awaited())

    def query(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        async def execute() -> list[Row]:
            async with self.raw.cursor() as cursor:
                await cursor.execute(sql, arguments or None)
                return list(await cursor.fetchall())

        with translated(pymysql.err.Error):
            return self.run(execute())

    def prepared(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        raise TypeError("aiomysql has no prepared statements")

    def stream(self, sql: str) -> Iterator[Row]:
        with translated(pymysql.err.Error):
            cursor = self.run(self._execute_unbuffered(sql))
            while rows := self.run(cursor.fetchmany(BATCH)):
                yield from rows
            self.run(cursor.close())

    async def _execute_unbuffered(self, sql: str) -> Any:
        cursor = await self.raw.cursor(aiomysql.SSCursor)
        await cursor.execute(sql)
        return cursor

    def commit(self) -> None:
        self.run(self.raw.commit())

    def rollback(self) -> None:
        self.run(self.raw.rollback())

    def ping(self) -> None:
        self.run(self.raw.ping(reconnect=False))

    def select_database(self, name: str) -> None:
        with translated(pymysql.err.Error):
            self.run(self.raw.select_db(name))

    def close(self) -> None:
        self.raw.close()
        self._runner.close()


# --- mysql-connector-python ---------------------------------------------------------------------------------


class Connector:
    """Connector/Python. Its wheel for Linux is pure Python."""

    name = "connector"
    prepares = True
    sends_bytes = True

    def connect(self, target: Target) -> Session:
        options: dict[str, Any] = {"ssl_disabled": True}
        if target.ca:
            options = {"ssl_ca": target.ca, "ssl_verify_cert": True}
        with translated(mysql.connector.Error):
            connection = mysql.connector.connect(
                host="127.0.0.1",
                port=target.port,
                user=target.user,
                password=target.password,
                database=target.database,
                use_pure=True,
                **options,
            )
        return _ConnectorSession(connection)


class _ConnectorSession(_PyMySQLSession):
    def query(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        with translated(mysql.connector.Error), self.raw.cursor() as cursor:
            cursor.execute(sql, tuple(arguments))
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def prepared(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        with translated(mysql.connector.Error), self.raw.cursor(prepared=True) as cursor:
            cursor.execute(sql, tuple(arguments))
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def stream(self, sql: str) -> Iterator[Row]:
        with translated(mysql.connector.Error), self.raw.cursor(buffered=False) as cursor:
            cursor.execute(sql)
            while rows := cursor.fetchmany(BATCH):
                yield from rows

    def ping(self) -> None:
        self.raw.ping(reconnect=False)

    def select_database(self, name: str) -> None:
        with translated(mysql.connector.Error):
            self.raw.database = name


DRIVERS: list[Driver] = [PyMySQL(), AioMySQL(), MySQLClient(), Connector()]


# --- command-line clients -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CommandLine:
    """`mariadb` or MySQL's `mysql`: statements in, text out."""

    name: str
    argv: tuple[str, ...]

    def run(self, target: Target, sql: str, *options: str) -> str:
        """What it prints, tab-separated without headings. Raises Failure with the server's errno."""
        done = subprocess.run(
            [*self.connecting(target), "--batch", "--skip-column-names", *options],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode != 0:
            # "ERROR 1146 (42S02) at line 1: Table 'plain.x' doesn't exist"
            words = done.stderr.partition("ERROR ")[2].split(" ", 1)
            raise Failure(int(words[0]) if words[0].isdigit() else 0, done.stderr.strip())
        return done.stdout

    def count_lines(self, target: Target, sql: str) -> int:
        """How many rows a statement gives, printed and counted as they come (`--quick` keeps none)."""
        argv = [*self.connecting(target), "--batch", "--skip-column-names", "--quick", "-e", sql]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            count = 0
            while chunk := process.stdout.read(1 << 20):
                count += chunk.count(b"\n")
        if process.returncode != 0:
            raise Failure(0, f"{self.name} ended with {process.returncode}")
        return count

    def connecting(self, target: Target) -> list[str]:
        return [
            *self.argv,
            "--no-defaults",
            "--host=127.0.0.1",
            f"--port={target.port}",
            f"--user={target.user}",
            f"--password={target.password}",
            "--default-character-set=utf8mb4",
            "--max-allowed-packet=256M",
            *([f"--database={target.database}"] if target.database else []),
        ]


def mariadb_command_line() -> CommandLine | None:
    """Debian's `mariadb`, None when it is not installed."""
    program = shutil.which("mariadb")
    return CommandLine("mariadb", (program,)) if program else None


def mysql_command_line() -> CommandLine:
    """MySQL 9.7's `mysql`. Raises ServerMissing."""
    from loadtest.world import mysql97

    # `--no-defaults` must come first, and `_connect` gives it.
    return CommandLine("mysql", tuple(mysql97.client_command()[:-1]))
