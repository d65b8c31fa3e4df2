"""Fairlead's configuration in a bench: all defaults but for connections, users and the keyspaces measured."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from loadtest.world.sqlserver import SERVICE_USER, Passwords, SqlServer

USER, PASSWORD = "bench", "bench"
ENVIRONMENT = {"FAIRLEAD_DB_PASSWORD": Passwords().service, "FAIRLEAD_BENCH_PASSWORD": PASSWORD}
"""What the passwords of the configuration refer to."""


def shards(servers: Sequence[SqlServer], connections: int) -> dict[str, Any]:
    """{s0: …} with one shard per server, `connections` backend connections each, kept open when idle."""
    return {
        server.name: {
            "region": "eu",
            "flavour": server.flavour,
            "primary": server.address,
            "account": {"user": SERVICE_USER, "password": {"env": "FAIRLEAD_DB_PASSWORD"}},
            "tls": {"mode": "disabled"},
            "limits": {"connections": connections, "idle": connections},
        }
        for server in servers
    }


def sharded(names: Sequence[str], tables: Mapping[str, str]) -> dict[str, Any]:
    """A keyspace hashed over `names`; `tables` is {table: key column}, all of one vindex, so co-located."""
    return {
        "shards": list(names),
        "vindexes": {"by_key": {"function": "hash"}},
        "tables": {
            table: {"kind": "sharded", "vindex": "by_key", "columns": [column]} for table, column in tables.items()
        },
    }


def configuration(
    servers: Sequence[SqlServer],
    keyspaces: Mapping[str, Any],
    *,
    port: int,
    http_port: int,
    connections: int,
    clients: int = 16_000,
    sections: Mapping[str, Any] = MappingProxyType({}),
    listener: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The whole file. The user has every data verb on every keyspace given; `sections` are added to it,
    `listener` to the one for MySQL clients."""
    verbs = ["select", "insert", "update", "delete"]
    return {
        "region": "eu",
        "regions": {"eu": {}},
        "shards": shards(servers, connections),
        "keyspaces": dict(keyspaces),
        "users": {
            USER: {
                "password": {"env": "FAIRLEAD_BENCH_PASSWORD"},
                "plugins": ["mysql_native_password"],
                "grants": [{"on": f"{keyspace}.*", "verbs": verbs} for keyspace in keyspaces],
                "limits": {"connections": clients},
            }
        },
        "listeners": {
            "mysql": {"address": "127.0.0.1", "port": port, **listener},
            "http": {"address": "127.0.0.1", "port": http_port},
        },
        "limits": {"clients": clients},
        **sections,
    }
