"""UPDATE of shard keys: rows that stay on their shard, and rows that go to another one.

The value has to be a literal or a parameter, one for all rows, so that which rows come into conflict with which does
not depend on the order in which they are changed, and so that those that have to go are found by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp

from config.words import KeyChanges, MultiShardWrites
from router.engine.loading import Loaded, form_of
from router.errors import Refusal, refusal
from router.pinning import Ref, key_ref
from router.plan import Key, Move, Otherwise, Plan, Refuse
from router.planner.parsed import Parsed, assigned
from router.planner.placement import Placement, by_key, columns_of, many
from router.planner.request import Draft, Request
from router.planner.volatile import Volatile
from router.relations import Relation, resolve
from router.schema import LiveTable, UniqueKey
from router.topology import TableKind

Change = tuple[Relation, int, exp.Expr]
"""(table, position of the key column, new value) of an assignment to a shard key."""


def changed_keys(parsed: Parsed) -> list[Change]:
    """Assignments that may change one; not those of a key to itself."""
    found: list[Change] = []
    query, tree = parsed.query, parsed.tree
    assert query is not None
    for assignment in tree.expressions if isinstance(tree, exp.Update) else ():
        relation = assigned(query, assignment)
        if relation is None or relation.declared is None or relation.declared.kind is not TableKind.SHARDED:
            continue
        name = assignment.this.name.lower()
        for index, column in enumerate(relation.declared.columns):
            if column.lower() == name and not _itself(parsed, relation, name, assignment.expression):
                found.append((relation, index, assignment.expression))
    return found


def _itself(parsed: Parsed, relation: Relation, name: str, value: exp.Expr) -> bool:
    return parsed.query is not None and resolve(parsed.query, value) == (relation, name)


def refused(change: Change) -> Refusal:
    """What such an assignment is refused by."""
    relation, index, _ = change
    assert relation.declared is not None
    return refusal("KEY_UPDATE", "UPDATE", relation.declared.columns[index], relation.declared.name)


def plan(
    request: Request, parsed: Parsed, placement: Placement, draft: Draft, changes: Sequence[Change], found: Volatile
) -> Plan:
    """By the old and the new keys, when they are of one shard; else the rows move. Raises Refusal."""
    new = _new_keys(request, placement, changes)
    keys = None if placement.unpinned else placement.all_keys()
    otherwise: Otherwise
    try:
        otherwise = _move(request, parsed, placement, draft, new, keys, found)
    except Refusal as problem:
        if keys is None:
            raise
        otherwise = Refuse(problem.entry.name, problem.filling)
    if keys is None:
        assert isinstance(otherwise, Move)
        return otherwise
    return by_key(placement, draft, (*keys, *new), otherwise, stored=True)


def _new_keys(request: Request, placement: Placement, changes: Sequence[Change]) -> tuple[Key, ...]:
    """Raises Refusal for values that are not known, or different ones for different rows."""
    refs: dict[Relation, dict[int, Ref]] = {}
    for change in changes:
        relation, index, value = change
        ref = placement.finder.ref(value)
        if ref is None or ref.item is not None:
            raise refused(change)
        refs.setdefault(relation, {})[index] = ref
    found: list[Key] = []
    for relation, given in refs.items():
        own = placement.keys[relation]
        columns = columns_of(request, relation)
        new = {index: key_ref(ref, columns[index]) for index, ref in given.items()}
        if len(new) == len(columns):
            found += [tuple(new[index] for index in range(len(columns)))] if own != () else []
        elif own is None or many(own):
            raise refused(changes[0])
        else:
            found += [tuple(new.get(index, ref) for index, ref in enumerate(key)) for key in own]
    return tuple(found)


def _move(
    request: Request, parsed: Parsed, placement: Placement, draft: Draft, new: Sequence[Key],
    keys: tuple[Key, ...] | None, found: Volatile,
) -> Move:  # fmt: skip
    """Raises Refusal."""
    target = parsed.targets[0]
    live, table = target.live, target.declared
    assert table is not None
    why = next(_problems(request, parsed, placement, live), None)
    if why is not None or live is None or len(new) != 1:
        raise refusal("KEY_MOVE", "UPDATE", table.name, why or "it sets several keys")
    if found.problem is not None:
        raise found.problem
    columns = tuple(_carried(live, table.name))
    draft.because("rows whose new shard key is another shard's go there")
    vindex = placement.vindex.name
    return Move(
        placement.keyspace.name, table.name, placement.shards, vindex, keys, new[0], table.columns, columns, found.clock
    )


def _problems(request: Request, parsed: Parsed, placement: Placement, live: LiveTable | None) -> Iterator[str]:
    tree, keyspace, table = parsed.tree, placement.keyspace, parsed.targets[0].declared
    assert table is not None
    if keyspace.key_changes is KeyChanges.REFUSE:
        yield "key_changes of the keyspace is refuse"
    if keyspace.multi_shard_writes is not MultiShardWrites.ATOMIC:
        yield "multi_shard_writes of the keyspace is not atomic"
    if request.context.bound:
        yield "its shards are of several regions"
    if len(parsed.tables()) > 1 or any(True for query in parsed.queries() for _ in query.subqueries):
        yield "it looks at several tables"
    if parsed.template.modifiers & {"IGNORE"}:
        yield "IGNORE skips rows whose conflicts are on other shards"
    if tree.args.get("limit") is not None or tree.args.get("order") is not None:
        yield "it has ORDER BY or LIMIT"
    if tree.args.get("returning") is not None:
        yield "it has RETURNING"
    if live is None:
        yield "the live schema is not known"
        return
    yield from _unlike_one_server(request, live, keyspace.name)
    if any(_moves_in_order(parsed, placement, live, key) for key in live.unique_keys):
        yield "a unique column gets another value in every row"


def _unlike_one_server(request: Request, live: LiveTable, keyspace: str) -> Iterator[str]:
    """What of the table would not come along, or would act on its own."""
    schema = request.context.schemas.get(keyspace)
    if schema is not None and schema.drifting.get(live.name):
        yield "the table is not the same on all shards"
    if live.versioned:
        yield "the table keeps the history of its rows"
    if live.triggers:
        yield "the table has triggers"
    if live.foreign_keys:
        yield "the table has foreign keys"
    if any(_refers(table, live.name, keyspace, name) for name, schema in request.context.schemas.items()
           for table in schema.tables.values()):  # fmt: skip
        yield "foreign keys refer to the table"


def _refers(table: LiveTable, name: str, keyspace: str, own: str) -> bool:
    named = {f"{keyspace}.{name}"} | ({name} if own == keyspace else set())
    return any(foreign.parent in named for foreign in table.foreign_keys)


def _moves_in_order(parsed: Parsed, placement: Placement, live: LiveTable, key: UniqueKey) -> bool:
    """Do the key's columns get values that are not one for all rows? Then it depends on the order of the rows, and on
    those that have gone already, which of them are in conflict."""
    computed = {
        one.this.name.lower()
        for one in parsed.tree.expressions
        if placement.finder.ref(one.expression) is None and not _stays(one)
    }
    columns = [live.column(name) for name in key.columns]
    opaque = not key.exact or any(column is None or column.generated for column in columns)
    return bool(computed) and (opaque or not computed.isdisjoint(name.lower() for name in key.columns))


def _stays(assignment: exp.Expr) -> bool:
    value = assignment.expression
    return isinstance(value, exp.Column) and value.name.lower() == assignment.this.name.lower()


def _carried(live: LiveTable, table: str) -> Iterator[Loaded]:
    """Raises Refusal for a type whose values cannot be told to arrive as they were."""
    for column in live.columns:
        if column.generated:
            continue
        form = form_of(column)
        if form is None:
            raise refusal("KEY_MOVE", "UPDATE", table, f"values of column {column.name} may not arrive as they were")
        yield Loaded(column.name, form)
