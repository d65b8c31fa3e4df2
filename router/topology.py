"""Where everything is: regions, shards, keyspaces and tables, as one immutable value.

Built once from the settings and swapped whole at a reload. Every object has an integer `index`, its position
in the topology's tuple, which is how the relay and the plans name it. Rows of the own region are reached on
its servers; those of another region only through that region's Fairlead (`Region.peer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from config.settings import (
    Address,
    ColumnType,
    KeyspaceSettings,
    Peer,
    PinnedTable,
    Settings,
    ShardedTable,
    ShardSettings,
    TableSettings,
)
from config.words import Flavour, KeyChanges, MultiShardWrites, Scatter
from router.declared import check_declared
from router.ids import Ids, ids_of
from router.lookups import Lookup, lookup_of
from router.vindexes import registry
from router.vindexes.registry import Place
from router.vindexes.vindex import Vindex

UNDECLARED_TYPE = ColumnType("bigint", "bigint", None)
"""What a sharding column counts as where no server is asked and the configuration names no type."""


class ServerRole(StrEnum):
    """What the configuration says a server is; which one takes writes now is found by looking at it."""

    PRIMARY = "primary"
    REPLICA = "replica"


class TableKind(StrEnum):
    """Where the rows of a table are."""

    SHARDED = "sharded"
    REFERENCE = "reference"
    PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class Region:
    """A region; `peer` says how to reach its Fairlead, `certificate_names` what its certificate may say."""

    index: int
    name: str
    is_local: bool
    peer: Peer | None
    certificate_names: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Server:
    """One MySQL or MariaDB server of a shard. `shard` is its shard's index. Not `promotable`: it is never followed
    as the primary."""

    index: int
    shard: int
    host: str
    port: int
    role: ServerRole
    promotable: bool = True

    def __str__(self) -> str:
        return str(Address(self.host, self.port))

    @property
    def target(self) -> tuple[str, int] | str:
        """What to connect to; a path for a Unix socket."""
        return self.host if self.host.startswith("/") else (self.host, self.port)


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard. `servers` (the declared primary first) is empty where the shard's servers are not named."""

    index: int
    name: str
    region: Region
    flavour: Flavour
    servers: tuple[Server, ...]
    settings: ShardSettings = field(repr=False)

    @property
    def is_local(self) -> bool:
        """Its servers are this Fairlead's to connect to; otherwise its region's peer is."""
        return self.region.is_local

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Table:
    """A declared table. `index` counts over all keyspaces.

    sharded: `vindex` over `columns`, rows on `vindex.shards`; reference: the same rows on every one of
    `shards`; pinned: all rows on `shard`. `types` are declared types, None where only the live schema knows. `ids`:
    those that Fairlead gives to an AUTO_INCREMENT column. `lookups`: by which its rows are found otherwise.
    """

    index: int
    keyspace: str
    name: str
    kind: TableKind
    shards: tuple[int, ...]
    vindex: Vindex | None = None
    columns: tuple[str, ...] = ()
    types: tuple[ColumnType | None, ...] = ()
    ids: Ids | None = None
    lookups: tuple[Lookup, ...] = ()

    @property
    def shard(self) -> int:
        """The only shard of a pinned table. Raises ValueError for other kinds."""
        if self.kind is not TableKind.PINNED:
            raise ValueError(f"{self} is not pinned")
        return self.shards[0]

    def __str__(self) -> str:
        return f"{self.keyspace}.{self.name}"


@dataclass(frozen=True, slots=True)
class Keyspace:
    """A database as applications see it. Unsharded: one shard, no tables, statements pass verbatim. `scratch`: the
    shard of this region whose server finishes what only one server can."""

    index: int
    name: str
    shards: tuple[Shard, ...]
    unsharded: bool
    tables: Mapping[str, Table]
    vindexes: Mapping[str, Vindex]
    multi_shard_writes: MultiShardWrites
    scatter: Scatter
    fan_out: int | None = None
    scratch: Shard | None = None
    key_changes: KeyChanges = KeyChanges.MOVE
    lookups: Mapping[str, Lookup] = field(default_factory=lambda: MappingProxyType({}))

    def table(self, name: str) -> Table | None:
        """The declared table of this name, case and all, or None."""
        return self.tables.get(name)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Topology:
    """All of it. `shards[i].index == i`, and likewise for regions, servers, keyspaces, tables."""

    region: Region
    regions: tuple[Region, ...]
    shards: tuple[Shard, ...]
    servers: tuple[Server, ...]
    keyspaces: tuple[Keyspace, ...]
    tables: tuple[Table, ...]
    _keyspaces: Mapping[str, Keyspace] = field(repr=False, compare=False)
    _shards: Mapping[str, Shard] = field(repr=False, compare=False)
    _regions: Mapping[str, Region] = field(repr=False, compare=False)

    @classmethod
    def build(cls, settings: Settings) -> Topology:
        """The topology of settings that `config.load` accepted.

        Raises ConfigError when declared column types do not suit the sharding functions.
        """
        regions = _regions(settings)
        shards = _shards(settings, regions)
        keyspaces = _keyspaces(settings, shards)
        check_declared(keyspaces.values(), settings.places)
        return cls(
            region=regions[settings.region],
            regions=tuple(regions.values()),
            shards=tuple(shards.values()),
            servers=tuple(server for shard in shards.values() for server in shard.servers),
            keyspaces=tuple(keyspaces.values()),
            tables=tuple(table for keyspace in keyspaces.values() for table in keyspace.tables.values()),
            _keyspaces=MappingProxyType(keyspaces),
            _shards=MappingProxyType(shards),
            _regions=MappingProxyType(regions),
        )

    def keyspace(self, name: str) -> Keyspace | None:
        return self._keyspaces.get(name)

    def shard(self, name: str) -> Shard | None:
        return self._shards.get(name)

    def region_named(self, name: str) -> Region | None:
        return self._regions.get(name)

    def region_of_certificate(self, names: tuple[str, ...]) -> Region | None:
        """The other region whose Fairlead shows a certificate with one of these names, or None."""
        for region in self.regions:
            if not region.is_local and region.peer and not set(names).isdisjoint(region.certificate_names):
                return region
        return None

    @property
    def local_shards(self) -> tuple[Shard, ...]:
        """The shards whose servers this Fairlead connects to."""
        return tuple(shard for shard in self.shards if shard.is_local)

    @property
    def peers(self) -> tuple[Region, ...]:
        """The other regions that can be reached."""
        return tuple(region for region in self.regions if not region.is_local and region.peer)


