"""Executes a plan's decision on actual values: which shards, and for a split INSERT, which text for each.

The relay does the same in C for the plain cases; this is its oracle, the answer to `EXPLAIN ROUTE`, and what
decides whatever the relay leaves to Python.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from _speedups import lexer
from _speedups.lexer import LexedStatement, LiteralSlot
from config.words import MultiShardWrites
from config.words import Scatter as ScatterPolicy
from router import keys as keytypes
from router.engine.assemble import Outgoing, parameters
from router.errors import Refusal, refusal
from router.keys import KeyColumn, NoMatch, Unpinnable, Value
from router.literals import Params, value
from router.plan import (
    AnyShard,
    ByKey,
    ByLookup,
    Chosen,
    Keep,
    Key,
    KeyRef,
    Lookup,
    Move,
    MultiWrite,
    OneShard,
    Plan,
    Planned,
    Refuse,
    Residual,
    Scatter,
    SchemaChange,
    SplitInsert,
    SplitLoad,
    Transfer,
)
from router.text import Text
from router.topology import Topology
from router.vindexes.vindex import Unmapped, Vindex

Keyed = ByKey | Scatter | MultiWrite | SplitInsert | Move | Chosen
SEVERAL_WRITES = MultiWrite | SplitInsert | Move | Chosen | Transfer
"""Writes that go to several shards in one transaction."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What one execution stands on: the text as lexed, its parameters, the client's character set.

    `sql` is empty for a plan that looks at no value.
    """

    sql: bytes
    lexed: LexedStatement
    topology: Topology
    mode: int = 0
    params: Params = ()
    charset: str = "utf8mb4"


class Undecided(Exception):
    """A value does not say which rows it equals; the text says why, without the value."""


def route(
    planned: Planned,
    lexed: LexedStatement,
    sql: Text,
    params: Params = (),
    *,
    mode: int = 0,
    charset: str = "utf8mb4",
) -> tuple[str, ...] | Refuse:
    """The shards of this execution, by name; () for what needs none.

    More than one: `planned.plan`, or for a ByKey its `otherwise`, is to be carried out on all of them.
    AnyShard gives those to choose from. `params`: decoded parameters of a prepared statement.
    """
    if isinstance(planned.plan, Keep):
        planned = replace(planned, plan=planned.plan.write)
    try:
        found = _route(planned.plan, _execution(planned, lexed, sql, params, mode, charset))
    except Refusal as reason:
        return Refuse(reason.entry.name, reason.filling)
    if isinstance(found, Refuse):
        return found
    if len(found) > 1 and not isinstance(planned.plan, AnyShard):
        problem = _several_problem(planned, lexed, sql, len(found))
        return problem or _out_of_reach(planned, found) or _one_time(planned, found) or found
    return found


def is_atomic(planned: Planned, shards: Sequence[str]) -> bool:
    """Is this execution a write to several shards by two-phase commit?"""
    if isinstance(planned.plan, Keep):
        return True
    plan = planned.plan.otherwise if isinstance(planned.plan, ByKey) else planned.plan
    if len(shards) < 2 or planned.topology is None or not isinstance(plan, SEVERAL_WRITES):
        return False
    keyspace = planned.topology.keyspace(plan.keyspace)
    return keyspace is not None and keyspace.multi_shard_writes is MultiShardWrites.ATOMIC


def _out_of_reach(planned: Planned, shards: Sequence[str]) -> Refuse | None:
    """Two-phase commit is for the shards of the own region, whose servers can be asked what became of it."""
    if not is_atomic(planned, shards) or planned.topology is None:
        return None
    found = [planned.topology.shard(name) for name in shards]
    away = next((one.name for one in found if one is not None and not one.is_local), None)
    return Refuse("ATOMIC_REGIONS", (away,)) if away is not None else None


def _one_time(planned: Planned, shards: Sequence[str]) -> Refuse | None:
    """The time is set on connections to servers, which other regions' shards are not reached by."""
    plan = planned.plan.otherwise if isinstance(planned.plan, ByKey) else planned.plan
    if not isinstance(plan, SEVERAL_WRITES) or not plan.clock or planned.topology is None:
        return None
    found = [planned.topology.shard(name) for name in shards]
    away = next((one.name for one in found if one is not None and not one.is_local), None)
    return Refuse("UNSTABLE_FUNCTION", (f"the time on {away}, another region's shard,",)) if away is not None else None


