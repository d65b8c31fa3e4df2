"""MULTI … EXEC on one shard, and WATCH.

Commands between MULTI and EXEC are looked at and kept; EXEC sends them all in one piece on the shared connection, so
no connection is tied up and nothing comes between them. With WATCH they go on the connection that watches.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.audit.record import Decision
from proxy.redis.client import RedisClient
from proxy.redis.clusters import ASKING
from proxy.redis.wire import Private
from router.redis import errors, plan
from router.redis.cluster import turn_of
from router.redis.keys import key_places
from router.redis.plan import Refused
from router.redis.resp import OK, QUEUED, Error, Simple, encode, request
from router.redis.table import Class, Command

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

KEYED = (Class.ONE, Class.SAME, Class.SPLIT, Class.BLOCKING)
KEYLESS = frozenset({"ping", "echo", "time"})
"""Without keys, and the same on every shard."""
MULTI, EXEC, UNWATCH = request("MULTI"), request("EXEC"), request("UNWATCH")


@dataclass(slots=True)
class Transaction:
    """Since MULTI. `slot`: of the keys, counted where the shard is a Redis Cluster. `broken`: a command was refused, so
    EXEC will be. `due`: records that have to be written before."""

    shard: int | None = None
    slot: int | None = None
    frames: list[bytes] = field(default_factory=list)
    size: int = 0
    due: dict[Decision, None] = field(default_factory=dict)
    broken: bool = False


@dataclass(slots=True)
class Watch:
    """A connection that watches keys of one shard, and in a Redis Cluster of one slot. `place`: where it leads."""

    shard: int
    slot: int
    place: int
    protocol: int
    wire: Private

    def is_of(self, shard: int, slot: int) -> bool:
        return (self.shard, self.slot) == (shard, slot)


def run(
    service: RedisService, client: RedisClient, command: Command, arguments: list[bytes]
) -> bytes | Awaitable[bytes | None]:
    """Outside of MULTI."""
    if command.name == "multi":
        client.transaction = Transaction()
        service.relay.set_client(client.handle, collect=True)
        return encode(OK, client.protocol)
    if command.name == "watch":
        return _watch(service, client, command, arguments)
    if command.name == "unwatch":
        return _unwatch(service, client)
    raise Refused(f"ERR {command.name.upper()} without MULTI")


def collect(
    service: RedisService, client: RedisClient, arguments: list[bytes], frame: bytes
) -> bytes | Awaitable[bytes | None]:
    """Inside of MULTI. Raises Refused."""
    assert client.transaction is not None
    name = arguments[0].lower()
    if name in (b"exec", b"discard") and len(arguments) == 1:
        return _end(service, client, carry_out=name == b"exec")
    if name in (b"multi", b"watch"):
        what = "MULTI calls can not be nested" if name == b"multi" else "WATCH inside MULTI is not allowed"
        raise Refused(f"ERR {what}")
    try:
        _keep(service, client, client.transaction, arguments, frame)
    except Refused:
        client.transaction.broken = True
        raise
    return encode(QUEUED, client.protocol)


def _keep(
    service: RedisService, client: RedisClient, transaction: Transaction, arguments: list[bytes], frame: bytes
) -> None:
    command = service.commands.known(arguments)
    if command.level > client.level:
        raise Refused(errors.denied(command.name))
    if service.guard is not None and service.guard.check(client, command, arguments) is not None:
        raise Refused(errors.in_transaction(command.name) + ", of a hash that is not open as a whole")
    shard = _shard(service, command, arguments)
    slot = _slot(service, command, arguments, shard)
    if shard is not None and (transaction.shard not in (None, shard) or transaction.slot not in (None, slot)):
        raise Refused(errors.CROSS)
    due = service.records.due(client, command, arguments) if service.guard is not None else None
    if due is not None:
        transaction.due[due] = None
    transaction.size += len(frame)
    if transaction.size > service.generation.settings.redis.client_buffer:
        raise Refused(errors.TOO_LARGE)
    if shard is not None:
        transaction.shard, transaction.slot = shard, slot
    transaction.frames.append(frame)


def _slot(service: RedisService, command: Command, arguments: list[bytes], shard: int | None) -> int | None:
    """Where its key is; None without keys. Raises Refused: a cluster has them in several slots."""
    if shard is None or command.name == "publish":
        return None
    if command.group is Class.PUBSUB:
        return service.servers.home(shard, arguments[1])[1]
    slots = {service.servers.home(shard, arguments[place])[1] for place in key_places(command, arguments)}
    if len(slots) > 1:
        raise Refused(errors.CROSS)
    return next(iter(slots), None)


def _shard(service: RedisService, command: Command, arguments: list[bytes]) -> int | None:
    """The command's shard; None where any will do. Raises Refused."""
    if command.group in KEYED:
        return plan.shard_of(command, arguments, service.places)
    if command.name in ("publish", "spublish"):
        return service.places.channel_shard(arguments[1])
    if command.name in KEYLESS:
        return None
    if command.name == "unwatch":
        return None
    raise Refused(errors.in_transaction(command.name))


