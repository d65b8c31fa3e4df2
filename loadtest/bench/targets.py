"""What a load is sent to: a server directly, or a proxy before it."""

from collections.abc import Callable
from dataclasses import dataclass

from loadtest.bench import procfs
from loadtest.bench.sysbench import Endpoint
from loadtest.world.process import Server


@dataclass(frozen=True)
class Target:
    """One way to the rows. `proxy` is None for the direct way; `servers` are all that may do its work."""

    name: str
    endpoint: Endpoint
    rows: int
    proxy: Server | None
    servers: tuple[Server, ...]
    version: Callable[[], str]

    def proxy_pids(self) -> list[int]:
        """The proxy's process tree as it is now, [] for the direct way."""
        return [] if self.proxy is None else procfs.tree(self.proxy.pid)

    def server_pids(self) -> list[int]:
        return [server.pid for server in self.servers]
