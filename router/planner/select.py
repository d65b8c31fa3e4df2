"""SELECT and set operations: on an unsharded keyspace as they are; on a sharded one by key, or to all shards
when concatenating their rows is the whole answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from sqlglot import exp

from config.words import Scatter as ScatterPolicy
from router import functions
from router.engine.recipe import Recipe
from router.errors import Refusal, refusal
from router.pinning import connected
from router.plan import AnyShard, Key, OneShard, Plan, Planned, Refuse, Residual, Scatter
from router.planner import metadata, session
from router.planner.aggregates import calls_in
from router.planner.apart import shard_local, windows_apart
from router.planner.looked_up import by_lookup
from router.planner.merging import recipe_of
from router.planner.parsed import Parsed, describe, home, read, reads
from router.planner.placement import Placement, by_key, check_vindexes, guard, many, place, whole_tables
from router.planner.pulling import pull_out
from router.planner.request import Draft, Request
from router.planner.residual import residual_of
from router.planner.unions import union_problem
from router.policy.gathering import computing_problem
from router.relations import SYSTEM, Query, Relation, resolve
from router.template import NotUnderstood
from router.topology import Keyspace


def plan(request: Request) -> Planned:
    known = session.plan(request)
    if known is not None:
        return known
    parsed = read(request)
    draft = Draft(request, "select", reads=True)
    tables = parsed.tables()
    if tables and all(one.keyspace == SYSTEM for one in tables):
        return metadata.plan(request, parsed, draft)
    describe(request, parsed, draft)
    reads(draft, tables)
    keyspace = home(request, parsed)
    if keyspace is None:
        return draft.done(_without_tables(request, parsed, draft))
    if keyspace.unsharded:
        draft.because("the keyspace is unsharded")
        return draft.done(OneShard(keyspace.shards[0].name))
    hinted = request.hinted_shard(keyspace)
    if hinted is not None:
        draft.because("a hint names the shard")
        place(request, keyspace, parsed)
        return draft.done(OneShard(hinted))
    return draft.done(_sharded(request, keyspace, parsed, draft))


def plan_do(request: Request) -> Planned:
    """DO expressions: as SELECT of them, for the route."""
    first = replace(request.tokens[0], text="SELECT", upper="SELECT")
    parsed = read(replace(request, tokens=(first, *request.tokens[1:])))
    draft = Draft(request, "do", local=True)
    describe(request, parsed, draft)
    if parsed.tables():
        raise NotUnderstood("DO with a query")
    return draft.done(_without_tables(request, parsed, draft))


def _without_tables(request: Request, parsed: Parsed, draft: Draft) -> Plan:
    keyspace = request.context.keyspace
    if keyspace is None:
        return AnyShard("", tuple(shard.name for shard in request.context.topology.shards))
    if keyspace.unsharded:
        return OneShard(keyspace.shards[0].name)
    hinted = request.hinted_shard(keyspace)
    if hinted is not None:
        return OneShard(hinted)
    guard(request, keyspace, parsed)
    draft.because("no table is read")
    return AnyShard(keyspace.name, tuple(shard.name for shard in keyspace.shards))


def _sharded(request: Request, keyspace: Keyspace, parsed: Parsed, draft: Draft) -> Plan:
    guard(request, keyspace, parsed)
    placement = place(request, keyspace, parsed)
    try:
        return _placed(request, parsed, placement, draft)
    except Refusal as reason:
        residual = _residual(request, parsed, placement, draft, reason)
        if residual is None:
            raise
        draft.because(f"not by shards alone: {reason.entry.id}")
        draft.because(f"{residual.scratch} finishes it with the rows that it needs in temporary tables")
        return residual


def _placed(request: Request, parsed: Parsed, placement: Placement, draft: Draft) -> Plan:
    keyspace = placement.keyspace
    if placement.pinned:
        draft.because("a pinned table is on its shard")
        return whole_tables(request, placement)
    if not placement.sharded:
        draft.because("reference tables are the same on every shard")
        # Locks on different copies would not meet each other, so locking reads share the first shard's.
        first = OneShard(placement.shards[0])
        return first if draft.locks else AnyShard(keyspace.name, placement.shards)
    try:
        return _over_shards(request, keyspace, parsed, placement, draft)
    except Refusal as problem:
        pulled = pull_out(request, parsed, placement, problem)
        # Values of restricted tables do not go from one shard into the text for others.
        if pulled is None or draft.locks or _restricted(request, parsed):
            raise
        draft.because("subqueries run first, and their values stand in for them")
        return pulled


def _over_shards(
    request: Request, keyspace: Keyspace, parsed: Parsed, placement: Placement, draft: Draft
) -> Plan:
    check_vindexes(placement)
    if placement.unpinned:
        if request.context.bound:
            draft.because("it is one shard's part of a larger statement")
            return Scatter(keyspace.name, placement.shards)
        return _unpinned(request, parsed, placement, draft)
    keys = placement.all_keys()
    return by_key(placement, draft, keys, _otherwise(request, parsed, placement, draft, keys))


def _unpinned(request: Request, parsed: Parsed, placement: Placement, draft: Draft) -> Plan:
    """Where a lookup says, else everywhere. Raises Refusal."""
    if not any(one.declared.lookups for one in placement.unpinned if one.declared is not None):
        return _scattered(request, parsed, placement, draft)
    assert parsed.query is not None
    otherwise: Scatter | Refuse
    try:
        otherwise = _scattered(request, parsed, placement, draft)
    except Refusal as problem:
        if shape_problem(parsed.query, placement) is not None:
            raise
        otherwise = Refuse(problem.entry.name, problem.filling)
        found = by_lookup(request, parsed, placement, draft, otherwise)
        if found is None:
            raise
        return found
    return by_lookup(request, parsed, placement, draft, otherwise) or otherwise


def _scattered(request: Request, parsed: Parsed, placement: Placement, draft: Draft) -> Scatter:
    problem = scatter_problem(request, parsed, placement, draft)
    if problem is not None:
        raise problem
    recipe = recipe_of(request, parsed, placement)
    draft.because(_how(recipe))
    return _computable(request, parsed, Scatter(placement.keyspace.name, placement.shards, merge=recipe))


def _otherwise(
    request: Request, parsed: Parsed, placement: Placement, draft: Draft, keys: tuple[Key, ...]
) -> Scatter | Residual | Refuse:
    """When the keys lead to several shards, or a value does not say which."""
    problem = None if request.context.bound else scatter_problem(request, parsed, placement, draft)
    if problem is None:
        try:
            recipe = None if request.context.bound else recipe_of(request, parsed, placement)
            scatter = Scatter(placement.keyspace.name, placement.shards, placement.vindex.name, keys, recipe)
            return _computable(request, parsed, scatter)
        except Refusal as reason:
            problem = reason
    try:
        residual = _residual(request, parsed, placement, draft, problem)
    except Refusal as reason:
        problem, residual = reason, None
    if residual is not None:
        return residual
    if many(keys):
        draft.because(f"over several shards it is refused: {problem.entry.id}")
    return Refuse(problem.entry.name, problem.filling)


def _restricted(request: Request, parsed: Parsed) -> bool:
    policy = request.context.policy
    return policy is not None and any(policy.restricted(one.keyspace or "", one.table or "") for one in parsed.tables())


def _computable(request: Request, parsed: Parsed, scatter: Scatter) -> Scatter:
    """Raises Refusal where one shard would compute with what the policy has in other domains."""
    policy = request.context.policy
    if policy is not None and _restricted(request, parsed):
        problem = computing_problem(scatter, policy, request.context.topology)
        if problem is not None:
            raise problem
    return scatter


def _residual(
    request: Request, parsed: Parsed, placement: Placement, draft: Draft, problem: Refusal
) -> Residual | None:
    """What a scratch server makes of it. Raises Refusal."""
    residual = residual_of(request, parsed, placement, draft, problem)
    if residual is not None and (refused := _policy_problem(request, placement.keyspace)) is not None:
        raise refused
    return residual


def _how(recipe: Recipe | None) -> str:
    if recipe is None:
        return "no merging is needed: every shard's rows are part of the answer"
    return "the shards' rows are merged into one server's answer"


# --- can the shards' rows be put together? ----------------------------------------------------------


def scatter_problem(request: Request, parsed: Parsed, placement: Placement, draft: Draft) -> Refusal | None:
    """Why the statement cannot go to several shards; None when it can."""
    query = parsed.query
    assert query is not None
    return (
        shape_problem(query, placement)
        or _merging_problem(request, query, placement, draft)
        or _aggregate_problem(request, parsed)
        or unstable_problem(request, parsed)
        or _policy_problem(request, placement.keyspace)
    )


def shape_problem(query: Query, placement: Placement) -> Refusal | None:
    """Why the shards' rows of the query are not, side by side, those of one server."""
    if query.arms:
        return _union_problem(query, placement)
    return (
        next(filter(None, (_part_problem(inner, placement) for inner in query.all() if inner is not query)), None)
        or outer_problem(query, placement)
        or _join_problem(query, placement)
    )


