"""ProxySQL as a process, for the comparison where its binary is on PATH."""

import shutil
import socket
from pathlib import Path

from loadtest.bench.sysbench import Endpoint
from loadtest.world.process import Server


def program() -> str | None:
    """Its path, None when it is not installed (Debian does not carry it)."""
    return shutil.which("proxysql")


class ProxySql(Server):
    """One worker thread, no rules, monitor off, one server behind it."""

    def __init__(self, directory: Path, *, port: int, admin_port: int, backend: Endpoint) -> None:
        super().__init__("proxysql", directory)
        self.port, self._admin_port, self._backend = port, admin_port, backend
        self._file, self._data = directory / "proxysql.cnf", directory / "proxysql"

    def prepare(self) -> None:
        self._data.mkdir()
        self._file.touch(mode=0o600)
        self._file.write_text(configuration(self.port, self._admin_port, self._backend, self._data))

    def command(self) -> list[str]:
        files = ["-c", str(self._file), "-D", str(self._data)]
        return [program() or "proxysql", "--foreground", "--initial", "-M", *files]

    def is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


def configuration(port: int, admin_port: int, backend: Endpoint, data: Path) -> str:
    """The configuration file. The admin port is bound because ProxySQL insists; nothing uses it."""
    return f"""\
datadir="{data}"
admin_variables=
{{
    admin_credentials="admin:admin"
    mysql_ifaces="127.0.0.1:{admin_port}"
}}
mysql_variables=
{{
    threads=1
    interfaces="127.0.0.1:{port}"
    monitor_enabled=false
    max_connections=20000
    default_schema="{backend.database}"
}}
mysql_servers=
(
    {{ address="{backend.host}", port={backend.port}, hostgroup=0, max_connections=1000 }}
)
mysql_users=
(
    {{ username="{backend.user}", password="{backend.password}", default_hostgroup=0 }}
)
"""
