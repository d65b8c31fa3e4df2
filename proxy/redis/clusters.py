"""Shards that are whole Redis Clusters: their maps, kept current, and requests of our own that follow redirections.

The relay sends clients' requests by the map and follows MOVED and ASK itself (`_speedups/redis_cluster.pxi`); here the
map is asked for every second, when a node has said that it is old, and when a node is lost.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.settings import RedisAddress, RedisServer
from proxy.redis.links import Backing
from proxy.redis.wire import Private
from router.redis.cluster import Host, Map, Turn, believed, turn_of
from router.redis.resp import NotResp, decode, request
from router.topology import Shard

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two looks at a map."""
SPACING = 0.05
"""Seconds at least, when nodes say that it is old."""
ASKED = 16
"""Nodes that are asked for a map at a time."""
TRIES = 16
PAUSE = 0.1
"""Seconds until a request is repeated that the cluster cannot carry out yet."""
QUESTIONS = request("CLUSTER", "INFO") + request("CLUSTER", "SLOTS")
ASKING = request("ASKING")

Ask = Callable[[int, bool], Awaitable[list[bytes]]]
"""(place, ASKING first?) -> the replies to a request."""


@dataclass(slots=True)
class Cluster:
    """`places`: the relay's numbers of the nodes that have slots."""

    shard: str
    index: int
    server: RedisServer
    map: Map | None = None
    places: dict[Host, int] = field(default_factory=dict)
    wires: dict[Host, Private] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def nodes(self) -> list[int]:
        """The places in the order of the map."""
        return [self.places[host] for host in self.map.nodes] if self.map is not None else []

    def at(self, host: Host) -> RedisServer:
        """The settings for this one of the nodes."""
        return dataclasses.replace(self.server, primary=RedisAddress(*host), cluster=())

    def candidates(self) -> list[Host]:
        """Whom to ask: the nodes, and while there are few the configured ones."""
        known = list(self.map.nodes) if self.map is not None else []
        return list(dict.fromkeys([*known, *((one.host, one.port) for one in self.server.cluster)]))[:ASKED]


