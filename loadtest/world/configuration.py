"""The YAML that each region's Fairlead gets, as plain data."""

from collections.abc import Mapping, Sequence
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
) -> dict[str, Any]:
    """The whole configuration of `region`'s Fairlead."""
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
