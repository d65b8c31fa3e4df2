"""Leaf substitution: a mention of a table becomes a derived table that gives only what may leave, as splices.

    FROM customers c USE INDEX (a) … FOR UPDATE
    FROM (SELECT `id`, <mask> AS `email` FROM customers USE INDEX (a) IGNORE INDEX (`email`) FOR UPDATE) c … FOR UPDATE

No clause of the statement can reach a clear value then. A lock clause outside of a derived table locks nothing in
it, so it is repeated inside. Least counts become a condition of the query's HAVING.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlglot import exp

from router.errors import refusal
from router.planner.parsed import Parsed
from router.policy.decide import PERSON, PLAIN_PARTS, Count, Decision, Leaf
from router.policy.splices import Splice
from router.relations import Relation
from router.tokens import Token, closings, quoted

_ENDS_HAVING = frozenset(
    {"ORDER", "LIMIT", "FOR", "LOCK", "UNION", "EXCEPT", "INTERSECT", "INTO", "PROCEDURE", "WINDOW"}
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mention stands among the tokens: its name with database and partition [start, end), its index hints
    [hints, hints_end), whether an alias is written."""

    start: int
    end: int
    aliased: bool
    hints: int
    hints_end: int


def splices(parsed: Parsed, tokens: Sequence[Token], places: dict[int, int], decision: Decision) -> list[Splice]:
    """Raises Refusal for a form that leaves cannot stand in."""
    closing = closings(tokens)
    counted = {one.relation for one in decision.counts}
    found: list[Splice] = []
    for leaf in decision.leaves:
        place = _place(leaf.relation, tokens, places, closing)
        found += _leaf(leaf, place, tokens, counted=leaf.relation in counted)
    for relation in {one.relation: None for one in decision.counts}:
        counts = [one for one in decision.counts if one.relation is relation]
        found += _having(relation, counts, tokens, places)
    if found:
        _check_locks(parsed, tokens)
    return found


# --- leaves -----------------------------------------------------------------------------------------------------


def _leaf(leaf: Leaf, place: Place, tokens: Sequence[Token], *, counted: bool) -> Iterator[Splice]:
    relation = leaf.relation
    columns = [name if mask is None else f"{mask} AS {name}" for name, mask in _columns(leaf)]
    if counted:
        if leaf.person is None:
            raise refusal("POLICY_FORM", f"table {relation.table} does not say which column tells persons apart")
        columns.append(f"{quoted(leaf.person)} AS {PERSON}")
    if not columns:
        raise refusal("POLICY_FORM", f"no column of {relation.table} may be read")
    yield Splice(place.start, "before", f"(SELECT {', '.join(columns)} FROM")
    tail = [" ".join(token.text for token in tokens[place.hints : place.hints_end])]
    if leaf.ignored:
        tail.append(f"IGNORE INDEX ({', '.join(quoted(name) for name in leaf.ignored)})")
        _check_hints(leaf, tokens[place.hints : place.hints_end])
    tail += [_lock(relation), ")" if place.aliased else f") AS {quoted(relation.alias)}"]
    yield Splice(place.end - 1, "after", " ".join(filter(None, tail)))
    yield from (Splice(index, "drop") for index in range(place.hints, place.hints_end))


def _columns(leaf: Leaf) -> Iterator[tuple[str, str | None]]:
    yield from ((quoted(name), mask) for name, mask in leaf.columns)


def _check_hints(leaf: Leaf, hints: Sequence[Token]) -> None:
    """Raises Refusal when the client's hint asks for an index whose order tells of protected values."""
    named = {token.name.lower() for token in hints if token.is_name}
    if not named.isdisjoint(name.lower() for name in leaf.ignored):
        raise refusal("POLICY_BETRAYS", "an index hint")


def _place(relation: Relation, tokens: Sequence[Token], places: dict[int, int], closing: dict[int, int]) -> Place:
    """Raises Refusal for a mention in a form that is not known to the last word."""
    node = relation.node
    if node is None or {name for name, value in node.args.items() if value} - PLAIN_PARTS:
        raise refusal("POLICY_FORM", f"table {relation.table} is named in an unusual way")
    at = token_of(node.this, places)
    first = node.args.get("db")
    start = token_of(first, places) if first is not None else at
    if start != (at - 2 if first is not None else at) or tokens[at].name.lower() != node.name.lower():
        raise refusal("POLICY_FORM", f"table {relation.table} is not where it is read")
    end = at + 1
    if _word(tokens, end) == "PARTITION" and node.args.get("partition"):
        end = closing[end + 1] + 1
    after = end
    aliased = node.args.get("alias") is not None
    if aliased:
        after += 2 if _word(tokens, end) == "AS" else 1
    hints = _hints(tokens, after, closing) if node.args.get("hints") else after
    return Place(start, end, aliased, after, hints)


