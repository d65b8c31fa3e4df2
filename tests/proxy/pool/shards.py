"""One shard made by hand, for tests of `proxy.pool`."""

from __future__ import annotations

from config.secrets import Secret, SecretSource
from config.settings import Account, Address, RegionSettings, ReplicaSettings, Settings, ShardSettings
from config.words import Flavour
from proxy.pool.server_health import Target, endpoint_of
from router.topology import Topology


def account(user: str = "fairlead", password: str = "secret") -> Account:
    return Account(user=user, password=Secret(SecretSource.VALUE, password, password))


def topology_of(
    ports: list[int], flavour: Flavour = Flavour.MARIADB, given: Account | None = None
) -> Topology:
    """One region, one shard `s0` of servers on loopback, the first of them the declared primary."""
    addresses = [Address("127.0.0.1", port) for port in ports]
    shard = ShardSettings(
        region="eu",
        flavour=flavour,
        primary=addresses[0],
        replicas=tuple(ReplicaSettings(address=address) for address in addresses[1:]),
        account=given or account(),
    )
    return Topology.build(
        Settings(
            region="eu",
            regions={"eu": RegionSettings()},
            shards={"s0": shard},
            keyspaces={},
            users={},
            listeners={},
        )
    )


def targets(topology: Topology) -> list[Target]:
    return [
        Target(shard, server, endpoint_of(shard, server))
        for shard in topology.local_shards
        for server in shard.servers
    ]
