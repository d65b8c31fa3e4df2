"""The commands: what Redis says of them (commands.json) and what was reviewed by hand (overlay.yaml), as one table."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml

Spec = Mapping[str, Any]
"""One key specification of COMMAND INFO: {"flags", "begin": {"type", …}, "find": {"type", …}}."""


class Class(StrEnum):
    """How a command is carried out."""

    ONE = "one"
    SPLIT = "split"
    SAME = "same"
    BLOCKING = "blocking"
    TRANSACTION = "transaction"
    PUBSUB = "pubsub"
    SCAN = "scan"
    FANOUT = "fanout"
    ANY = "any"
    LOCAL = "local"
    REFUSED = "refused"


class Level(IntEnum):
    """What a user needs to run it."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3


class Ability(IntFlag):
    """What the policy lets a subject do with a key, and what a command needs. The relay tests these bits.

    EXISTS: know that it is there. READ, WRITE: the whole value. ROW: let it go. TOLD: learn what was there before a
    write. PARTS: some fields of a declared hash, which are looked at one by one. EVERYTHING: all of this with every
    key of the domain. ASKED: the uvloop side decides, as a decision record may be due.
    """

    NONE = 0
    EXISTS = 1
    READ = 2
    WRITE = 4
    ROW = 8
    TOLD = 16
    PARTS = 32
    EVERYTHING = 64
    ASKED = 128


class Family(StrEnum):
    """What is counted together."""

    READ = "read"
    WRITE = "write"
    MULTI_READ = "multi_read"
    MULTI_WRITE = "multi_write"
    SCRIPT = "script"
    BLOCKING = "blocking"
    TRANSACTION = "transaction"
    PUBSUB = "pubsub"
    SCAN = "scan"
    ALL_SERVERS = "all_servers"
    ANY_SERVER = "any_server"
    CONNECTION = "connection"
    REFUSED = "refused"
    UNKNOWN = "unknown"


_FAMILIES = MappingProxyType(
    {
        Class.BLOCKING: Family.BLOCKING,
        Class.TRANSACTION: Family.TRANSACTION,
        Class.PUBSUB: Family.PUBSUB,
        Class.SCAN: Family.SCAN,
        Class.FANOUT: Family.ALL_SERVERS,
        Class.ANY: Family.ANY_SERVER,
        Class.LOCAL: Family.CONNECTION,
        Class.REFUSED: Family.REFUSED,
    }
)

ALL = ~Ability.NONE
_TOUCHES = MappingProxyType(
    {
        "existence": Ability.EXISTS,
        "blind": Ability.WRITE,
        "counted": Ability.WRITE | Ability.TOLD,
        "row": Ability.ROW,
        "everything": Ability.EVERYTHING,
    }
)

MERGES = MappingProxyType({"mget": "array", "mset": "ok"})
"""How the parts of a split command become one; the others sum."""
SCRIPTS = frozenset({"eval", "evalsha", "fcall", "eval_ro", "evalsha_ro", "fcall_ro"})
WRITES = frozenset({"eval", "evalsha", "fcall", "publish", "spublish", "script|load"})
"""They carry no flag `write`, but change something or may do so."""
TAKES_IN = frozenset({"insert", "update"})
"""Flags of keys that a command puts values into."""
BEFORE_LOGIN = frozenset({"auth", "hello", "quit", "reset"})


@dataclass(frozen=True, slots=True)
class Command:
    """One command or subcommand (`config|get`). `text`: why it is refused. `arity` as Redis gives it.

    `needs`: of each of its keys, under a policy; `fieldwise`: or of the fields that it names.
    """

    name: str
    arity: int
    group: Class
    level: Level
    keys: tuple[Spec, ...] = ()
    merge: str = ""
    text: str = ""
    blocks: bool = False
    noscript: bool = False
    needs: Ability = Ability.READ
    fieldwise: bool = False

    @property
    def family(self) -> Family:
        """Under which the metrics count it."""
        if self.name in SCRIPTS:
            return Family.SCRIPT
        if self.group in _FAMILIES:
            return _FAMILIES[self.group]
        writes = self.level >= Level.WRITE
        if self.group is Class.ONE:
            return Family.WRITE if writes else Family.READ
        return Family.MULTI_WRITE if writes else Family.MULTI_READ

    @property
    def moves(self) -> bool:
        """May a value of one of its keys get into another of them?"""
        flags = [frozenset(spec["flags"]) for spec in self.keys]
        return any("access" in one for one in flags) and not all(map(TAKES_IN.isdisjoint, flags))

    def takes(self, count: int) -> bool:
        """Is this a possible number of words, the name included?"""
        return count == self.arity if self.arity > 0 else count >= -self.arity