def token_of(node: exp.Expr, places: dict[int, int]) -> int:
    """The index of the token that an identifier was read from. Raises Refusal."""
    found = places.get(node.meta.get("start", -1))
    if found is None:
        raise refusal("POLICY_FORM", "a name whose place in the text is not known")
    return found


def _word(tokens: Sequence[Token], index: int) -> str:
    return tokens[index].upper if index < len(tokens) else ""


def _hints(tokens: Sequence[Token], at: int, closing: dict[int, int]) -> int:
    """Where the index hints end: {USE|FORCE|IGNORE} {INDEX|KEY} [FOR …] (names) [, …]"""
    while _word(tokens, at) in ("USE", "FORCE", "IGNORE") or (
        _word(tokens, at) == "," and _word(tokens, at + 1) in ("USE", "FORCE", "IGNORE")
    ):
        opened = next((index for index in range(at, len(tokens)) if tokens[index].text == "("), None)
        if opened is None or opened not in closing:
            raise refusal("POLICY_FORM", "an index hint in an unusual form")
        at = closing[opened] + 1
    return at


# --- locks ------------------------------------------------------------------------------------------------------


def _lock(relation: Relation) -> str:
    """The lock clause of the mention's query, to be repeated within its leaf."""
    locks = relation.query.tree.args.get("locks") or []
    if not locks:
        return ""
    (lock, *more) = locks
    if more or lock.expressions:
        raise refusal("POLICY_FORM", "FOR UPDATE OF")
    wait = lock.args.get("wait")
    if wait is not None and not isinstance(wait, bool):
        raise refusal("POLICY_FORM", "FOR UPDATE WAIT")
    words = "FOR UPDATE" if lock.args.get("update") else "LOCK IN SHARE MODE"
    return words + ("" if wait is None else " NOWAIT" if wait else " SKIP LOCKED")


def _check_locks(parsed: Parsed, tokens: Sequence[Token]) -> None:
    """Every lock clause of the text was read as one of a query; a lock that is lost would not be noticed."""
    written = sum((one.upper, two.upper) in _LOCKS for one, two in pairwise(tokens))
    read = sum(len(query.tree.args.get("locks") or []) for query in parsed.queries())
    if written != read:
        raise refusal("POLICY_FORM", "a lock clause in an unusual place")


_LOCKS = frozenset({("FOR", "UPDATE"), ("FOR", "SHARE"), ("LOCK", "IN")})

# --- least counts -----------------------------------------------------------------------------------------------


def _having(
    relation: Relation, counts: Sequence[Count], tokens: Sequence[Token], places: dict[int, int]
) -> Iterator[Splice]:
    assert relation.node is not None
    if relation.node.args.get("hints"):
        raise refusal("POLICY_FORM", "an index hint where persons are counted")
    condition = " AND ".join(_enough(relation, one) for one in counts)
    having, end = _clauses(tokens, token_of(relation.node.this, places))
    if having is None:
        yield Splice(end - 1, "after", f"HAVING {condition}")
    else:
        yield Splice(having, "after", f"{condition} AND (")
        yield Splice(end - 1, "after", ")")


def _enough(relation: Relation, count: Count) -> str:
    """Persons with a value, not rows: a group of many rows without a value says whose the others are."""
    alias = quoted(relation.alias)
    person = f"{alias}.{PERSON}"
    if count.column is not None:
        person = f"IF({alias}.{quoted(count.column)} IS NULL, NULL, {person})"
    return f"COUNT(DISTINCT {person}) >= {count.k}"


def _clauses(tokens: Sequence[Token], at: int) -> tuple[int | None, int]:
    """-> (the HAVING of the query whose FROM names token `at`, where it or its place ends)"""
    depth = 0
    having: int | None = None
    for index in range(at, len(tokens)):
        token = tokens[index]
        depth += (token.text == "(") - (token.text == ")")
        if depth < 0 or (depth == 0 and token.upper in _ENDS_HAVING):
            return having, index
        if depth == 0 and token.upper == "HAVING":
            having = index
    return having, len(tokens)
