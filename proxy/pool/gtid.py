"""Replication positions: what a server has applied, and whether that includes what was written elsewhere.

MariaDB writes `domain-server-sequence` and a position holds the last such GTID of each domain
(https://mariadb.com/kb/en/gtid/). MySQL writes `uuid:sequence`, from 8.3 on also `uuid:tag:sequence`, and a
position is a set of intervals per source (Reference Manual 19.1.3.1 "GTID Format and Storage").

Both are compared by *source*: the text of a GTID up to its sequence number, `domain-server` or
`uuid[:tag]`. Within one source sequence numbers only grow, so "has N of this source" is one comparison. A
MariaDB domain alone would not do: after a failover both the old and the new primary may have written a
sequence number 105 of domain 0, and a replica with one of them does not have the other.

The relay compares positions without this module: `pack` makes a source's small id and a sequence number one
word. Everything here is pure, and every error is on the safe side: an unknown source is never contained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from config.words import Flavour

Interval: TypeAlias = tuple[int, int]
"""First and last sequence number, both included."""

SOURCE_BITS, SEQUENCE_BITS = 16, 48
MAX_SOURCES = 2**SOURCE_BITS - 1
MAX_SEQUENCE = 2**SEQUENCE_BITS - 1
MAX_TEXT = 256 * 1024
"""Longest position that is parsed. A MySQL interval is some 20 bytes: room for ten thousand gaps."""

_MARIADB_GTID = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,20})")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL = re.compile(r"([0-9]{1,19})(?:\s*-\s*([0-9]{1,19}))?")
_UINT32 = 2**32 - 1
_UINT64 = 2**64 - 1
_INT63 = 2**63 - 1


class GtidError(ValueError):
    """Not a position, or one too large to hold. The text of a position is no secret and may be repeated."""


# --- MariaDB ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MariadbPosition:
    """What a MariaDB server has applied.

    `last`: domain -> (server id, sequence) of the last GTID, from gtid_current_pos or gtid_slave_pos.
    `logged`: (domain, server id) -> highest sequence in its binary log, from gtid_binlog_state; empty when
    unknown.
    """

    last: Mapping[int, tuple[int, int]]
    logged: Mapping[tuple[int, int], int] = field(default_factory=lambda: MappingProxyType({}))

    def contains(self, other: MariadbPosition) -> bool:
        """Is everything up to `other.last` applied here?"""
        return all(self._reaches(domain, *gtid) for domain, gtid in other.last.items())

    def covers(self, other: MariadbPosition, server_id: int) -> bool:
        """Does this server know what the server with that id and position has, its own writes included?"""
        own = [(domain, server, seq) for (domain, server), seq in other.logged.items() if server == server_id]
        last = [(domain, server, seq) for domain, (server, seq) in other.last.items()]
        return all(self._knows(*gtid) for gtid in last + own)

    def bounds(self) -> dict[str, int]:
        """Source -> the sequence number up to which all of that source is applied."""
        return {f"{domain}-{server}": seq for domain, (server, seq) in self.last.items()}

    def _reaches(self, domain: int, server: int, seq: int) -> bool:
        own_server, own_seq = self.last.get(domain, (0, 0))
        if own_seq < seq:
            return False
        # A larger number under another server id proves nothing by itself: histories may have parted. The
        # binary log tells. It runs ahead of the commit, hence the comparison of `last` before.
        return own_server == server or self.logged.get((domain, server), 0) >= seq

    def _knows(self, domain: int, server: int, seq: int) -> bool:
        own_server, own_seq = self.last.get(domain, (0, 0))
        return self.logged.get((domain, server), 0) >= seq or (own_server == server and own_seq >= seq)

    def __str__(self) -> str:
        return ",".join(f"{domain}-{server}-{seq}" for domain, (server, seq) in sorted(self.last.items()))


def parse_mariadb(position: str, binlog_state: str = "") -> MariadbPosition:
    """The position of gtid_current_pos or gtid_slave_pos, with gtid_binlog_state when the server logs.

    Raises GtidError, also when a domain stands twice in `position`.
    """
    last: dict[int, tuple[int, int]] = {}
    for domain, server, seq in _mariadb_gtids(position):
        if domain in last:
            raise GtidError(f"domain {domain} stands twice in the position {position!r}")
        last[domain] = (server, seq)
    logged: dict[tuple[int, int], int] = {}
    for domain, server, seq in _mariadb_gtids(binlog_state):
        logged[domain, server] = max(seq, logged.get((domain, server), 0))
    return MariadbPosition(MappingProxyType(last), MappingProxyType(logged))


def _mariadb_gtids(text: str) -> Iterator[tuple[int, int, int]]:
    for item in _items(text):
        match = _MARIADB_GTID.fullmatch(item)
        if match is None:
            raise GtidError(f"not a MariaDB GTID: {item[:64]!r}")
        domain, server, seq = (int(part) for part in match.groups())
        if domain > _UINT32 or server > _UINT32 or seq > _UINT64:
            raise GtidError(f"number out of range in the GTID {item!r}")
        yield domain, server, seq


# --- MySQL --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MysqlPosition:
    """What a MySQL server has applied: source -> its intervals, sorted, apart by at least one number."""

    executed: Mapping[str, tuple[Interval, ...]]

    def contains(self, other: MysqlPosition) -> bool:
        """Is everything of `other` applied here?"""
        return all(
            _includes(self.executed.get(source, ()), wanted) for source, wanted in other.executed.items()
        )

    def bounds(self) -> dict[str, int]:
        """Source -> the sequence number up to which all of that source is applied; gaps end it."""
        return {
            source: intervals[0][1] for source, intervals in self.executed.items() if intervals[0][0] == 1
        }

    def __str__(self) -> str:
        return ",".join(
            f"{source}:" + ":".join(f"{low}-{high}" if low < high else str(low) for low, high in intervals)
            for source, intervals in sorted(self.executed.items())
        )


def parse_mysql(text: str) -> MysqlPosition:
    """The set of @@global.gtid_executed, Retrieved_Gtid_Set or session tracking. Raises GtidError."""
    sources: dict[str, list[Interval]] = {}
    for item in _items(text):
        uuid, *parts = (part.strip().lower() for part in item.split(":"))
        if _UUID.fullmatch(uuid) is None or not parts:
            raise GtidError(f"not a MySQL GTID set: {item[:64]!r}")
        source, tag_is_open = uuid, False
        for part in parts:
            if _TAG.fullmatch(part):
                if tag_is_open:
                    raise GtidError(f"a tag without numbers in the GTID set {item[:64]!r}")
                source, tag_is_open = f"{uuid}:{part}", True
            else:
                sources.setdefault(source, []).append(_interval(part, item))
                tag_is_open = False
        if tag_is_open:
            raise GtidError(f"a tag without numbers in the GTID set {item[:64]!r}")
    return MysqlPosition(MappingProxyType({source: _joined(parts) for source, parts in sources.items()}))


def _interval(text: str, item: str) -> Interval:
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise GtidError(f"not an interval of a GTID set: {text[:64]!r} in {item[:64]!r}")
    low, high = int(match[1]), int(match[2] or match[1])
    if not 1 <= low <= high <= _INT63:
        raise GtidError(f"interval out of range in a GTID set: {text!r}")
    return low, high


def _joined(intervals: list[Interval]) -> tuple[Interval, ...]:
    """Sorted, with what overlaps or touches made one."""
    joined: list[Interval] = []
    for low, high in sorted(intervals):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def _includes(have: tuple[Interval, ...], wanted: tuple[Interval, ...]) -> bool:
    """Both are joined, so each wanted interval lies inside a single one of `have`, and both only move
    forward.
    """
    candidates = iter(have)
    low, high = next(candidates, (0, 0))
    for first, last in wanted:
        while high < first:
            found = next(candidates, None)
            if found is None:
                return False
            low, high = found
        if not low <= first <= last <= high:
            return False
    return True


# --- either -------------------------------------------------------------------------------------------------

Position: TypeAlias = MariadbPosition | MysqlPosition


def parse(flavour: Flavour, text: str) -> Position:
    """A position as the server of this flavour prints it. Raises GtidError."""
    return parse_mysql(text) if flavour is Flavour.MYSQL else parse_mariadb(text)


def contains(have: Position | None, wanted: Position | None) -> bool:
    """`have.contains(wanted)` for positions that may be unknown or of different flavours: then False."""
    match have, wanted:
        case (MariadbPosition(), MariadbPosition()):
            return have.contains(wanted)
        case (MysqlPosition(), MysqlPosition()):
            return have.contains(wanted)
    return False


def covers(have: Position | None, other: Position | None, server_id: int) -> bool:
    """Has nothing been written on the other server alone? `server_id`: the other's; MySQL's sets need none.

    Not the same as `contains` on MariaDB, where a replica's position does not show its own accidental writes.
    """
    match have, other:
        case (MariadbPosition(), MariadbPosition()):
            return have.covers(other, server_id)
        case (MysqlPosition(), MysqlPosition()):
            return have.contains(other)
    return False


def _items(text: str) -> Iterable[str]:
    if len(text) > MAX_TEXT:
        raise GtidError(f"a position of {len(text)} characters is longer than {MAX_TEXT}")
    stripped = (item.strip() for item in text.split(","))
    return [item for item in stripped if item]


# --- packed, for the relay ----------------------------------------------------------------------------------


def pack(source: int, sequence: int) -> int:
    """One 64-bit word: the source's id in the high 16 bits, the sequence number in the low 48; 0 is "none".

    Raises GtidError when either does not fit; ids begin at 1.
    """
    if not 1 <= source <= MAX_SOURCES:
        raise GtidError(f"source id {source} does not fit {SOURCE_BITS} bits")
    if not 0 <= sequence <= MAX_SEQUENCE:
        raise GtidError(f"sequence number {sequence} does not fit {SEQUENCE_BITS} bits")
    return source << SEQUENCE_BITS | sequence


def unpack(word: int) -> tuple[int, int]:
    """(source id, sequence number)."""
    return word >> SEQUENCE_BITS, word & MAX_SEQUENCE


class SourceTable:
    """Small ids for sources, given in order of appearance from 1 on and never taken back.

    Ids mean something only together with the table that gave them. Sources come from servers, one per
    server that ever wrote (and tag), so the bound is never met by an honest topology; beyond it GtidError.
    """

    def __init__(self, capacity: int = MAX_SOURCES) -> None:
        self._capacity = min(capacity, MAX_SOURCES)
        self._ids: dict[str, int] = {}

    def id_of(self, source: str) -> int:
        """The id of `domain-server` or `uuid[:tag]`; a new one the first time."""
        known = self._ids.get(source)
        if known is not None:
            return known
        if len(self._ids) >= self._capacity:
            raise GtidError(f"more than {self._capacity} replication sources")
        self._ids[source] = len(self._ids) + 1
        return self._ids[source]

    def names(self) -> list[str]:
        """All sources; the first has id 1."""
        return list(self._ids)

    def packed_positions(self, gtid_text: str) -> list[int]:
        """What a server has: per source, the number up to which it has everything."""
        return self.pack_bounds(parse_any(gtid_text).bounds())

    def pack_bounds(self, bounds: Mapping[str, int]) -> list[int]:
        # Cut to 48 bits a bound promises less than it could: safe for what a server has, never for what is
        # wanted.
        return [pack(self.id_of(source), min(seq, MAX_SEQUENCE)) for source, seq in bounds.items()]

    def packed_token(self, gtid_text: str) -> list[int]:
        """What a session has written: per source, the highest number, from `last_gtid` or a session's GTID
        set.

        A server has it when for each word it has one of the same source that is at least as large.
        """
        position = parse_any(gtid_text)
        if isinstance(position, MysqlPosition):
            highest = {source: intervals[-1][1] for source, intervals in position.executed.items()}
        else:
            highest = position.bounds()
        return [pack(self.id_of(source), seq) for source, seq in highest.items()]


def parse_any(text: str) -> Position:
    """A position of whichever flavour: MySQL's hold `:`, MariaDB's never do. Empty text is MariaDB's empty
    one.
    """
    return parse_mysql(text) if ":" in text else parse_mariadb(text)


def packed_reaches(have: Iterable[int], wanted: Iterable[int]) -> bool:
    """Does a server with the words `have` have all that the words `wanted` say? What the relay computes."""
    best = {word >> SEQUENCE_BITS: word for word in have}
    return all(best.get(word >> SEQUENCE_BITS, 0) >= word for word in wanted)
