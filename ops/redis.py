"""Hot keys and slow Redis commands as the HTTP pages show them: no values, and keys only where permitted."""

from typing import Any

from _speedups.redis_stats import RedisPage
from _speedups.stats import Name, StatsPage
from ops import clock, names
from ops.parameters import within

MOST = 1_000


def key_shown(page: RedisPage, pattern: str | None, number: int, text: bytes | None) -> str:
    """The key where it is kept; else its pattern and an alias that stays until Fairlead is started anew."""
    if text is not None:
        return text.decode("utf-8", "backslashreplace")
    return f"<{pattern or 'no pattern'} {page.alias(number)}>"


def hot_keys(stats: StatsPage, limit: int = 10) -> dict[str, Any]:
    """Of each shard the keys that were sampled most in the last minutes. `share`: of all its kept samples."""
    within("limit", limit, 1, MOST)
    page = RedisPage(stats)
    return {
        "shards": {
            name.text: _hot_of(page, index, limit) for index, name in _shards(stats)
        }
    }


def _hot_of(page: RedisPage, shard: int, limit: int) -> list[dict[str, Any]]:
    found = page.hot(shard)
    total = sum(one.samples for one in found) or 1
    return [
        {
            "key": key_shown(page, one.pattern, one.hash, one.text),
            "pattern": one.pattern,
            "samples": one.samples,
            "at_least": one.samples - one.over,
            "share": round(one.samples / total, 4),
        }
        for one in found[:limit]
    ]


def slow_commands(stats: StatsPage, limit: int = 50) -> dict[str, Any]:
    """The newest slow commands, the newest first. Times in microseconds."""
    within("limit", limit, 1, MOST)
    page = RedisPage(stats)
    shards = names.read(stats)["shard"]
    return {
        "commands": [
            {
                "seq": one.seq,
                "when": clock.iso(one.ts_ns),
                "us": one.us,
                "shard": names.name_of(shards, one.shard),
                "worker": one.worker,
                "command": one.command or None,
                "arguments": one.words,
                "key": key_shown(page, one.pattern, one.hash, one.text) if one.hash else None,
                "pattern": one.pattern,
                "failed": one.failed,
            }
            for one in page.slow(limit)
        ]
    }


def _shards(stats: StatsPage) -> list[tuple[int, Name]]:
    return [(index, name) for index, name in enumerate(stats.names("shard")) if name.active and name.local]
