"""Two servers, the soak's tables on them, and Fairlead in front with a few connections to each.

`target` "haproxy" puts one server behind haproxy instead: the same clients, kills and books without any
pooling, which is how the harness itself is tested.
"""

from types import TracebackType
from typing import Self

from loadtest.bench import subject
from loadtest.bench.placement import shard_of
from loadtest.bench.sysbench import Endpoint
from loadtest.soak.book import StoredRow
from loadtest.world import ports, rundir
from loadtest.world.fairlead import Fairlead
from loadtest.world.haproxy import HAProxy
from loadtest.world.mariadb import MariaDB
from loadtest.world.process import Server
from loadtest.world.sqlserver import SERVICE_USER, Passwords, Tuning

DATABASE = "soak"
TABLES = (
    "CREATE TABLE accounts (owner BIGINT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL)",
    "CREATE TABLE ledger (owner BIGINT NOT NULL, n BIGINT NOT NULL, kind TINYINT NOT NULL, "
    "marker VARCHAR(80) NOT NULL, PRIMARY KEY (owner, n))",
)
# Room for the harness's own questions beside the clients'.
SPARE_CONNECTIONS = 100


class Stage:
    """`with Stage(500, 20) as stage`. Everything ends with the block.

    `connections` are those of all servers together.
    """

    def __init__(self, clients: int, connections: int, *, target: str = "fairlead", workers: int = 1) -> None:
        self.clients, self.target, self._workers = clients, target, workers
        self.directory = rundir.create()
        self._ports: list[int] = []
        shards = 2 if target == "fairlead" else 1
        self.connections_each = max(1, connections // shards)
        self.servers = {name: self._server(name, at) for at, name in enumerate(f"s{n}" for n in range(shards))}
        self.shard_of = shard_of(list(self.servers))
        self.proxy: Server
        self.endpoint: Endpoint

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
        if error is not None and hasattr(self, "proxy"):
            error.add_note(f"end of {self.proxy.name}'s log:\n{self.proxy.log_tail()}")
        self.close()

    def close(self) -> None:
        """Ends what was started and removes the directory."""
        if hasattr(self, "proxy"):
            self.proxy.stop()
        for server in self.servers.values():
            server.kill()
        ports.release(self._ports)
        rundir.remove(self.directory)

    @property
    def owners(self) -> range:
        return range(1, self.clients + 1)

    @property
    def fairlead(self) -> Fairlead | None:
        """The proxy when it is Fairlead."""
        return self.proxy if isinstance(self.proxy, Fairlead) else None

    def stored(self, shard: str) -> tuple[dict[int, int], list[StoredRow]]:
        """({owner: balance}, ledger) of one server, asked directly."""
        server = self.servers[shard]
        balances = dict(server.query("SELECT owner, balance FROM accounts", DATABASE))
        ledger = server.query("SELECT owner, n, kind, marker FROM ledger", DATABASE)
        return balances, [StoredRow(*row) for row in ledger]

    def open_transactions(self) -> int:
        """Transactions that InnoDB holds open on all servers."""
        return sum(int(s.value("SELECT COUNT(*) FROM information_schema.innodb_trx")) for s in self.servers.values())

    def proxy_connections(self, shard: str) -> int:
        """Connections of the proxy's account at one server, its health checks' included."""
        sql = f"SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{SERVICE_USER}'"
        return int(self.servers[shard].value(sql))

    def _start(self) -> None:
        for server in self.servers.values():
            server.launch()
        for name, server in self.servers.items():
            server.wait_ready()
            self._load(name, server)
        self.proxy, self.endpoint = self._fairlead() if self.target == "fairlead" else self._haproxy()
        self.proxy.start()

    def _load(self, name: str, server: MariaDB) -> None:
        server.create_keyspace(DATABASE)
        server.run(*TABLES, database=DATABASE)
        rows = [(owner, 0) for owner in self.owners if self.shard_of(owner) == name]
        server.insert("INSERT INTO accounts (owner, balance) VALUES (%s, %s)", rows, DATABASE)

    def _fairlead(self) -> tuple[Server, Endpoint]:
        keyspace = subject.sharded(list(self.servers), {"accounts": "owner", "ledger": "owner"})
        port, http_port = self._port(), self._port()
        content = subject.configuration(
            list(self.servers.values()),
            {DATABASE: keyspace},
            port=port,
            http_port=http_port,
            connections=self.connections_each,
        )
        proxy = Fairlead("fairlead", self.directory, content, workers=self._workers, environment=subject.ENVIRONMENT)
        return proxy, Endpoint("127.0.0.1", port, subject.USER, subject.PASSWORD, DATABASE)

    def _haproxy(self) -> tuple[Server, Endpoint]:
        [server] = self.servers.values()
        proxy = HAProxy("haproxy", self.directory, port=self._port(), targets=[server.address])
        return proxy, Endpoint("127.0.0.1", proxy.port, SERVICE_USER, Passwords().service, DATABASE)

    def _server(self, name: str, number: int) -> MariaDB:
        tuning = Tuning(max_connections=self.clients + SPARE_CONNECTIONS)
        return MariaDB(name, self.directory, port=self._port(), server_id=number + 1, tuning=tuning)

    def _port(self) -> int:
        fresh = ports.reserve()
        self._ports += fresh
        return fresh[0]
