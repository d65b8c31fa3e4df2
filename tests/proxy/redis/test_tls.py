"""TLS on both legs, and who a client is by its certificate, here and in the other region."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
import redis.asyncio

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.redis import Redis
from loadtest.world.sqlserver import TlsFiles
from loadtest.world.world import World

pytestmark = pytest.mark.world(regions=2, redis=True)
HERE, THERE = (f"customer:{region_id(region, 7)}" for region in ("eu", "us"))


class TlsRedis(Redis):
    """One that speaks TLS on its port, and nothing else."""

    def command(self) -> list[str]:
        words = super().command()
        words[words.index("--port") + 1] = "0"
        return [*words, "--tls-port", str(self.port)]

    def is_ready(self) -> bool:
        try:
            self._plain_connect()
        except OSError:
            return False
        return True

    def _plain_connect(self) -> None:
        client = redis.Redis(port=self.port, ssl=True, ssl_cert_reqs="none", single_connection_client=True)
        try:
            client.ping()
        except redis.RedisError as error:
            raise OSError from error
        finally:
            client.close()


@dataclass
class Legs:
    """A shard of eu behind TLS, and Fairleads whose Redis listeners ask for certificates."""

    server: TlsRedis
    members: dict[str, Fairlead]
    files: dict[str, TlsFiles]

    def options(self, who: str | None, user: str = "shop", region: str = "eu") -> dict[str, Any]:
        found: dict[str, Any] = {
            "host": "127.0.0.1", "port": self.members[region].redis_port, "username": user, "password": user,
            "ssl": True, "ssl_ca_certs": str(self.files["listener"].ca), "decode_responses": True,
        }  # fmt: skip
        if who is not None:
            found |= {"ssl_certfile": str(self.files[who].certificate), "ssl_keyfile": str(self.files[who].key)}
        return found


POLICY = {
    "domains": {"eea": {"regions": ["eu"]}, "usa": {"regions": ["us"]}},
    "labels": {"plain": "public", "shop": {"classes": "public", "tables": {"customers": "personal"}}},
    "subjects": {
        "clerks": {"users": ["shop"], "certificates": ["clerk"], "domain": "eea"},
        "others": {"users": ["shop"], "domain": "usa"},
    },
}


@pytest.fixture
def legs(world: World) -> Iterator[Legs]:
    files = {name: world.authority.issue(name) for name in ("listener", "backend", "clerk", "guest")}
    shard = shard_of_id(world.shape, region_id("eu", 7))
    backend = files["backend"]
    (port,) = world.reserve_ports(1)
    tls = ("--tls-cert-file", backend.certificate, "--tls-key-file", backend.key, "--tls-ca-cert-file", backend.ca)
    server = TlsRedis("secure", world.directory, port=port, extra=(*map(str, tls), "--tls-auth-clients", "no"))
    server.launch()
    server.wait_ready()
    listener = {"cert": str(files["listener"].certificate), "key": str(files["listener"].key)}
    user = {"password": {"value": "shop"}, "redis": "write"}
    changes = {
        "listeners": {"redis": {"tls": listener | {"ca": str(files["listener"].ca)}}},
        "users": {"shop": user},
        "shards": {shard: {"redis": {"primary": f"127.0.0.1:{port}", "tls": True, "ca": str(backend.ca)}}},
        "policy": POLICY,
    }
    fleet = world.fleet(changes).start()
    yield Legs(server, {region: fleet[region] for region in ("eu", "us")}, files)
    server.kill()


def test_both_legs_and_who_asks(world: World, legs: Legs):
    for protocol in (2, 3):
        clerk = redis.Redis(**legs.options("clerk"), protocol=protocol)
        value = "x" * 300_000
        assert clerk.set(HERE, value) and clerk.get(HERE) == value
        guest = redis.Redis(**legs.options("guest"), protocol=protocol)
        with pytest.raises(redis.exceptions.NoPermissionError, match="FL2101"):
            guest.get(HERE)
        # The certificate goes with the request into the other region.
        with pytest.raises(redis.exceptions.NoPermissionError, match="FL2101"):
            clerk.get(THERE)
        abroad = redis.Redis(**legs.options("clerk", region="us"), protocol=protocol)
        assert abroad.get(HERE) == value and abroad.hset(f"{HERE}:h", "a", 1) in (0, 1)
        assert redis.Redis(**legs.options("guest", region="us"), protocol=protocol).set(THERE, 1)
        with pytest.raises(redis.exceptions.NoPermissionError, match="FL2101"):
            redis.Redis(**legs.options("guest", region="us"), protocol=protocol).get(HERE)
    with pytest.raises(redis.RedisError):
        redis.Redis(**legs.options(None)).ping()
    with pytest.raises(redis.RedisError):
        redis.Redis(**(legs.options(None) | {"ssl": False, "ssl_ca_certs": None}), socket_timeout=5).ping()
    asyncio.run(_asyncio(legs))


async def _asyncio(legs: Legs) -> None:
    clients = [redis.asyncio.Redis(**legs.options("clerk", region="us"), protocol=protocol) for protocol in (2, 3)]
    for client in clients:
        async with client.pipeline(transaction=False) as pipe:
            for number in range(50):
                pipe.set(f"{HERE}:{number}", number)
                pipe.get(f"{HERE}:{number}")
            replies = await pipe.execute()
        assert replies == [reply for number in range(50) for reply in (True, str(number))]
        await client.aclose()
