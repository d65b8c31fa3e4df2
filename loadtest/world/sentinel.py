"""A Redis primary with replicas and the sentinels that watch over them."""

import time
from collections.abc import Callable
from pathlib import Path

from loadtest.world.redis import Redis

MASTER = "mymaster"
DOWN_AFTER_MS = 800
READY = 20.0


class Sentinel(Redis):
    """One redis-sentinel."""

    def __init__(self, name: str, directory: Path, *, port: int, watches: int, quorum: int):
        super().__init__(name, directory, port=port)
        self._watches = watches
        self._quorum = quorum

    def prepare(self) -> None:
        self._file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {self._watches} {self._quorum}\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {MASTER} 3000\n"
        )

    @property
    def _file(self) -> Path:
        return self.directory / f"{self.name}.conf"

    def command(self) -> list[str]:
        return [super().command()[0], str(self._file), "--sentinel"]


class Watched:
    """Servers, the first of which begins as the primary, and sentinels that agree by majority."""

    def __init__(self, directory: Path, ports: list[int], *, replicas: int = 1):
        options = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "5")
        first, count = ports[0], replicas + 1
        follow = ("--replicaof", f"127.0.0.1 {first}")
        self.servers = [
            Redis(f"watched-{port}", directory, port=port, extra=(*options, *(follow if port != first else ())))
            for port in ports[:count]
        ]
        quorum = (len(ports) - count) // 2 + 1
        self.sentinels = [
            Sentinel(f"sentinel-{port}", directory, port=port, watches=first, quorum=quorum) for port in ports[count:]
        ]

    def start(self) -> None:
        """Everybody knows everybody when it returns."""
        for group in (self.servers, self.sentinels):
            for server in group:
                server.launch()
            for server in group:
                server.wait_ready()
        until(lambda: all(map(self._knows_all, self.sentinels)))

    def _knows_all(self, sentinel: Sentinel) -> bool:
        words = sentinel.ask("SENTINEL", "MASTER", MASTER).split(b"\r\n")[2::2]
        known = dict(zip(words[::2], words[1::2], strict=True))
        counts = int(known[b"num-slaves"]), int(known[b"num-other-sentinels"])
        return counts == (len(self.servers) - 1, len(self.sentinels) - 1)

    def primary(self) -> Redis:
        """Whom the first living sentinel names."""
        asked = next(one for one in self.sentinels if one.alive)
        port = int(asked.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER).split(b"\r\n")[-2])
        return next(one for one in self.servers if one.port == port)

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            if server.alive:
                server.resume()
            server.kill()


def until(true: Callable[[], object], seconds: float = READY) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("the redis servers do not agree")
        time.sleep(0.02)
