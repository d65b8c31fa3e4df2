"""SLOWLOG: Fairlead's own log of slow commands, of this region's shards. No values, and keys only where permitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops import clock
from ops.redis import key_shown
from router.redis.plan import Refused
from router.redis.resp import OK

if TYPE_CHECKING:
    from _speedups.redis_stats import RedisPage, SlowCommand
    from proxy.redis.client import RedisClient
    from proxy.redis.service import RedisService

DEFAULT = 10


def get(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    """[number, Unix time, microseconds, [command, key, …], client, its name] of each, the newest first."""
    count = _count(arguments)
    found = service.page.slow(-1)
    return [_entry(service, service.page, one) for one in (found if count < 0 else found[:count])]


def length(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    return len(service.page.slow(-1))


def reset(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    service.page.reset_slow()
    return OK


def _count(arguments: list[bytes]) -> int:
    """As Redis takes it: at least -1, which means all."""
    if len(arguments) < 3:
        return DEFAULT
    try:
        count = int(arguments[2])
    except ValueError:
        raise Refused("ERR value is not an integer or out of range") from None
    if count < -1:
        raise Refused("ERR count should be greater than or equal to -1")
    return count


def _entry(service: RedisService, page: RedisPage, one: SlowCommand) -> list[Any]:
    words: list[str] = [one.command.upper() or "(by Fairlead)"]
    if one.hash:
        words.append(key_shown(page, one.pattern, one.hash, one.text))
    if one.words > len(words):
        words.append(f"... ({one.words - len(words)} more arguments)")
    asker = service.clients.get(one.client) if one.worker == service.worker.start.index else None
    who = (asker.peer, asker.name) if asker is not None else ("", b"")
    return [one.seq, int(clock.wall_seconds(one.ts_ns)), one.us, words, *who]
