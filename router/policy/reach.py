"""What is in reach of a subject but not open to it: which names in a text to look out for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from router.context import Context
from router.policy.model import Policy, Subject
from router.tokens import Token

KEPT = 64


@dataclass(frozen=True, slots=True)
class Reach:
    """`closed`: (keyspace, table) that have something which is not open to the subject. `restricted`: that have
    something of a class. Names in lower case."""

    closed: frozenset[tuple[str, str]]
    restricted: frozenset[tuple[str, str]]

    def names_closed(self, tokens: Iterable[Token]) -> bool:
        """Could the text mean a closed table?"""
        return _names(self.closed, tokens)

    def names_restricted(self, tokens: Iterable[Token]) -> bool:
        return _names(self.restricted, tokens)


def _names(tables: frozenset[tuple[str, str]], tokens: Iterable[Token]) -> bool:
    names = {table for _, table in tables}
    return any(token.is_name and _folded(token.name) in names for token in tokens)


def _folded(name: str) -> str:
    """As a server with lower_case_table_names does, which takes İ for i."""
    return name.lower().replace("i\u0307", "i")


_cache: OrderedDict[tuple[int, ...], tuple[object, Reach]] = OrderedDict()
"""By the identity of what it was made from, which is kept with it."""


def reach(policy: Policy, subject: Subject, context: Context) -> Reach:
    snapshots = tuple(context.schemas.values())
    key = (id(policy), subject.id, id(context.topology), *map(id, snapshots))
    found = _cache.get(key)
    if found is None:
        made = _reach(policy, subject, context)
        found = _cache[key] = ((policy, context.topology, snapshots), made)
        if len(_cache) > KEPT:
            _cache.popitem(last=False)
    return found[1]


def _reach(policy: Policy, subject: Subject, context: Context) -> Reach:
    tables = set(_tables(context))
    closed = {(ks, table.lower()) for ks, table in tables if not policy.open_to(ks, table, subject)}
    if closed:
        # What a view reads is not followed, whatever its own label says.
        closed |= {(name, view.lower()) for name, view in _views(context)}
    restricted = frozenset((ks, table.lower()) for ks, table in tables if policy.restricted(ks, table))
    return Reach(frozenset(closed), restricted)


def _views(context: Context) -> Iterator[tuple[str, str]]:
    for name, snapshot in context.schemas.items():
        yield from ((name, table.name) for table in snapshot.tables.values() if table.kind == "view")


def _tables(context: Context) -> Iterator[tuple[str, str]]:
    """Every table and view that is declared or live."""
    for keyspace in context.topology.keyspaces:
        yield from ((keyspace.name, name) for name in keyspace.tables)
    for name, snapshot in context.schemas.items():
        yield from ((name, table) for table in snapshot.tables)
