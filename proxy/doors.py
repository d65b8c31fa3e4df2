"""The ports of one worker, for MySQL, peers and Redis: opened, kept over reloads, closed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from config.settings import MysqlListener, PeerListener, RedisListener
from proxy.accept import ConnectionIds, Listener
from proxy.redis.accept import RedisDoor

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)


class Doors:
    """`listeners`: those that speak MySQL, by name."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._ids = ConnectionIds.of(worker.start.index)
        self.listeners: dict[str, Listener] = {}
        self._redis: dict[str, RedisDoor] = {}

    def open(self) -> None:
        """Those of the generation in force; what did not change goes on. Raises OSError."""
        wanted = {
            name: one
            for name, one in self._worker.generation.settings.listeners.items()
            if isinstance(one, MysqlListener | PeerListener)
        }
        for name in [name for name, one in self.listeners.items() if _place(wanted.get(name)) != _place(one.settings)]:
            self.listeners.pop(name).stop()
        for name, settings in wanted.items():
            if name not in self.listeners:
                self.listeners[name] = self._listener(name, settings)
                self.listeners[name].start()
        self._open_redis()

    def _open_redis(self) -> None:
        wanted = self._worker.generation.settings.listeners_of(RedisListener)
        for name in [name for name, one in self._redis.items() if wanted.get(name) != one.settings]:
            self._redis.pop(name).stop()
        for name, settings in wanted.items():
            if name not in self._redis and self._worker.redis is not None:
                self._redis[name] = RedisDoor(name, settings, self._worker.redis, self._ids)
                self._redis[name].start()

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

    def _listener(self, name: str, settings: MysqlListener | PeerListener) -> Listener:
        def handshake() -> Any:
            return self._worker.logins.handshake(name)

        return Listener(name, settings, handshake, self._worker.logins.adopt, self._ids, self._worker.loop_block)


def _place(settings: Any) -> tuple[Any, ...] | None:
    """What of a listener cannot change while it listens."""
    return None if settings is None else (type(settings), settings.address, settings.port, settings.backlog)