class Clusters:
    """One worker's."""

    def __init__(self, service: RedisService) -> None:
        self._service = service
        self._clusters: dict[str, Cluster] = {}

    # --- configuration ----------------------------------------------------------------------------------------

    def prepare(self, shards: dict[int, Shard]) -> None:
        """A cluster that is another now, or has another index, begins anew."""
        wanted = {one.name: (index, one.settings.redis) for index, one in shards.items()}
        for name, cluster in list(self._clusters.items()):
            if wanted.get(name) != (cluster.index, cluster.server):
                self._drop(self._clusters.pop(name))
        for name, (index, server) in wanted.items():
            if server is not None and server.cluster and name not in self._clusters:
                self._clusters[name] = Cluster(name, index, server)

    def backings(self) -> dict[int, Backing]:
        """Every node that is to be connected to."""
        return {
            place: Backing(f"{one.shard}, node {host[0]}:{host[1]}", one.at(host))
            for one in self._clusters.values()
            for host, place in one.places.items()
        }

    def tell(self) -> None:
        """The relay gets the maps, and watching begins. Raises RelayFull."""
        for cluster in self._clusters.values():
            if cluster.map is not None:
                self._tell(cluster, cluster.map)
            if cluster.task is None:
                cluster.task = asyncio.ensure_future(self._watch(cluster))

    def _tell(self, cluster: Cluster, known: Map) -> None:
        relay = self._service.relay
        gone = [host for host in cluster.places if host not in known.nodes]
        for host in known.nodes:
            if host not in cluster.places:
                line = self._service.servers.away(cluster.index)
                cluster.places[host] = relay.way_add(line, cluster.server.deadline, False)
        nodes = [(place, f"{host[0]}:{host[1]}".encode()) for host, place in cluster.places.items() if host not in gone]
        relay.cluster(cluster.index, nodes, known.table(cluster.places))
        for host in gone:  # the map leads there no more
            relay.way_drop(cluster.places.pop(host))
        for host in [one for one in cluster.wires if one not in cluster.candidates()]:
            cluster.wires.pop(host).close()

    def _drop(self, cluster: Cluster) -> None:
        if cluster.task is not None:
            cluster.task.cancel()
        for wire in cluster.wires.values():
            wire.close()
        self._service.relay.cluster(cluster.index, [], b"")
        for place in cluster.places.values():
            self._service.relay.way_drop(place)

    async def close(self) -> None:
        tasks = [one.task for one in self._clusters.values() if one.task is not None]
        for cluster in self._clusters.values():
            self._drop(cluster)
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- who there is -----------------------------------------------------------------------------------------

    def of(self, shard: int) -> Cluster | None:
        """The cluster that a shard of the region is."""
        return next((one for one in self._clusters.values() if one.index == shard), None)

    def shard_at(self, place: int) -> int | None:
        """Whose node a place is."""
        return next((one.index for one in self._clusters.values() if place in one.places.values()), None)

    # --- watching ---------------------------------------------------------------------------------------------

    def look_again(self) -> None:
        """Those whose nodes have said that the map is old, or were lost."""
        for cluster in self._clusters.values():
            if self._service.relay.stale(cluster.index):
                cluster.wake.set()

    async def _watch(self, cluster: Cluster) -> None:
        while True:
            try:
                await self._look(cluster)
            except Exception:
                log.exception("looking at the redis cluster of shard %s", cluster.shard)
            cluster.looked.set()
            cluster.looked = asyncio.Event()
            await asyncio.sleep(SPACING)
            try:
                async with asyncio.timeout(INTERVAL):
                    await cluster.wake.wait()
            except TimeoutError:
                pass
            cluster.wake.clear()

    async def _look(self, cluster: Cluster) -> None:
        words = await asyncio.gather(*(self._word(cluster, host) for host in cluster.candidates()))
        found = believed(words, cluster.map)
        if found is None or found == cluster.map:
            return
        if cluster.map is None or found.nodes != cluster.map.nodes:
            shown = ", ".join(f"{host}:{port}" for host, port in found.nodes)
            log.warning("redis cluster of shard %s: its nodes are %s", cluster.shard, shown)
        cluster.map = found
        self._service.connect()

    async def _word(self, cluster: Cluster, host: Host) -> Map | None:
        """What the node says; None without an answer."""
        timeout = self._service.generation.settings.health.timeout
        try:
            async with asyncio.timeout(timeout):
                wire = cluster.wires.get(host)
                if wire is None or not wire.alive:
                    wire = cluster.wires[host] = await Private.open(cluster.at(host), 2, timeout)
                info, slots = await wire.ask(QUESTIONS, 2)
            return Map.of(decode(info).decode(), decode(slots), host)
        except (OSError, TimeoutError, NotResp, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            log.debug("redis node %s of shard %s: %r", host, cluster.shard, error)
            return None

    # --- requests of our own ----------------------------------------------------------------------------------

    async def settled(self, shard: int, slot: int, ask: Ask) -> list[bytes]:
        """The replies of the slot's node, wherever it has gone; of a shard that is no cluster, its own."""
        cluster = self.of(shard)
        if cluster is None:
            return await ask(shard, False)
        asked: int | None = None
        for _ in range(TRIES):
            place = asked if asked is not None else self._service.relay.node(shard, slot)
            replies = await ask(place, asked is not None)
            kind, host = next(filter(None, map(turn_of, replies)), (None, None))
            if kind is None:
                return replies
            asked = cluster.places.get(host) if kind is Turn.ASK and host is not None else None
            if asked is None:
                await self._later(cluster, kind)
        return replies if kind is Turn.LATER else [self._service.servers.away(shard)] * len(replies)

    async def _later(self, cluster: Cluster, turn: Turn) -> None:
        """When the map was looked at once more, or after a while."""
        looked = cluster.looked
        if turn is Turn.MOVED:
            cluster.wake.set()
        try:
            async with asyncio.timeout(PAUSE):
                await looked.wait()
        except TimeoutError:
            pass
