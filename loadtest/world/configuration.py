"""The YAML that each region's Fairlead gets, as plain data."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from loadtest.world.dataset import Dataset
from loadtest.world.layout import RegionPorts, Shape
from loadtest.world.shard import Shard
from loadtest.world.sqlserver import SERVICE_USER, TlsFiles

PASSWORD_VARIABLE = "FAIRLEAD_DB_PASSWORD"
USER = "demo"
PASSWORD = "demo"


def build(
    shape: Shape,
    region: str,
    ports: Mapping[str, RegionPorts],
    shards: Sequence[Shard],
    datasets: Sequence[Dataset],
    certificate: TlsFiles,
    redis: Mapping[str, int],
) -> dict[str, Any]:
    """The whole configuration of `region`'s Fairlead. `redis`: shard -> its Redis server's port, empty for none."""
    own = ports[region]
    built = _without_redis(shape, region, ports, shards, datasets, certificate)
    if own.admin:
        built = merge(built, console_changes(own.admin))
    return merge(built, redis_changes(redis, own.redis)) if redis else built


def console_changes(port: int) -> dict[str, Any]:
    """An admin console for the demo's user. Its password as a server stores it, so that versions may hold it."""
    hashed = sha256(sha256(PASSWORD.encode()).digest()).hexdigest()
    account = {"password": {"sha256": hashed}, "role": "admin"}
    return {"listeners": {"admin": {"port": port}}, "admin": {"accounts": {USER: account}}}


def redis_changes(servers: Mapping[str, int], port: int) -> dict[str, Any]:
    """What a configuration without Redis lacks: servers, listener, patterns for the shop, the user's right."""
    return {
        "shards": {name: {"redis": {"primary": f"127.0.0.1:{number}"}} for name, number in servers.items()},
        "listeners": {"redis": {"address": "127.0.0.1", "port": port}},
        "users": {USER: {"redis": "admin"}},
        "redis": {
            "patterns": {
                "customer": {"prefix": "customer:", "fields": [1], "table": "shop.customers"},
                "cart": {"prefix": "cart:", "tag": True, "table": "shop.orders"},
                "order": {"regex": "order-([0-9]+)-.*", "table": "shop.orders"},
                "secret": {"prefix": "secret:", "shard": next(iter(servers)), "action": "refuse"},
            },
            "unmatched": "local",
        },
    }


def _without_redis(
    shape: Shape,
    region: str,
    ports: Mapping[str, RegionPorts],
    shards: Sequence[Shard],
    datasets: Sequence[Dataset],
    certificate: TlsFiles,
) -> dict[str, Any]:
    own = ports[region]
    return {
        "region": region,
        "regions": {
            name: {"peer": {"host": "127.0.0.1", "port": ports[name].peer}} for name in shape.regions
        },
        "peer_tls": {
            "ca": _path(certificate.ca),
            "cert": _path(certificate.certificate),
            "key": _path(certificate.key),
        },
        "shards": {shard.name: _shard(shard) for shard in shards},
        "keyspaces": {dataset.database: dataset.keyspace(shape) for dataset in datasets},
        "users": {USER: _user(datasets)},
        "listeners": {
            "mysql": {"address": "127.0.0.1", "port": own.mysql},
            "peer": {"address": "127.0.0.1", "port": own.peer},
            "http": {"address": "127.0.0.1", "port": own.http},
        },
    }


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping; a change to None removes the key."""
    merged = dict(base)
    for key, change in changes.items():
        old = merged.get(key)
        if change is None:
            merged.pop(key, None)
        elif isinstance(change, Mapping) and isinstance(old, Mapping):
            merged[key] = merge(old, change)
        else:
            merged[key] = change
    return merged


def _shard(shard: Shard) -> dict[str, Any]:
    first, *others = shard.servers
    return {
        "region": shard.region,
        "flavour": first.flavour,
        "primary": first.address,
        "replicas": [server.address for server in others],
        "account": {"user": SERVICE_USER, "password": {"env": PASSWORD_VARIABLE}},
    }


def _user(datasets: Sequence[Dataset]) -> dict[str, Any]:
    return {
        "password": {"value": PASSWORD},
        "grants": [{"on": f"{dataset.database}.*", "verbs": ["all"]} for dataset in datasets],
        "default_database": datasets[0].database,
    }


def _path(path: Path) -> str:
    return str(path)
