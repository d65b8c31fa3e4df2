"""What MariaDB and MySQL servers have in common, as seen by the world that starts them."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT

from loadtest.world import templates
from loadtest.world.process import Server

MAX_SOCKET_PATH = 107
"""sockaddr_un.sun_path holds 108 bytes with its final zero (unix(7))."""
SERVICE_USER = "fairlead"
REPLICATION_USER = "replica"
ACCOUNT_HOST = "127.0.0.1"
OWN_SCHEMA = "fairlead"
"""Where Fairlead keeps decisions on transactions over several shards."""
OWN_PRIVILEGES = "CREATE, SELECT, INSERT, DELETE"
KEYSPACE_PRIVILEGES = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE TEMPORARY TABLES, "
    "LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, TRIGGER, EVENT"
)
TRIAL_PRIVILEGES = r"SELECT, INSERT, CREATE, DROP, ALTER, INDEX ON `fairlead\_trial\_%`.*"
"""For the copies on which changes of schema are tried."""
"""What the service account needs on a keyspace to run any statement of an unsharded one, and nothing on other
schemas."""


class ServerMissing(RuntimeError):
    """The server's program is not on this machine; the message names the Debian packages wanted."""


@dataclass(frozen=True)
class Tuning:
    """How a server is set up. By default it survives its own `kill -9`; with `durable` a power cut too."""

    durable: bool = False
    buffer_pool_mib: int = 64
    max_connections: int = 1200
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passwords:
    service: str = "fairlead-secret"
    replication: str = "replica-secret"


@dataclass(frozen=True)
class TlsFiles:
    ca: Path
    certificate: Path
    key: Path


class SqlServer(Server):
    """One mysqld with its own datadir. `root` enters by the unix socket, whose directory is 0700."""

    flavour: str
    program: str

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        port: int,
        server_id: int,
        domain: int = 0,
        read_only: bool = False,
        tuning: Tuning | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        super().__init__(name, directory)
        self.port = port
        self.server_id = server_id
        self.domain = domain
        self.starts_read_only = read_only
        self.tuning = tuning or Tuning()
        self.tls = tls
        self.datadir = directory / name
        # Of its own: a server that starts removes every temporary table that it finds there.
        self.tmpdir = directory / f"{name}.tmp"
        self.socket = directory / f"{name}.sock"
        if len(os.fsencode(self.socket)) > MAX_SOCKET_PATH:
            raise ValueError(f"socket path longer than {MAX_SOCKET_PATH} bytes: {self.socket}")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def template(self) -> Path:
        """The template datadir with the accounts in it. Raises ServerMissing."""
        raise RuntimeError(f"{type(self).__name__} has no template")

    def prepare(self) -> None:
        templates.copy(self.template(), self.datadir)
        self.tmpdir.mkdir(exist_ok=True)

    def wipe(self) -> None:
        """Ends the server and throws its data away: the next start begins from the template."""
        self.kill()
        shutil.rmtree(self.datadir, ignore_errors=True)
        self._prepared = False

    def is_ready(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            with self.connection():
                return True
        except pymysql.err.OperationalError:
            return False

    # --- statements ---------------------------------------------------------------------------------------

    def connect(self, **options: Any) -> "Connection[Any]":
        """As `root` by the unix socket; PyMySQL's options may be added or replaced."""
        defaults: dict[str, Any] = {
            "user": "root",
            "unix_socket": str(self.socket),
            "autocommit": True,
            "charset": "utf8mb4",
            "client_flag": CLIENT.MULTI_STATEMENTS,
            "connect_timeout": 10,
            "max_allowed_packet": 256 << 20,
            # Else PyMySQL reads all the system's authorities at every connect: 25 ms.
            "ssl_disabled": not any(name.startswith("ssl") for name in options),
        }
        return pymysql.connect(**{**defaults, **options})

    def connect_tcp(self, user: str = SERVICE_USER, password: str = "", **options: Any) -> "Connection[Any]":
        """By TCP, as an account of the network: what Fairlead's own connections look like."""
        password = password or Passwords().service
        return self.connect(
            unix_socket=None,
            host="127.0.0.1",
            port=self.port,
            user=user,
            password=password,
            client_flag=0,
            **options,
        )

    @contextmanager
    def connection(self, **options: Any) -> Iterator["Connection[Any]"]:
        connection = self.connect(**options)
        try:
            yield connection
        finally:
            connection.close()

    def run(self, *statements: str, database: str | None = None) -> None:
        """Runs statements one after the other, as root, throwing results away."""
        with self.connection(database=database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                while cursor.nextset():
                    pass

    def insert(self, statement: str, rows: Sequence[Sequence[Any]], database: str) -> None:
        """Bulk insert: `statement` is one `INSERT … VALUES (%s, …)`, sent as a few large ones."""
        with self.connection(database=database) as connection, connection.cursor() as cursor:
            cursor.max_stmt_length = 4 << 20
            cursor.execute("BEGIN")
            cursor.executemany(statement, rows)
            cursor.execute("COMMIT")

    def query(self, statement: str, database: str | None = None) -> list[tuple[Any, ...]]:
        with self.connection(database=database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def value(self, statement: str, database: str | None = None) -> Any:
        return self.query(statement, database)[0][0]

    def create_keyspace(self, database: str) -> None:
        """Makes the schema and lets the service account in. Replicates."""
        self.run(
            f"CREATE DATABASE IF NOT EXISTS `{database}`",
            f"GRANT {KEYSPACE_PRIVILEGES} ON `{database}`.* TO {SERVICE_USER}@'{ACCOUNT_HOST}'",
            f"GRANT {TRIAL_PRIVILEGES} TO {SERVICE_USER}@'{ACCOUNT_HOST}'",
        )

    def databases(self) -> list[str]:
        """The schemas that are not the server's own."""
        own = {"mysql", "sys", "information_schema", "performance_schema", OWN_SCHEMA}
        return [name for (name,) in self.query("SHOW DATABASES") if name not in own]

    # --- role and replication -----------------------------------------------------------------------------

    @property
    def read_only(self) -> bool:
        return bool(self.value("SELECT @@global.read_only"))

    def set_read_only(self, on: bool) -> None:
        raise RuntimeError(f"{type(self).__name__} has no read_only switch")

    def replicate_from(self, source: "SqlServer") -> None:
        """Follows `source` by GTID, from this server's own position."""
        raise RuntimeError(f"{type(self).__name__} cannot replicate")

    def stop_replication(self) -> None:
        """Forgets its source."""
        raise RuntimeError(f"{type(self).__name__} cannot replicate")

    def replication_source(self) -> int | None:
        """The port of the source when both replication threads run, else None."""
        raise RuntimeError(f"{type(self).__name__} cannot replicate")

    def position(self) -> str:
        """Everything this server has written or applied, as a GTID set."""
        raise RuntimeError(f"{type(self).__name__} has no position")

    def wait_for(self, position: str, timeout: float = 30.0) -> bool:
        """Blocks until `position` is applied here; False when `timeout` seconds pass first."""
        raise RuntimeError(f"{type(self).__name__} has no position")
