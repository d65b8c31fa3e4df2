"""The servers, rows and proxies of a bench, started together and ended together.

Four servers of one region are the shards. Each holds its part of `sbtest.sbtest1`; the first holds also the
whole table as `sball.sbtest1`, which is what the direct way, haproxy, ProxySQL and Fairlead's unsharded
keyspace read. So every target reads rows of the same size from a table of nearly the same depth.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self

from loadtest.bench import cells, machine, proxysql, rows, subject
from loadtest.bench.placement import shard_of
from loadtest.bench.proxysql import ProxySql
from loadtest.bench.sysbench import Endpoint
from loadtest.bench.targets import Target
from loadtest.world import fairlead, mariadb, ports, rundir
from loadtest.world.fairlead import Fairlead
from loadtest.world.haproxy import HAProxy
from loadtest.world.mariadb import MariaDB
from loadtest.world.process import READY_TIMEOUT, Server
from loadtest.world.sqlserver import SERVICE_USER, Passwords, Tuning

WHOLE, PARTS = "sball", "sbtest"
MAX_CONNECTIONS = 2000


class Arena:
    """`with Arena({"haproxy"}) as arena: arena.targets["haproxy"]`. Everything ends with the block.

    `connections` is the limit of Fairlead's backend connections to each server, `ready_timeout` the seconds a
    proxy may take to answer; `sections` are added to Fairlead's configuration, `listener` to the one for
    MySQL clients.
    """

    def __init__(
        self,
        wanted: Collection[str],
        *,
        shards: int = 4,
        table_rows: int = 10_000,
        connections: int = 64,
        fairlead: type[Fairlead] = Fairlead,
        ready_timeout: float = READY_TIMEOUT,
        sections: Mapping[str, Any] = MappingProxyType({}),
        listener: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._wanted, self._rows, self._connections = wanted, table_rows, connections
        self._fairlead_class, self._ready_timeout, self._sections = fairlead, ready_timeout, sections
        self._listener = listener
        self.directory = rundir.create()
        self._ports: list[int] = []
        # Without a sharded target one server holds all that is asked for.
        self.servers = [self._server(number) for number in range(shards if cells.SHARDED in wanted else 1)]
        self.targets: dict[str, Target] = {}
        self._proxies: list[Server] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # The logs go with the directory, so their ends travel with the error.
            for proxy in self._proxies:
                error.add_note(f"end of {proxy.name}'s log:\n{proxy.log_tail()}")
        self.close()

    def close(self) -> None:
        """Ends what was started, proxies first, and removes the directory."""
        for proxy in self._proxies:
            proxy.stop()
        for server in self.servers:
            server.kill()
        ports.release(self._ports)
        rundir.remove(self.directory)

    @property
    def fairlead(self) -> Fairlead:
        """The Fairlead process. KeyError when no target of the arena is Fairlead."""
        for name in (cells.SHARDED, cells.UNSHARDED):
            proxy = self.targets[name].proxy if name in self.targets else None
            if isinstance(proxy, Fairlead):
                return proxy
        raise KeyError("this arena has no Fairlead")

    def versions(self) -> dict[str, str]:
        """{program: version} of the server and of every target's proxy."""
        return {
            "mariadb": mariadb.version(),
            **{t.name: t.version() for t in self.targets.values() if t.proxy},
        }

    def _port(self) -> int:
        fresh = ports.reserve()
        self._ports += fresh
        return fresh[0]

    def _server(self, number: int) -> MariaDB:
        tuning = Tuning(max_connections=MAX_CONNECTIONS)
        return MariaDB(f"s{number}", self.directory, port=self._port(), server_id=number + 1, tuning=tuning)

    def _start(self) -> None:
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait_ready()
        self._load()
        for build in (self._direct, self._haproxy, self._proxysql, self._fairlead):
            build()

    def _load(self) -> None:
        content = rows.rows(self._rows)
        rows.load(self.servers[0], WHOLE, content)
        names = [server.name for server in self.servers]
        parts = rows.split(content, names, shard_of(names))
        for server in self.servers:
            rows.load(server, PARTS, parts[server.name])

    def _direct(self) -> None:
        self._add(cells.DIRECT, self._whole(self.servers[0].port), None, self.servers[:1])

    def _haproxy(self) -> None:
        if cells.HAPROXY in self._wanted:
            backend = self.servers[0].address
            proxy = HAProxy("haproxy", self.directory, port=self._port(), targets=[backend])
            self._add(cells.HAPROXY, self._whole(proxy.port), proxy, self.servers[:1], ["haproxy", "-v"])

    def _proxysql(self) -> None:
        if cells.PROXYSQL in self._wanted and proxysql.program() is not None:
            backend, port, admin = self._whole(self.servers[0].port), self._port(), self._port()
            proxy = ProxySql(self.directory, port=port, admin_port=admin, backend=backend)
            self._add(cells.PROXYSQL, self._whole(port), proxy, self.servers[:1], ["proxysql", "--version"])

    def _fairlead(self) -> None:
        if not {cells.SHARDED, cells.UNSHARDED} & set(self._wanted):
            return
        names = [server.name for server in self.servers]
        keyspaces = {WHOLE: {"shards": names[:1]}, PARTS: subject.sharded(names, {"sbtest1": "id"})}
        port, http_port = self._port(), self._port()
        content = subject.configuration(
            self.servers,
            keyspaces,
            port=port,
            http_port=http_port,
            connections=self._connections,
            sections=self._sections,
            listener=self._listener,
        )
        proxy = self._fairlead_class("fairlead", self.directory, content, workers=1, environment=subject.ENVIRONMENT)
        version = [fairlead.program(), "--version"]
        for name, database, servers in (
            (cells.UNSHARDED, WHOLE, self.servers[:1]),
            (cells.SHARDED, PARTS, self.servers),
        ):
            if name in self._wanted:
                to = Endpoint("127.0.0.1", port, subject.USER, subject.PASSWORD, database)
                self._add(name, to, proxy, servers, version)

    def _whole(self, port: int) -> Endpoint:
        """The whole table by the servers' own account."""
        return Endpoint("127.0.0.1", port, SERVICE_USER, Passwords().service, WHOLE)

    def _add(
        self,
        name: str,
        endpoint: Endpoint,
        proxy: Server | None,
        servers: list[MariaDB],
        version: list[str] | None = None,
    ) -> None:
        if proxy is not None and proxy not in self._proxies:
            self._proxies.append(proxy)
            proxy.start(self._ready_timeout)

        def say_version() -> str:
            return machine.first_line(version) if version else ""

        self.targets[name] = Target(name, endpoint, self._rows, proxy, tuple(servers), say_version)
