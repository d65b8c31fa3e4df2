"""INSERT and REPLACE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from _speedups import lexer
from config.words import MultiShardWrites, Verb
from router.entries import Owner, owner_of
from router.errors import Refusal, refusal
from router.keys import KeyColumn
from router.pinning import Ref, environment, key_ref
from router.plan import GivenIds, Key, MultiWrite, OneShard, Otherwise, Plan, Planned, Refuse, SplitInsert, Transfer
from router.planner import looked_up, numbering, transferring
from router.planner.apart import shard_local
from router.planner.parsed import Parsed, describe, home, read, reads
from router.planner.placement import (
    Placement,
    by_key,
    check_vindexes,
    columns_of,
    guard,
    many,
    place,
    whole_tables,
)
from router.planner.request import Draft, Request
from router.planner.select import shape_problem
from router.planner.volatile import Volatile, volatile
from router.relations import ColumnId, Query, Relation, resolve
from router.schema import UniqueKey, holds_key
from router.template import NotUnderstood
from router.tokens import Token
from router.topology import Keyspace, Table, TableKind


def plan(request: Request) -> Planned:
    parsed = read(request)
    tree = parsed.tree
    if not isinstance(tree, exp.Insert):
        raise NotUnderstood("INSERT of this form")
    target = parsed.targets[0]
    verb = "replace" if parsed.template.replace else "insert"
    draft = Draft(request, verb, writes=True)
    describe(request, parsed, draft)
    _use(draft, parsed, tree, target)
    draft.one_row = isinstance(tree.expression, exp.Values) and len(list(_rows(tree.expression))) == 1
    draft.one_row = draft.one_row and _rows_slot(request) is None
    draft.fresh_id = _only_fresh(tree, target)
    keyspace = home(request, parsed)
    assert keyspace is not None
    if keyspace.unsharded:
        draft.because("the keyspace is unsharded")
        return draft.done(OneShard(keyspace.shards[0].name))
    return draft.done(_sharded(request, keyspace, parsed, draft, tree))


def _use(draft: Draft, parsed: Parsed, tree: exp.Insert, target: Relation) -> None:
    reads(draft, parsed.sources)
    verbs = [Verb.INSERT]
    if parsed.template.replace:
        verbs.append(Verb.DELETE)
    if tree.args.get("conflict") is not None:
        verbs.append(Verb.UPDATE)
    if tree.args.get("returning") is not None:
        verbs.append(Verb.SELECT)
    if target.keyspace is None or target.table is None:
        raise NotUnderstood("INSERT into something that is not a table")
    draft.use(target.keyspace, target.table, "write", *verbs)


def _only_fresh(tree: exp.Insert, target: Relation) -> bool:
    """Is every id that the answer tells a new one? Not those of rows that say their own, or were there before."""
    if target.live is None or target.live.kind != "table" or tree.args.get("conflict") is not None:
        return False
    own = next((column.name.lower() for column in target.live.columns if column.auto_increment), None)
    named = tree.this.expressions if isinstance(tree.this, exp.Schema) else ()
    return own is None or (bool(named) and own not in {column.name.lower() for column in named})


def _sharded(request: Request, keyspace: Keyspace, parsed: Parsed, draft: Draft, tree: exp.Insert) -> Plan:
    guard(request, keyspace, parsed)
    placement = place(request, keyspace, parsed)
    target = parsed.targets[0]
    table = target.declared
    assert table is not None
    hinted = request.hinted_shard(keyspace)
    if hinted is not None:
        if table.kind is TableKind.SHARDED:
            raise refusal("HINT_SHARD_WRITE", hinted, draft.verb.upper())
        draft.because("a hint names the shard")
        return OneShard(hinted)
    if table.kind is TableKind.REFERENCE:
        return reference_write(request, parsed, placement, draft, insert=tree)
    if table.kind is TableKind.PINNED:
        return whole_tables(request, placement)
    if placement.pinned:
        return whole_tables(request, placement)
    apart = _apart(parsed, placement)
    if not apart:
        check_vindexes(placement)
    row = Row(request, parsed, tree, target, table, columns_of(request, target))
    if table.ids is not None and request.context.numbered is None:
        return numbering.plan(row, placement, draft)
    row.check_conflicts()
    if parsed.query is not None and looked_up.keeping(request, placement, table):
        raise refusal("LOOKUP_FORM", f"{row.verb} … SELECT", table.name, "which rows it writes is only known behind it")
    if apart:
        return _from_afar(row, placement, draft)
    if parsed.query is not None:
        plan = _from_query(row, placement, draft, parsed.query)
    else:
        plan = _from_values(row, placement, draft)
    if not looked_up.keeping(request, placement, table):
        return plan
    owner = owner_of(table, request.context.schemas.get(keyspace.name))
    return looked_up.of_insert(parsed, draft, plan, _row_keys(row, placement, owner), owner)


def _row_keys(row: Row, placement: Placement, owner: Owner) -> tuple[Key, ...]:
    """What tells the new rows of a table with lookups apart. Raises Refusal."""
    names, slot, values = row.names(), _rows_slot(row.request), row.tree.expression
    assert isinstance(values, exp.Values)
    rows = (looked_up.row_keys(owner, placement, names, one, slot, row.verb) for one in _rows(values))
    return tuple(dict.fromkeys(rows))


def _apart(parsed: Parsed, placement: Placement) -> bool:
    """Does an INSERT … SELECT read rows that are placed otherwise than those that it writes?"""
    vindexes = {id(one.declared.vindex) for one in placement.sharded if one.declared is not None}
    return parsed.query is not None and len(vindexes) > 1 and _is_atomic(placement)


def _from_afar(row: Row, placement: Placement, draft: Draft) -> Transfer:
    names = row.names()
    row.positions(names)
    row.check_counting(names)
    return transferring.plan(row, placement, draft, names, clock=_clock(row))


# --- VALUES and SET ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """An INSERT into a sharded table: which expression of a row is which key column."""

    request: Request
    parsed: Parsed
    tree: exp.Insert
    target: Relation
    table: Table
    columns: tuple[KeyColumn, ...]

    @property
    def verb(self) -> str:
        return "REPLACE" if self.parsed.template.replace else "INSERT"

    @property
    def upserts(self) -> bool:
        """Does it, other than REPLACE, leave rows out or change others instead?"""
        modifiers, tree = self.parsed.template.modifiers, self.tree
        return tree.args.get("conflict") is not None or bool(tree.args.get("ignore")) or "IGNORE" in modifiers

    @property
    def auto_increment(self) -> str | None:
        """The column's name, lower case."""
        live = self.target.live
        return next((one.name.lower() for one in live.columns if one.auto_increment), None) if live else None

    def names(self) -> list[str]:
        """The columns that values are given for, in order, lower case."""
        if isinstance(self.tree.this, exp.Schema) and self.tree.this.expressions:
            return [column.name.lower() for column in self.tree.this.expressions]
        if isinstance(self.tree.this, exp.Schema) and isinstance(self.tree.expression, exp.Values):
            return []
        live = self.target.live
        schema = self.request.context.schemas.get(self.table.keyspace)
        if live is None or schema is None:
            raise refusal("COLUMNS_UNKNOWN", self.table.name)
        if drifting := schema.drifting.get(self.table.name):
            raise refusal("SCHEMA_DRIFT", self.table.keyspace, self.table.name, ", ".join(sorted(drifting)))
        return [column.name.lower() for column in live.insertable]

    def positions(self, names: Sequence[str]) -> list[int]:
        """Where the key columns stand. Raises Refusal when one is left out."""
        for column in self.table.columns:
            if column.lower() not in names:
                live = self.target.live.column(column) if self.target.live else None
                auto = live is not None and live.auto_increment
                raise refusal("KEY_AUTO_INCREMENT" if auto else "KEY_MISSING", column, self.table.name)
        return [names.index(column.lower()) for column in self.table.columns]

    def check_conflicts(self) -> None:
        """REPLACE, IGNORE and ON DUPLICATE KEY UPDATE act on conflicting rows: they must be here."""
        modifiers = self.parsed.template.modifiers
        if self.parsed.template.replace:
            what = "REPLACE"
        elif self.tree.args.get("conflict") is not None:
            what = "INSERT … ON DUPLICATE KEY UPDATE"
        elif self.tree.args.get("ignore") or "IGNORE" in modifiers:
            what = "INSERT IGNORE"
        else:
            return
        for key in self.target.live.unique_keys if self.target.live else ():
            if not holds_key(key, self.table) and not self._never_conflicts(key):
                raise refusal("UNIQUE_WITHOUT_KEY", what, self.table.name, key.name)

    def _never_conflicts(self, key: UniqueKey) -> bool:
        """A key over an AUTO_INCREMENT column that the statement leaves to the server, or to Fairlead."""
        return any(self._left_to_count(name) or self._is_fresh(name) for name in key.columns) and key.exact

    def _is_fresh(self, name: str) -> bool:
        ids = self.table.ids
        return ids is not None and self.request.context.numbered == "fresh" and name.lower() == ids.column.lower()

    def _left_to_count(self, name: str) -> bool:
        column = self.target.live.column(name) if self.target.live else None
        return column is not None and column.auto_increment and name.lower() not in self.names()

    def check_counting(self, names: Sequence[str]) -> None:
        """An AUTO_INCREMENT column that is left out: every shard counts on its own, so a key over it that
        does not hold the shard key would not be unique."""
        live = self.target.live
        for column in live.columns if live else ():
            if not column.auto_increment or column.name.lower() in names:
                continue
            for key in live.unique_keys if live else ():
                if column.name.lower() in {name.lower() for name in key.columns} and not holds_key(key, self.table):
                    raise refusal("AUTO_INCREMENT", column.name, self.table.name, key.name)


