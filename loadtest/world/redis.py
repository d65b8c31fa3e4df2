"""Redis servers (Debian's redis-server)."""

import os
import shutil
import socket
from pathlib import Path

from loadtest.world.process import Server
from loadtest.world.sqlserver import ServerMissing

WANTED = "redis-server (apt-get install redis-server)"


class Redis(Server):
    """One redis-server with nothing kept on disk, unless `durable` asks for an append-only file."""

    def __init__(
        self, name: str, directory: Path, *, port: int, durable: bool = False, extra: tuple[str, ...] = ()
    ):
        super().__init__(name, directory)
        self.port = port
        self.durable = durable
        self.extra = extra

    def command(self) -> list[str]:
        program = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise ServerMissing(f"redis-server is not on this machine; wanted: {WANTED}")
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "dbfilename": f"{self.name}.rdb",  # a replica writes one
            "appendfilename": f"{self.name}.aof",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "always",
            "save": "",
            "daemonize": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [program, *words, *self.extra]

    def empty(self) -> None:
        """Throws all keys and scripts away."""
        self._ask(b"FLUSHALL\r\nSCRIPT FLUSH\r\n")

    def ask(self, *words: str) -> bytes:
        """One command past Fairlead; the reply as it came, up to 64 KiB."""
        return self._ask(" ".join(words).encode() + b"\r\n")

    def _ask(self, line: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(line)
            return connection.recv(65536)

    def is_ready(self) -> bool:
        try:
            return self._ask(b"PING\r\n").startswith(b"+PONG")
        except OSError:
            return False
