"""Which tables a residual needs only some rows of: those that `b.id = p.other` finds for the rows of another one.

Only between whole numbers, where every server and type agrees about what is equal, and only where one condition of the
statement says so of every row that matters. What is loaded first has conditions or keys of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from router.plan import Lookup, OneShard, Pull
from router.planner.placement import columns_of
from router.planner.request import Request
from router.relations import Relation, resolve
from router.schema import LiveColumn

WHOLE = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})


@dataclass(frozen=True, slots=True)
class Mention:
    """One that is pulled. `relation` None: the pull is that of several."""

    pull: Pull
    relation: Relation | None


def in_order(request: Request, mentions: Sequence[Mention]) -> tuple[Pull, ...]:
    """The pulls in an order in which each finds what it looks for loaded before it."""
    done = [one for one in mentions if _is_narrow(one.pull)]
    left = [one for one in mentions if not _is_narrow(one.pull)]
    found = [one.pull for one in done]
    while (step := next(_steps(request, left, done), None)) is not None:
        one, lookup = step
        left.remove(one)
        done.append(one)
        found.append(replace(one.pull, lookup=lookup))
    return (*found, *(one.pull for one in left))


def _is_narrow(pull: Pull) -> bool:
    return bool(pull.conditions) or isinstance(pull.route, OneShard) or pull.route.keys is not None


def _steps(request: Request, left: Sequence[Mention], done: Sequence[Mention]) -> Iterator[tuple[Mention, Lookup]]:
    for one in left:
        if one.relation is None:
            continue
        for column, other, field in _equated(one.relation):
            for number, source in enumerate(done):
                at = _field(source.pull, field)
                if source.relation is other and at is not None and _field(one.pull, column) is not None:
                    yield one, _lookup(request, one.relation, column, number, at)


def _equated(relation: Relation) -> Iterator[tuple[str, Relation, str]]:
    """(its column, another relation of the query, that one's column), of whole numbers."""
    nodes = relation.conditions if relation.nullable else relation.query.filters
    for node in nodes:
        if not isinstance(node, exp.EQ):
            continue
        sides = [resolve(relation.query, side) for side in (node.this, node.expression)]
        for mine, theirs in (sides, sides[::-1]):
            if mine is None or theirs is None or mine[0] is not relation or theirs[0] is relation:
                continue
            if theirs[0].query is relation.query and _is_whole(*mine) and _is_whole(*theirs):
                yield mine[1], theirs[0], theirs[1]


def _is_whole(relation: Relation, name: str) -> bool:
    column: LiveColumn | None = relation.live.column(name) if relation.live is not None else None
    return column is not None and column.data_type.lower() in WHOLE


def _field(pull: Pull, name: str) -> int | None:
    return next((at for at, column in enumerate(pull.columns) if column.name.lower() == name), None)


def _lookup(request: Request, relation: Relation, column: str, source: int, field: int) -> Lookup:
    """With the sharding function, where the column is the whole shard key."""
    declared = relation.declared
    if declared is None or declared.vindex is None or [one.lower() for one in declared.columns] != [column]:
        return Lookup(column, source, field)
    return Lookup(column, source, field, declared.vindex.name, columns_of(request, relation)[0])