def _from_values(row: Row, placement: Placement, draft: Draft) -> Plan:
    values = row.tree.expression
    if not isinstance(values, exp.Values):
        raise NotUnderstood(f"{row.verb} without VALUES")
    names = row.names()
    positions = row.positions(names)
    row.check_counting(_without_null(row, names, values))
    rows_slot = _rows_slot(row.request)
    keys: list[Key] = []
    for values_row in _rows(values):
        if len(values_row) != len(names):
            raise refusal("COLUMN_COUNT", row.table.name)
        keys.append(_key(row, placement, values_row, positions, rows_slot))
    keys += _assigned_keys(row, placement, keys)
    keys += _subquery_keys(placement, row.target)
    otherwise = _several(row, placement, draft, keys, rows_slot)
    return by_key(placement, draft, keys, otherwise, stored=True)


def _without_null(row: Row, names: list[str], values: exp.Values) -> list[str]:
    """Without the AUTO_INCREMENT column, where some row has NULL or DEFAULT for it."""
    auto = row.auto_increment
    if auto is None or auto not in names:
        return names
    at = names.index(auto)
    if all(len(one) <= at or not _is_left_out(one[at]) for one in _rows(values)):
        return names
    return [*names[:at], *names[at + 1 :]]


def _is_left_out(value: exp.Expr) -> bool:
    return isinstance(value, exp.Null) or (isinstance(value, exp.Column | exp.Var) and value.name.upper() == "DEFAULT")


