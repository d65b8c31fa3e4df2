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
            "appendfilename": f"{self.name}.aof",
            "appendonly": "yes" if self.durable else "no",
            "save": "",
            "daemonize": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [program, *words, *self.extra]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
