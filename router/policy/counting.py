"""How the persons in an answer are counted, where a rule allows it within a budget of exposure.

Who is shown is known in two ways. *By key*: every row that the statement can touch belongs to persons whom its literals
name, because the shard key of each table is its person. *By row*: each row of the answer shows one person of each
table, which the person's column tells where it is in the answer, and is taken for a new one where it is not. What is
neither (aggregates, groups, subqueries) is refused: a single row of it may show everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sqlglot import exp

from router import keys as keytypes
from router.errors import refusal
from router.keys import KeyType, NoMatch, Unpinnable
from router.plan import ByKey, Planned
from router.planner.parsed import Parsed
from router.policy.decide import Decision, Ruling, person_of
from router.policy.lineage import Lineage
from router.policy.model import Action, Duty, FlowKind, Policy
from router.relations import Relation
from router.route import Execution, Undecided, combinations
from router.schema import LiveColumn

_JOINING = ("group", "having", "windows", "distinct", "qualify")
"""Parts of a SELECT by which a row of the answer is about several of the table's."""


class Meter(NamedTuple):
    """What a person is counted against: the budget, the class shown, and its home."""

    budget: str
    data_class: str
    home: str


@dataclass(frozen=True, slots=True)
class Mention:
    """A table whose rows are counted. `column`: of the answer, which tells the person by a whole number."""

    meters: tuple[Meter, ...]
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Counting:
    """`by_key`: the plan's keys are the persons. `not_by_row`: why rows say nothing; empty when they do."""

    mentions: tuple[Mention, ...]
    by_key: bool
    not_by_row: str = ""

    def told(self) -> str:
        """In words, for EXPLAIN ROUTE."""
        if self.by_key:
            return "the persons whom the key names, before it is sent"
        known = all(mention.column is not None for mention in self.mentions)
        return f"the persons {'whom' if known else 'of'} the rows show, {'' if known else 'each a new one, '}row by row"

    @property
    def budgets(self) -> tuple[str, ...]:
        return tuple(sorted({meter.budget for mention in self.mentions for meter in mention.meters}))


def counting(
    policy: Policy, planned: Planned, parsed: Parsed, found: Lineage, decision: Decision
) -> Counting | None:
    """None when no budget has a part in it. Raises Refusal for what cannot be counted."""
    meters: dict[Relation, set[Meter]] = {}
    for ruling in decision.rulings:
        if _shows(ruling) and (owed := set(_meters(policy, ruling))):
            meters.setdefault(ruling.relation, set()).update(owed)
    if not meters:
        return None
    by_key = isinstance(planned.plan, ByKey) and all(_is_keyed(policy, one) for one in meters)
    why = _not_by_row(planned, parsed)
    made = Counting(tuple(_mention(policy, one, meters[one], found, decision) for one in meters), by_key, why)
    if why and not by_key:
        raise refusal("POLICY_UNCOUNTED", ", ".join(made.budgets), why)
    return made


def _shows(ruling: Ruling) -> bool:
    """What is written shows nobody, nor does it that rows are there when only their number is asked for."""
    return ruling.operation != "write" and (ruling.column != "" or ruling.flows != {FlowKind.AGGREGATE})


def _meters(policy: Policy, ruling: Ruling) -> Iterator[Meter]:
    database, table = ruling.relation.keyspace or "", ruling.relation.table or ""
    cls = policy.class_of(database, table, ruling.column) if ruling.column else policy.class_of_table(database, table)
    for duty in ruling.verdict.obligations:
        if duty.duty is Duty.BUDGET:
            yield from (Meter(duty.name, policy.class_name(cls), home) for home in ruling.homes)


def _is_keyed(policy: Policy, relation: Relation) -> bool:
    """Is the table's one shard key column its person, and every value of it a key of its own?"""
    columns = relation.declared.columns if relation.declared is not None else ()
    person = person_of(policy, relation)
    if person is None or relation.live is None or [one.lower() for one in columns] != [person.lower()]:
        return False
    live = relation.live.column(person)
    return live is not None and _key_type(live) in _EXACT


_EXACT = frozenset({KeyType.INT_SIGNED, KeyType.INT_UNSIGNED, KeyType.BYTES, KeyType.BYTES_PAD})
"""Others are folded more coarsely than their collations compare: two persons may have one key."""


def _key_type(column: LiveColumn) -> KeyType | None:
    try:
        return keytypes.key_column_of(column.column_type, column.collation).type
    except keytypes.UnsupportedKey:
        return None


def _not_by_row(planned: Planned, parsed: Parsed) -> str:
    tree, facts = parsed.tree, planned.facts
    if not isinstance(tree, exp.Select) or facts.writes or parsed.template.into:
        return "it is no plain SELECT"
    if facts.pins or facts.needs_connection or facts.needs_last_insert_id:
        return "it is about one connection"
    if len(list(parsed.queries())) > 1:
        return "it has subqueries"
    if any(tree.args.get(part) for part in _JOINING) or any(
        isinstance(node, exp.AggFunc | exp.Window) for node in tree.walk()
    ):
        return "a row of it may be about several persons"
    return ""


def _mention(
    policy: Policy, relation: Relation, meters: Iterable[Meter], found: Lineage, decision: Decision
) -> Mention:
    return Mention(tuple(sorted(meters)), _person_in_answer(policy, relation, found, decision))


def _person_in_answer(policy: Policy, relation: Relation, found: Lineage, decision: Decision) -> int | None:
    """The column of the answer that holds the person as it is, if that is a whole number."""
    person = person_of(policy, relation)
    live = relation.live.column(person) if relation.live is not None and person is not None else None
    if live is None or _key_type(live) not in _WHOLE or not _in_clear(relation, live.name, decision):
        return None
    for at, output in enumerate(found.outputs):
        sources = {(one.relation, one.column, one.flow) for one in output.sources}
        if sources == {(relation, live.name.lower(), FlowKind.IDENTITY)}:
            return at
    return None


def _in_clear(relation: Relation, column: str, decision: Decision) -> bool:
    rulings = [one for one in decision.rulings if one.relation is relation and one.column == column.lower()]
    return all(one.verdict.action is Action.ALLOW for one in rulings)


_WHOLE = frozenset({KeyType.INT_SIGNED, KeyType.INT_UNSIGNED})


# --- at execution -----------------------------------------------------------------------------------------------


def persons_by_key(plan: ByKey, execution: Execution) -> list[bytes] | None:
    """The persons whom this execution names, as they are counted; None when a value does not say who."""
    found: dict[bytes, None] = {}
    try:
        for key in plan.keys:
            for values in combinations(key, execution):
                try:
                    parts = (keytypes.canonical(one, ref.column.type) for one, ref in zip(values, key, strict=True))
                    found[b"".join(parts)] = None
                except NoMatch:
                    continue
    except (Undecided, Unpinnable):
        return None
    return list(found)


def person_of_number(number: int) -> bytes:
    """The same for a whole number out of a row."""
    return number.to_bytes(8, "little", signed=number < 0)