def _union_problem(query: Query, placement: Placement) -> Refusal | None:
    """Arms that each shard can put together for itself, and each of them one whose rows shards can give."""
    problem = union_problem(query, placement)
    anchored = (arm for arm in query.all_arms() if any(one in placement.sharded for one in arm.tables()))
    return problem or next(filter(None, (shape_problem(arm, placement) for arm in anchored)), None)


def _part_problem(query: Query, placement: Placement) -> Refusal | None:
    """A query inside of the statement. One in an expression sees the rows of its own shard only, which is right
    when its tables are co-located with those around it (`_join_problem`); a derived table must be one whose rows
    the shards can give side by side."""
    sharded = [one for one in placement.sharded if one in query.relations]
    if query.derives is not None and not query.simple and not (sharded and shard_local(query, placement.sharded)):
        if sharded:
            return refusal("CROSS_SHARD_SUBQUERY", sharded[0].table or "")
        return refusal("NOT_PINNED", "SELECT", "a derived table that is more than a filter")
    if query.has_limit and not sharded:
        return refusal("NOT_PINNED", "SELECT", "LIMIT in a subquery")
    return None


def outer_problem(query: Query, placement: Placement) -> Refusal | None:
    """An outer join whose preserved side is on every shard would give its unmatched rows once per shard."""
    for outer in (outer for inner in query.all() if inner is query or inner.derives for outer in inner.outer):
        preserved = [one for one in outer.preserved if _is_sharded(one, placement)]
        nullable = [one for one in outer.nullable if _is_sharded(one, placement)]
        if nullable and not preserved:
            return refusal("OUTER_REFERENCE", outer.preserved[0].alias, nullable[0].alias)
    return None


