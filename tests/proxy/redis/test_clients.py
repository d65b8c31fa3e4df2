"""Stock clients through a Redis listener, beside a server of their own: RESP2 and RESP3, sync and asyncio, tools."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio

from loadtest.world.world import World

pytestmark = pytest.mark.world(redis=True)
PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3])

CALLS: list[Callable[[Any], Any]] = [
    lambda r: r.ping(),
    lambda r: r.echo("x"),
    lambda r: r.set("{t}a", "1"),
    lambda r: r.set("{t}a", "2", nx=True),
    lambda r: r.set("{t}a", "3", get=True, ex=100),
    lambda r: r.get("{t}a"),
    lambda r: r.get("{t}none"),
    lambda r: r.incr("{t}n", 5),
    lambda r: r.incrbyfloat("{t}f", 1.5),
    lambda r: r.mset({"{t}b": 1, "{t}c": 2}),
    lambda r: r.mget("{t}a", "{t}none", "{t}c"),
    lambda r: r.exists("{t}a", "{t}a", "{t}none"),
    lambda r: r.type("{t}a"),
    lambda r: r.append("{t}a", "xyz"),
    lambda r: r.getrange("{t}a", 1, 2),
    lambda r: r.expire("{t}a", 500),
    lambda r: r.persist("{t}a"),
    lambda r: r.hset("{t}h", mapping={"f": "1", "g": "2"}),
    lambda r: r.hgetall("{t}h"),
    lambda r: sorted(r.hkeys("{t}h")),
    lambda r: r.hincrby("{t}h", "f", 4),
    lambda r: sorted(r.hscan_iter("{t}h")),
    lambda r: r.rpush("{t}l", "a", "b", "c"),
    lambda r: r.lrange("{t}l", 0, -1),
    lambda r: r.lmove("{t}l", "{t}l2", "LEFT", "RIGHT"),
    lambda r: r.blpop("{t}l", timeout=1),
    lambda r: r.lmpop(2, "{t}none", "{t}l", direction="LEFT"),
    lambda r: r.sadd("{t}s", "a", "b"),
    lambda r: r.sismember("{t}s", "a"),
    lambda r: sorted(r.smembers("{t}s")),
    lambda r: r.sinterstore("{t}s3", "{t}s", "{t}s"),
    lambda r: r.zadd("{t}z", {"a": 1, "b": 2.5}),
    lambda r: r.zrange("{t}z", 0, -1, withscores=True),
    lambda r: r.zscore("{t}z", "b"),
    lambda r: r.zunionstore("{t}z2", ["{t}z", "{t}z"]),
    lambda r: r.zrangebyscore("{t}z2", "-inf", "+inf", withscores=True),
    lambda r: r.geoadd("{t}g", (13.4, 52.5, "berlin")),
    lambda r: r.geopos("{t}g", "berlin"),
    lambda r: r.pfadd("{t}p", "a", "b"),
    lambda r: r.pfcount("{t}p"),
    lambda r: r.setbit("{t}bits", 7, 1),
    lambda r: r.bitcount("{t}bits"),
    lambda r: r.xadd("{t}x", {"f": "v"}, id="1-1"),
    lambda r: r.xread({"{t}x": "0"}),
    lambda r: r.xgroup_create("{t}x", "group", "0"),
    lambda r: r.xreadgroup("group", "one", {"{t}x": ">"}),
    lambda r: r.xinfo_stream("{t}x")["length"],
    lambda r: r.xack("{t}x", "group", "1-1"),
    lambda r: r.sort("{t}l2", alpha=True),
    lambda r: r.copy("{t}a", "{t}copy"),
    lambda r: r.rename("{t}copy", "{t}renamed"),
    lambda r: r.object("encoding", "{t}n"),
    lambda r: r.dump("{t}n") is not None,
    lambda r: r.eval("return {KEYS[1], ARGV[1]}", 1, "{t}a", "v"),
    lambda r: r.evalsha(r.script_load("return 7"), 1, "{t}a"),
    lambda r: r.script_exists("0" * 40, r.script_load("return 7")),
    lambda r: r.register_script("return redis.call('get', KEYS[1])")(keys=["{t}n"]),
    lambda r: r.pipeline().set("{t}p1", 1).incr("{t}p1").get("{t}p1").execute(),
    lambda r: r.pipeline(transaction=False).set("{t}p1", 1).get("{t}none").execute(),
    lambda r: r.transaction(lambda p: p.multi() or p.incr("{t}p1"), "{t}p1"),
    lambda r: r.dbsize(),
    lambda r: sorted(r.keys("*")),
    lambda r: sorted(r.scan_iter(match="{t}*", count=3)),
    lambda r: r.randomkey() is not None,
    lambda r: r.publish("nobody", "x"),
    lambda r: r.pubsub_numsub("a", "b"),
    lambda r: r.pubsub_channels(),
    lambda r: r.client_setname("me"),
    lambda r: r.client_getname(),
    lambda r: r.select(0),
    lambda r: r.command_count() > 200,
    lambda r: r.command_getkeys("MGET", "a", "b"),
    lambda r: r.execute_command("LOLWUT", "VERSION", "5") is not None,
    lambda r: r.time()[0] > 0,
    lambda r: r.role() if hasattr(r, "role") else None,
    lambda r: r.info("server")["redis_version"],
    lambda r: r.info("cluster")["cluster_enabled"],
    lambda r: r.delete("{t}a", "{t}b", "{t}none"),
    lambda r: r.unlink("{t}c"),
    lambda r: r.flushall(),
    lambda r: r.randomkey(),
    lambda r: r.execute_command("GET"),
    lambda r: r.execute_command("SET", "{t}k", "v", "EX"),
    lambda r: r.execute_command("NOSUCH", "a b", "x" * 200),
    lambda r: r.execute_command("CLIENT", "NOSUCH"),
    lambda r: r.execute_command("CONFIG"),
    lambda r: r.execute_command("LPUSH", "{t}str") or r.set("{t}str", 1),
    lambda r: r.set("{t}str", 1) and r.lpush("{t}str", 1),
    lambda r: r.execute_command("EVALSHA", "0" * 40, "1", "{t}a"),
    lambda r: r.execute_command("EXEC"),
    lambda r: r.execute_command("DISCARD"),
    lambda r: r.execute_command("XREAD", "COUNT"),
    lambda r: r.execute_command("PING", "a", "b"),
    lambda r: r.execute_command("SELECT", "x"),
    lambda r: r.execute_command("CLUSTER", "INFO"),
]


def outcome(call: Callable[[Any], Any], client: Any) -> Any:
    try:
        return call(client)
    except redis.RedisError as error:
        return type(error), str(error)


@contextmanager
def direct(world: World, protocol: int) -> Iterator[redis.Redis]:
    server = world.redis["eu-1"]
    with redis.Redis(port=server.port, protocol=protocol) as client:
        client.flushall()
        yield client
        client.flushall()


def through(world: World, protocol: int = 2, **options: Any) -> redis.Redis:
    port = world.fairlead().redis_port
    return redis.Redis(port=port, username="demo", password="demo", protocol=protocol, socket_timeout=10, **options)


@PROTOCOLS
def test_every_call_gives_what_one_server_gives(world: World, protocol: int):
    with direct(world, protocol) as server:
        expected = [outcome(call, server) for call in CALLS]
    with through(world, protocol) as client:
        client.flushall()
        found = [outcome(call, client) for call in CALLS]
    differing = [(place, one, two) for place, (one, two) in enumerate(zip(expected, found, strict=True)) if one != two]
    assert not differing


@PROTOCOLS
def test_asyncio(world: World, protocol: int):
    async def work() -> None:
        port = world.fairlead().redis_port
        client = redis.asyncio.Redis(port=port, username="demo", password="demo", protocol=protocol)
        async with client:
            await asyncio.gather(*(client.set(f"k{n}", n) for n in range(50)))
            assert await client.mget([f"k{n}" for n in range(50)]) == [b"%d" % n for n in range(50)]
            async with client.pipeline() as pipe:
                assert await pipe.set("{x}1", 1).get("{x}1").execute() == [True, b"1"]
            async with client.pubsub() as listener:
                await listener.subscribe("news")
                assert (await listener.get_message(timeout=5))["type"] == "subscribe"
                assert await client.publish("news", "hi") == 1
                assert (await listener.get_message(timeout=5))["data"] == b"hi"

    asyncio.run(work())


@PROTOCOLS
def test_pubsub(world: World, protocol: int):
    with through(world, protocol) as client, client.pubsub() as listener:
        listener.subscribe("c1", "c2")
        listener.psubscribe("c*")
        kinds = [listener.get_message(timeout=5) for _ in range(3)]
        assert [(one["type"], one["data"]) for one in kinds] == [("subscribe", 1), ("subscribe", 2), ("psubscribe", 3)]
        assert client.pubsub_numsub("c1", "c3") == [(b"c1", 1), (b"c3", 0)]
        assert sorted(client.pubsub_channels()) == [b"c1", b"c2"]
        assert client.pubsub_numpat() == 1
        assert client.publish("c1", "x") == 2
        assert sorted(listener.get_message(timeout=5)["type"] for _ in range(2)) == ["message", "pmessage"]
        listener.unsubscribe()
        listener.punsubscribe()
        assert sorted(listener.get_message(timeout=5)["data"] for _ in range(3)) == [0, 1, 2]
        assert client.publish("c1", "x") == 0


def test_redis_cli(world: World):
    port = str(world.fairlead().redis_port)
    command = ["redis-cli", "-p", port, "--user", "demo", "--pass", "demo", "--no-auth-warning"]
    lines = "SET k 'a b'\nGET k\nMGET k none\nINFO server\nNOSUCH x\n"
    for extra in ([], ["-3"]):
        done = subprocess.run([*command, *extra], input=lines, capture_output=True, text=True, timeout=20)
        assert "OK\na b\na b\n\n# Server" in done.stdout
        assert "ERR unknown command 'NOSUCH'" in done.stdout


@pytest.mark.skipif(shutil.which("redis-benchmark") is None, reason="redis-benchmark is not installed")
def test_redis_benchmark(world: World):
    port = str(world.fairlead().redis_port)
    login = ["-p", port, "--user", "demo", "-a", "demo"]
    command = ["redis-benchmark", *login, "-n", "2000", "-c", "20", "-r", "1000", "-q"]
    for extra in (["-t", "set,get,incr,lpush,mset,ping", "-P", "16"], ["-t", "get", "-3"]):
        done = subprocess.run([*command, *extra], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "requests per second" in done.stdout
        assert "Error from server" not in done.stdout + done.stderr
