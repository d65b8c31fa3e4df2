"""A small world on loopback: regions with their shards on real servers, and a Fairlead in each region."""

from __future__ import annotations

import atexit
import json
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from loadtest.world import configuration, ports, rundir
from loadtest.world.certs import Authority
from loadtest.world.dataset import Dataset, Loader, Plain
from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import FULL, RegionPorts, Shape
from loadtest.world.mariadb import MariaDB
from loadtest.world.mysql97 import MySQL97
from loadtest.world.process import Server
from loadtest.world.redis import Redis
from loadtest.world.shard import Shard
from loadtest.world.shop import Shop
from loadtest.world.sqlserver import Passwords, SqlServer, TlsFiles

SERVERS: Mapping[str, type[SqlServer]] = {"mariadb": MariaDB, "mysql": MySQL97}
STARTERS = 8
"""Shards waited for or loaded side by side: the servers do the work, these threads only wait."""
FAIRLEAD_STOP_TIMEOUT = 10.0
"""Seconds a Fairlead may drain when its world goes away; then it is killed with its workers."""


class Fleet:
    """One Fairlead per region with one set of ports, each started when it is first asked for."""

    def __init__(
        self,
        world: World,
        name: str,
        changes: Mapping[str, Any],
        fleet_ports: Mapping[str, RegionPorts],
        make: Callable[..., Fairlead] = Fairlead,
    ):
        self.ports = fleet_ports
        self._make = make
        self._world = world
        self._name = name
        self._changes = changes
        self._members: dict[str, Fairlead] = {}

    def __getitem__(self, region: str) -> Fairlead:
        member = self.launch(region)
        member.wait_ready()
        return member

    def launch(self, region: str, *, workers: int = 1) -> Fairlead:
        """The region's Fairlead, started but perhaps not ready yet."""
        if region not in self._members:
            config = configuration.merge(self._world.config(region, self.ports), self._changes)
            self._members[region] = self._make(
                f"{self._name}-{region}",
                self._world.directory,
                config,
                workers=workers,
                environment={configuration.PASSWORD_VARIABLE: Passwords().service},
            )
        self._members[region].launch()
        return self._members[region]

    def start(self) -> Fleet:
        """Starts all regions side by side."""
        members = [self.launch(region) for region in self.ports]
        for member in members:
            member.wait_ready()
        return self

    def stop(self) -> None:
        for member in self._members.values():
            member.signal(member.stop_signal)
        # Once only: a second signal means "at once".
        for member in self._members.values():
            member.finish(FAIRLEAD_STOP_TIMEOUT)


