"""What is known of a server or a peer, as values, and when an answer or its absence counts. No I/O.

States, of `Hysteresis`:

    UNKNOWN --good--> UP            UNKNOWN --failures--> DOWN
    UP --failures--> DOWN           DOWN --recoveries good in a row--> UP

"failures" is that many failed looks in a row, or failed looks over as long a time as that many deadlines
less one: a server that hangs costs a whole deadline per look and would otherwise be noticed later than one
that is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from config.settings import TlsSettings
from config.words import TlsVersion
from proxy.pool.gtid import Position
from proxy.pool.probe import Channel, Vitals
from proxy.pool.service_connection import Endpoint, FailureKind
from router.topology import Region, Server, Shard, Topology


class State(StrEnum):
    """Whether something answers."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Hysteresis:
    """The state of one server from the outcomes of looks; see the table above. Times in seconds of any
    clock.
    """

    def __init__(self, failures: int, recoveries: int, timeout: float) -> None:
        self._failures = failures
        self._recoveries = recoveries
        self._patience = max(1, failures - 1) * timeout
        self._failed = 0
        self._good = 0
        self._failing_since = 0.0
        self.state = State.UNKNOWN

    def good(self) -> State:
        self._failed = 0
        self._good += 1
        if self.state is State.UNKNOWN or self._good >= self._recoveries:
            self.state = State.UP
        return self.state

    def failed(self, began: float, now: float) -> State:
        """A look that began at `began` failed at `now`."""
        self._good = 0
        self._failed += 1
        if self._failed == 1:
            self._failing_since = began
        if self._failed >= self._failures or now - self._failing_since >= self._patience:
            self.state = State.DOWN
        return self.state

    def alive(self) -> State:
        """It answered that it cannot talk now."""
        self._failed = 0
        return self.state


# --- what is looked at, and what is seen --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """A server of the own region."""

    shard: Shard
    server: Server
    endpoint: Endpoint

    @property
    def name(self) -> str:
        """Tells servers apart, also over a reload that renumbers them: `eu-0 127.0.0.1:7401`."""
        return f"{self.shard.name} {self.server}"


TLS_MINIMUM = TlsSettings().minimum


def targets_of(topology: Topology, tls_minimum: TlsVersion = TLS_MINIMUM) -> tuple[Target, ...]:
    """The servers to look at: all of the own region's shards."""
    return tuple(
        Target(shard, server, endpoint_of(shard, server, tls_minimum))
        for shard in topology.local_shards
        for server in shard.servers
    )


def endpoint_of(shard: Shard, server: Server, tls_minimum: TlsVersion = TLS_MINIMUM) -> Endpoint:
    """How to reach a server with its shard's account. Raises ValueError when that is not ours to do."""
    if not shard.is_local:
        raise ValueError(f"{shard} is in region {shard.region}: only its Fairlead connects to its servers")
    if shard.settings.account is None:
        raise ValueError(f"shard {shard} has no account")
    return Endpoint(
        server.host, server.port, shard.flavour, shard.settings.account, shard.settings.tls, tls_minimum,
        shard.settings.proxy_protocol,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last look failed."""

    kind: FailureKind
    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The last that a server said of itself.

    `position`: what it has applied, None when GTIDs do not prove it. `channels` None: not known.
    `connections` None: not known. `problems`: what an operator should change, in words.
    """

    version: str
    server_id: int
    server_uuid: str
    read_only: bool
    position: Position | None
    write_source: str
    channels: tuple[Channel, ...] | None
    connections: int | None
    max_connections: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """A server after a look. Times are of the monitor's clock.

    `seen_at`: when the last good look began, so everything in `facts` was true at some time after it.
    `incarnation` grows when the server was restarted, or another one answers at its address.
    """

    target: Target
    state: State
    checked_at: float
    seen_at: float | None = None
    round_trip: float | None = None
    failure: Failure | None = None
    incarnation: int = 0
    facts: Facts | None = None

    @property
    def writable(self) -> bool:
        """It answers and takes writes, as far as was seen."""
        return self.state is State.UP and self.facts is not None and not self.facts.read_only


@dataclass(frozen=True, slots=True)
class PeerHealth:
    """Another region's Fairlead after a look."""

    region: Region
    state: State
    checked_at: float
    seen_at: float | None = None
    round_trip: float | None = None
    failure: Failure | None = None


def applied_position(vitals: Vitals, channels: tuple[Channel, ...] | None) -> Position | None:
    """What readers of this server see for certain.

    A server that takes writes, or replicates from nobody, has its own writes and `current` says so. One that
    replicates has what it applied; a write of its own (an accident) could make `current` promise more.
    """
    replicates = channels is None or bool(channels)
    return vitals.applied if vitals.read_only and replicates else vitals.current