def _regions(settings: Settings) -> dict[str, Region]:
    return {
        name: Region(
            index=index,
            name=name,
            is_local=name == settings.region,
            peer=given.peer,
            certificate_names=(given.peer.names if given.peer else ()) or (name,),
        )
        for index, (name, given) in enumerate(settings.regions.items())
    }


def _shards(settings: Settings, regions: Mapping[str, Region]) -> dict[str, Shard]:
    shards: dict[str, Shard] = {}
    servers = 0
    for index, (name, given) in enumerate(settings.shards.items()):
        own = _servers(index, servers, given)
        servers += len(own)
        shards[name] = Shard(index, name, regions[given.region], given.flavour, own, given)
    return shards


def _servers(shard: int, first: int, given: ShardSettings) -> tuple[Server, ...]:
    declared = [(given.primary, ServerRole.PRIMARY, True)] if given.primary else []
    declared += [(one.address, ServerRole.REPLICA, one.promotable) for one in given.replicas]
    return tuple(
        Server(first + place, shard, address.host, address.port, role, promotable)
        for place, (address, role, promotable) in enumerate(declared)
    )


def _keyspaces(settings: Settings, shards: Mapping[str, Shard]) -> dict[str, Keyspace]:
    keyspaces: dict[str, Keyspace] = {}
    tables = 0
    for index, (name, given) in enumerate(settings.keyspaces.items()):
        keyspaces[name] = _keyspace(index, name, given, tables, shards)
        tables += len(given.tables)
    return keyspaces


def _keyspace(
    index: int, name: str, given: KeyspaceSettings, first: int, shards: Mapping[str, Shard]
) -> Keyspace:
    own = tuple(shards[shard] for shard in given.shards)
    place = Place(
        shards={shard.name: shard.index for shard in own},
        homes={shard.name: shard.region.name for shard in own},
    )
    vindexes = {title: registry.build(title, one, place) for title, one in given.vindexes.items()}
    homes = {shard.name: shard.settings for shard in own}
    lookups = _lookups(name, given, vindexes)
    tables = {
        title: replace(
            _table(first + position, name, title, table, vindexes, place, _ids(given, table, homes)),
            lookups=tuple(one for one in lookups.values() if one.table == title),
        )
        for position, (title, table) in enumerate(given.tables.items())
    }
    return Keyspace(
        index=index,
        name=name,
        shards=own,
        unsharded=given.unsharded,
        tables=MappingProxyType(tables),
        vindexes=MappingProxyType(vindexes),
        multi_shard_writes=given.multi_shard_writes,
        scatter=given.scatter,
        fan_out=given.fan_out,
        scratch=next((shards[shard] for shard in given.scratch if shards[shard].is_local), None),
        key_changes=given.key_changes,
        lookups=MappingProxyType(lookups),
    )


def _lookups(keyspace: str, given: KeyspaceSettings, vindexes: Mapping[str, Vindex]) -> dict[str, Lookup]:
    found: dict[str, Lookup] = {}
    for name, one in given.lookups.items():
        table = given.tables[one.table]
        assert isinstance(table, ShardedTable)
        found[name] = lookup_of(name, keyspace, one, tuple(table.columns), vindexes[one.vindex])
    return found


def _ids(keyspace: KeyspaceSettings, table: TableSettings, shards: Mapping[str, ShardSettings]) -> Ids | None:
    given = table.auto_increment if isinstance(table, ShardedTable) else None
    return ids_of(given, keyspace.vindexes, shards)


def _table(
    index: int, keyspace: str, name: str, given: TableSettings, vindexes: Mapping[str, Vindex], place: Place,
    ids: Ids | None,
) -> Table:  # fmt: skip
    if isinstance(given, ShardedTable):
        vindex = vindexes[given.vindex]
        columns, types = tuple(given.columns), tuple(given.columns.values())
        return Table(index, keyspace, name, TableKind.SHARDED, vindex.shards, vindex, columns, types, ids)
    if isinstance(given, PinnedTable):
        return Table(index, keyspace, name, TableKind.PINNED, (place.shards[given.shard],))
    return Table(index, keyspace, name, TableKind.REFERENCE, tuple(place.shards.values()))