def too_many(planned: Planned, lexed: LexedStatement, sql: Text, shards: int) -> Refuse | None:
    """Why an execution whose shards a lookup told may not go to so many of them."""
    return _several_problem(planned, lexed, sql, shards) if shards > 1 else None


def _several_problem(planned: Planned, lexed: LexedStatement, sql: Text, shards: int) -> Refuse | None:
    """Why this execution may not go to so many shards."""
    if _sets_variables(lexed, sql):
        return Refuse("UNSTABLE_FUNCTION", ("the optimizer hint SET_VAR",))
    carried = planned.plan.otherwise if isinstance(planned.plan, ByKey | ByLookup) else planned.plan
    keyspace = planned.topology.keyspace(getattr(carried, "keyspace", "")) if planned.topology is not None else None
    copies = isinstance(carried, SchemaChange) or (isinstance(carried, MultiWrite) and not carried.sum_rows)
    if keyspace is None or keyspace.fan_out is None or copies or planned.facts.hints.scatter is True:
        return None
    if shards > keyspace.fan_out:
        return Refuse("FAN_OUT", (str(shards), str(keyspace.fan_out), keyspace.name))
    return None


def warning(planned: Planned, shards: int) -> Refusal | None:
    """What a read of so many shards is warned of, where its keyspace says `scatter: warn`."""
    carried = planned.plan.otherwise if isinstance(planned.plan, ByKey | ByLookup) else planned.plan
    if shards < 2 or not isinstance(carried, Scatter) or planned.facts.hints.scatter is True:
        return None
    if carried.merge is not None and carried.merge.aside:
        return None  # there is no key that it could fix
    keyspace = planned.topology.keyspace(carried.keyspace) if planned.topology is not None else None
    if keyspace is None or keyspace.scatter is not ScatterPolicy.WARN:
        return None
    return refusal("SCATTER_WARNED", str(shards))


def _sets_variables(lexed: LexedStatement, sql: Text) -> bool:
    """/*+ SET_VAR(sql_select_limit = 1) */ would hold on each shard by itself. Templates leave hints out, so
    this is looked at in every execution."""
    return bool(lexed.flags & lexer.OPTIMIZER_HINT) and b"SET_VAR" in bytes(sql).upper()


def _execution(
    planned: Planned, lexed: LexedStatement, sql: Text, params: Params, mode: int, charset: str
) -> Execution:
    if planned.topology is None:
        raise refusal("INTERNAL", "a plan without its topology")
    keyed = isinstance(planned.plan, Keyed | ByLookup)
    text = bytes(sql) if keyed else b""
    return Execution(text, lexed, planned.topology, mode, params, charset)


def values_of(keys: Sequence[Key], execution: Execution) -> list[tuple[Value, ...]]:
    """What the keys mean in this execution. Raises Undecided."""
    return [one for key in keys for one in combinations(key, execution)]


def _route(plan: Plan, execution: Execution) -> tuple[str, ...] | Refuse:
    match plan:
        case OneShard(shard):
            return (shard,)
        case AnyShard(_, shards) | SchemaChange(_, _, shards) | Transfer(_, _, shards):
            return shards
        case ByKey():
            return _by_key(plan, execution)
        case Scatter() | MultiWrite() | Chosen():
            return _some(plan, execution)
        case SplitInsert():
            return _shards_of_rows(plan, execution)
        case Move():
            return _moving(plan, execution).shards
        case ByLookup():
            return _route(plan.otherwise, execution)
        case Residual() | SplitLoad():
            return plan.shards
        case Refuse():
            return plan
        case _:
            return ()


def _by_key(plan: ByKey, execution: Execution) -> tuple[str, ...] | Refuse:
    try:
        found = shards_of(plan, plan.keys, execution, stored=plan.stored)
    except Undecided as reason:
        if plan.stored or isinstance(plan.otherwise, Refuse | SplitInsert):
            return Refuse("KEY_TYPE", (plan.vindex, str(reason)))
        return plan.otherwise.shards
    if not found and plan.when_empty is not None:
        return (plan.when_empty,)
    return found if len(found) == 1 else _route(plan.otherwise, execution)


@dataclass(frozen=True, slots=True)
class Moving:
    """Of one execution of a Move: the shards that are asked to change their rows, and where those go that get the key
    `values`."""

    sources: tuple[str, ...]
    target: str
    values: tuple[Value, ...]

    @property
    def shards(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.sources, self.target)))