def _rows(values: exp.Values) -> Iterator[list[exp.Expr]]:
    for item in values.expressions:
        inside = list(item.expressions) if isinstance(item, exp.Tuple) else [item]
        if len(inside) == 1 and isinstance(inside[0], exp.Anonymous) and inside[0].name.upper() == "ROW":
            inside = list(inside[0].expressions)
        yield inside


def _rows_slot(request: Request) -> int | None:
    """The ROWS slot of VALUES: its place in norm is the first parenthesis after the word."""
    depth = 0
    for index, token in enumerate(request.tokens):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.upper in ("VALUES", "VALUE"):
            return _rows_at(request, request.tokens[index + 1 : index + 2])
    return None


def _rows_at(request: Request, after: Sequence[Token]) -> int | None:
    for number, slot in enumerate(request.lexed.slots):
        if slot.kind == lexer.ROWS and after and slot.at == after[0].at:
            return number
    return None


def _key(
    row: Row,
    placement: Placement,
    values: Sequence[exp.Expr],
    positions: Sequence[int],
    rows_slot: int | None,
) -> Key:
    refs = []
    for name, column, position in zip(row.table.columns, row.columns, positions, strict=True):
        ref = _stored(row, placement, name, values[position])
        refs.append(key_ref(ref if rows_slot is None else Ref(rows_slot, position), column))
    return tuple(refs)


