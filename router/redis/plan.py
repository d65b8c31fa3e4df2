"""The shards of a command's keys: what the relay does in C, for all that it leaves to Python."""

from __future__ import annotations

from itertools import pairwise

from router.redis import errors, where
from router.redis.keys import BadKeys, key_places, reads_elsewhere
from router.redis.table import SCRIPTS, Class, Command
from router.redis.where import Nowhere, Places


class Refused(Exception):
    """A command that is not carried out; the text is the client's."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def shard_of(command: Command, arguments: list[bytes], places: Places) -> int | None:
    """The one shard of all keys; None for a command without keys. Raises Refused."""
    _look_closer(command, arguments)
    shards = key_shards(command, arguments, places)
    if len(set(shards)) > 1:
        raise Refused(errors.CROSS)
    if not shards and command.name in SCRIPTS:
        if len(places.spread) == 1:
            return places.spread[0]
        raise Refused(errors.NO_KEYS)
    return shards[0] if shards else None


def key_shards(command: Command, arguments: list[bytes], places: Places) -> list[int]:
    """The shard of each key, in order. Raises Refused."""
    try:
        return [places.shard_of(arguments[place]) for place in key_places(command, arguments)]
    except BadKeys:
        raise Refused(errors.SYNTAX) from None
    except Nowhere as reason:
        raise Refused(f"ERR {reason}") from None


def slot_of(command: Command, arguments: list[bytes]) -> int | None:
    """Redis Cluster's slot of the first key, which has to be that of the others too; None without keys."""
    found = key_places(command, arguments)
    return where.slot_of(arguments[found[0]]) if found else None


def _look_closer(command: Command, arguments: list[bytes]) -> None:
    """What the keys alone do not show."""
    if reads_elsewhere(command, arguments):
        raise Refused(errors.PATTERNS)
    if command.name == "copy":
        words = [one.upper() for one in arguments[3:]]
        if any(one == b"DB" and value != b"0" for one, value in pairwise(words)):
            raise Refused(errors.BAD_DATABASE)


def blocks(command: Command, arguments: list[bytes]) -> bool:
    """XREAD and XREADGROUP wait only when they say BLOCK."""
    if command.group is not Class.BLOCKING:
        return False
    if command.name not in ("xread", "xreadgroup"):
        return True
    options = arguments[1:]
    streams = next((place for place, one in enumerate(options) if one.upper() == b"STREAMS"), len(options))
    return any(one.upper() == b"BLOCK" for one in options[:streams])
