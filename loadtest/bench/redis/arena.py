"""The servers and proxies of the Redis bench: four Redis servers, the first of which is also the one-shard target.

Fairlead gets the MySQL servers that its shards must have; nobody asks them anything.
"""

from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

from loadtest.bench import machine, subject
from loadtest.bench.cells import DIRECT, SHARDED, UNSHARDED
from loadtest.bench.redis.cells import TARGETS, TWEMPROXY
from loadtest.bench.redis.nutcracker import Nutcracker, program
from loadtest.bench.sysbench import Endpoint
from loadtest.bench.targets import Target
from loadtest.world import fairlead, ports, rundir
from loadtest.world.fairlead import Fairlead
from loadtest.world.mariadb import MariaDB
from loadtest.world.process import READY_TIMEOUT, Server
from loadtest.world.redis import Redis

SHARDS = 4
CONNECTIONS = 4
ANONYMOUS = {"redis": "write"}


class RedisArena:
    """`with RedisArena() as arena: arena.targets["twemproxy"]`. Everything ends with the block."""

    def __init__(
        self,
        wanted: Collection[str] = TARGETS,
        *,
        fairlead: type[Fairlead] = Fairlead,
        ready_timeout: float = READY_TIMEOUT,
        sections: dict[str, Any] | None = None,
    ) -> None:
        self._wanted, self._class, self._timeout = wanted, fairlead, ready_timeout
        self._sections = sections or {}
        self.directory = rundir.create()
        self._ports: list[int] = []
        self.servers = [Redis(f"r{n}", self.directory, port=self._port()) for n in range(SHARDS)]
        needed = SHARDS if {UNSHARDED, SHARDED} & set(wanted) else 0
        self._databases = [
            MariaDB(f"s{n}", self.directory, port=self._port(), server_id=n + 1) for n in range(needed)
        ]
        self._proxies: list[Server] = []
        self.targets: dict[str, Target] = {}

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
            for proxy in self._proxies:
                error.add_note(f"end of {proxy.name}'s log:\n{proxy.log_tail()}")
        self.close()

    def close(self) -> None:
        for proxy in self._proxies:
            proxy.stop()
        for server in [*self.servers, *self._databases]:
            server.kill()
        ports.release(self._ports)
        rundir.remove(self.directory)

    def versions(self) -> dict[str, str]:
        """{program: version} of the server, the load and every proxy."""
        found = {name: target.version() for name, target in self.targets.items() if target.proxy}
        redis = {name: machine.first_line([name, "--version"]) for name in ("redis-server", "redis-benchmark")}
        return redis | found

    def _port(self) -> int:
        fresh = ports.reserve()
        self._ports += fresh
        return fresh[0]

    def _start(self) -> None:
        for server in [*self.servers, *self._databases]:
            server.launch()
        for server in [*self.servers, *self._databases]:
            server.wait_ready()
        self._add(DIRECT, self.servers[0].port, None, self.servers[:1], [])
        if TWEMPROXY in self._wanted:
            behind = [server.port for server in self.servers]
            proxy = Nutcracker(self.directory, port=self._port(), stats_port=self._port(), servers=behind)
            self._add(TWEMPROXY, proxy.port, proxy, self.servers, [program() or "nutcracker", "--version"])
        for name, count in ((UNSHARDED, 1), (SHARDED, SHARDS)):
            if name in self._wanted:
                one = self._fairlead(name, count)
                self._add(name, one.redis_port, one, self.servers[:count], [fairlead.program(), "--version"])

    def _fairlead(self, name: str, count: int) -> Fairlead:
        """One worker, its defaults; keys go by their hash slot, and clients need not log in, as in twemproxy."""
        content = subject.configuration(
            self._databases[:count], {}, port=self._port(), http_port=self._port(), connections=CONNECTIONS
        )
        for server, shard in zip(self.servers, content["shards"].values(), strict=False):
            shard["redis"] = {"primary": f"127.0.0.1:{server.port}"}
        content["users"][subject.USER] |= ANONYMOUS
        listener = {"address": "127.0.0.1", "port": self._port(), "anonymous": subject.USER}
        content["listeners"]["redis"] = listener
        content["redis"] = {"unmatched": "local"}
        content |= self._sections
        return self._class(name, self.directory, content, workers=1, environment=subject.ENVIRONMENT)

    def _add(self, name: str, port: int, proxy: Server | None, servers: list[Redis], version: list[str]) -> None:
        if proxy is not None:
            self._proxies.append(proxy)
            proxy.start(self._timeout)

        def say_version() -> str:
            return machine.first_line(version) if version else ""

        endpoint = Endpoint("127.0.0.1", port, "", "", "")
        self.targets[name] = Target(name, endpoint, 0, proxy, tuple(servers), say_version)