def _stored(row: Row, placement: Placement, name: str, value: exp.Expr) -> Ref:
    """The literal or parameter that becomes the key. Raises Refusal for anything else."""
    while isinstance(value, exp.Paren):
        value = value.this
    if isinstance(value, exp.Null):
        raise refusal("KEY_NULL", name)
    ref = placement.finder.ref(value)
    if ref is None or ref.item is not None:
        what = "DEFAULT" if value.name.upper() == "DEFAULT" else "an expression"
        raise refusal("KEY_EXPRESSION", name, row.table.name, what)
    return ref


def _assigned_keys(row: Row, placement: Placement, keys: Sequence[Key]) -> list[Key]:
    """ON DUPLICATE KEY UPDATE may leave the shard key as it is, or set it to a value of the same shard."""
    conflict = row.tree.args.get("conflict")
    found: list[Key] = []
    for assignment in conflict.expressions if conflict is not None else ():
        name = assignment.this.name.lower() if isinstance(assignment, exp.EQ) else ""
        index = next((at for at, column in enumerate(row.table.columns) if column.lower() == name), None)
        if index is None or _same_value(row, assignment.expression, name):
            continue
        ref = placement.finder.ref(assignment.expression)
        if ref is None or ref.item is not None or len(keys) != 1 or (keys[0][0].item is not None and _many_rows(row)):
            raise refusal("KEY_UPDATE", "ON DUPLICATE KEY UPDATE", row.table.columns[index], row.table.name)
        new = list(keys[0])
        new[index] = key_ref(ref, row.columns[index])
        found.append(tuple(new))
    return found


def _many_rows(row: Row) -> bool:
    slot = _rows_slot(row.request)
    return slot is not None and row.request.lexed.slots[slot].count > 1


def _same_value(row: Row, value: exp.Expr, name: str) -> bool:
    """VALUES(key), the new row's alias, or the column itself."""
    if isinstance(value, exp.Anonymous) and value.name.upper() in ("VALUES", "VALUE"):
        return len(value.expressions) == 1 and value.expressions[0].name.lower() == name
    if not isinstance(value, exp.Column) or value.name.lower() != name:
        return False
    alias = row.tree.expression.alias if isinstance(row.tree.expression, exp.Values) else ""
    return value.table in ("", row.target.alias, alias)


def _subquery_keys(placement: Placement, target: Relation) -> list[Key]:
    """Sharded tables that the values or assignments read must be on the row's shard."""
    found: list[Key] = []
    for relation in placement.sharded:
        if relation is target:
            continue
        keys = placement.keys[relation]
        if keys is None:
            raise refusal("CROSS_SHARD_SUBQUERY", relation.table or "")
        found += keys
    return found


def _several(row: Row, placement: Placement, draft: Draft, keys: Sequence[Key], rows_slot: int | None) -> Otherwise:
    """When the rows belong to several shards."""
    if not many(keys):
        return Refuse("NOT_SAME_SHARD", (", ".join(row.table.columns),))
    if placement.keyspace.multi_shard_writes is MultiShardWrites.REFUSE:
        draft.because("rows of several shards are refused (multi_shard_writes: refuse)")
        return Refuse("MULTI_SHARD_INSERT", (row.verb,))
    problem = refusal("ROW_SHAPES", row.verb) if rows_slot is None else _split_problem(row, placement)
    if problem is not None or rows_slot is None:
        assert problem is not None
        draft.because(f"rows of several shards are refused: {problem.entry.id}")
        return Refuse(problem.entry.name, problem.filling)
    return SplitInsert(
        placement.keyspace.name, placement.shards, placement.vindex.name, tuple(keys), rows_slot,
        volatile_of(row).clock, _given_ids(row, rows_slot),
    )  # fmt: skip


