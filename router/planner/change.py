"""UPDATE and DELETE."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from config.words import MultiShardWrites, Verb
from router.errors import Refusal, refusal
from router.plan import Chosen, Key, MultiWrite, OneShard, Otherwise, Plan, Planned, Refuse
from router.planner import choosing, looked_up, moving
from router.planner.insert import reference_write
from router.planner.parsed import Parsed, describe, home, read, reads
from router.planner.placement import (
    Placement,
    by_key,
    check_vindexes,
    guard,
    place,
    whole_tables,
)
from router.planner.pulling import pull_out
from router.planner.request import Draft, Request
from router.planner.select import shape_problem
from router.planner.volatile import Volatile, volatile
from router.schema import holds_key
from router.template import NotUnderstood
from router.topology import Keyspace, TableKind


def plan(request: Request) -> Planned:
    parsed = read(request)
    if not isinstance(parsed.tree, exp.Update | exp.Delete):
        raise NotUnderstood("a change of this form")
    update = isinstance(parsed.tree, exp.Update)
    draft = Draft(request, "update" if update else "delete", writes=True)
    describe(request, parsed, draft)
    _use(draft, parsed, Verb.UPDATE if update else Verb.DELETE)
    keyspace = home(request, parsed)
    if keyspace is None:
        raise NotUnderstood("a change of no table")
    if keyspace.unsharded:
        draft.because("the keyspace is unsharded")
        return draft.done(OneShard(keyspace.shards[0].name))
    return draft.done(_looked_after(request, keyspace, parsed, draft))


def _looked_after(request: Request, keyspace: Keyspace, parsed: Parsed, draft: Draft) -> Plan:
    guard(request, keyspace, parsed)
    placement = place(request, keyspace, parsed)
    plan = _sharded(request, keyspace, parsed, placement, draft)
    return looked_up.of_change(request, parsed, placement, draft, plan)


def _use(draft: Draft, parsed: Parsed, verb: Verb) -> None:
    """Reading a column takes SELECT, as in MySQL: a condition on it can tell its values."""
    reads(draft, parsed.sources)
    tree = parsed.tree
    values = [one.expression for one in tree.expressions] if isinstance(tree, exp.Update) else []
    looked_at = tree.args.get("where") is not None or any(
        node.find(exp.Column) is not None for node in values if isinstance(node, exp.Expr)
    )
    verbs = (verb, Verb.SELECT) if looked_at or tree.args.get("returning") is not None else (verb,)
    for target in parsed.targets:
        if target.keyspace is None or target.table is None:
            raise NotUnderstood("a change of something that is not a table")
        draft.use(target.keyspace, target.table, "write", *verbs)


def _sharded(
    request: Request, keyspace: Keyspace, parsed: Parsed, placement: Placement, draft: Draft
) -> Plan:
    kinds = {target.declared.kind for target in parsed.targets if target.declared is not None}
    changes = moving.changed_keys(parsed)
    hinted = request.hinted_shard(keyspace)
    if hinted is not None:
        if changes:
            raise moving.refused(changes[0])
        draft.because("a hint names the shard")
        return OneShard(hinted)
    if TableKind.REFERENCE in kinds:
        return reference_write(request, parsed, placement, draft)
    if placement.pinned:
        return whole_tables(request, placement)
    _check_ignore(parsed)
    try:
        return _placed(request, parsed, placement, draft, changes)
    except Refusal as problem:
        atomic = placement.keyspace.multi_shard_writes is MultiShardWrites.ATOMIC
        pulled = pull_out(request, parsed, placement, problem) if atomic else None
        if pulled is None:
            raise
        draft.because("subqueries run first in the same transaction, and their values stand in for them")
        return pulled


def _placed(
    request: Request, parsed: Parsed, placement: Placement, draft: Draft, changes: Sequence[moving.Change]
) -> Plan:
    """Raises Refusal."""
    check_vindexes(placement)
    if changes:
        return moving.plan(request, parsed, placement, draft, changes, _volatile(request, parsed))
    keys = None if placement.unpinned else placement.all_keys()
    otherwise = _several(request, parsed, placement, draft, keys)
    if keys is None:
        if isinstance(otherwise, Refuse):
            raise refusal(otherwise.entry, *otherwise.args)
        draft.because("the shard key is not fixed, and the keyspace allows writes to several shards")
        assert isinstance(otherwise, MultiWrite | Chosen)
        return otherwise
    return by_key(placement, draft, keys, otherwise)


# --- several shards ------------------------------------------------------------------------------------


def _several(
    request: Request, parsed: Parsed, placement: Placement, draft: Draft, keys: tuple[Key, ...] | None
) -> Otherwise:
    problem = _problem(request, parsed, placement, draft)
    if problem is not None:
        return Refuse(problem.entry.name, problem.filling)
    vindex = placement.vindex.name if keys is not None else None
    clock = _volatile(request, parsed).clock
    if parsed.tree.args.get("limit"):
        try:
            return choosing.plan(request, parsed, placement, draft, keys, clock=clock)
        except Refusal as reason:
            return Refuse(reason.entry.name, reason.filling)
    return MultiWrite(placement.keyspace.name, placement.shards, vindex, keys, clock=clock)


def _volatile(request: Request, parsed: Parsed) -> Volatile:
    found = Volatile()
    for target in parsed.targets:
        found |= volatile(request, parsed, target, None, copies=False)
    return found


def _problem(request: Request, parsed: Parsed, placement: Placement, draft: Draft) -> Refusal | None:
    verb, tree = draft.verb.upper(), parsed.tree
    if len(parsed.tables()) > 1 and (problem := _apart(parsed, placement, verb)) is not None:
        return problem
    if placement.keyspace.multi_shard_writes is MultiShardWrites.REFUSE:
        return refusal("MULTI_SHARD_WRITE", verb)
    if tree.args.get("returning") is not None:
        return refusal("RETURNING_SCATTER", verb)
    return _volatile(request, parsed).problem


def _apart(parsed: Parsed, placement: Placement, verb: str) -> Refusal | None:
    """Why several tables cannot be changed, or looked at, by each shard for its own rows."""
    kinds = {target.declared.kind for target in parsed.targets if target.declared is not None}
    if parsed.query is None or kinds != {TableKind.SHARDED}:
        return refusal("MULTI_TABLE_WRITE", verb, "one of the tables that are changed is not sharded")
    problem = shape_problem(parsed.query, placement)
    return refusal("MULTI_TABLE_WRITE", verb, f"{problem.entry.id} {problem.entry.name}") if problem else None


def _check_ignore(parsed: Parsed) -> None:
    """UPDATE IGNORE skips rows that conflict, which another shard might hold. Raises Refusal."""
    if "IGNORE" not in parsed.template.modifiers:
        return
    for assignment in parsed.tree.expressions if isinstance(parsed.tree, exp.Update) else ():
        name = assignment.this.name.lower()
        for target in parsed.targets:
            for key in target.live.unique_keys if target.live else ():
                in_key = name in {column.lower() for column in key.columns}
                if in_key and target.declared is not None and not holds_key(key, target.declared):
                    raise refusal("UNIQUE_WITHOUT_KEY", "UPDATE IGNORE", target.table or "", key.name)
