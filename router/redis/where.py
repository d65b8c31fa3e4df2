"""Where a Redis key lives: the first pattern that fits gives its shard, by the same vindex as the table's rows.

The relay has the same in C (`_speedups/redis_relay.pyx`), but for regular expressions; tests hold the two together.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field

from config.settings import KeyPattern, Settings
from config.words import KeyAction, UnmatchedKeys
from router.keys import Key, KeyColumn, KeyType, key_column_of
from router.topology import UNDECLARED_TYPE, Shard, Table, TableKind, Topology
from router.vindexes.vindex import Unmapped, Vindex

SLOTS = 16384
"""As in Redis Cluster."""
MAX_VALUE = 256
"""A longer value in a key finds no row."""
_NUMBER = re.compile(rb"0|-?[1-9][0-9]{0,19}")


class Nowhere(ValueError):
    """Why no command may use a key. The text does not repeat the key."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern. `shard` where all its keys live on one; else `vindex` over the values in the key."""

    name: str
    prefix: bytes
    delimiter: bytes
    fields: tuple[int, ...]
    tag: bool
    regex: re.Pattern[bytes] | None
    shard: int | None
    vindex: Vindex | None
    columns: tuple[KeyColumn, ...]
    refused: bool

    def values(self, key: bytes) -> tuple[bytes, ...] | None:
        """The values in the key; None when the pattern does not fit."""
        if self.regex is not None:
            found = self.regex.fullmatch(key)
            return None if found is None else tuple(one or b"" for one in found.groups())
        if not key.startswith(self.prefix):
            return None
        if self.tag:
            tag = hash_tag(key)
            return None if tag is None else (tag,)
        parts = key.split(self.delimiter)
        if self.fields and self.fields[-1] >= len(parts):
            return None
        return tuple(parts[place] for place in self.fields)

    def shard_of(self, values: tuple[bytes, ...]) -> int:
        """Raises Nowhere."""
        if self.refused:
            raise Nowhere(f"keys of pattern {self.name} are refused")
        if self.vindex is None:
            assert self.shard is not None
            return self.shard
        keys = [_canonical(value, column) for value, column in zip(values, self.columns, strict=True)]
        if None in keys:
            raise Nowhere(f"the key fits pattern {self.name}, but its value is none that the table's column holds")
        try:
            return self.vindex.shard_of([key for key in keys if key is not None])
        except Unmapped:
            raise Nowhere(f"the key fits pattern {self.name}, but no shard holds such values") from None


@dataclass(frozen=True, slots=True)
class Places:
    """All patterns. `slots`: the shards that unmatched keys are spread over, empty where they are refused.

    `spread`: the shards of the region with a Redis server; channels and scripts live there.
    """

    patterns: tuple[Pattern, ...]
    slots: tuple[int, ...]
    spread: tuple[int, ...]
    shards: tuple[Shard, ...] = field(repr=False)

    def shard_of(self, key: bytes) -> int:
        """Index of the key's shard. Raises Nowhere, with Fairlead's text."""
        return self.find(key)[1]

    def find(self, key: bytes) -> tuple[int, int]:
        """-> (the pattern's number, the key's shard). Keys that none knows have the number behind the last. Raises
        Nowhere."""
        for number, pattern in enumerate(self.patterns):
            values = pattern.values(key)
            if values is not None:
                return number, pattern.shard_of(values)
        if not self.slots:
            raise Nowhere("no pattern knows this key")
        return len(self.patterns), self.slots[slot_of(key) * len(self.slots) // SLOTS]

    def channel_shard(self, channel: bytes) -> int:
        """The shard that a channel's messages pass through, among the region's."""
        return self.spread[slot_of(channel) * len(self.spread) // SLOTS]

    def pattern_of(self, key: bytes) -> str | None:
        """The name of the pattern that counts."""
        return next((one.name for one in self.patterns if one.values(key) is not None), None)


def hash_tag(key: bytes) -> bytes | None:
    """What stands between the first `{` and the next `}`, unless nothing does."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    return None if start < 0 or end <= start + 1 else key[start + 1 : end]


def slot_of(key: bytes) -> int:
    """The hash slot of Redis Cluster: CRC16 (XMODEM) of the hash tag or the whole key."""
    tag = hash_tag(key)
    return binascii.crc_hqx(key if tag is None else tag, 0) % SLOTS


def build(settings: Settings, topology: Topology) -> Places:
    """The places of settings that `config.load` accepted."""
    own = tuple(one.index for one in topology.shards if one.is_local and one.settings.redis is not None)
    local = settings.redis.unmatched is UnmatchedKeys.LOCAL
    patterns = tuple(_pattern(name, one, topology) for name, one in settings.redis.patterns.items())
    return Places(patterns, own if local else (), own, topology.shards)


def _pattern(name: str, given: KeyPattern, topology: Topology) -> Pattern:
    table = _table(given.table, topology) if given.table is not None else None
    sharded = table is not None and table.kind is TableKind.SHARDED
    return Pattern(
        name=name,
        prefix=given.prefix.encode(),
        delimiter=given.delimiter.encode(),
        fields=given.fields,
        tag=given.tag,
        regex=re.compile(given.regex.encode(), re.DOTALL) if given.regex is not None else None,
        shard=_fixed_shard(given, table, topology),
        vindex=table.vindex if sharded and table is not None else None,
        columns=_columns(table) if sharded and table is not None else (),
        refused=given.action is KeyAction.REFUSE,
    )


def _table(title: str, topology: Topology) -> Table:
    keyspace, _, name = title.partition(".")
    found = topology.keyspace(keyspace)
    table = found.table(name) if found is not None else None
    assert table is not None  # the configuration's checks saw it
    return table


def _fixed_shard(given: KeyPattern, table: Table | None, topology: Topology) -> int | None:
    if table is not None:
        return table.shard if table.kind is TableKind.PINNED else None
    shard = topology.shard(given.shard or "")
    return shard.index if shard is not None else None


def _columns(table: Table) -> tuple[KeyColumn, ...]:
    """By their declared types; a column without one counts as bigint."""
    types = [one or UNDECLARED_TYPE for one in table.types]
    return tuple(key_column_of(one.column_type, one.collation) for one in types)


def _canonical(value: bytes, column: KeyColumn) -> Key | None:
    """The key that a row's column with this value has; None when no column can hold it as it is written."""
    if column.type in (KeyType.INT_SIGNED, KeyType.INT_UNSIGNED):
        if not _NUMBER.fullmatch(value) or not column.low <= int(value) <= column.high:
            return None
        return Key(column.type, int(value).to_bytes(8, "little", signed=column.type is KeyType.INT_SIGNED))
    if len(value) > min(MAX_VALUE, column.high) or (column.ascii_only and not value.isascii()):
        return None
    data = value.rstrip(b" ") if column.type in (KeyType.BYTES_PAD, KeyType.CI_PAD) else value
    if column.type in (KeyType.CI_PAD, KeyType.CI_NOPAD):
        if any(byte < 0x20 or byte > 0x7E for byte in data):
            return None
        data = data.lower()
    return Key(column.type, data)