def _given_ids(row: Row, rows_slot: int) -> GivenIds | None:
    auto = row.auto_increment
    if auto is None or row.request.context.numbered == "fresh":
        return None
    return GivenIds(row.table.name, auto, ((rows_slot, row.names().index(auto), False),))


def _split_problem(row: Row, placement: Placement) -> Refusal | None:
    if row.tree.args.get("returning") is not None:
        return refusal("RETURNING_SCATTER", row.verb)
    if len(placement.sharded) > 1 or _assigns_key(row):
        return refusal("MULTI_SHARD_INSERT", row.verb)
    return volatile_of(row).problem or _counted_problem(row)


def volatile_of(row: Row) -> Volatile:
    return volatile(row.request, row.parsed, row.target, row.names(), copies=False)


def _counted_problem(row: Row) -> Refusal | None:
    """One server would count on through all rows; the client is told of the first number only."""
    for column in row.target.live.columns if row.target.live else ():
        if column.auto_increment and column.name.lower() not in row.names():
            return refusal("UNSTABLE_FUNCTION", f"AUTO_INCREMENT column {column.name}")
    return None


def _assigns_key(row: Row) -> bool:
    conflict = row.tree.args.get("conflict")
    columns = {column.lower() for column in row.table.columns}
    return conflict is not None and any(
        isinstance(one, exp.EQ)
        and one.this.name.lower() in columns
        and not _same_value(row, one.expression, one.this.name.lower())
        for one in conflict.expressions
    )


# --- SELECT as the source ------------------------------------------------------------------------------


def _from_query(row: Row, placement: Placement, draft: Draft, query: Query) -> Plan:
    """The rows that are read and the rows that are written must all be of one shard."""
    names = row.names()
    positions = row.positions(names)
    row.check_counting(names)
    for relation in placement.sharded:
        if relation is not row.target and placement.keys[relation] is None:
            return _on_each_or_moved(row, placement, draft, query, names, positions)
    if not _are_fixed(row, placement, query, names, positions):
        return transferring.plan(row, placement, draft, names, clock=_clock(row))
    keys = _written_keys(row, placement, query, names, positions)
    keys += _assigned_keys(row, placement, keys)
    keys += [
        key for relation in placement.sharded if relation is not row.target for key in placement.keys[relation] or ()
    ]
    otherwise = _over_shards(row, placement, draft, query, names, positions, keys)
    return by_key(placement, draft, keys, otherwise, stored=True)


def _on_each_or_moved(
    row: Row, placement: Placement, draft: Draft, query: Query, names: Sequence[str], positions: Sequence[int]
) -> MultiWrite | Transfer:
    """Raises Refusal."""
    try:
        return _on_each(row, placement, draft, query, names, positions)
    except Refusal as reason:
        if reason.entry.name != "INSERT_SELECT" or not _is_atomic(placement):
            raise
    return transferring.plan(row, placement, draft, names, clock=_clock(row))


def _is_atomic(placement: Placement) -> bool:
    return placement.keyspace.multi_shard_writes is MultiShardWrites.ATOMIC


def _clock(row: Row) -> bool:
    """Raises Refusal."""
    found = volatile_of(row)
    if found.problem is not None:
        raise found.problem
    return found.clock


def _are_fixed(
    row: Row, placement: Placement, query: Query, names: Sequence[str], positions: Sequence[int]
) -> bool:
    """Does the text say which shard keys are written? Raises Refusal where it has to, since nothing else will do."""
    try:
        _written_keys(row, placement, query, names, positions)
    except Refusal as reason:
        if reason.entry.name != "INSERT_SELECT" or not _is_atomic(placement):
            raise
        return False
    return True


def _over_shards(
    row: Row, placement: Placement, draft: Draft, query: Query, names: Sequence[str], positions: Sequence[int],
    keys: Sequence[Key],
) -> Otherwise:  # fmt: skip
    """When the keys lead to several shards."""
    try:
        pushed = _on_each_or_moved(row, placement, draft, query, names, positions)
    except Refusal as reason:
        return Refuse(reason.entry.name, reason.filling)
    if isinstance(pushed, Transfer):
        return pushed
    return replace(pushed, vindex=placement.vindex.name, keys=tuple(keys))