def _end(service: RedisService, client: RedisClient, *, carry_out: bool) -> bytes | Awaitable[bytes | None]:
    transaction, watch = client.transaction, client.watch
    assert transaction is not None
    client.transaction, client.watch = None, None
    service.relay.set_client(client.handle, collect=client.collects)
    if watch is not None and (not carry_out or transaction.broken):
        return _release(service, watch, encode(_outcome(carry_out), client.protocol))
    if not carry_out or transaction.broken:
        return encode(_outcome(carry_out), client.protocol)
    if watch is None and not transaction.frames:
        return b"*0\r\n"
    if watch is not None and (transaction.shard, transaction.slot) not in ((None, None), (watch.shard, watch.slot)):
        return _release(service, watch, encode(Error(errors.CROSS), client.protocol))
    return _execute(service, client, transaction, watch)


def _outcome(carry_out: bool) -> Error | Simple:
    return Error(errors.EXEC_ABORT) if carry_out else OK


async def _execute(service: RedisService, client: RedisClient, transaction: Transaction, watch: Watch | None) -> bytes:
    data = b"".join((MULTI, *transaction.frames, EXEC))
    count = len(transaction.frames) + 2
    await _record(service, transaction, watch)
    if watch is not None:
        replies = await watch.wire.ask(data, count)
        service.links.give_back(watch.place, watch.protocol, watch.wire)
        if any(turn_of(one) for one in replies):  # nothing was carried out, and what was watched is elsewhere
            return b"*-1\r\n" if client.protocol == 2 else b"_\r\n"
        return replies[-1]
    if transaction.shard is None or transaction.slot is None:
        place = await service.servers.way(client, service.servers.any(client, transaction.shard))
        return (await service.servers.call(place, client.protocol, data, writes=True, replies=count))[-1]
    home = transaction.shard, transaction.slot
    return (await service.servers.call_slot(client, *home, data, writes=True, replies=count))[-1]


async def _record(service: RedisService, transaction: Transaction, watch: Watch | None) -> None:
    """Raises Refused; then nothing is carried out."""
    try:
        for one in transaction.due:
            await service.records.keep(one)
    except BaseException:
        if watch is not None:
            watch.wire.close()
        raise


async def _release(service: RedisService, watch: Watch, reply: bytes) -> bytes:
    await watch.wire.ask(UNWATCH)
    service.links.give_back(watch.place, watch.protocol, watch.wire)
    return reply


async def _watch(service: RedisService, client: RedisClient, command: Command, arguments: list[bytes]) -> bytes:
    try:
        shard = plan.shard_of(command, arguments, service.places)
        slot = _slot(service, command, arguments, shard)
        if shard is None or slot is None or not (client.watch is None or client.watch.is_of(shard, slot)):
            raise Refused(errors.CROSS)
    except Refused as refused:
        return encode(Error(refused.text), client.protocol)
    if client.watch is not None:
        return (await client.watch.wire.ask(request(*arguments)))[0]

    async def ask(place: int, asking: bool) -> list[bytes]:
        wire = await service.servers.borrow(client, place)
        reply = (await wire.ask(ASKING + request(*arguments) if asking else request(*arguments), 1 + asking))[-1]
        if reply == b"+OK\r\n":
            client.watch = Watch(shard, slot, place, client.protocol, wire)
        else:
            wire.close()
        return [reply]

    return (await service.clusters.settled(shard, slot, ask))[0]


async def _unwatch(service: RedisService, client: RedisClient) -> bytes:
    watch, client.watch = client.watch, None
    reply = encode(OK, client.protocol)
    return await _release(service, watch, reply) if watch is not None else reply
