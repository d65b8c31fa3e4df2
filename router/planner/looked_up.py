"""Tables with lookups: reads that ask a lookup where the rows are, and writes that keep it in step."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from router import functions
from router.entries import Owner, owner_of
from router.errors import Refusal, refusal
from router.pinning import MAX_KEYS, Ref, as_keys, connected, environment, key_ref
from router.plan import ByLookup, Keep, Key, Plan, Refuse, Residual, Scatter, Write
from router.planner.parsed import Parsed, assigned
from router.planner.placement import Placement
from router.planner.request import Draft, Request
from router.relations import Relation
from router.tokens import Token
from router.topology import Table

_CHANGING = functions.UNSTABLE | functions.WAITS | functions.SERVER
"""What may have another value a moment later, or elsewhere."""
_BEHIND_WHERE = frozenset({"ORDER", "LIMIT", "RETURNING", ";"})


# --- reads --------------------------------------------------------------------------------------------------


def by_lookup(
    request: Request, parsed: Parsed, placement: Placement, draft: Draft, otherwise: Scatter | Residual | Refuse
) -> ByLookup | None:
    """By a lookup on a table of the outermost query, whose rows every row of the answer needs; None: there is none."""
    query = parsed.query
    if query is None or query.arms or draft.locks or request.context.bound or not _all_local(placement):
        return None
    if len(connected(placement.sharded)) != 1:
        return None
    for relation in placement.sharded:
        if relation.query is not query or relation.nullable or placement.keys[relation] is not None:
            continue
        found = _keys_of(request, placement, relation)
        if found is not None:
            name, keys = found
            draft.because(f"lookup {name} tells the shards of {relation.table}'s rows")
            return ByLookup(placement.keyspace.name, name, keys, otherwise, placement.home, placement.shards)
    return None


def _keys_of(request: Request, placement: Placement, relation: Relation) -> tuple[str, tuple[Key, ...]] | None:
    """The first lookup whose column is fixed, unique ones before others, with the values that it is fixed to."""
    owner = _owner_or_none(request, relation)
    if owner is None:
        return None
    for entries in sorted(owner.entries, key=lambda one: not one.lookup.unique):
        if not entries.lookup.ready:
            continue
        column = (relation, entries.lookup.column.lower())
        found = placement.finder.values(environment(relation), [column])
        if found is not None and all(found) and len(found) <= MAX_KEYS:
            return entries.lookup.name, as_keys(found, [entries.value.key])
    return None


def _owner_or_none(request: Request, relation: Relation) -> Owner | None:
    """None as well when its lookups cannot be relied on."""
    table = relation.declared
    if table is None or not table.lookups:
        return None
    try:
        return owner_of(table, request.context.schemas.get(table.keyspace))
    except Refusal:
        return None


def _all_local(placement: Placement) -> bool:
    """Another region's shards are behind its Fairlead, which has the lookups."""
    return all(shard.is_local for shard in placement.keyspace.shards)


# --- writes -------------------------------------------------------------------------------------------------


def keeping(request: Request, placement: Placement, table: Table) -> bool:
    """Has this Fairlead to look after the table's lookups?"""
    return bool(table.lookups) and _all_local(placement)


def of_insert(parsed: Parsed, draft: Draft, plan: Plan, rows: tuple[Key, ...], owner: Owner) -> Plan:
    """An INSERT's or REPLACE's plan, with the lookups kept in step. `rows`: the keys of its rows. Raises Refusal."""
    tree, template = parsed.tree, parsed.template
    verb, table = draft.verb.upper(), owner.table.name
    if isinstance(plan, Refuse):
        return plan
    _check_form(draft, parsed, verb, table)
    conflict = tree.args.get("conflict")
    upserts = conflict is not None or template.replace or tree.args.get("ignore") or "IGNORE" in template.modifiers
    live = parsed.targets[0].live
    others = [key.name for key in live.unique_keys if not key.primary] if live is not None else []
    if upserts and others:
        raise refusal("LOOKUP_FORM", verb, table, f"a conflict with key {others[0]} would be with a row of another key")
    keys = {one.name.lower() for one in owner.keys}
    for assignment in conflict.expressions if conflict is not None else ():
        name = assignment.this.name.lower() if isinstance(assignment, exp.EQ) else ""
        if not name or name in keys:
            raise refusal("LOOKUP_FORM", "ON DUPLICATE KEY UPDATE", table, f"it assigns {name or 'an expression'}")
    return _kept(draft, owner, plan, Keep(owner.table.keyspace, table, _write(plan, table), rows, fresh=not upserts))


