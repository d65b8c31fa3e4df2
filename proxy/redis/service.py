"""The Redis side of one worker: the relay and its thread, the clients, and whatever the relay parks.

Made only where a configuration has a Redis listener; until then nothing here runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from _speedups.redis_relay import CLOSED, ENDED, LARGE_COMES, LENT, PARKED, SPOILED, RedisRelay
from _speedups.redis_stats import RedisBlock, RedisPage
from _speedups.resp import ProtocolError, request_of
from config.settings import RedisListener
from config.words import OtherRegions
from proxy.generation import Generation
from proxy.redis import tables
from proxy.redis.client import RedisClient
from proxy.redis.clusters import Clusters
from proxy.redis.commands import Commands
from proxy.redis.guard import Guard
from proxy.redis.links import Backing, Links
from proxy.redis.records import Records
from proxy.redis.replicas import Replicas
from proxy.redis.servers import Servers
from proxy.redis.streams import Streams
from proxy.redis.ways import Ways
from proxy.sessions.attested import Identities
from proxy.sessions.session import Identity
from router.policy.model import Subject
from router.redis import errors, where
from router.redis.plan import Refused
from router.redis.resp import Error, encode, request
from router.redis.table import Level, table
from router.redis.verdicts import build as verdicts_of
from router.redis.where import Places
from router.topology import Shard

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

FIRST_CONNECTIONS = 3.0
"""Seconds that a start waits for the servers of the region."""
DRAIN = 2.0
"""Seconds that clients with something under way have at the end; a subscriber always has."""

Reply = bytes | None
"""What a client is answered; None: it was answered already, or is gone."""


class RedisService:
    """One worker's Redis side."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        start = worker.start
        self.relay = RedisRelay(max_clients=worker.clients_max, page=start.page, worker=start.index)
        self.block = RedisBlock(start.page, start.index)
        self.page = RedisPage(start.page)
        self.table = table()
        self.places: Places
        self.guard: Guard | None = None
        self._decides: tuple[object, ...] | None = None
        self.generation: Generation
        self.clients: dict[int, RedisClient] = {}
        self.links = Links(self.relay)
        self.ways = Ways(self)
        self.replicas = Replicas(self)
        self.streams = Streams(self)
        self.records = Records(self)
        self.clusters = Clusters(self)
        self._identities = Identities(worker.start.page.shape.users)
        self.commands = Commands(self)
        self.servers = Servers(self)
        self._thread: threading.Thread | None = None
        self.relay.commands(tables.command_rows(self.table))
        self.relay.texts({number: tables.line(text) for number, text in tables.TEXTS.items()})

    # --- life -----------------------------------------------------------------------------------------------

    def configure(self, generation: Generation) -> None:
        """Put a configuration in force. Clients of users that are gone, or may no longer, are disconnected."""
        settings, topology = generation.settings, generation.topology
        before = self._decides
        self._decides = (settings.policy, settings.redis)
        self.generation, self.places = generation, where.build(settings, topology)
        policy = generation.policy
        verdicts = verdicts_of(policy, settings, topology, self.places) if policy is not None else None
        self.guard = Guard(self, verdicts) if verdicts is not None else None
        self.relay.limits(
            client_buffer=settings.redis.client_buffer,
            pipeline=settings.redis.pipeline,
            login=settings.limits.handshake,
            idle=settings.limits.idle_client,
            remote=settings.redis.remote_requests,
            one_region=not self.splits_over_regions,
        )
        observed = settings.redis.observe
        self.relay.observe(sample=observed.sample, keys=observed.keys, slow=observed.slow)
        local = {shard.index: shard for shard in topology.shards if shard.is_local}
        self.replicas.prepare(local)
        self.clusters.prepare(local)
        # First: an index of the old topology may be another shard's in the new one.
        self.links.forget(self._backings(local))
        self.relay.shards([self.row_of(index) for index in range(len(topology.shards))])
        of_policy = tables.policy_rows(verdicts) if verdicts is not None else None
        names = [name.encode() for name in settings.redis.patterns]
        self.relay.patterns(*tables.pattern_rows(self.places), policy=of_policy, names=names)
        self.connect()
        for client in list(self.clients.values()):
            self._look_at_rights(client)
            if before != self._decides:
                self._forget_allowed(client)
        self._tell_abilities()
        self.ways.configure()

    def _forget_allowed(self, client: RedisClient) -> None:
        """What it waits for, listens to or has queued was allowed by what is no longer in force."""
        if client.task is not None or client.subscriptions is not None or client.watch is not None:
            self.relay.close(client.handle)
        elif client.transaction is not None:
            client.transaction.broken = True

    def connect(self) -> None:
        """To every server of the region, as it is known now who is what."""
        topology = self.generation.topology
        local = {shard.index: shard for shard in topology.shards if shard.is_local}
        self.clusters.tell()
        self.replicas.tell(local)
        wanted = self._backings(local)
        self.links.forget(wanted)
        self.links.configure(wanted, self.generation.settings.limits.connect)
        self.streams.forget()

    def _backings(self, local: dict[int, Shard]) -> dict[int, Backing]:
        return {**self.replicas.backings(local), **self.clusters.backings()}

    @property
    def splits_over_regions(self) -> bool:
        return self.generation.settings.redis.other_regions is OtherRegions.SPLIT

    def passes_on(self, client: RedisClient) -> bool:
        """May its requests go to other regions?"""
        return not client.hop and self.generation.settings.redis.other_regions is not OtherRegions.REFUSE

    def row_of(self, index: int) -> tuple[bytes, float, int, int]:
        """A shard as the relay takes it; the first is the error line while it cannot be reached."""
        shard = self.generation.topology.shards[index]
        server = shard.settings.redis
        text = errors.away(shard.name, region=shard.region.name, local=shard.is_local, server=server is not None)
        foreign = 0 if shard.is_local else shard.region.index + 1
        number = self.worker.start.page.index_of("shard", shard.name)
        return tables.line(text), server.deadline if server is not None else 0.0, foreign, number

    def _look_at_rights(self, client: RedisClient) -> None:
        if client.user is None:
            return
        level = self.level_of(client.user)
        if level is Level.NONE or client.listener not in self.generation.settings.listeners:
            self.relay.close(client.handle)
        elif level is not client.level:
            client.level = level
        self.identify(client, tell=False)
        self.tell(client)

    def tell(self, client: RedisClient) -> None:
        """The relay gets what the client's user is and may."""
        self.relay.set_client(
            client.handle,
            level=int(client.level),
            subject=client.subject_id,
            who=client.who,
            consistency=self._consistency_of(client),
        )

    def _consistency_of(self, client: RedisClient) -> tuple[int, float]:
        """-> (level as the relay numbers it, most lag in seconds)."""
        user = self.generation.user(client.user) if client.user is not None else None
        listener = self.generation.settings.listeners.get(client.listener)
        if user is None:
            return 0, 0.0
        level, lag = self.generation.consistency_of(user, listener if isinstance(listener, RedisListener) else None)
        return level, lag / 1000

    def identify(self, client: RedisClient, *, tell: bool = True) -> None:
        """Who the client is to the policy in force, and to other regions."""
        policy = self.generation.policy
        client.subject = client.attested = None
        if client.user is None:
            return
        if policy is not None:
            client.subject = policy.subject_of(client.user, *client.identity)
            if tell:
                self._tell_abilities(client.subject)
        if self.passes_on(client):
            client.attested = self._identities.of(client, self.worker.user_number(client.user), policy)

    def _tell_abilities(self, *subjects: Subject) -> None:
        """Without any: of all who are there."""
        if self.guard is None:
            return
        audit = self.generation.settings.audit
        recorded = audit is not None and audit.is_on
        present = (one.subject for one in self.clients.values())
        for subject in subjects or {one for one in present if one is not None}:
            self.relay.abilities(subject.id, self.guard.verdicts.bits(subject, recorded=recorded))

    async def start(self) -> None:
        """The relay's thread, and its events from here on."""
        asyncio.get_running_loop().add_reader(self.relay.fileno(), self._on_events)
        self._thread = threading.Thread(target=self.relay.run, name="redis relay", daemon=True)
        self._thread.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_CONNECTIONS):
                await self._connected()

    async def _connected(self) -> None:
        """Until every server of the region is connected to."""
        while not all(self.links.connected(place) for _, place in self.servers.all()):
            await asyncio.sleep(0.01)

    async def close(self, seconds: float) -> None:
        """What is under way may end, for so long."""
        self.relay.drain()
        deadline = asyncio.get_running_loop().time() + min(seconds, DRAIN)
        while self.relay.clients and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        for client in list(self.clients.values()):
            self.relay.close(client.handle)
            self._forget(client)
        await self.streams.close()
        await self.ways.close()
        await self.replicas.close()
        await self.clusters.close()
        await self.links.close()
        self.relay.stop()
        if self._thread is not None:
            asyncio.get_running_loop().remove_reader(self.relay.fileno())
            self._thread.join(2.0)

    # --- clients --------------------------------------------------------------------------------------------

    def adopt(
        self, sock: socket.socket, number: int, listener: str, peer: str, tls: bool, certificate: str | None = None
    ) -> None:
        """`certificate`: the common name in the client's. Raises RelayFull."""
        settings = self.generation.settings.listeners[listener]
        assert isinstance(settings, RedisListener)
        client = RedisClient(0, number, peer, listener, tls, Identity(listener, certificate))
        user = settings.anonymous
        if user is not None and self.commands.may_come(client, user):
            client.user, client.level = user, self.level_of(user)
        self._adopt(sock, client)

    def adopt_peer(
        self, sock: socket.socket, number: int, listener: str, peer: str, user: str, identity: Identity, protocol: int
    ) -> None:
        """Another region's Fairlead, on behalf of one of its clients. Raises RelayFull."""
        client = RedisClient(0, number, peer, listener, True, identity, hop=True, user=user, protocol=protocol)
        client.level = self.level_of(user)
        self._adopt(sock, client)

    def _adopt(self, sock: socket.socket, client: RedisClient) -> None:
        self.identify(client)
        client.handle = self.relay.adopt(
            sock.fileno(), int(client.level), protocol=client.protocol, subject=client.subject_id, who=client.who
        )
        sock.detach()
        self.relay.set_client(client.handle, consistency=self._consistency_of(client))
        self.clients[client.handle] = client

    def level_of(self, user: str) -> Level:
        found = self.generation.user(user)
        return Level[found.redis.name] if found is not None else Level.NONE

    def _forget(self, client: RedisClient) -> None:
        self.clients.pop(client.handle, None)
        self.commands.left(client)
        if client.task is not None:
            client.task.cancel()

    # --- the relay's events ---------------------------------------------------------------------------------

    def _on_events(self) -> None:
        events = self.relay.events()  # first: it takes the signal back, and what comes after it signals anew
        self.links.look()
        self.ways.look()
        self.replicas.look_again()
        self.clusters.look_again()
        self.servers.answered()
        for handle, kinds in events:
            client = self.clients.get(handle)
            if client is None:
                continue
            if kinds & (CLOSED | LENT):
                self.streams.back(handle, spoiled=bool(kinds & (CLOSED | SPOILED)))
            if kinds & CLOSED:
                self._forget(client)
                continue
            if kinds & LARGE_COMES:
                self.streams.wanted(client)
            if kinds & PARKED:
                self._on_parked(client)
            if kinds & ENDED and (client.interruptible or client.subscriptions is not None):
                self.relay.close(handle)

    def _on_parked(self, client: RedisClient) -> None:
        """One or, where the client collects, several frames."""
        data = self.relay.take(client.handle)
        if data is None:
            return
        try:
            if data[:1] != b"*":
                self._on_inline(client, data)
                return
            self._on_frames(client, data)
        except ProtocolError as error:
            self.relay.close(client.handle, encode(Error(f"ERR {error}"), client.protocol))
        except Exception:
            log.exception("a redis command failed")
            self.relay.close(client.handle, encode(Error("ERR internal error"), client.protocol))

    def _on_inline(self, client: RedisClient, data: bytes) -> None:
        found = request_of(data)
        if found is None or not found[0]:
            self.relay.reply(client.handle, b"", 0 if found is None else found[1])
        else:
            self.relay.replace(client.handle, request(*found[0]) + data[found[1] :])

    def _on_frames(self, client: RedisClient, data: bytes) -> None:
        """Answers gather until one has to be waited for, or the client no longer collects."""
        used, out = 0, b""
        while data[used : used + 1] == b"*":
            found = request_of(data[used:])
            if found is None:
                break
            arguments, length = found
            frame = data[used : used + length]
            if used:  # the first one the relay has counted
                self.commands.count(arguments)
            used += length
            answer = self.commands.run(client, arguments, frame) if arguments else b""
            if isinstance(answer, bytes):
                out += answer
                if client.collects:
                    continue
            elif answer is not None:
                client.task = asyncio.ensure_future(self._finish(client, arguments, answer, out, used))
                return
            else:
                return  # forwarded or closed; never behind gathered answers, see Commands.run
            break
        self.relay.reply(client.handle, out, used)

    async def _finish(
        self, client: RedisClient, asked: list[bytes], answer: Awaitable[Reply], out: bytes, used: int
    ) -> None:
        try:
            reply = await answer
        except (OSError, TimeoutError):
            reply = encode(Error(errors.LOST_WRITE), client.protocol)
        except Refused as refused:
            self.block.error(errors.class_of(refused.text))
            self.records.refused(client, asked, refused.text)
            reply = encode(Error(refused.text), client.protocol)
        except Exception:
            log.exception("a redis command failed")
            self.relay.close(client.handle, encode(Error("ERR internal error"), client.protocol))
            return
        finally:
            client.interruptible = False
            client.task = None
        self.relay.set_client(client.handle, wrote=True)  # it may have; its next reads are to see it
        if reply is not None:
            self.relay.reply(client.handle, out + reply, used)