def _on_each(
    row: Row, placement: Placement, draft: Draft, query: Query, names: Sequence[str], positions: Sequence[int]
) -> MultiWrite:
    """Each shard inserts what it reads, when the new rows' shard keys are those of the rows they come from. Raises
    Refusal."""
    items = _items(row, query, names)
    sources = [one for one in placement.sharded if one is not row.target]
    if any(columns_of(row.request, one) != row.columns for one in sources):
        raise _insert_select(row, "the shard keys of its tables are of different types")
    if not sources:
        raise _insert_select(row, "the keys lead to several shards")
    if shape_problem(query, placement) is not None or not shard_local(query, sources):
        raise _insert_select(row, "its rows are put together over shards")
    if not _keeps_key(query, sources, [resolve(query, items[at].unalias()) for at in positions]):
        raise _insert_select(row, f"shard key {', '.join(row.table.columns)} is not that of the rows that are read")
    if any(column.auto_increment for column in (row.target.live.columns if row.target.live else ())):
        raise _insert_select(row, "it has an AUTO_INCREMENT column, of which the last id would have to be told")
    if row.tree.args.get("returning") is not None:
        raise refusal("RETURNING_SCATTER", row.verb)
    if placement.keyspace.multi_shard_writes is MultiShardWrites.REFUSE or _assigns_key(row):
        raise refusal("MULTI_SHARD_INSERT", row.verb)
    found = volatile_of(row)
    if found.problem is not None:
        raise found.problem
    draft.because("the new rows have the shard keys of those that are read, so each shard inserts its own")
    return MultiWrite(placement.keyspace.name, placement.shards, clock=found.clock)


def _keeps_key(query: Query, sources: Sequence[Relation], written: Sequence[ColumnId | None]) -> bool:
    """Are the values written as shard key that of one of the tables, column by column?"""
    for relation in sources:
        if relation.query is not query or relation.nullable or relation.declared is None:
            continue
        same = environment(relation).classes.same
        own = [(relation, name.lower()) for name in relation.declared.columns]
        if all(one is not None and same(key, one) for key, one in zip(own, written, strict=True)):
            return True
    return False


def _insert_select(row: Row, why: str) -> Refusal:
    return refusal("INSERT_SELECT", row.verb, row.table.name, why)


def _written_keys(
    row: Row, placement: Placement, query: Query, names: Sequence[str], positions: Sequence[int]
) -> list[Key]:
    items = _items(row, query, names)
    keys: list[dict[int, Ref]] = [{}]
    for index, position in enumerate(positions):
        found = placement.finder.value_of(query, items[position])
        if found is None:
            raise _insert_select(row, f"the value of {row.table.columns[index]} is not fixed")
        keys = [{**key, index: one[0]} for key in keys for one in found]
    return [tuple(key_ref(key[index], column) for index, column in enumerate(row.columns)) for key in keys]


def _items(row: Row, query: Query, names: Sequence[str]) -> list[exp.Expr]:
    """What is selected, as many expressions as there are columns. Raises Refusal."""
    if query.arms or not isinstance(query.tree, exp.Select):
        raise _insert_select(row, "it selects from a set operation")
    items = list(query.tree.expressions)
    if any(item.is_star for item in items):
        items = _expanded(row, query, names)
    if len(items) != len(names):
        raise refusal("COLUMN_COUNT", row.table.name)
    return items


def _expanded(row: Row, query: Query, names: Sequence[str]) -> list[exp.Expr]:
    """`SELECT * FROM one_table`, when its columns are known."""
    live = query.relations[0].live if len(query.relations) == 1 else None
    if live is None or len(query.tree.expressions) != 1 or len(live.insertable) != len(names):
        raise _insert_select(row, "its * is not known")
    found: list[exp.Expr] = [exp.column(column.name) for column in live.insertable]
    assert all(resolve(query, item) for item in found)
    return found