def of_change(request: Request, parsed: Parsed, placement: Placement, draft: Draft, plan: Plan) -> Plan:
    """An UPDATE's or DELETE's plan, with the lookups of what it changes kept in step. Raises Refusal."""
    targets = [one for one in parsed.targets if one.declared is not None and keeping(request, placement, one.declared)]
    if not targets or isinstance(plan, Refuse):
        return plan
    verb, table = draft.verb.upper(), targets[0].declared
    assert table is not None
    changed = _assigned(parsed, targets)
    if changed is not None and not changed & _watched(request, table):
        return plan
    owner = owner_of(table, request.context.schemas.get(table.keyspace))
    _check_form(draft, parsed, verb, table.name)
    if len(parsed.tables()) > 1:
        raise refusal("LOOKUP_FORM", verb, table.name, "it names several tables")
    keys = {one.name.lower() for one in owner.keys}
    if changed is not None and (own := sorted(changed & keys)):
        raise refusal("LOOKUP_FORM", verb, table.name, f"it changes {own[0]}, by which its rows are told apart")
    for call in parsed.calls:
        if call.upper in _CHANGING and (changed is None or _in_condition(parsed, call.upper)):
            raise refusal("LOOKUP_FORM", verb, table.name, f"{call.upper}() may have another value a moment later")
    limited = bool(parsed.tree.args.get("limit"))
    condition = _condition(request.tokens)
    keep = Keep(
        table.keyspace, table.name, _write(plan, table.name), None, condition, targets[0].alias, counts=not limited
    )  # fmt: skip
    return _kept(draft, owner, plan, keep)


def _kept(draft: Draft, owner: Owner, plan: Plan, keep: Keep) -> Keep:
    names = ", ".join(str(one.lookup) for one in owner.entries)
    draft.because(f"in one transaction with what changes in lookup {names}")
    return keep


def _write(plan: Plan, table: str) -> Write:
    if not isinstance(plan, Write):
        raise refusal("LOOKUP_FORM", "LIMIT", table, "its rows are chosen over several shards")
    return plan


def _check_form(draft: Draft, parsed: Parsed, verb: str, table: str) -> None:
    """Raises Refusal for what only the client's own connection, or one statement alone, could answer."""
    if parsed.tree.args.get("returning") is not None:
        raise refusal("LOOKUP_FORM", verb, table, "RETURNING gives rows before the lookups are in step")
    if draft.pins or draft.last_insert_id or draft.connection:
        raise refusal("LOOKUP_FORM", verb, table, "it uses what is kept on one connection")


def _assigned(parsed: Parsed, targets: Sequence[Relation]) -> set[str] | None:
    """The columns that an UPDATE assigns, in lower case; None for DELETE."""
    if not isinstance(parsed.tree, exp.Update):
        return None
    query = parsed.query
    assert query is not None
    found: set[str] = set()
    for assignment in parsed.tree.expressions:
        if assigned(query, assignment) in (None, *targets):
            found.add(assignment.this.name.lower())
    return found


def _watched(request: Request, table: Table) -> set[str]:
    """The columns whose change concerns a lookup: as far as is known, the values and the keys."""
    schema = request.context.schemas.get(table.keyspace)
    live = schema.table(table.name) if schema is not None else None
    primary = next((key.columns for key in live.unique_keys if key.primary), ()) if live is not None else ()
    return {name.lower() for name in (*table.columns, *primary, *(one.column for one in table.lookups))}


def _in_condition(parsed: Parsed, name: str) -> bool:
    where = parsed.tree.args.get("where")
    return where is not None and name in where.sql().upper()


def _condition(tokens: Sequence[Token]) -> tuple[int, int] | None:
    """The tokens of the outermost WHERE clause, without the word."""
    depth, first = 0, -1
    for index, token in enumerate(tokens):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and first < 0 and token.upper == "WHERE":
            first = index + 1
        elif depth == 0 and first >= 0 and token.upper in _BEHIND_WHERE:
            return first, index
    return (first, len(tokens)) if first >= 0 else None


def row_keys(
    owner: Owner, placement: Placement, names: Sequence[str], values: Sequence[exp.Expr], rows_slot: int | None,
    verb: str,
) -> Key:  # fmt: skip
    """The literals or parameters that a row has as its keys. Raises Refusal."""
    refs = []
    for column in owner.keys:
        at = names.index(column.name.lower()) if column.name.lower() in names else -1
        ref = _literal(placement, values[at]) if at >= 0 else None
        if ref is None:
            what = "an expression" if at >= 0 else "left out"
            raise refusal("LOOKUP_FORM", verb, owner.table.name, f"key column {column.name} is {what}")
        refs.append(key_ref(ref if rows_slot is None else Ref(rows_slot, at), column.key))
    return tuple(refs)


def _literal(placement: Placement, value: exp.Expr) -> Ref | None:
    while isinstance(value, exp.Paren):
        value = value.this
    ref = placement.finder.ref(value)
    return ref if ref is not None and ref.item is None else None
