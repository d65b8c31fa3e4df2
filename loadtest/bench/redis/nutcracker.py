"""twemproxy (Debian's nutcracker) as a process: what Fairlead's cost per Redis command is measured against."""

import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from loadtest.world.process import Server
from loadtest.world.sqlserver import ServerMissing

WANTED = "twemproxy (apt-get install nutcracker)"


def program() -> str | None:
    return shutil.which("nutcracker", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Nutcracker(Server):
    """One twemproxy with its defaults: one thread, one connection to each server, keys spread by ketama."""

    def __init__(self, directory: Path, *, port: int, stats_port: int, servers: Sequence[int]) -> None:
        super().__init__("nutcracker", directory)
        self.port, self._stats_port, self._servers = port, stats_port, servers
        self._file = directory / "nutcracker.yml"

    def prepare(self) -> None:
        servers = "\n".join(f"   - 127.0.0.1:{port}:1 s{number}" for number, port in enumerate(self._servers))
        self._file.write_text(
            f"""\
pool:
  listen: 127.0.0.1:{self.port}
  redis: true
  hash: fnv1a_64
  distribution: ketama
  preconnect: true
  servers:
{servers}
"""
        )

    def command(self) -> list[str]:
        found = program()
        if found is None:
            raise ServerMissing(f"twemproxy is not on this machine; wanted: {WANTED}")
        stats = ["--stats-addr", "127.0.0.1", "--stats-port", str(self._stats_port)]
        pid = ["--pid-file", str(self.directory / "nutcracker.pid")]
        return [found, "--conf-file", str(self._file), "--output", str(self.log), *stats, *pid]

    def is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
