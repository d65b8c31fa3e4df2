"""The settings of one Fairlead: frozen, typed, every option with its meaning, unit and default.

Values are stored in base units: durations are float seconds, sizes are int bytes, paths are absolute.
`None` as a default means "not set", and the meaning says what then happens.
Nothing here reads a file or opens a socket; `config.load` builds these objects and checks that they fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from config.admin import AdminSettings
from config.audit import AuditSettings
from config.errors import Place
from config.option import DURATION, KIB, MIB, NETWORK, PATH, SIZE, Option
from config.policy import PolicySettings
from config.secrets import Password, Secret
from config.transactions import TransactionSettings
from config.words import (
    AuthPlugin,
    Consistency,
    ExplicitIds,
    Flavour,
    Hint,
    KeyAction,
    KeyChanges,
    LogFormat,
    LogLevel,
    LookupState,
    MultiShardWrites,
    OtherRegions,
    RedisAccess,
    Scatter,
    SessionScope,
    SocketAccess,
    TlsMode,
    TlsVersion,
    UnmatchedKeys,
    Verb,
)

T = TypeVar("T")

BUCKETS = 4096
"""How many buckets a sharding key is hashed into: the top 12 bits of its xxh64."""

DEFAULT_MYSQL_PORT = 3306
DEFAULT_REDIS_PORT = 6379


def _empty() -> Any:
    return MappingProxyType({})


# --- small values -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, written `host:port`, `[::1]:port`, or `host` with the field's usual port. A Unix socket is a
    path as the host and 0 as the port."""

    host: str
    port: int

    def __str__(self) -> str:
        if self.host.startswith("/"):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisAddress(Address):
    """The same, of a Redis server."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A declared column type: `bigint unsigned`, `varchar(64) collate utf8mb4_bin`.

    `data_type` and `column_type` are as in information_schema.COLUMNS; `collation` is None for numbers and
    for binary strings; a character string without a `collate` clause is declared utf8mb4_bin.
    """

    data_type: str
    column_type: str
    collation: str | None = None

    def __str__(self) -> str:
        return f"{self.column_type} collate {self.collation}" if self.collation else self.column_type


@dataclass(frozen=True, slots=True)
class Buckets:
    """Which of the 4,096 buckets a shard holds: inclusive ranges, `0-2047` or `[0-1023, 3000, 3072-4095]`."""

    ranges: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return ", ".join(f"{low}-{high}" if low != high else str(low) for low, high in self.ranges)


@dataclass(frozen=True, slots=True)
class GrantTarget:
    """What a grant is on: `*.*`, `keyspace.*` or `keyspace.table`. None stands for `*`."""

    keyspace: str | None
    table: str | None

    def __str__(self) -> str:
        return f"{self.keyspace or '*'}.{self.table or '*'}"


