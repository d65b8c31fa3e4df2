"""The sentinels of one shard: asked who is the primary, and listened to, as they tell of a failover."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable

from config.settings import RedisAddress, RedisSentinel, RedisServer
from proxy.redis.wire import Private
from router.redis.resp import NotResp, decode, request
from router.redis.sentinel import SWITCHED, Word, believed

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds until a sentinel that is not there is listened to again."""


class Sentinels:
    """`changed` is called when one of them tells of a failover."""

    def __init__(self, server: RedisServer, sentinel: RedisSentinel, timeout: float, changed: Callable[[], None]):
        self._server = dataclasses.replace(server, sentinel=None, account=sentinel.account)
        self._master = sentinel.master
        self._timeout = timeout
        self._changed = changed
        self._epoch = 0
        self._wires: dict[RedisAddress, Private] = {}
        self._listening = [asyncio.ensure_future(self._listen(one)) for one in sentinel.addresses]
        self._addresses = sentinel.addresses

    async def ask(self) -> Word | None:
        """The newest word of those that answer, and never an older one than before."""
        words = await asyncio.gather(*(self._word(one) for one in self._addresses))
        found = believed(words, self._epoch)
        if found is not None:
            self._epoch = found.epoch
        return found

    def close(self) -> None:
        for task in self._listening:
            task.cancel()
        for wire in self._wires.values():
            wire.close()

    async def _word(self, address: RedisAddress) -> Word | None:
        try:
            async with asyncio.timeout(self._timeout):
                wire = self._wires.get(address)
                if wire is None or not wire.alive:
                    wire = self._wires[address] = await self._open(address)
                questions = [request("SENTINEL", word, self._master) for word in ("MASTER", "REPLICAS")]
                primary, replicas = await wire.ask(b"".join(questions), len(questions))
            return Word.of(decode(primary), decode(replicas))
        except (OSError, TimeoutError, NotResp, KeyError, ValueError, TypeError, AttributeError) as error:
            log.debug("sentinel %s of %s: %r", address, self._master, error)
            return None

    async def _open(self, address: RedisAddress) -> Private:
        return await Private.open(dataclasses.replace(self._server, primary=address), 2, self._timeout)

    async def _listen(self, address: RedisAddress) -> None:
        """What was told while nobody listened, asking finds out."""
        told = False
        while True:
            lost = asyncio.Event()
            wire = None
            try:
                wire = await self._open(address)
                wire.on_push, wire.on_lost = lambda _: self._changed(), lost.set
                wire.send(request("SUBSCRIBE", SWITCHED))
                told = False
                if wire.alive:
                    await lost.wait()
            except (OSError, TimeoutError) as error:
                if not told:
                    log.warning("sentinel %s of %s cannot be reached: %s", address, self._master, error)
                told = True
            finally:
                if wire is not None:
                    wire.on_lost = None
                    wire.close()
            await asyncio.sleep(PAUSE)
