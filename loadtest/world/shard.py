"""One shard of a world: a primary and its replicas."""

from collections.abc import Sequence

from loadtest.world.sqlserver import SqlServer

REPLICATION_TIMEOUT = 30.0


class ReplicationStuck(RuntimeError):
    """A replica did not reach its primary's position in time."""


class Shard:
    """The servers in their roles. `promote` changes the roles, `repair` brings the first ones back."""

    def __init__(self, name: str, region: str, servers: Sequence[SqlServer]) -> None:
        self.name = name
        self.region = region
        self.servers = list(servers)
        self.primary = self.servers[0]

    @property
    def replicas(self) -> list[SqlServer]:
        return [server for server in self.servers if server is not self.primary]

    def launch(self) -> None:
        for server in self.servers:
            server.launch()

    def wait_ready(self) -> None:
        for server in self.servers:
            server.wait_ready()

    def replicate(self) -> None:
        """Points every replica at the primary."""
        for replica in self.replicas:
            replica.replicate_from(self.primary)

    def wait_replicas(self, timeout: float = REPLICATION_TIMEOUT) -> None:
        """Blocks until the replicas have what the primary has now. Raises ReplicationStuck."""
        position = self.primary.position() if self.replicas else ""
        for replica in self.replicas:
            if not replica.wait_for(position, timeout):
                raise ReplicationStuck(f"{replica.name} did not reach {position} in {timeout:.0f} s")

    def promote(self, index: int = 0) -> SqlServer:
        """Makes a replica the primary, as a failover manager does, and returns it.

        The old primary, when it lives, is set read-only first and follows the new one afterwards.
        """
        old, new = self.primary, self.replicas[index]
        if old.alive:
            old.set_read_only(True)
            self.wait_replicas()
        new.stop_replication()
        new.set_read_only(False)
        self.primary = new
        for server in self.replicas:
            if server.alive:
                server.replicate_from(new)
        return new

    def repair(self) -> bool:
        """Brings back dead servers and the roles the shard started with.

        Returns True when the data had to be thrown away for it; they are then empty.
        """
        for server in self.servers:
            server.resume()
        if self.primary is self.servers[0]:
            for server in self.servers:
                server.launch()
            self.wait_ready()
            if self._roles_stand():
                return False
        self.rebuild()
        return True

    def rebuild(self) -> None:
        """Starts all servers anew from the template."""
        self.primary = self.servers[0]
        for server in self.servers:
            server.wipe()
        self.launch()
        self.wait_ready()
        self.replicate()

    def _roles_stand(self) -> bool:
        return not self.primary.read_only and all(
            replica.read_only and replica.replication_source() == self.primary.port
            for replica in self.replicas
        )