# --- TLS ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """What holds for every TLS connection, to clients, servers and peers alike."""

    minimum: Annotated[TlsVersion, Option("The lowest TLS version spoken.")] = TlsVersion.TLS_1_2
    reload: Annotated[
        float,
        Option(
            "How often certificate files are looked at for change; new connections use the new ones.",
            DURATION,
            low=1,
        ),
    ] = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """TLS towards the servers of a shard."""

    mode: Annotated[
        TlsMode,
        Option(
            "disabled: never; preferred: when the server offers it; required: always, any certificate; "
            "verify: always, and the certificate must come from `ca` and name the server."
        ),
    ] = TlsMode.PREFERRED
    ca: Annotated[
        Path | None, Option("Certificates of the authorities to trust (PEM). Without it the system's.", PATH)
    ] = None
    cert: Annotated[
        Path | None, Option("A client certificate to show the server (PEM); needs `key`.", PATH)
    ] = None
    key: Annotated[Path | None, Option("The private key of `cert` (PEM).", PATH)] = None
    name: Annotated[
        str | None, Option("The name to find in the server's certificate, when it is not the address's host.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerTls:
    """TLS offered to clients of a listener."""

    cert: Annotated[Path, Option("The certificate chain shown to clients (PEM).", PATH)]
    key: Annotated[Path, Option("The private key of `cert` (PEM).", PATH)]
    ca: Annotated[
        Path | None, Option("When set, clients must show a certificate from these authorities (PEM).", PATH)
    ] = None
    required: Annotated[bool, Option("Refuse clients that do not ask for TLS.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTls:
    """The mutual TLS between the Fairleads of the regions."""

    ca: Annotated[Path, Option("The authorities that sign the regions' certificates (PEM).", PATH)]
    cert: Annotated[Path, Option("The certificate of this region's Fairlead (PEM).", PATH)]
    key: Annotated[Path, Option("The private key of `cert` (PEM).", PATH)]


# --- regions and shards -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """How the other regions' Fairleads reach the one of this region."""

    host: Annotated[
        str, Option("The host name or address of the peer listener, or of the balancer before it.")
    ]
    port: Annotated[int, Option("Its port.", low=1, high=65535)]
    names: Annotated[
        tuple[str, ...],
        Option(
            "The names in this region's certificate (subjectAltName DNS or common name). The first is "
            "asked for when connecting; any of them identifies the region when it connects here. Without "
            "it the region's own name."
        ),
    ] = ()
    connections: Annotated[
        int, Option("The most connections to this peer, all workers and users together.", low=1, high=65535)
    ] = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionSettings:
    """One region. Exactly one of them is the region that this Fairlead stands in."""

    peer: Annotated[
        Peer | None,
        Option("How to reach this region's Fairlead; needed where another region's shards are used."),
    ] = None
    zones: Annotated[tuple[str, ...], Option("The names of its zones, for those that say where servers stand.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account that Fairlead uses on the servers of a shard."""

    user: Annotated[str, Option("The user name on the servers.")]
    password: Annotated[
        Secret, Option("Its password, by reference: {env: NAME}, {file: PATH} or {value: TEXT}.", secret=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLimits:
    """What a shard's servers are asked to bear."""

    connections: Annotated[
        int,
        Option("The most connections to each server of the shard, all workers together.", low=1, high=65535),
    ] = 64
    idle: Annotated[
        int, Option("How many idle connections to each server are kept open.", low=0, high=65535)
    ] = 16
    idle_time: Annotated[
        float, Option("How long an idle connection above that number is kept.", DURATION, low=1)
    ] = 60.0
    age: Annotated[
        float,
        Option(
            "A connection older than this is closed when it next falls idle, so that load finds new servers.",
            DURATION,
            low=1,
        ),
    ] = 3600.0
    queue: Annotated[
        int, Option("How many statements may wait for a connection; the next is refused at once.", low=0)
    ] = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """A read replica of a shard."""

    short: ClassVar[str] = "address"

    address: Annotated[Address, Option("Where it listens, `host:port` or the path of a Unix socket.")]
    region: Annotated[
        str | None,
        Option(
            "The region it stands in. Without it the shard's; another one only under a `policy`, which must allow "
            "the rows there."
        ),
    ] = None
    zone: Annotated[str | None, Option("The zone it stands in.")] = None
    promotable: Annotated[
        bool,
        Option(
            "Follow it when it is made the primary. Without that, writes are refused while it is the only one; needed "
            "for a replica where a policy allows reading copies only."
        ),
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAccount:
    """The login that Fairlead uses at a Redis server."""

    password: Annotated[
        Secret, Option("Its password, by reference: {env: NAME}, {file: PATH} or {value: TEXT}.", secret=True)
    ]
    user: Annotated[str, Option("The user's name at the server.")] = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSentinel:
    """Who is the primary, and which replicas there are, Redis Sentinel says. `tls` and `ca` hold for sentinels too."""

    master: Annotated[str, Option("The name that the sentinels have for it (`sentinel monitor NAME …`).")]
    addresses: Annotated[
        tuple[RedisAddress, ...], Option("Where they listen, `host:port`, or a host alone for port 6379.")
    ]
    account: Annotated[
        RedisAccount | None, Option("The login to use at the sentinels. Without it none is sent.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """The Redis that holds the keys of a shard's entities: a `primary`, what `sentinel` names, or a whole `cluster`."""

    primary: Annotated[
        RedisAddress | None,
        Option("Where it listens, `host:port`, or a host alone for port 6379. Not with `sentinel` or `cluster`."),
    ] = None
    replicas: Annotated[
        tuple[RedisAddress, ...],
        Option("Its replicas, at most 8, in the same region; one that is promoted is followed."),
    ] = ()
    sentinel: Annotated[
        RedisSentinel | None, Option("Ask Redis Sentinel for the primary and its replicas, and follow failovers.")
    ] = None
    cluster: Annotated[
        tuple[RedisAddress, ...],
        Option("Nodes of a Redis Cluster, any that are asked first: the shard is all of it, and the others are found."),
    ] = ()
    account: Annotated[
        RedisAccount | None, Option("The login to use. Without it none is sent (protected by network alone).")
    ] = None
    tls: Annotated[
        bool, Option("Speak TLS; the certificate must come from `ca` and name the server.")
    ] = False
    ca: Annotated[
        Path | None, Option("Certificates of the authorities to trust (PEM). Without it the system's.", PATH)
    ] = None
    deadline: Annotated[
        float,
        Option(
            "A connection whose oldest request has had no answer for so long is given up, and with it what is in "
            "flight there.",
            DURATION,
            low=0.05,
        ),
    ] = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSettings:
    """One shard: a primary and its replicas. Only the Fairlead of their region connects to them."""

    region: Annotated[str, Option("The home region.")]
    flavour: Annotated[Flavour, Option("Which server software.")]
    primary: Annotated[
        Address | None,
        Option(
            "Where the primary listens at first, `host:port` or the path of a Unix socket; a promoted replica is "
            "followed. Needed for the shards of the own region."
        ),
    ] = None
    replicas: Annotated[
        tuple[ReplicaSettings, ...], Option("Read replicas: `host:port`, or {address: host:port, region: …}.")
    ] = ()
    account: Annotated[
        Account | None,
        Option("The account to use on these servers. Needed for the shards of the own region."),
    ] = None
    zone: Annotated[str | None, Option("The zone the primary stands in at first.")] = None
    tls: Annotated[ServerTls, Option("TLS towards these servers.")] = field(default_factory=ServerTls)
    limits: Annotated[ShardLimits, Option("Connections and queueing.")] = field(default_factory=ShardLimits)
    proxy_protocol: Annotated[
        str | None,
        Option(
            "Begin each connection to these servers (MariaDB) with a PROXY protocol header (version 2). `local`: "
            "the connection is Fairlead's own; an address: it comes from there. Never a client's address, "
            "since a connection serves many clients, one after the other."
        ),
    ] = None
    redis: Annotated[
        RedisServer | None, Option("The Redis server beside the shard. Without it no key can live there.")
    ] = None


# --- sharding functions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HashVindex:
    """xxh64 of the key -> one of 4,096 buckets -> shard."""

    function: Annotated[Literal["hash"], Option("Which function.")] = "hash"
    buckets: Annotated[
        Mapping[str, Buckets],
        Option(
            "Shard -> its buckets; together all 4,096, none twice. Without it they are split evenly over "
            "the keyspace's shards in order."
        ),
    ] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeStep:
    """One range of a range function: the numbers from the step before up to `below`."""

    shard: Annotated[str, Option("The shard that holds this range.")]
    below: Annotated[
        int | None,
        Option(
            "The first number that is no longer in it. Only the last step may leave it out: no upper end.",
            low=-(2**63),
            high=2**64,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeVindex:
    """Ranges of whole numbers -> shard."""

    ranges: Annotated[tuple[RangeStep, ...], Option("The ranges, in rising order.")]
    function: Annotated[Literal["range"], Option("Which function.")] = "range"
    start: Annotated[
        int | None,
        Option(
            "The first number of the first range; smaller keys are refused. Without it there is no lower "
            "end.",
            low=-(2**63),
            high=2**64 - 1,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVindex:
    """Listed values -> shard; a value that is not listed is refused."""

    values: Annotated[
        Mapping[str, tuple[str, ...]],
        Option("Shard -> the values it holds, `eu-0: [de, fr]`; compared as the column compares."),
    ]
    function: Annotated[Literal["list"], Option("Which function.")] = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionBitsVindex:
    """Bits inside a whole-number id name the region; the whole id is hashed over that region's shards."""

    shift: Annotated[int, Option("How far the region bits are from the right end.", low=0, high=63)]
    bits: Annotated[int, Option("How many bits they are.", low=1, high=16)]
    regions: Annotated[
        Mapping[str, tuple[int, ...]], Option("Region -> the number (or numbers) in those bits.")
    ]
    function: Annotated[Literal["region_bits"], Option("Which function.")] = "region_bits"
    buckets: Annotated[
        Mapping[str, Mapping[str, Buckets]],
        Option(
            "Region -> shard -> its buckets, complete for each region that is named. Regions without it "
            "are split evenly over their shards in the keyspace's order."
        ),
    ] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionHashVindex:
    """A first column names the region, a second one is hashed over that region's shards."""

    regions: Annotated[
        Mapping[str, tuple[str, ...]],
        Option("Region -> the values of the first column that mean it; compared as the column compares."),
    ]
    function: Annotated[Literal["region_hash"], Option("Which function.")] = "region_hash"
    buckets: Annotated[
        Mapping[str, Mapping[str, Buckets]],
        Option(
            "Region -> shard -> its buckets, complete for each region that is named. Regions without it "
            "are split evenly over their shards in the keyspace's order."
        ),
    ] = field(default_factory=_empty)


VindexSettings = HashVindex | RangeVindex | ListVindex | RegionBitsVindex | RegionHashVindex

VINDEX_ARITY: Mapping[str, int] = MappingProxyType(
    {"hash": 1, "range": 1, "list": 1, "region_bits": 1, "region_hash": 2}
)
"""How many columns each function takes."""


# --- keyspaces and tables -----------------------------------------------------------------------------------

_SIZE = Option("How many ids a worker reserves at a time.", low=1, high=1_000_000)
_EXPLICIT = Option(
    "A value of the application's own: refuse, since it could be one that is about to be given; allow: the application "
    "keeps out of the sequence's way."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockIds:
    """Ids from one sequence, 1, 2, 3 … with gaps, as InnoDB counts. Only the Fairlead of its region gives them."""

    column: Annotated[str, Option("The AUTO_INCREMENT column.")]
    on: Annotated[str, Option("The shard that keeps the sequence.")]
    size: Annotated[int, _SIZE] = 1000
    explicit: Annotated[ExplicitIds, _EXPLICIT] = ExplicitIds.REFUSE
    kind: Annotated[Literal["block"], Option("What kind of ids.")] = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionIds:
    """Ids that carry the region of the Fairlead that gives them, and are counted in each region by itself."""

    column: Annotated[str, Option("The AUTO_INCREMENT column.")]
    vindex: Annotated[
        str, Option("The keyspace's vindex `region_bits` that says where in an id its region stands.")
    ]
    on: Annotated[Mapping[str, str], Option("Region -> its shard that keeps its sequence.")]
    size: Annotated[int, _SIZE] = 1000
    explicit: Annotated[ExplicitIds, _EXPLICIT] = ExplicitIds.REFUSE
    kind: Annotated[Literal["region"], Option("What kind of ids.")] = "region"


IdSettings = BlockIds | RegionIds


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedTable:
    """A table whose rows are spread over the shards. Tables with the same vindex have their rows together."""

    vindex: Annotated[str, Option("The keyspace's vindex that finds a row's shard.")]
    columns: Annotated[
        Mapping[str, ColumnType | None],
        Option(
            "The columns it takes, in order: `[customer_id]`, or with their types, `{customer_id: bigint "
            "unsigned}`, which are then compared with the live ones. Where no server is asked, a column "
            "without a type counts as bigint."
        ),
    ]
    auto_increment: Annotated[
        IdSettings | None,
        Option("Fairlead gives the values of its AUTO_INCREMENT column. Without it the servers do, each by itself."),
    ] = None
    kind: Annotated[Literal["sharded"], Option("What kind of table.")] = "sharded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceTable:
    """A small table that is the same on every shard."""

    kind: Annotated[Literal["reference"], Option("What kind of table.")] = "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedTable:
    """A table that is whole on one shard."""

    shard: Annotated[str, Option("The shard that holds it.")]
    kind: Annotated[Literal["pinned"], Option("What kind of table.")] = "pinned"


TableSettings = ShardedTable | ReferenceTable | PinnedTable


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupSettings:
    """An index over all shards: from the value of a column to the shards of its rows. Fairlead keeps it."""

    table: Annotated[str, Option("The sharded table.")]
    column: Annotated[str, Option("The column whose values are looked up.")]
    vindex: Annotated[
        str, Option("The keyspace's vindex `hash` that says on which shard the entry of a value is.")
    ]
    unique: Annotated[
        bool,
        Option("No two rows of all shards have the same value; the table has a unique key over the column for it."),
    ] = False
    state: Annotated[
        LookupState,
        Option("building: writes keep it in step, reads do not use it yet; ready: reads do. See `fairlead lookup`."),
    ] = LookupState.BUILDING


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyspaceSettings:
    """A database as the application sees it. One shard and no tables: unsharded, statements pass verbatim."""

    shards: Annotated[tuple[str, ...], Option("The shards it lies on, in order.")]
    multi_shard_writes: Annotated[
        MultiShardWrites,
        Option(
            "What becomes of writes to several shards, by one statement or one transaction. atomic: two-phase commit; "
            "best_effort: begun on all, executed on all, then committed on all, without it, and no transaction over "
            "several shards; refuse: neither."
        ),
    ] = MultiShardWrites.ATOMIC
    key_changes: Annotated[
        KeyChanges,
        Option(
            "What becomes of an UPDATE that gives rows the shard key of another shard. move: they go there, in one "
            "atomic transaction (multi_shard_writes: atomic), within limits.moved_rows and limits.moved_bytes; refuse: "
            "it is refused."
        ),
    ] = KeyChanges.MOVE
    scatter: Annotated[
        Scatter,
        Option(
            "allow: reads without a shard key ask every shard; warn: they do, with a warning for the client; refuse: "
            "they need the hint scatter=ok."
        ),
    ] = Scatter.ALLOW
    fan_out: Annotated[
        int | None,
        Option(
            "The most shards that one statement may go to, unless it says scatter=ok; writes of reference tables "
            "go to all. Without it there is no limit.",
            low=1,
        ),
    ] = None
    scratch: Annotated[
        tuple[str, ...],
        Option(
            "Shards whose primary finishes reads that nothing else can: rows are loaded there into temporary tables. "
            "Of those that are named, the first one in a region is that region's. Without it such reads are refused."
        ),
    ] = ()
    vindexes: Annotated[Mapping[str, VindexSettings], Option("The sharding functions, by name.")] = field(
        default_factory=_empty
    )
    tables: Annotated[
        Mapping[str, TableSettings], Option("The tables, by name. In a sharded keyspace others are refused.")
    ] = field(default_factory=_empty)
    lookups: Annotated[
        Mapping[str, LookupSettings],
        Option("Columns other than the shard key by which rows are found without asking every shard, by name."),
    ] = field(default_factory=_empty)

    @property
    def unsharded(self) -> bool:
        return len(self.shards) == 1 and not self.tables


# --- users --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a user may do, and on what."""

    on: Annotated[GrantTarget, Option("`*.*`, `keyspace.*` or `keyspace.table`.")]
    verbs: Annotated[tuple[Verb, ...], Option("What is allowed there; `all` is everything but admin.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimits:
    connections: Annotated[
        int | None,
        Option("The most connections of this user, all workers together. Without it limits.clients.", low=1),
    ] = None


ALL_PLUGINS = (AuthPlugin.CACHING_SHA2, AuthPlugin.NATIVE)
ALL_HINTS = (Hint.SHARD, Hint.CONSISTENCY, Hint.MAX_LAG, Hint.SCATTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSettings:
    """An application's or a person's account at Fairlead; the servers never see it."""

    password: Annotated[
        Password,
        Option(
            "{env: NAME}, {file: PATH} or {value: TEXT} for the password itself; or what a server "
            "stores: {sha256: hex of SHA256(SHA256(password))}, {native: '*HEX'}, both for both plugins.",
            secret=True,
        ),
    ]
    plugins: Annotated[
        tuple[AuthPlugin, ...], Option("The authentication methods allowed, the preferred one first.")
    ] = ALL_PLUGINS
    grants: Annotated[
        tuple[Grant, ...], Option("What the user may do. Without any: log in, and nothing else.")
    ] = ()
    default_database: Annotated[
        str | None, Option("The keyspace of a client that names none. Without it there is none selected.")
    ] = None
    consistency: Annotated[
        Consistency | None,
        Option(
            "Where reads outside transactions go. primary: the primary; session: a replica that has the "
            "session's writes; eventual: a replica at most `max_lag` behind. Without it the listener's."
        ),
    ] = None
    max_lag: Annotated[
        float | None,
        Option("For eventual: how far behind a replica may be. Without it the listener's.", DURATION, low=0),
    ] = None
    session_scope: Annotated[
        SessionScope,
        Option("For session: whose writes are read back, this connection's or all of this user's."),
    ] = SessionScope.CONNECTION
    hints: Annotated[
        tuple[Hint, ...], Option("The hint comments this user may give; others are refused.")
    ] = ALL_HINTS
    redis: Annotated[
        RedisAccess,
        Option(
            "What the user may do at a Redis listener. read: commands that only read; write: all on keys; admin: "
            "also FLUSHALL, FUNCTION LOAD and their kin."
        ),
    ] = RedisAccess.NONE
    require_tls: Annotated[bool, Option("Refuse this user without TLS.")] = False
    networks: Annotated[
        tuple[str, ...],
        Option("Networks the user may come from (10.0.0.0/8, ::1). Without any: everywhere.", NETWORK),
    ] = ()
    limits: Annotated[UserLimits, Option("What this user may hold.")] = field(default_factory=UserLimits)


# --- listeners ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerLimits:
    connections: Annotated[
        int | None,
        Option("The most connections here, all workers together. Without it limits.clients.", low=1),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlListener:
    """A port for MySQL clients, a Unix socket, or both. Several may stand side by side, told apart by name."""

    port: Annotated[int | None, Option("The port. Without it there is only `socket`.", low=1, high=65535)] = None
    kind: Annotated[
        Literal["mysql"], Option("What is spoken here. Without it, the listener's name says so.")
    ] = "mysql"
    address: Annotated[str, Option("The address to bind.")] = "127.0.0.1"
    socket: Annotated[
        Path | None,
        Option(
            "A Unix socket for clients of this machine, at most 107 bytes long. They count as `localhost`, which "
            "users.NAME.networks does not keep out, and as secure where the listener requires TLS.",
            PATH,
        ),
    ] = None
    socket_access: Annotated[
        SocketAccess,
        Option(
            "Who may connect to `socket`: owner, group (those of the process), everyone. Passwords count all the same."
        ),
    ] = SocketAccess.GROUP
    tls: Annotated[ListenerTls | None, Option("TLS for clients. Without it none is offered.")] = None
    consistency: Annotated[
        Consistency, Option("Where reads outside transactions go, for users that do not say.")
    ] = Consistency.PRIMARY
    max_lag: Annotated[
        float,
        Option("For eventual: how far behind a replica may be, for users that do not say.", DURATION, low=0),
    ] = 2.0
    version: Annotated[
        str | None, Option("The server version announced to clients. Without it the lowest of the shards'.")
    ] = None
    collation: Annotated[str, Option("The collation announced, and used by clients that name none.")] = (
        "utf8mb4_general_ci"
    )
    compression: Annotated[
        bool, Option("Offer compressed packets (zlib and zstd). Only clients that ask for them pay for it.")
    ] = True
    proxied_from: Annotated[
        tuple[str, ...],
        Option(
            "Networks of balancers that begin each connection with a PROXY protocol header (version 1 or 2), which "
            "says where the client comes from. From them a connection without one is refused; from elsewhere "
            "a header is.",
            NETWORK,
        ),
    ] = ()
    backlog: Annotated[int, Option("How many connections may wait to be accepted.", low=1, high=65535)] = 1024
    limits: Annotated[ListenerLimits, Option("What this listener accepts.")] = field(
        default_factory=ListenerLimits
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerListener:
    """The port where the other regions' Fairleads come in, over mutual TLS (`peer_tls`)."""

    port: Annotated[int, Option("The port.", low=1, high=65535)]
    kind: Annotated[
        Literal["peer"], Option("What is spoken here. Without it, the listener's name says so.")
    ] = "peer"
    address: Annotated[str, Option("The address to bind.")] = "127.0.0.1"
    backlog: Annotated[int, Option("How many connections may wait to be accepted.", low=1, high=65535)] = 1024
    limits: Annotated[ListenerLimits, Option("What this listener accepts.")] = field(
        default_factory=ListenerLimits
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpListener:
    """The port for liveness, readiness and metrics."""

    port: Annotated[int, Option("The port.", low=1, high=65535)]
    kind: Annotated[
        Literal["http"], Option("What is spoken here. Without it, the listener's name says so.")
    ] = "http"
    address: Annotated[str, Option("The address to bind.")] = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisListener:
    """A port for Redis clients."""

    port: Annotated[int, Option("The port.", low=1, high=65535)]
    kind: Annotated[
        Literal["redis"], Option("What is spoken here. Without it, the listener's name says so.")
    ] = "redis"
    address: Annotated[str, Option("The address to bind.")] = "127.0.0.1"
    tls: Annotated[ListenerTls | None, Option("TLS for clients: with it, nothing else is spoken here.")] = None
    consistency: Annotated[
        Consistency, Option("Where commands that read go, for users that do not say.")
    ] = Consistency.PRIMARY
    max_lag: Annotated[
        float,
        Option("For eventual: how far behind a replica may be, for users that do not say.", DURATION, low=0),
    ] = 2.0
    anonymous: Annotated[
        str | None, Option("The user that clients are until they log in. Without it they must log in first.")
    ] = None
    backlog: Annotated[int, Option("How many connections may wait to be accepted.", low=1, high=65535)] = 1024
    limits: Annotated[ListenerLimits, Option("What this listener accepts.")] = field(
        default_factory=ListenerLimits
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminListener:
    """The port of the admin console, which speaks MySQL (docs/console.md). Who may log in, `admin.accounts` says."""

    port: Annotated[int, Option("The port.", low=1, high=65535)]
    kind: Annotated[
        Literal["admin"], Option("What is spoken here. Without it, the listener's name says so.")
    ] = "admin"
    address: Annotated[str, Option("The address to bind; one that others can reach needs `tls`.")] = "127.0.0.1"
    tls: Annotated[
        ListenerTls | None, Option("TLS for clients; beyond loopback it is required of each of them.")
    ] = None


ListenerSettings = MysqlListener | PeerListener | RedisListener | HttpListener | AdminListener


# --- Redis --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPattern:
    """Which Redis keys belong to which rows. Patterns are tried in the file's order; the first that fits counts."""

    prefix: Annotated[str, Option("How the key begins, `user:`. Without it every key does.")] = ""
    delimiter: Annotated[str, Option("One character that parts the key's fields.")] = ":"
    fields: Annotated[
        tuple[int, ...],
        Option(
            "Which fields of the key (the first is 0) hold the values of the table's sharding columns.", low=0, high=63
        ),
    ] = ()
    tag: Annotated[
        bool, Option("The value stands in the key's hash tag instead, `{42}`: between the first { and the next }.")
    ] = False
    regex: Annotated[
        str | None,
        Option(
            "A regular expression over the whole key instead; its groups, in order, hold the values. Slower than the "
            "others, so it belongs behind them."
        ),
    ] = None
    table: Annotated[
        str | None, Option("`keyspace.table`: the key lives on the shard of the row with these values.")
    ] = None
    shard: Annotated[str | None, Option("The shard that holds all keys of this pattern, instead of a table.")] = None
    classes: Annotated[
        tuple[str, ...],
        Option(
            "Under a policy: the class of what the keys hold, with any tags. Without it the highest of the table's; "
            "of keys without a table the top."
        ),
    ] = ()
    columns: Annotated[
        Mapping[str, str],
        Option(
            "Under a policy: the keys hold hashes, and these fields are the table's columns of these names, "
            "`{mail: email}`. They have the columns' classes and masks; other fields have the class of `classes`."
        ),
    ] = field(default_factory=_empty)
    action: Annotated[
        KeyAction, Option("refuse: commands on such keys are refused, whoever asks.")
    ] = KeyAction.ALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisObserve:
    """What is seen of Redis commands: slow ones and hot keys, never values."""

    slow: Annotated[
        float | None,
        Option("Commands that take longer enter the shard's slow log. `off`: none do.", DURATION, low=0),
    ] = 0.01
    sample: Annotated[
        int,
        Option(
            "One in about so many uses of a key is looked at, to find each shard's hot keys. 0: none.",
            low=0,
            high=1_000_000,
        ),
    ] = 64
    keys: Annotated[
        bool,
        Option(
            "Show keys themselves in the slow log and among hot keys. They may name persons; without it their "
            "pattern and an alias are shown."
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """Where Redis keys live, and what bounds a Redis client."""

    patterns: Annotated[Mapping[str, KeyPattern], Option("Key patterns by name, the first that fits counts.")] = field(
        default_factory=_empty
    )
    unmatched: Annotated[
        UnmatchedKeys,
        Option(
            "Keys that no pattern knows. refuse: refused; local: kept in the region where they are used, spread over "
            "its shards by their hash slot (so `{tag}` keeps keys together)."
        ),
    ] = UnmatchedKeys.REFUSE
    unmatched_classes: Annotated[
        tuple[str, ...],
        Option("Under a policy: the class of what keys hold that no pattern knows, with any tags. Without it the top."),
    ] = ()
    other_regions: Annotated[
        OtherRegions,
        Option(
            "Keys whose home is another region. split: asked of its Fairlead, and a command that is split may name "
            "keys of several regions; single: of one region only; refuse: refused."
        ),
    ] = OtherRegions.SPLIT
    remote_requests: Annotated[
        int,
        Option(
            "How many requests of one client may be under way in other regions; further ones are read later.",
            low=1,
            high=65536,
        ),
    ] = 64
    remote_deadline: Annotated[
        float,
        Option(
            "A request that has had no answer from another region for so long is answered with an error; that way into "
            "the region is then not tried for a while, longer each time.",
            DURATION,
            low=0.1,
        ),
    ] = 2.0
    remote_idle: Annotated[
        float, Option("A way into another region that nobody uses for so long is closed.", DURATION, low=1)
    ] = 60.0
    client_buffer: Annotated[
        int,
        Option(
            "The most bytes that wait for one client, in requests or in replies; who needs more is disconnected.",
            SIZE,
            low=64 * KIB,
            high=2048 * MIB,
        ),
    ] = 64 * MIB
    pipeline: Annotated[
        int, Option("How many requests of one client may be under way; further ones are read later.", low=1, high=65536)
    ] = 1024
    observe: Annotated[RedisObserve, Option("What is seen of commands and keys.")] = field(
        default_factory=RedisObserve
    )


# --- limits, health, telemetry ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds the whole proxy, in memory and in time."""

    max_packet: Annotated[
        int,
        Option(
            "The largest statement or parameter taken from a client.", SIZE, low=64 * KIB, high=1024 * MIB
        ),
    ] = 64 * MIB
    clients: Annotated[int, Option("The most client connections, all workers together.", low=1)] = 20000
    prepared_statements: Annotated[int, Option("The most prepared statements of one connection.", low=1)] = (
        1024
    )
    plan_cache: Annotated[int, Option("Memory for remembered plans, per worker.", SIZE, low=MIB)] = 32 * MIB
    merge_memory: Annotated[
        int, Option("What one read of several shards may keep in memory (groups, distinct values).", SIZE, low=MIB)
    ] = 256 * MIB
    merge_memory_worker: Annotated[
        int, Option("What all such reads of a worker may keep together.", SIZE, low=MIB)
    ] = 512 * MIB
    scratch_bytes: Annotated[
        int, Option("What one read may load into a scratch server.", SIZE, low=KIB)
    ] = 64 * MIB
    scratch_rows: Annotated[int, Option("How many rows one read may load into a scratch server.", low=1)] = 1_000_000
    scratch_bytes_worker: Annotated[
        int, Option("What all such reads of a worker may have loaded at once.", SIZE, low=KIB)
    ] = 256 * MIB
    scratch_statements: Annotated[
        int, Option("How many such reads run at once, per worker; others wait, up to queue_wait.", low=1, high=1024)
    ] = 4
    subquery_rows: Annotated[
        int,
        Option(
            "The most rows of a subquery about other shards' rows, which is run first; its values then stand in the "
            "statement.",
            low=1,
        ),
    ] = 10000
    moved_rows: Annotated[
        int,
        Option(
            "The most rows that one write may carry from shard to shard: changed shard keys, INSERT … SELECT.", low=1
        ),
    ] = 10000
    moved_bytes: Annotated[
        int,
        Option(
            "The most bytes of such rows, which are in memory meanwhile (within merge_memory_worker).", SIZE, low=KIB
        ),
    ] = 16 * MIB
    lookup_rows: Annotated[
        int,
        Option(
            "The most rows that one statement may change in a table with lookups; and entries of a value beyond which "
            "a read asks every shard instead.",
            low=1,
        ),
    ] = 10000
    queue_wait: Annotated[
        float, Option("How long a statement waits for a server connection.", DURATION, low=0)
    ] = 5.0
    failover_wait: Annotated[
        float,
        Option(
            "How long a new statement outside of transactions waits, since it was received, while its shard's primary "
            "is away; 0s: it is refused as soon as there is none.",
            DURATION,
            low=0,
        ),
    ] = 10.0
    failover_memory: Annotated[
        int,
        Option("The most bytes of statements that wait so for a new primary, per worker.", SIZE, low=64 * KIB),
    ] = 16 * MIB
    connect: Annotated[
        float, Option("How long connecting and logging in to a server or peer may take.", DURATION, low=0.001)
    ] = 5.0
    handshake: Annotated[float, Option("How long a client may take to log in.", DURATION, low=0.001)] = 10.0
    login_pause: Annotated[
        float,
        Option(
            "After three failed logins in a row of a user from an address, no further one is looked at for a second, "
            "then two, four, up to so long; 0s: there is no pause. Counted by each worker.",
            DURATION,
            low=0,
        ),
    ] = 10.0
    idle_client: Annotated[
        float, Option("A client silent for so long is disconnected; 0s: never.", DURATION, low=0)
    ] = 28800.0
    idle_transaction: Annotated[
        float,
        Option(
            "A client that holds a server connection (transaction, lock, pin) and is silent for so long "
            "is disconnected; 0s: never.",
            DURATION,
            low=0,
        ),
    ] = 600.0
    drain: Annotated[
        float, Option("How long running work may take to end when the proxy stops.", DURATION, low=0)
    ] = 30.0
    take_over: Annotated[
        float,
        Option(
            "How long clients may stay with a process that has handed over to the next one (SIGUSR2); then it drains.",
            DURATION,
            low=0,
        ),
    ] = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How servers and peers are watched."""

    interval: Annotated[float, Option("Time between two checks of a server.", DURATION, low=0.05)] = 2.0
    timeout: Annotated[float, Option("How long a check may take.", DURATION, low=0.01)] = 1.0
    failures: Annotated[int, Option("Failed checks in a row that make a server down.", low=1)] = 3
    recoveries: Annotated[int, Option("Good checks in a row that make it up again.", low=1)] = 2
    schema: Annotated[
        float,
        Option(
            "Time between two readings of the live schema (statements that change it are seen at once).",
            DURATION,
            low=1,
        ),
    ] = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What is measured and logged. Neither digests nor the slow log hold literals."""

    slow_query: Annotated[
        float | None,
        Option("Statements that take longer enter the slow log. `off`: none do.", DURATION, low=0),
    ] = 0.5
    slow_entries: Annotated[
        int, Option("How many slow statements are kept, the newest.", low=1, high=65536)
    ] = 1024
    digests: Annotated[
        int, Option("How many statement shapes are counted apart, per worker.", low=1, high=65536)
    ] = 2048
    log_level: Annotated[LogLevel, Option("The least important lines written.")] = LogLevel.INFO
    log_format: Annotated[LogFormat, Option("How log lines look: for people or for machines.")] = (
        LogFormat.TEXT
    )


# --- metastore ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MetastoreSettings:
    """Where configuration versions are kept. Statements never ask it."""

    sqlite: Annotated[
        Path,
        Option("An SQLite file on a local disk, for all processes of this host; `fairlead apply` makes it.", PATH),
    ]
    timeout: Annotated[float, Option("How long a request to it may wait.", DURATION, low=0.01, high=60)] = 5.0
    cache: Annotated[
        Path | None,
        Option(
            "A folder for the version in force, so that starts need no metastore. Without it, the SQLite file's "
            "name with `.versions` behind it.",
            PATH,
        ),
    ] = None

    require_simulation: Annotated[
        bool,
        Option(
            "While this is in force, a version is only applied once its content was simulated against the version in "
            "force, by `fairlead apply --corpus` or the console's SIMULATE. Going back needs none."
        ),
    ] = False

    @property
    def cache_folder(self) -> Path:
        return self.cache or self.sqlite.with_name(f"{self.sqlite.name}.versions")


# --- the whole ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a Fairlead is told. Mappings keep the order of the file."""

    region: Annotated[str, Option("The region this Fairlead stands in (`--region` overrides it).")]
    regions: Annotated[Mapping[str, RegionSettings], Option("All regions, by name.")]
    shards: Annotated[Mapping[str, ShardSettings], Option("All shards of all regions, by name.")]
    keyspaces: Annotated[Mapping[str, KeyspaceSettings], Option("The databases, by name.")]
    users: Annotated[Mapping[str, UserSettings], Option("Who may log in, by user name.")]
    listeners: Annotated[
        Mapping[str, ListenerSettings],
        Option("The ports: `mysql`, `peer`, `redis`, `http`, `admin`, or any name with a `kind`."),
    ]
    peer_tls: Annotated[
        PeerTls | None,
        Option("Mutual TLS between regions; needed for a peer listener and for shards abroad."),
    ] = None
    policy: Annotated[
        PolicySettings | None,
        Option("Who may see which data from where. Without it grants alone decide."),
    ] = None
    audit: Annotated[
        AuditSettings | None,
        Option("Where decisions of the policy are recorded. Without it they are not."),
    ] = None
    redis: Annotated[RedisSettings, Option("Where Redis keys live.")] = field(default_factory=RedisSettings)
    tls: Annotated[TlsSettings, Option("What holds for all TLS.")] = field(default_factory=TlsSettings)
    limits: Annotated[Limits, Option("Bounds in memory and time.")] = field(default_factory=Limits)
    transactions: Annotated[TransactionSettings, Option("Transactions over several shards.")] = field(
        default_factory=TransactionSettings
    )
    health: Annotated[Health, Option("How servers are watched.")] = field(default_factory=Health)
    telemetry: Annotated[Telemetry, Option("What is measured and logged.")] = field(default_factory=Telemetry)
    admin: Annotated[AdminSettings, Option("The admin console's accounts and bounds.")] = field(
        default_factory=AdminSettings
    )
    metastore: Annotated[
        MetastoreSettings | None,
        Option("Where configuration versions are kept. Without it the files given to `serve` are all there is."),
    ] = None
    files: tuple[Path, ...] = field(default=(), compare=False)
    """The files these settings were read from."""
    places: Mapping[tuple[str, ...], Place] = field(default_factory=_empty, compare=False, repr=False)
    """The line of every key, so that what is found wrong later (against live servers) can name it."""

    def listeners_of(self, kind: type[T]) -> dict[str, T]:
        """The listeners of one class, by name: `settings.listeners_of(MysqlListener)`."""
        return {name: one for name, one in self.listeners.items() if isinstance(one, kind)}