def _is_sharded(relation: Relation, placement: Placement) -> bool:
    """Does each shard hold only a part of its rows? A derived table's FROM clause says so."""
    if relation.body is None:
        return relation in placement.sharded
    return any(_is_sharded(one, placement) for query in relation.body.all_arms() for one in query.relations)


def _join_problem(query: Query, placement: Placement) -> Refusal | None:
    inside = list(query.tables())
    groups = connected([one for one in placement.sharded if one in inside])
    # Rows of reference tables alone would come from every shard, whatever a subquery asks of sharded ones.
    anchored = any(_is_sharded(one, placement) for one in query.relations)
    if len(groups) <= 1 and anchored:
        return None
    # Named by what is easier to mend: a subquery that is not tied to the rest, else two joined tables.
    apart = [one for group in groups for one in group if one.query is not query and not one.query.derives]
    if apart:
        return refusal("CROSS_SHARD_SUBQUERY", apart[0].table or "")
    return refusal("CROSS_SHARD_JOIN", groups[0][0].alias, groups[1][0].alias)


def _locks_alone(request: Request) -> bool:
    """Does it lock for itself? Shared locks meet those who write, whichever copy of a reference table has them."""
    return ("FOR", "UPDATE") in {(one.upper, two.upper) for one, two in pairwise(request.tokens)}


def _merging_problem(request: Request, query: Query, placement: Placement, draft: Draft) -> Refusal | None:
    if not all(windows_apart(one, placement.sharded) for one in (query, *query.arms)):
        return refusal("WINDOW_SCATTER")
    if draft.locks and (query.arms or (placement.reference and _locks_alone(request))):
        return refusal("LOCKING_SCATTER")
    if "found_rows" in draft.pins:
        return refusal("NOT_PINNED", "SELECT", "SQL_CALC_FOUND_ROWS")
    return None


def _aggregate_problem(request: Request, parsed: Parsed) -> Refusal | None:
    """Aggregates that are neither the statement's own nor of a subquery, which is about rows that its shard holds.
    They are counted by their names, so that none escapes for being unknown to the parser."""
    own = list(calls_in(request.tokens, (0, len(request.tokens))))
    names = [call.upper for call in parsed.calls if call.upper in functions.AGGREGATES | functions.WINDOW]
    queries = {id(query.tree): query for query in parsed.queries()}
    inside = [node for node in parsed.tree.find_all(exp.AggFunc) if _of_subquery(node, parsed.tree, queries)]
    if len(names) > len(inside) + len(own):
        return refusal("NOT_PINNED", "SELECT", "an aggregate function")
    return None


def _of_subquery(node: exp.Expr, tree: exp.Expr, queries: dict[int, Query]) -> bool:
    """An aggregate over columns of an outer query is the outer query's, wherever it is written (SQL:2016 6.9)."""
    around = node.parent_select
    query = queries.get(id(around))
    if around is None or around is tree or query is None:
        return False
    columns = (resolve(query, column) for column in node.find_all(exp.Column))
    return all(column is not None and column[0].query is query for column in columns)


def unstable_problem(request: Request, parsed: Parsed) -> Refusal | None:
    """Functions and variables whose value is another one on every shard."""
    if any(token.kind == "user_variable" for token in request.tokens):
        return refusal("SELECT_INTO" if parsed.template.into else "USER_VARIABLE_SCATTER")
    for call in parsed.calls:
        if call.upper in UNSTABLE and not (request.context.timed and call.upper in functions.ONE_TIME):
            return refusal("UNSTABLE_FUNCTION", call.upper)
    if any(token.kind == "system_variable" for token in request.tokens):
        return refusal("UNSTABLE_FUNCTION", "a system variable")
    return None


UNSTABLE = functions.UNSTABLE | functions.CONNECTION | functions.WAITS | (functions.SERVER - {"DATABASE", "SCHEMA"})


def _policy_problem(request: Request, keyspace: Keyspace) -> Refusal | None:
    if request.hints.scatter is True:
        return None
    if request.hints.scatter is False:
        return refusal("SCATTER_REFUSED", "a hint")
    if keyspace.scatter is ScatterPolicy.REFUSE:
        return refusal("SCATTER_REFUSED", f"keyspace {keyspace.name}")
    return None