# --- reference tables ----------------------------------------------------------------------------------


def reference_write(
    request: Request, parsed: Parsed, placement: Placement, draft: Draft, insert: exp.Insert | None = None
) -> Plan:
    """The same statement on every copy, when it does the same everywhere. Raises Refusal."""
    target = parsed.targets[0]
    verb, name = draft.verb.upper(), target.table or ""
    if len(placement.sharded) or len(placement.pinned) or len(set(parsed.targets)) > 1:
        raise refusal("MIXED_WRITE", verb, name)
    if placement.keyspace.multi_shard_writes is MultiShardWrites.REFUSE:
        raise refusal("REFERENCE_WRITE", verb, name)
    given = _given(insert, target) if insert is not None else None
    found = volatile(request, parsed, target, given, copies=True)
    problem = found.problem or _copies_problem(parsed, target, verb, insert)
    if problem is not None:
        raise problem
    ids = None
    if insert is not None and given is not None:
        ids = _copied_ids(request, placement, target, insert, given, parsed.query)
    draft.because("every copy of the reference table is changed alike")
    return MultiWrite(placement.keyspace.name, placement.shards, sum_rows=False, clock=found.clock, ids=ids)


def _is_counted(query: Query, item: exp.Expr) -> bool:
    """Is it another table's AUTO_INCREMENT column, which is never NULL?"""
    found = resolve(query, item.unalias())
    if found is None or found[0].live is None or found[0].nullable:
        return False
    column = found[0].live.column(found[1])
    return column is not None and column.auto_increment


def _copied_ids(
    request: Request, placement: Placement, target: Relation, insert: exp.Insert, given: Sequence[str],
    query: Query | None,
) -> GivenIds | None:  # fmt: skip
    """Where the ids stand that every copy is to have. Raises Refusal where one is not given."""
    auto = next((one.name for one in (target.live.columns if target.live else ()) if one.auto_increment), None)
    if auto is None:
        return None
    table, slot = target.table or "", _rows_slot(request)
    if auto.lower() not in given:
        raise refusal("REFERENCE_AUTO_INCREMENT", table, auto)
    at = given.index(auto.lower())
    if isinstance(insert.expression, exp.Values) and slot is not None:
        return GivenIds(table, auto, ((slot, at, False),), copies=True)
    source = insert.expression
    rows = list(_rows(source)) if isinstance(source, exp.Values) else [list(source.expressions)] if source else []
    if query is not None and len(rows[0]) > at and _is_counted(query, rows[0][at]):
        return None
    refs = [placement.finder.ref(one[at]) if at < len(one) else None for one in rows]
    places = [(ref.slot, None, ref.negate) for ref in refs if ref is not None and ref.item is None]
    if len(places) != len(refs):
        raise refusal("REFERENCE_AUTO_INCREMENT", table, auto)
    return GivenIds(table, auto, tuple(places), copies=True)


def _given(insert: exp.Insert, target: Relation) -> list[str]:
    """The columns that an INSERT gives values for."""
    if isinstance(insert.this, exp.Schema):
        return [column.name.lower() for column in insert.this.expressions]
    return [column.name.lower() for column in target.live.insertable] if target.live else []


def _copies_problem(parsed: Parsed, target: Relation, verb: str, insert: exp.Insert | None) -> Refusal | None:
    """Copies may order their rows differently, and each counts on its own."""
    tree = parsed.tree
    if tree.args.get("returning") is not None:
        return refusal("RETURNING_SCATTER", verb)
    if any(query.has_limit for query in parsed.queries()) or tree.args.get("limit"):
        return refusal("WRITE_LIMIT", verb, "LIMIT")
    auto = next((column for column in (target.live.columns if target.live else ()) if column.auto_increment), None)
    if insert is not None and auto is not None:
        named = isinstance(insert.this, exp.Schema) and insert.this.expressions
        if named and auto.name.lower() not in {column.name.lower() for column in insert.this.expressions}:
            return refusal("REFERENCE_AUTO_INCREMENT", target.table or "", auto.name)
    return None
