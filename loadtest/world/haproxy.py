"""haproxy in TCP mode: the bar that Fairlead's cost is measured against, and a balancer for tests."""

import os
import shutil
import socket
from pathlib import Path

from loadtest.world.process import Server
from loadtest.world.sqlserver import ServerMissing

WANTED = "haproxy (apt-get install haproxy)"


class HAProxy(Server):
    """One single-threaded haproxy that relays TCP from `port` to `targets` (`host:port`), round robin.

    `options`: of each target, such as "send-proxy-v2".
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        port: int,
        targets: list[str],
        max_connections: int = 4096,
        options: str = "",
    ):
        super().__init__(name, directory)
        self.port = port
        self.targets = targets
        self.max_connections = max_connections
        self.options = options

    def prepare(self) -> None:
        servers = "\n".join(f"    server s{n} {target} {self.options}" for n, target in enumerate(self.targets))
        self._configuration.write_text(
            f"""global
    nbthread 1
    maxconn {self.max_connections}
defaults
    mode tcp
    option tcpka
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen mysql
    bind 127.0.0.1:{self.port}
{servers}
"""
        )

    def command(self) -> list[str]:
        program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise ServerMissing(f"haproxy is not on this machine; wanted: {WANTED}")
        return [program, "-db", "-q", "-f", str(self._configuration)]

    def is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    @property
    def _configuration(self) -> Path:
        return self.directory / f"{self.name}.cfg"
