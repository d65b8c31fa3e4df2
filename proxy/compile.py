"""Plans as the relay's tables hold them: a router plan -> opcode, flags, key slots; a vindex -> C tables.

What the relay cannot carry out by itself becomes OP_PARK, and the uvloop side does it every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from _speedups import lexer
from _speedups.relay import Relay
from _speedups.stats import PARK_REASONS, PIN_REASONS
from proxy.mysql.packets.replies import ErrPacket
from router import plan as plans
from router.errors import CATALOGUE, Refusal
from router.keys import NoMatch, Unpinnable, canonical_stored
from router.literals import value
from router.plan import ByKey, Key, Planned
from router.topology import Topology
from router.vindexes.vindex import Vindex, VindexKind, VindexTables

OP_PARK, OP_SHARD, OP_ANY, OP_KEY, OP_BEGIN, OP_COMMIT, OP_ROLLBACK, OP_REPLY = range(8)
REPLICA_OK, WRITES, OPAQUE, WARNINGS, OUTSIDE, NOTIFY, REFUSAL = 1, 2, 4, 8, 16, 32, 64
EVERYWHERE, GUARDED, AUDIT, SAMPLED, LOAD = 256, 512, 1024, 2048, 4096
INSERTS, ONE_ROW, FRESH_ID, PRESET, ASK_ID, COUNTED, UNCOUNTED = (1 << bit for bit in range(14, 21))
"""Plan flags, as in relay.pxd."""

MAX_KEYS = 4
MAX_SOURCES = 4096
"""Keys of a prepared statement that the relay computes itself; beyond, its executions park."""

BEGINS: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"read only"}),
    frozenset({"read write"}),
    frozenset({"with consistent snapshot"}),
    frozenset({"with consistent snapshot", "read only"}),
    frozenset({"with consistent snapshot", "read write"}),
)
"""START TRANSACTION variants by their number in the relay."""
BY_SAVEPOINT = len(BEGINS)
"""One more there: without autocommit a savepoint came first."""

_PINS = {
    "user_variable": "user_variable",
    "session_variable": "other",
    "temporary_table": "temporary_table",
    "get_lock": "get_lock",
    "lock_tables": "lock_tables",
    "found_rows": "found_rows",
    "prepared_in_sql": "prepared_in_sql",
    "handler": "other",
    "procedure": "unknown_state",
    "opaque": "unknown_state",
}


def reason(name: str) -> int:
    """A park reason's number."""
    return PARK_REASONS.index(name)


MULTI_SHARD, SESSION, PREPARE, KEY = map(reason, ("multi_shard", "session", "prepare", "key"))


def begin_text(variant: int) -> bytes:
    """The statement of a START TRANSACTION variant."""
    options = sorted(BEGINS[variant], reverse=True)
    return b"START TRANSACTION" + (b" " + ", ".join(options).upper().encode() if options else b"")


PLAIN_END = b" AND NO CHAIN NO RELEASE"
"""Behind every COMMIT and ROLLBACK of Fairlead's own, on connections whose completion_type is the session's."""


@dataclass(slots=True)
class Compiled:
    """Arguments of Relay.plan_put and Relay.statement_new that the plan decides."""

    opcode: int = OP_PARK
    shard: int = -1
    flags: int = 0
    pins: int = 0
    park_reason: int = MULTI_SHARD
    vindex: int = 0
    keys: list[list[tuple[int, int, int, bool]]] = field(default_factory=list)
    begin: int = 0
    reply: bytes = b""
    id: int = 0
    """The number under which the relay tells of executions with the audit bit."""

    def arguments(self) -> dict[str, Any]:
        return {
            "opcode": self.opcode, "shard": self.shard, "flags": self.flags, "pins": self.pins,
            "park_reason": self.park_reason, "vindex": self.vindex, "begin": self.begin, "id": self.id,
        }  # fmt: skip