def moving(
    planned: Planned, lexed: LexedStatement, sql: Text, params: Params = (), *, mode: int = 0, charset: str = "utf8mb4"
) -> Moving:
    """Of a plan that is a Move or a ByKey whose `otherwise` is one. Raises Refusal."""
    plan = planned.plan.otherwise if isinstance(planned.plan, ByKey) else planned.plan
    if not isinstance(plan, Move):
        raise refusal("INTERNAL", "a plan that moves nothing")
    return _moving(plan, _execution(planned, lexed, sql, params, mode, charset))


def _moving(plan: Move, execution: Execution) -> Moving:
    try:
        (values,) = combinations(plan.new, execution)
        index = shard_of(_vindex(plan, execution.topology), plan.new, values, stored=True)
    except Undecided as reason:
        raise refusal("KEY_TYPE", plan.vindex, str(reason)) from None
    assert index is not None
    return Moving(_some(plan, execution), execution.topology.shards[index].name, values)


def _some(plan: Scatter | MultiWrite | Move | Chosen, execution: Execution) -> tuple[str, ...]:
    """All shards, or those that hold one of the keys; one when none does, so that there is an answer."""
    if plan.keys is None:
        return plan.shards
    try:
        return shards_of(plan, plan.keys, execution) or plan.shards[:1]
    except Undecided:
        return plan.shards


def shards_of(plan: Keyed, keys: Sequence[Key], execution: Execution, *, stored: bool = False) -> tuple[str, ...]:
    """The shards of all values of all keys. Raises Undecided; Refusal when a stored value has no shard."""
    vindex = _vindex(plan, execution.topology)
    found: set[int] = set()
    for key in keys:
        alone = len(keys) == 1 and all(ref.item is None for ref in key)
        for values in combinations(key, execution):
            shard = shard_of(vindex, key, values, stored=stored, alone=alone)
            if shard is not None:
                found.add(shard)
    return tuple(execution.topology.shards[index].name for index in sorted(found))


def values_by_shard(
    lookup: Lookup, keyspace: str, values: Sequence[int], shards: Sequence[str], topology: Topology
) -> dict[str, list[int]]:
    """Which of these shards may have rows of which of the values: all, where the column is no shard key."""
    found = topology.keyspace(keyspace)
    if lookup.vindex is None or lookup.key is None or found is None:
        return {name: list(values) for name in shards if values}
    vindex, parted = found.vindexes[lookup.vindex], dict[str, list[int]]()
    for one in values:
        try:
            shard = vindex.shard_of([keytypes.Key(lookup.key.type, keytypes.canonical(one, lookup.key.type))])
        except (NoMatch, Unmapped):
            continue
        except Unpinnable:
            return {name: list(values) for name in shards}
        parted.setdefault(topology.shards[shard].name, []).append(one)
    return {name: parted[name] for name in shards if name in parted}


def _vindex(plan: Keyed, topology: Topology) -> Vindex:
    keyspace = topology.keyspace(plan.keyspace)
    if keyspace is None or plan.vindex is None:
        raise refusal("INTERNAL", "a plan of a keyspace that is gone")
    return keyspace.vindexes[plan.vindex]


def shard_of(
    vindex: Vindex, key: Key, values: Sequence[Value], *, stored: bool, alone: bool = False
) -> int | None:  # fmt: skip
    """The shard's index, None when no row can have this key. Raises Undecided and Refusal.

    `alone`: this is the statement's only key, compared by `=`.
    """
    try:
        canonical = [
            keytypes.Key(ref.column.type, _canonical(one, ref.column, stored=stored, alone=alone))
            for ref, one in zip(key, values, strict=True)
        ]
    except NoMatch:
        return None
    except Unpinnable as reason:
        raise Undecided(str(reason)) from None
    try:
        return vindex.shard_of(canonical)
    except Unmapped as reason:
        if stored:
            raise refusal("VALUE_OUTSIDE", vindex.name, str(reason)) from None
        return None


def _canonical(one: Value, column: KeyColumn, *, stored: bool, alone: bool) -> bytes:
    if stored and one is None:
        raise refusal("KEY_NULL", "of the vindex")
    if stored:
        return keytypes.canonical_stored(one, column)
    if alone and isinstance(one, str) and keytypes.is_integer(column.type):
        return _number(one, column)
    return keytypes.canonical(one, column.type)


def _number(text: str, column: KeyColumn) -> bytes:
    """Of `column = text`, which servers convert once: so one shard warns once of what follows the number.

    In a list and beside other keys they compare row by row, and the shards' warnings add up to one server's.
    """
    try:
        return keytypes.canonical(text, column.type)
    except Unpinnable:
        number = keytypes.leading_number(text)
        if number is None:
            raise
        return keytypes.canonical(number, column.type)


