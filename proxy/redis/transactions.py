"""MULTI … EXEC on one shard, and WATCH.

Commands between MULTI and EXEC are looked at and kept; EXEC sends them all in one piece on the shared connection, so
no connection is tied up and nothing comes between them. With WATCH they go on the connection that watches.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.redis.client import RedisClient
from proxy.redis.wire import Private
from router.redis import errors, plan
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
    """Since MULTI. `broken`: a command was refused, so EXEC will be."""

    shard: int | None = None
    frames: list[bytes] = field(default_factory=list)
    size: int = 0
    broken: bool = False


@dataclass(slots=True)
class Watch:
    """A connection that watches keys of one shard."""

    shard: int
    protocol: int
    wire: Private


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
    if shard is not None and transaction.shard not in (None, shard):
        raise Refused(errors.CROSS)
    transaction.size += len(frame)
    if transaction.size > service.generation.settings.redis.client_buffer:
        raise Refused(errors.TOO_LARGE)
    transaction.shard = shard if shard is not None else transaction.shard
    transaction.frames.append(frame)


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
    if watch is not None and transaction.shard not in (None, watch.shard):
        return _release(service, watch, encode(Error(errors.CROSS), client.protocol))
    return _execute(service, client, transaction, watch)


def _outcome(carry_out: bool) -> Error | Simple:
    return Error(errors.EXEC_ABORT) if carry_out else OK


async def _execute(service: RedisService, client: RedisClient, transaction: Transaction, watch: Watch | None) -> bytes:
    data = b"".join((MULTI, *transaction.frames, EXEC))
    count = len(transaction.frames) + 2
    if watch is not None:
        replies = await watch.wire.ask(data, count)
        service.links.give_back(watch.shard, watch.protocol, watch.wire)
        return replies[-1]
    shard = transaction.shard if transaction.shard is not None else service.commands.any_shard(client)
    place = await service.way(client, shard)
    return (await service.call(place, client.protocol, data, writes=True, replies=count))[-1]


async def _release(service: RedisService, watch: Watch, reply: bytes) -> bytes:
    await watch.wire.ask(UNWATCH)
    service.links.give_back(watch.shard, watch.protocol, watch.wire)
    return reply


async def _watch(service: RedisService, client: RedisClient, command: Command, arguments: list[bytes]) -> bytes:
    try:
        shard = plan.shard_of(command, arguments, service.places)
        if shard is None or (client.watch is not None and client.watch.shard != shard):
            raise Refused(errors.CROSS)
    except Refused as refused:
        return encode(Error(refused.text), client.protocol)
    if client.watch is None:
        client.watch = Watch(shard, client.protocol, await service.borrow(client, shard))
    return (await client.watch.wire.ask(request(*arguments)))[0]


async def _unwatch(service: RedisService, client: RedisClient) -> bytes:
    watch, client.watch = client.watch, None
    reply = encode(OK, client.protocol)
    return await _release(service, watch, reply) if watch is not None else reply