class Compiler:
    """Compiles plans of one configuration. `shard_ids`: topology index -> the relay's shard number."""

    def __init__(self, relay: Relay, vindex_ids: dict[Any, int], topology: Topology, shard_ids: list[int]) -> None:
        self._relay = relay
        self._vindex_ids = vindex_ids
        self._topology = topology
        self._shard_ids = shard_ids

    def shard(self, name: str) -> int:
        """The relay's number of a shard."""
        found = self._topology.shard(name)
        assert found is not None, name
        return self._shard_ids[found.index]

    def nearest(self, names: tuple[str, ...]) -> int:
        """The one of several equally good shards: one of the own region if there is one."""
        for name in names:
            found = self._topology.shard(name)
            if found is not None and found.is_local:
                return self._shard_ids[found.index]
        return self.shard(names[0])

    def compile(self, planned: Planned) -> Compiled:
        """The plan for the relay. Facts that need the uvloop side every time make it OP_PARK."""
        facts = planned.facts
        done = Compiled(flags=_flags(planned), pins=_pins(planned))
        if isinstance(planned.plan, plans.Transaction):
            _transaction(done, planned.plan.verb, planned.plan.options)
            return done
        if facts.needs_last_insert_id or facts.needs_connection or facts.ddl or facts.implicit_commit:
            done.park_reason = SESSION
            return done
        if facts.hints.consistency is not None or facts.hints.max_lag is not None:
            done.park_reason = reason("hint")
            return done
        match planned.plan:
            case plans.OneShard(shard):
                done.opcode, done.shard = OP_SHARD, self.shard(shard)
            case plans.AnyShard(_, shards):
                done.opcode, done.shard = OP_ANY, self.nearest(shards)
                done.flags |= EVERYWHERE if len(shards) == len(self._topology.shards) else 0
            case ByKey():
                self._by_key(done, planned.plan)
            case plans.Refuse(entry, args):
                done.opcode, done.flags = OP_REPLY, REFUSAL
                done.reply = error_payload(Refusal(CATALOGUE[entry], args))
            case plans.Scatter() | plans.Residual() | plans.SchemaChange():
                done.park_reason = MULTI_SHARD
            case plans.MultiWrite() | plans.SplitInsert() | plans.Move() | plans.Chosen() | plans.Transfer():
                done.park_reason = MULTI_SHARD
            case plans.SplitLoad():
                done.park_reason = MULTI_SHARD
            case _:
                done.park_reason = SESSION
        return done

    def _by_key(self, done: Compiled, plan: ByKey) -> None:
        done.park_reason = KEY
        if len(plan.keys) > MAX_KEYS or not all(_same_columns(plan.keys[0], key) for key in plan.keys):
            return
        refs = [ref for key in plan.keys for ref in key]
        if any(ref.slot > 0xFFFF or (isinstance(ref.item, int) and ref.item > 0xFFFF) for ref in refs):
            return
        done.vindex = self.vindex_id(plan)
        done.keys = [[_key_ref(ref) for ref in key] for key in plan.keys]
        done.opcode = OP_KEY

    def vindex(self, plan: ByKey) -> Vindex:
        keyspace = self._topology.keyspace(plan.keyspace)
        assert keyspace is not None
        return keyspace.vindexes[plan.vindex]

    def vindex_id(self, plan: ByKey) -> int:
        """The relay's tables for this function over columns of these types, made when first asked for."""
        columns = tuple(ref.column for ref in plan.keys[0])
        tables = self.vindex(plan).tables(columns)
        key = (tables, tuple(self._shard_ids))
        if key not in self._vindex_ids:
            self._vindex_ids[key] = self._add_vindex(tables)
        return self._vindex_ids[key]

    def _add_vindex(self, tables: VindexTables) -> int:
        return self._relay.vindex_add(**vindex_arguments(tables, self._shard_ids))

    def sources(
        self, plan: ByKey, sql: bytes, lexed: Any, mode: int
    ) -> tuple[list[tuple[int, int, int]], bytes, int] | None:
        """The keys of a prepared statement, resolved as far as its text goes: (sources, constants, number of keys).

        A source is (parameter ordinal, 0, 0) or (-1, offset, length) of a canonical constant. None: the relay
        cannot compute them.
        """
        rows: list[tuple[int, int, int]] = []
        constants = bytearray()
        for key in plan.keys:
            columns = [_values(ref, sql, lexed, mode) for ref in key]
            count = max(len(values) for values in columns)
            if any(len(values) not in (1, count) for values in columns):
                return None
            for index in range(count):
                for ref, values in zip(key, columns, strict=True):
                    slot = values[index if len(values) > 1 else 0]
                    source = _source(slot, ref, sql, mode, constants)
                    if source is None:
                        return None
                    rows.append(source)
        arity = len(plan.keys[0])
        return (rows, bytes(constants), len(rows) // arity) if len(rows) <= MAX_SOURCES else None


def _same_columns(one: Key, other: Key) -> bool:
    return [ref.column for ref in one] == [ref.column for ref in other]


def _key_ref(ref: plans.KeyRef) -> tuple[int, int, int, bool]:
    if ref.item is None:
        return ref.slot, 0, 0, ref.negate
    return (ref.slot, 1, 0, ref.negate) if ref.item == "list" else (ref.slot, 2, ref.item, ref.negate)


def _values(ref: plans.KeyRef, sql: bytes, lexed: Any, mode: int) -> list[Any]:
    slot = lexed.slots[ref.slot]
    if ref.item is None:
        return [slot]
    if ref.item == "list":
        return list(lexer.list_items(sql, mode, slot))
    return list(lexer.row_items(sql, mode, slot, ref.item))


def _source(slot: Any, ref: plans.KeyRef, sql: bytes, mode: int, constants: bytearray) -> tuple[int, int, int] | None:
    if slot.kind == lexer.PARAM:
        return None if ref.negate else (slot.param, 0, 0)
    try:
        data = canonical_stored(value(sql, slot, mode, negate=ref.negate), ref.column)
    except (Unpinnable, NoMatch):
        return None
    constants += data
    return -1, len(constants) - len(data), len(data)


def vindex_arguments(tables: VindexTables, ids: Sequence[int]) -> dict[str, Any]:
    """As `_speedups` takes a sharding function. `ids`: what the topology's shards are called there."""
    hashed = tables.kind not in (VindexKind.RANGE, VindexKind.LIST)
    return {
        "kind": 1 if hashed else int(tables.kind),
        "key_types": list(tables.key_types),
        "region_kind": int(tables.region_kind),
        "shift": tables.shift,
        "mask": tables.mask,
        "regions": list(tables.regions),
        "maps": [_renumbered(data, ids) for data in tables.maps],
        "bounds": list(tables.bounds),
        "bound_shards": [ids[shard] if shard >= 0 else -1 for shard in tables.bound_shards],
        "items": [(key, ids[shard]) for key, shard in tables.items],
        "limits": list(tables.limits),
    }


def _renumbered(data: bytes, ids: Sequence[int]) -> bytes:
    """A bucket map with the relay's shard numbers in place of the topology's."""
    return b"".join(ids[data[at] | data[at + 1] << 8].to_bytes(2, "little") for at in range(0, len(data), 2))


def _transaction(done: Compiled, verb: str, options: frozenset[str]) -> None:
    if verb == "begin" and options in BEGINS:
        done.opcode, done.begin = OP_BEGIN, BEGINS.index(options)
    elif verb in ("commit", "rollback") and not options:
        done.opcode = OP_COMMIT if verb == "commit" else OP_ROLLBACK
    else:
        done.park_reason = reason("transaction")


def _flags(planned: Planned) -> int:
    facts = planned.facts
    flags = (REPLICA_OK if facts.replica_ok else 0) | (WRITES if facts.writes else 0)
    flags |= OPAQUE if "opaque" in facts.pins or "procedure" in facts.pins or facts.verb in _OPAQUE_VERBS else 0
    flags |= WARNINGS if facts.uses_warnings else 0
    flags |= GUARDED if planned.policy is not None and planned.policy.guarded else 0
    flags |= INSERTS if facts.verb in ("insert", "replace") else 0
    flags |= (ONE_ROW if facts.one_row else 0) | (FRESH_ID if facts.fresh_id else 0) | (ASK_ID if facts.asks_id else 0)
    flags |= _FOUND_ROWS[facts.found_rows]
    return flags | (OUTSIDE if not facts.tables and facts.verb in ("select", "show", "set") else 0)


_FOUND_ROWS = {"counted": COUNTED, "kept": UNCOUNTED, "unknown": 0}
_OPAQUE_VERBS = frozenset({"call", "execute", "prepare", "do", "other", "unknown"})


def one_row(found: Any) -> int:
    """The flag of a text whose VALUES, of which one plan stands for any number, are those of one row."""
    return ONE_ROW if any(slot.kind == lexer.ROWS and slot.count == 1 for slot in found.slots) else 0


def _pins(planned: Planned) -> int:
    bits = 0
    for pin in planned.facts.pins:
        bits |= 1 << PIN_REASONS.index(_PINS[pin])
    return bits


def error_payload(error: Refusal) -> bytes:
    """ERR packet, without its head."""
    return ErrPacket(error.errno, error.sqlstate, error.message).build()