def combinations(key: Key, execution: Execution) -> Iterator[tuple[Value, ...]]:
    """Every tuple of values that a key means: lists as a product, rows of one ROWS slot side by side."""
    columns = [_values(ref, execution) for ref in key]
    in_rows = [ref.slot for ref in key if isinstance(ref.item, int)]
    if not in_rows:
        yield from product(*columns)
    elif len(set(in_rows)) == 1:
        yield from _row_by_row(key, columns)
    else:
        raise Undecided("values of two lists of rows")


def _row_by_row(key: Key, columns: Sequence[list[Value]]) -> Iterator[tuple[Value, ...]]:
    rows = next(len(column) for ref, column in zip(key, columns, strict=True) if isinstance(ref.item, int))
    for row in range(rows):
        choices = [
            [column[row]] if isinstance(ref.item, int) else column for ref, column in zip(key, columns, strict=True)
        ]
        yield from product(*choices)


def _values(ref: KeyRef, execution: Execution) -> list[Value]:
    try:
        return [_decoded(item, ref, execution) for item in items(ref, execution)]
    except Unpinnable as reason:
        raise Undecided(str(reason)) from None


def items(ref: KeyRef, execution: Execution) -> list[LiteralSlot]:
    """The literals that a reference means."""
    slot = execution.lexed.slots[ref.slot]
    if ref.item is None:
        return [slot]
    if ref.item == "list":
        return lexer.list_items(execution.sql, execution.mode, slot)
    return lexer.row_items(execution.sql, execution.mode, slot, ref.item)


def _decoded(item: LiteralSlot, ref: KeyRef, execution: Execution) -> Value:
    return value(execution.sql, item, execution.mode, execution.params, execution.charset, ref.negate)


# --- splitting an INSERT ---------------------------------------------------------------------------------


def split(
    planned: Planned, lexed: LexedStatement, sql: Text, params: Params = (), *, mode: int = 0,
    charset: str = "utf8mb4",
) -> dict[str, Outgoing]:  # fmt: skip
    """Shard -> its text: everything before the rows, the shard's rows in their order, everything after; and which of
    the parameters are in it.

    Of a plan that is a SplitInsert or a ByKey whose `otherwise` is one. Raises Refusal.
    """
    plan = planned.plan.otherwise if isinstance(planned.plan, ByKey) else planned.plan
    if not isinstance(plan, SplitInsert):
        raise refusal("INTERNAL", "a plan that splits nothing")
    return _split(plan, _execution(planned, lexed, sql, params, mode, charset))


def _split(plan: SplitInsert, execution: Execution) -> dict[str, Outgoing]:
    sql, slot = execution.sql, execution.lexed.slots[plan.rows_slot]
    spans = lexer.row_spans(sql, execution.mode, slot)
    homes = _homes(plan, execution)
    if len(homes) != len(spans):
        raise refusal("INTERNAL", "rows and keys of an INSERT differ in number")
    begin, end = slot.offset, slot.offset + slot.length
    marks = parameters(sql, execution.mode) if execution.lexed.params else []
    parts: dict[str, Outgoing] = {}
    for home in sorted(set(homes)):
        rows = [(at, at + size) for (at, size), own in zip(spans, homes, strict=True) if own == home]
        text = sql[:begin] + b",".join(sql[at:to] for at, to in rows) + sql[end:]
        params = _within(marks, [(0, begin), *rows, (end, len(sql))])
        parts[execution.topology.shards[home].name] = Outgoing(text, params, ends=home == homes[-1])
    return parts


def _within(marks: Sequence[int], spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The numbers of the parameters that stand in the spans, which rise."""
    found: list[int] = []
    for start, end in spans:
        found += range(bisect_left(marks, start), bisect_left(marks, end))
    return tuple(found)


def _shards_of_rows(plan: SplitInsert, execution: Execution) -> tuple[str, ...]:
    return tuple(execution.topology.shards[home].name for home in sorted(set(_homes(plan, execution))))


def _homes(plan: SplitInsert, execution: Execution) -> list[int]:
    """The shard of every row, in order."""
    vindex = _vindex(plan, execution.topology)
    homes: list[int] = []
    try:
        for key in plan.keys:
            for values in combinations(key, execution):
                shard = shard_of(vindex, key, values, stored=True)
                assert shard is not None
                homes.append(shard)
    except Undecided as reason:
        raise refusal("KEY_TYPE", vindex.name, str(reason)) from None
    return homes
