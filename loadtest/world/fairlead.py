"""Fairlead itself, started as an operator starts it: `fairlead serve -c FILE`."""

import contextlib
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pymysql
import yaml
from pymysql.connections import Connection

from loadtest.world.process import Server

HTTP_TIMEOUT = 2.0


class Fairlead(Server):
    """One `fairlead serve` with a configuration file of its own.

    `configuration` is the file's content as plain data; the ports are read from its listeners.
    """

    # TERM, not KILL: the supervisor then ends its workers.
    death_signal = "TERM"

    def __init__(
        self,
        name: str,
        directory: Path,
        configuration: Mapping[str, Any],
        *,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, directory)
        self.configuration = dict(configuration)
        self.workers = workers
        self.file = directory / f"{name}.yaml"
        self._environment = dict(environment or {})

    @property
    def port(self) -> int:
        """The MySQL port."""
        return int(self.configuration["listeners"]["mysql"]["port"])

    @property
    def redis_port(self) -> int:
        return int(self.configuration["listeners"]["redis"]["port"])

    @property
    def http_port(self) -> int:
        return int(self.configuration["listeners"]["http"]["port"])

    def prepare(self) -> None:
        self.write(self.configuration)

    def write(self, configuration: Mapping[str, Any]) -> None:
        """Replaces the file, in one step as an editor does; `reload()` makes it count."""
        self.configuration = dict(configuration)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(self.configuration, sort_keys=False))
        fresh.rename(self.file)

    def command(self) -> list[str]:
        return [program(), "serve", "-c", str(self.file), "--workers", str(self.workers)]

    def environment(self) -> Mapping[str, str]:
        return self._environment

    def is_ready(self) -> bool:
        return self.http_status("/ready") == 200 and self._accepts()

    def reload(self) -> None:
        """SIGHUP: reads the file again."""
        self.signal(signal.SIGHUP)

    def http(self, path: str) -> str:
        """The text of a page of the HTTP port. Raises urllib.error.URLError, HTTPError."""
        with urllib.request.urlopen(self._url(path), timeout=HTTP_TIMEOUT) as response:
            return bytes(response.read()).decode()

    def http_status(self, path: str) -> int:
        """The HTTP status of a page; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(self._url(path), timeout=HTTP_TIMEOUT) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def connect(self, user: str = "demo", password: str = "demo", **options: Any) -> "Connection[Any]":
        """A PyMySQL connection through this Fairlead."""
        defaults: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": user,
            "password": password,
            "database": "shop",
            "charset": "utf8mb4",
            "autocommit": True,
            "connect_timeout": 10,
            "ssl_disabled": not any(name.startswith("ssl") for name in options),
        }
        return pymysql.connect(**{**defaults, **options})

    def query(self, statement: str, arguments: Any = None, **options: Any) -> list[tuple[Any, ...]]:
        """One statement on a connection of its own."""
        with contextlib.closing(self.connect(**options)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments)
            return list(cursor.fetchall())

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), HTTP_TIMEOUT).close()
        except OSError:
            return False
        return True

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http_port}{path}"


def program() -> str:
    """The console script of the environment that runs this Python."""
    beside = Path(sys.executable).parent / "fairlead"
    return str(beside) if beside.exists() else os.environ.get("FAIRLEAD", "fairlead")
