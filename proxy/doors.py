"""The ports of one worker, for MySQL, peers and Redis: opened, kept over reloads, closed."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from config.settings import MysqlListener, PeerListener, RedisListener
from proxy.accept import ConnectionIds, Listener, inodes_of
from proxy.redis.accept import RedisDoor
from proxy.supervision.ports import Shares, binds_of

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)


class Doors:
    """`listeners`: those that speak MySQL, by name."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.ids = ConnectionIds.of(worker.start.index, worker.start.succession)
        self.listeners: dict[str, Listener] = {}
        self._redis: dict[str, RedisDoor] = {}

    def open(self, shares: Shares) -> None:
        """Those of the generation in force, on these sockets; what did not change goes on. Raises OSError."""
        left = {bind: list(sockets) for bind, sockets in shares.items()}
        wanted: dict[str, tuple[Any, list[socket.socket]]] = {
            name: (one, [sock for bind in binds_of(one) for sock in left.pop(bind, ())])
            for name, one in self._worker.generation.settings.listeners.items()
            if isinstance(one, MysqlListener | PeerListener | RedisListener)
        }
        for sockets in left.values():
            _close(sockets)
        self._close_others(wanted)
        for name, (settings, sockets) in wanted.items():
            if (kept := self.listeners.get(name) or self._redis.get(name)) is not None:
                _close(sockets)
                kept.door.listen(settings.backlog)
            elif isinstance(settings, RedisListener):
                self._open_redis(name, settings, sockets)
            else:
                self.listeners[name] = self._listener(name, settings, sockets)
                self.listeners[name].start()

    def _close_others(self, wanted: Mapping[str, tuple[Any, list[socket.socket]]]) -> None:
        """Those that are gone, or listen elsewhere now."""
        open_here: list[tuple[dict[str, Any], str, Any]] = [
            (doors, name, one) for doors in (self.listeners, self._redis) for name, one in doors.items()
        ]
        for doors, name, one in open_here:
            settings, sockets = wanted.get(name, (None, []))
            kept = settings == one.settings if doors is self._redis else type(settings) is type(one.settings)
            if not kept or one.door.inodes != inodes_of(sockets):
                doors.pop(name).stop()

    def _open_redis(self, name: str, settings: RedisListener, sockets: list[socket.socket]) -> None:
        assert self._worker.redis is not None  # a configuration with such a listener has made it
        self._redis[name] = RedisDoor(name, settings, self._worker.redis, self.ids, sockets)
        self._redis[name].start()

    def leave(self) -> None:
        """New clients come to another process; who is logging in comes in."""
        for listener in self.listeners.values():
            listener.leave()
        for door in self._redis.values():
            door.leave()

    @property
    def logging_in(self) -> int:
        open_here: list[Listener | RedisDoor] = [*self.listeners.values(), *self._redis.values()]
        return sum(one.logging_in for one in open_here)

    def stop(self) -> None:
        """No new clients."""
        for listener in self.listeners.values():
            listener.stop()
        for door in self._redis.values():
            door.stop()

    def reload_certificates(self) -> None:
        """Look at the files; the next connections use what is good in them."""
        for problem in self._worker.logins.reload_certificates():
            log.error("certificate of listener %s: %s", problem.name, problem.message)
        for name, door in self._redis.items():
            try:
                door.reload_certificates()
            except OSError as error:
                log.error("certificate of listener %s: %s", name, error)

    def _listener(
        self, name: str, settings: MysqlListener | PeerListener, sockets: list[socket.socket]
    ) -> Listener:
        def handshake() -> Any:
            return self._worker.logins.handshake(name)

        adopt, block = self._worker.logins.adopt, self._worker.loop_block
        return Listener(name, settings, handshake, adopt, self.ids, block, sockets)


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
