"""Commands that Fairlead answers itself, from what it knows of the connection and of itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxy.redis import slowlog
from proxy.redis.client import RedisClient
from router.redis import errors, where
from router.redis.plan import Refused
from router.redis.resp import OK, Simple, encode
from router.redis.table import Command

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

HELLO_NO_AUTH = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> "
    "option can be used to authenticate the client and select the RESP protocol version at the same time"
)
HELLO_NO_NUMBER = "ERR Protocol version is not an integer or out of range"
STARTED = time.monotonic()

Answerer = Callable[["RedisService", RedisClient, list[bytes]], Any]


def run(service: RedisService, client: RedisClient, command: Command, arguments: list[bytes]) -> bytes:
    if command.name.startswith("cluster") or command.name in ("readonly", "readwrite"):
        raise Refused(errors.NO_CLUSTER)
    if command.name.endswith("|help"):
        return encode(_help(service, command.name), client.protocol)
    return encode(_ANSWERS[command.name](service, client, arguments), client.protocol)


def right_name(name: bytes) -> bytes:
    if any(not 0x21 <= byte <= 0x7E for byte in name):
        raise Refused("ERR Client names cannot contain spaces, newlines or special characters.")
    return name


def hello(service: RedisService, client: RedisClient) -> dict[str, Any]:
    return {
        "server": "redis", "version": service.table.version, "proto": client.protocol, "id": client.number,
        "mode": "standalone", "role": "master", "modules": [],
    }  # fmt: skip


def _help(service: RedisService, name: str) -> list[Simple]:
    """The subcommands that Fairlead knows."""
    container = name.partition("|")[0]
    known = [one.partition("|")[2] for one in service.table.commands if one.startswith(f"{container}|")]
    return [Simple(f"{container.upper()} <subcommand>: {', '.join(sorted(known))}")]


def _echo(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    return arguments[1]


def _ping(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    if len(arguments) > 2:
        raise Refused(errors.arity("ping"))
    if client.collects:
        return [b"pong", arguments[1] if len(arguments) > 1 else b""]
    return arguments[1] if len(arguments) > 1 else Simple("PONG")


def _select(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    if not arguments[1].lstrip(b"-").isdigit():
        raise Refused("ERR value is not an integer or out of range")
    if int(arguments[1]):
        raise Refused(errors.BAD_DATABASE)
    return OK


def _role(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    return ["master", 0, []]


def _number(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    return client.number


def _get_name(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    return client.name or None


def _set_name(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    client.name = right_name(arguments[2])
    return OK


def _set_info(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    what, value = arguments[2].lower(), right_name(arguments[3])
    if what == b"lib-name":
        client.library = value
    elif what == b"lib-ver":
        client.version = value
    else:
        raise Refused(f"ERR Unrecognized option '{arguments[2].decode('latin-1')}'")
    return OK


def _switch(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    """NO-EVICT and NO-TOUCH: Fairlead never evicts a client, and keeps no access times."""
    if arguments[2].upper() not in (b"ON", b"OFF"):
        raise Refused(errors.SYNTAX)
    return OK


def _client_line(client: RedisClient) -> str:
    age = int(time.monotonic() - client.since)
    return (
        f"id={client.number} addr={client.peer} name={client.name.decode()} age={age} idle=0 flags=N db=0 "
        f"user={client.user} resp={client.protocol} lib-name={client.library.decode()} "
        f"lib-ver={client.version.decode()}\n"
    )


def _client_info(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    return _client_line(client)


def _who_am_i(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    return client.user


def _key_slot(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    return where.slot_of(arguments[2])


def _info(service: RedisService, client: RedisClient, arguments: list[bytes]) -> Any:
    """What clients look for in INFO, true of this Fairlead; the servers' own INFO is theirs."""
    wanted = {one.lower().decode("latin-1") for one in arguments[1:]} or {"default"}
    everything = wanted & {"default", "all", "everything"}
    sections = _sections(service).items()
    return "\r\n".join(_section(title, lines) for title, lines in sections if everything or title.lower() in wanted)


def _section(title: str, lines: dict[str, Any]) -> str:
    return f"# {title}\r\n" + "".join(f"{name}:{value}\r\n" for name, value in lines.items())


def _sections(service: RedisService) -> dict[str, dict[str, Any]]:
    stats, topology = service.relay.stats(), service.generation.topology
    down = {shard for shard, place in service.servers.all() if not service.relay.connected(place, 2)}
    up = [topology.shards[one].name for one in service.places.spread if one not in down]
    return {
        "Server": {
            "redis_version": service.table.version, "redis_mode": "standalone", "arch_bits": 64,
            "process_id": os.getpid(), "uptime_in_seconds": int(time.monotonic() - STARTED), "executable": "fairlead",
        },
        "Clients": {"connected_clients": stats["clients"]},
        "Persistence": {"loading": 0},
        "Stats": {"total_commands_processed": stats["requests"]},
        "Replication": {"role": "master", "connected_slaves": 0},
        "Cluster": {"cluster_enabled": 0},
        "Fairlead": {
            "region": topology.region.name, "shards_connected": ",".join(up), "worker": service.worker.start.index,
        },
    }  # fmt: skip


_ANSWERS: dict[str, Answerer] = {
    "echo": _echo,
    "ping": _ping,
    "select": _select,
    "role": _role,
    "info": _info,
    "client|id": _number,
    "client|getname": _get_name,
    "client|setname": _set_name,
    "client|setinfo": _set_info,
    "client|info": _client_info,
    "client|list": _client_info,
    "client|no-evict": _switch,
    "client|no-touch": _switch,
    "acl|whoami": _who_am_i,
    "cluster|keyslot": _key_slot,
    "slowlog|get": slowlog.get,
    "slowlog|len": slowlog.length,
    "slowlog|reset": slowlog.reset,
}
