"""The Redis part of the statistics page: what is there when nothing was counted, lanes, aliases, clearing."""

import pytest

from _speedups.redis_stats import ARRAYS, COUNTERS, FAMILIES, RedisBlock, RedisPage
from _speedups.stats import StatsPage
from router.redis.table import Family, table


def page() -> StatsPage:
    return StatsPage.create(2, 3, 4, digests=8, slow=8, users=4)


def test_everything_begins_as_nothing() -> None:
    found = RedisPage(page()).sum()
    assert {found[name] for name in COUNTERS} == {0} and all(not any(found[name]) for name in ARRAYS)
    shard = RedisPage(page()).shard(2)
    assert shard["requests"] == 0 == shard["time"].samples
    assert RedisPage(page()).hot(0) == [] == RedisPage(page()).slow()
    with pytest.raises(IndexError):
        RedisPage(page()).shard(3)


def test_workers_and_lanes_are_summed() -> None:
    stats = page()
    for worker in (0, 1):
        RedisBlock(stats, worker).family("transaction")
        RedisBlock(stats, worker).error("auth")
    found = RedisPage(stats).sum()
    assert found["by_family"][FAMILIES.index("transaction")] == 2 == found["requests"]
    assert sum(found["errors_by_class"]) == 2
    with pytest.raises(IndexError):
        RedisBlock(stats, 2)


def test_a_worker_s_death_keeps_its_counts() -> None:
    stats = page()
    RedisBlock(stats, 0).family("read")
    stats.worker_started(0, 1)
    stats.worker_exited(0)
    assert RedisPage(stats).sum()["requests"] == 1


def test_an_alias_stays_within_a_page_and_differs_between_two() -> None:
    one, other = RedisPage(page()), RedisPage(page())
    assert one.alias(7) == one.alias(7) != one.alias(8)
    assert one.alias(7) != other.alias(7)


def test_every_command_has_a_family_that_is_counted() -> None:
    assert {str(family) for family in Family} == set(FAMILIES)
    found = {name: one.family for name, one in table().commands.items()}
    assert found["get"] is Family.READ and found["set"] is Family.WRITE and found["mget"] is Family.MULTI_READ
    assert found["del"] is Family.MULTI_WRITE and found["evalsha"] is Family.SCRIPT
    assert found["ping"] is Family.CONNECTION