@dataclass(frozen=True, slots=True)
class Table:
    """All commands. `containers`: those that are nothing without a subcommand."""

    version: str
    commands: Mapping[str, Command]
    containers: frozenset[str]

    def find(self, arguments: list[bytes]) -> Command | None:
        """The command of a request, in any case of letters; None when Redis knows none of this name."""
        name = arguments[0].decode("latin-1").lower()
        if name in self.containers and len(arguments) > 1:
            return self.commands.get(f"{name}|{arguments[1].decode('latin-1').lower()}")
        return None if "|" in name else self.commands.get(name)


@functools.cache
def table() -> Table:
    """The table that is shipped."""
    room = resources.files("router.redis")
    data = json.loads(room.joinpath("commands.json").read_text())
    overlay = yaml.safe_load(room.joinpath("overlay.yaml").read_text())
    return build(data, overlay)


def build(data: Mapping[str, Any], overlay: Mapping[str, Any]) -> Table:
    """Raises ValueError for a command that nothing classifies, or that the overlay names without Redis knowing it."""
    named = _Overlay(overlay)
    commands = {name: _command(name, one, named) for name, one in data["commands"].items()}
    for name, arity in overlay["later"].items():
        commands.setdefault(name, Command(name, arity, Class.LOCAL, Level.READ))
    unknown = [name for name in named.all if name not in commands]
    if unknown:
        raise ValueError(f"the overlay names {unknown[0]}, which Redis {data['version']} does not know")
    containers = frozenset(name for name, one in data["commands"].items() if one.get("container"))
    return Table(data["version"], MappingProxyType(commands), containers)


class _Overlay:
    """The reviewed words by command."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.groups = {
            name: Class(group)
            for group in ("local", "any", "scan", "transaction", "pubsub", "same")
            for name in _names(given[group])
        }
        self.merges = {name: merge for merge, names in given["fanout"].items() for name in _names(names)}
        self.texts = {name: text for text, names in given["refused"].items() for name in _names(names)}
        self.admin = frozenset(_names(given["admin"]))
        self.touches = {name: _TOUCHES[word] for word, names in given["touches"].items() for name in _names(names)}
        self.fieldwise = frozenset(_names(given["fieldwise"]))
        self.all = {*self.groups, *self.merges, *self.texts, *self.admin, *self.touches, *self.fieldwise}

    def group(self, name: str) -> Class | None:
        if name in self.texts:
            return Class.REFUSED
        return Class.FANOUT if name in self.merges else self.groups.get(name)


def _names(given: str | list[str]) -> Iterator[str]:
    for part in [given] if isinstance(given, str) else given:
        yield from part.split()


def _command(name: str, one: Mapping[str, Any], overlay: _Overlay) -> Command:
    group = overlay.group(name) or _group(name, one)
    merge = overlay.merges.get(name, MERGES.get(name, "sum") if group is Class.SPLIT else "")
    level = _level(name, one, overlay)
    shown = Ability.READ | Ability.WRITE if level >= Level.WRITE else Ability.READ
    return Command(
        name=name,
        arity=one["arity"],
        group=group,
        level=level,
        keys=tuple(one.get("keys", ())),
        merge=merge,
        text=overlay.texts.get(name, ""),
        blocks="blocking" in one["flags"],
        noscript="noscript" in one["flags"],
        needs=overlay.touches.get(name, shown),
        fieldwise=name in overlay.fieldwise,
    )


def _group(name: str, one: Mapping[str, Any]) -> Class:
    """By Redis's metadata alone."""
    if one.get("container"):
        return Class.LOCAL  # without a subcommand only its arity is wrong
    specs = one.get("keys", ())
    if not specs:
        raise ValueError(f"{name} has no keys, and the overlay does not say what it is")
    if "request_policy:multi_shard" in one.get("tips", ()):
        return Class.SPLIT
    if "blocking" in one["flags"]:
        return Class.BLOCKING
    return Class.SAME if len(specs) > 1 or _is_many(specs[0]) else Class.ONE


def _is_many(spec: Spec) -> bool:
    return bool(spec["find"]["type"] != "range" or spec["find"]["lastkey"] != 0)


def _level(name: str, one: Mapping[str, Any], overlay: _Overlay) -> Level:
    if name in BEFORE_LOGIN:
        return Level.NONE
    if name in overlay.admin:
        return Level.ADMIN
    return Level.WRITE if "write" in one["flags"] or name in WRITES else Level.READ