class World:
    """Servers, data and Fairleads of one shape, in a run directory of their own.

    Use it in a `with` block or call `start` and `stop`. Whatever happens to this process, nothing it started
    is left running.
    """

    def __init__(
        self,
        shape: Shape = FULL,
        *,
        datasets: Sequence[Dataset] | None = None,
        fairlead_ports: Mapping[str, RegionPorts] | None = None,
        changes: Callable[[Path, str], Mapping[str, Any]] | None = None,
    ) -> None:
        """`changes`: what its own Fairleads have besides, by the run directory and the region."""
        self.shape = shape
        self.datasets: list[Dataset] = list(datasets) if datasets is not None else [Shop(), Plain()]
        self.directory = rundir.create()
        self.authority = Authority(self.directory / "certs")
        self._server_certificate = self.authority.issue("server")
        self._certificates = {region: self.authority.issue(region) for region in shape.regions}
        self._changes = changes
        self._reserved: list[int] = []
        self.shards = {
            name: self._shard(region, name) for region in shape.regions for name in shape.shard_names(region)
        }
        self.redis = self._redis() if shape.redis else {}
        self._loaders = [Loader(shape, shard, self.datasets) for shard in self.shards.values()]
        self._fleet = Fleet(self, "fairlead", {}, fairlead_ports or self._free_ports())
        self._custom_fleets: list[Fleet] = []
        self._kept_fleets: dict[str, Fleet] = {}
        atexit.register(self.stop)

    def __enter__(self) -> World:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts all servers side by side and loads the data."""
        for server in self.servers():
            server.launch()
        self._each_loader(_bring_up)
        for server in self.redis.values():
            server.wait_ready()

    def reset(self) -> None:
        """Data, roles and processes as after `start`; Fairleads with changed settings are stopped.

        Takes milliseconds when nothing was written.
        """
        self.stop_custom_fleets()
        self._each_loader(Loader.restore)
        for server in self.redis.values():
            server.resume()
            server.launch()
            server.wait_ready()
            server.empty()

    def stop_custom_fleets(self) -> None:
        """Stops the Fairleads that `fleet(changes)` started."""
        for fleet in self._custom_fleets:
            fleet.stop()
        self._custom_fleets.clear()

    def stop(self) -> None:
        """Ends everything and removes the run directory. May be called twice."""
        atexit.unregister(self.stop)
        for fleet in [*self._custom_fleets, *self._kept_fleets.values(), self._fleet]:
            fleet.stop()
        # The data are thrown away, so an orderly shutdown would only take time.
        for server in self.servers():
            server.signal(signal.SIGKILL)
        for server in self.servers():
            server.kill()
        ports.release(self._reserved)
        rundir.remove(self.directory)

    # --- servers --------------------------------------------------------------------------------------------

    @property
    def regions(self) -> tuple[str, ...]:
        return self.shape.regions

    def servers(self) -> list[Server]:
        databases = [server for shard in self.shards.values() for server in shard.servers]
        return [*databases, *self.redis.values()]

    def shards_of(self, region: str) -> list[Shard]:
        return [shard for shard in self.shards.values() if shard.region == region]

    def wait_replicas(self) -> None:
        for shard in self.shards.values():
            shard.wait_replicas()

    def add_keyspace(self, name: str, schema: Iterable[str] = (), shards: Iterable[str] = ()) -> None:
        """A further database with these tables on these shards (default: all), gone at the next reset.

        Fairlead must be told of it: `fleet({"keyspaces": {name: …}, "users": …})`.
        """
        for shard in [self.shards[one] for one in shards] or list(self.shards.values()):
            shard.primary.create_keyspace(name)
            shard.primary.run(*schema, database=name)
        self.wait_replicas()

    def reserve_ports(self, count: int) -> list[int]:
        """Free ports that are given back when the world stops."""
        found = ports.reserve(count)
        self._reserved += found
        return found

    @property
    def server_certificate(self) -> TlsFiles:
        """What the database servers show."""
        return self._server_certificate

    # --- Fairleads ------------------------------------------------------------------------------------------

    def config(self, region: str, fleet_ports: Mapping[str, RegionPorts] | None = None) -> dict[str, Any]:
        """The configuration of a region's Fairlead, as plain data to be changed and given to `custom`."""
        built = configuration.build(
            self.shape,
            region,
            fleet_ports or self._fleet.ports,
            list(self.shards.values()),
            self.datasets,
            self._certificates[region],
            {name: server.port for name, server in self.redis.items()},
        )
        return configuration.merge(built, self._changes(self.directory, region)) if self._changes else built

    def fairlead(self, region: str = "eu") -> Fairlead:
        """The region's Fairlead with the world's own settings, ready; the same one for all tests."""
        return self._fleet[region]

    def fleet(
        self, changes: Mapping[str, Any] | None = None, make: Callable[..., Fairlead] = Fairlead
    ) -> Fleet:
        """Without `changes` the standing Fairleads. With: new ones on ports of their own, for this test only.

        `changes` are laid over each region's configuration (`configuration.merge`). `make`: Fairlead, or
        what is like it.
        """
        if not changes:
            return self._fleet
        name = f"custom{len(self._custom_fleets)}"
        fleet = Fleet(self, name, changes, self._free_ports(), make)
        self._custom_fleets.append(fleet)
        return fleet

    def kept(self, changes: Mapping[str, Any], *, region: str = "eu", workers: int = 1) -> Fairlead:
        """A Fairlead with changed settings, ready: the same one for all tests that ask for the same.

        For settings that many tests share; what a test does to it, others see.
        """
        key = json.dumps([changes, workers], sort_keys=True)
        if key not in self._kept_fleets:
            name = f"kept{len(self._kept_fleets)}"
            self._kept_fleets[key] = Fleet(self, name, changes, self._free_ports())
        member = self._kept_fleets[key].launch(region, workers=workers)
        member.wait_ready()
        return member

    # --- making ---------------------------------------------------------------------------------------------

    def _shard(self, region: str, name: str) -> Shard:
        make = SERVERS[self.shape.flavour]
        number = len(self._reserved) + 1
        servers = [
            make(
                f"{name}{'r' * index}",
                self.directory,
                port=port,
                server_id=number + index,
                domain=number,
                read_only=index > 0,
                tuning=self.shape.tuning,
                tls=self._server_certificate,
            )
            for index, port in enumerate(self.reserve_ports(1 + self.shape.replicas))
        ]
        return Shard(name, region, servers)

    def _redis(self) -> dict[str, Redis]:
        """One beside each shard, by the shard's name."""
        found = self.reserve_ports(len(self.shards))
        durable = self.shape.tuning.durable
        return {
            name: Redis(f"redis-{name}", self.directory, port=port, durable=durable)
            for name, port in zip(self.shards, found, strict=True)
        }

    def _free_ports(self) -> dict[str, RegionPorts]:
        return {region: RegionPorts(*self.reserve_ports(4)) for region in self.shape.regions}

    def _each_loader(self, action: Any) -> None:
        with ThreadPoolExecutor(max_workers=STARTERS) as pool:
            _raise_first(pool.map(action, self._loaders))


def _bring_up(loader: Loader) -> None:
    loader.shard.wait_ready()
    loader.shard.replicate()
    loader.load()


def _raise_first(results: Iterable[None]) -> None:
    for _ in results:
        pass
