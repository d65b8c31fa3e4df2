"""The verdict: for every use of every column of a statement's tables, what the policy says of it on one shard.

The answer for a shard is a `Decision`: rulings by column, the leaves that stand for tables, the least counts of
aggregates; or a Refusal. Rows whose very existence is refused make it `Hidden`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from router.catalogue import Entry
from router.errors import Refusal, refusal
from router.policy.constraints import READS, Constraints, is_open, key_columns
from router.policy.homes import homes
from router.policy.lineage import Lineage, Source, Write
from router.policy.model import Action, FlowKind, Operation, Policy, Subject, Verdict
from router.policy.verdict import join_all
from router.relations import Query, Relation, resolve
from router.schema import LiveColumn, LiveTable, UniqueKey
from router.template import slot_of
from router.topology import Shard

PLAIN_PARTS = frozenset({"this", "db", "alias", "joins", "hints", "partition"})
"""What may be said of a mention of a table."""
PERSON = "__fl_person"
RESERVED = "__fl_"


class Hidden(Refusal):
    """No use of any row of this home is allowed."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What was decided about one column of one mention; column '' is the fact that a row is there."""

    relation: Relation
    column: str
    flows: frozenset[FlowKind]
    operation: Operation
    homes: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Leaf:
    """What stands for a mention of a table: its columns (name, mask or None for in clear), in order; `ignored`:
    indexes whose order would tell of other columns; `person`: the column that is counted by, under a name of ours."""

    relation: Relation
    columns: tuple[tuple[str, str | None], ...]
    ignored: tuple[str, ...]
    person: str | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """Groups of a query's rows that are about fewer than `k` persons do not leave. `column` None: rows at all."""

    relation: Relation
    column: str | None
    k: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What one shard is sent: the statement as it is where there is neither a leaf nor a count."""

    rulings: tuple[Ruling, ...] = ()
    leaves: tuple[Leaf, ...] = ()
    counts: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges one statement of one subject. `names`: all in the text, in lower case."""

    policy: Policy
    subject: Subject
    lineage: Lineage
    names: frozenset[str]
    constraints: Constraints

    def on(self, shard: Shard) -> Decision:
        """Raises Refusal, and Hidden for a home whose rows do not exist for the subject."""
        rulings: list[Ruling] = []
        leaves: list[Leaf] = []
        counts: list[Count] = []
        flows = self.lineage.flows()
        for relation in self.lineage.mentions:
            ours = homes(self.policy, relation, shard)
            if relation in self.lineage.targets:
                rulings += self._target(relation, ours, flows[relation])
                self.constraints.check(relation, _followed(relation), shard)
            elif not self._free(relation, ours):
                found = self._mention(relation, ours, flows[relation])
                rulings += found
                leaf = self._leaf(relation, ours, found, shard.flavour.value)
                leaves += [leaf] if leaf is not None else []
                counts += self._counts(relation, found)
        if leaves and self.lineage.targets and self.lineage.rewrites:
            raise refusal("POLICY_FORM", "it changes rows by what is masked")
        self._check_counts(counts)
        return Decision(tuple(rulings), tuple(leaves), tuple(counts))

    # --- a table that is read -------------------------------------------------------------------------------

    def _free(self, relation: Relation, ours: tuple[str, ...]) -> bool:
        """Is nothing to be done about any use of any column, from these homes?"""
        return all(verdict.free for verdict in self._all_uses(relation, ours))

    def _clear(self, relation: Relation, ours: tuple[str, ...]) -> bool:
        """Is every use of every column allowed, if with obligations?"""
        return all(verdict.action is Action.ALLOW for verdict in self._all_uses(relation, ours))

    def _all_uses(self, relation: Relation, ours: tuple[str, ...]) -> Iterator[Verdict]:
        database, table = relation.keyspace or "", relation.table or ""
        if relation.live is None:
            yield from (self._exists_in(self.policy.top_of(database, table), ours, flow) for flow in FlowKind)
            return
        yield self._exists(relation, ours, FlowKind.INFLUENCE)
        for column in relation.live.columns:
            yield from (self._verdict(relation, column.name, ours, flow) for flow in (*READS, FlowKind.AGGREGATE))

    def _mention(self, relation: Relation, ours: tuple[str, ...], uses: dict[str, set[FlowKind]]) -> list[Ruling]:
        live = _followed(relation)
        flow = FlowKind.AGGREGATE if relation in self.lineage.counted else FlowKind.INFLUENCE
        exists = self._visible(relation, live, ours, flow)
        found = [Ruling(relation, "", frozenset({flow}), "read", ours, exists)]
        for column, flows in uses.items():
            verdict = join_all(self._verdict(relation, column, ours, flow) for flow in sorted(flows))
            self._admit(relation, column, flows, verdict, ours)
            found.append(Ruling(relation, column, frozenset(flows), "read", ours, verdict))
        return found

    def _visible(self, relation: Relation, live: LiveTable, ours: tuple[str, ...], flow: FlowKind) -> Verdict:
        """May it be known that a row is there? Where a column of it may be shown, its row shows with it."""
        verdicts = [self._exists(relation, ours, flow)]
        verdicts += (self._verdict(relation, column.name, ours, FlowKind.IDENTITY) for column in live.columns)
        least = min(verdicts, key=lambda one: one.action)
        if least.action >= Action.SEND_HOME:
            raise Hidden(*_denied(self.subject, relation, "", verdicts[0], ours))
        if least.action is Action.AGGREGATE and relation not in self.lineage.counted:
            raise Refusal(*_denied(self.subject, relation, "", least, ours))
        return least

    def _admit(
        self, relation: Relation, column: str, flows: set[FlowKind], verdict: Verdict, ours: tuple[str, ...]
    ) -> None:
        if verdict.action is Action.AGGREGATE and flows == {FlowKind.AGGREGATE}:
            return
        if verdict.action in (Action.ALLOW, Action.MASK, Action.TOKENISE):
            return
        raise Refusal(*_denied(self.subject, relation, column, verdict, ours))

    def _verdict(
        self, relation: Relation, column: str, ours: tuple[str, ...], flow: FlowKind, operation: Operation = "read"
    ) -> Verdict:
        database, table = relation.keyspace or "", relation.table or ""
        return join_all(
            self.policy.decide_column(database, table, column, home, self.subject, operation, flow) for home in ours
        )

    def _exists(self, relation: Relation, ours: tuple[str, ...], flow: FlowKind) -> Verdict:
        return self._exists_in(self.policy.class_of_table(relation.keyspace or "", relation.table or ""), ours, flow)

    def _exists_in(self, cls: int, ours: tuple[str, ...], flow: FlowKind) -> Verdict:
        return join_all(self.policy.decide(cls, home, self.subject, "read", flow) for home in ours)

    # --- leaves ---------------------------------------------------------------------------------------------

    def _leaf(self, relation: Relation, ours: tuple[str, ...], rulings: list[Ruling], flavour: str) -> Leaf | None:
        """None when the table can be read as it is: one row by its key, and allowed columns only."""
        if self._clear(relation, ours):
            return None
        live = _followed(relation)
        verdicts = {one.column: one.verdict for one in rulings if one.column}
        closed = {column.name.lower() for column in live.columns if not self._open(relation, column.name, ours)}
        if self._as_it_is(relation, live, verdicts, closed):
            return None
        columns: list[tuple[str, str | None]] = []
        for column in live.columns:
            found = self._column(relation, column, verdicts.get(column.name.lower()), ours, flavour)
            columns += [found] if found is not None else []
        ignored = tuple(name for name, parts in _indexes(live) if not closed.isdisjoint(parts))
        if not _lies_open(live, ignored) or not closed.isdisjoint(live.partitioned_by):
            raise refusal("POLICY_FORM", f"rows of {relation.table} lie in the order of a protected column")
        return Leaf(relation, tuple(columns), ignored, person_of(self.policy, relation))

    def _open(self, relation: Relation, column: str, ours: tuple[str, ...]) -> bool:
        return is_open(self.policy, self.subject, relation, column, ours)

    def _column(
        self, relation: Relation, column: LiveColumn, used: Verdict | None, ours: tuple[str, ...], flavour: str
    ) -> tuple[str, str | None] | None:
        """A column of the leaf: in clear, masked, or (None) left out."""
        verdict = used
        if verdict is None:
            verdict = join_all(self._verdict(relation, column.name, ours, flow) for flow in READS)
        if verdict.action is Action.ALLOW or (verdict.action is Action.AGGREGATE and used is not None):
            return column.name, None
        if verdict.action in (Action.MASK, Action.TOKENISE) and verdict.mask is not None:
            mask = self.policy.mask_sql(verdict.mask, _quoted(column.name), column, flavour)
            if mask is not None:
                return column.name, mask
        if used is not None:
            reason = f"mask {verdict.mask} does not apply to its type"
            raise refusal("POLICY_REFUSED", _name(relation, column.name), self._whom(), _rules(verdict), reason)
        return None

    def _whom(self) -> str:
        return self.subject.domain or "an unknown domain"

    def _as_it_is(self, relation: Relation, live: LiveTable, verdicts: dict[str, Verdict], closed: set[str]) -> bool:
        if any(verdict.action is not Action.ALLOW for verdict in verdicts.values()):
            return False
        # The checker resolves no names: one that could be a closed column must find a leaf.
        if not closed.isdisjoint(self.names) or not _is_plain(relation):
            return False
        return _is_one_row(relation, live, closed)

    # --- aggregates -----------------------------------------------------------------------------------------

    def _counts(self, relation: Relation, rulings: list[Ruling]) -> Iterator[Count]:
        for one in rulings:
            if one.verdict.action is Action.AGGREGATE:
                yield Count(relation, one.column or None, one.verdict.k)

    def _check_counts(self, counts: list[Count]) -> None:
        """Raises Refusal where a least count could not be taken exactly."""
        for one in counts:
            tree = one.relation.query.tree
            if not isinstance(tree, exp.Select) or len(one.relation.query.relations) != 1:
                raise refusal("POLICY_FORM", "persons cannot be counted over a join")
            group = tree.args.get("group")
            if group is not None and any(group.args.get(name) for name in ("rollup", "cube", "grouping_sets")):
                raise refusal("POLICY_FORM", "WITH ROLLUP would tell of the groups that are left out")
            if tree.find(exp.Window) is not None:
                raise refusal("POLICY_FORM", "windows over groups that are left out")

    # --- a table that is written ----------------------------------------------------------------------------

    def _target(self, relation: Relation, ours: tuple[str, ...], uses: dict[str, set[FlowKind]]) -> list[Ruling]:
        found: list[Ruling] = []
        writes = [one for one in self.lineage.writes if one.relation is relation]
        cls = self.policy.class_of_table(relation.keyspace or "", relation.table or "")
        row = join_all(self.policy.decide(cls, home, self.subject, "write", FlowKind.WRITE) for home in ours)
        if not writes:
            self._allow(relation, "", row, ours)
        found.append(Ruling(relation, "", frozenset({FlowKind.WRITE}), "write", ours, row))
        for column in dict.fromkeys(write.column for write in writes):
            verdict = self._verdict(relation, column, ours, FlowKind.WRITE, "write")
            self._allow(relation, column, verdict, ours)
            found.append(Ruling(relation, column, frozenset({FlowKind.WRITE}), "write", ours, verdict))
            if self.lineage.rewrites:
                uses = {**uses, column: uses.get(column, set()) | {FlowKind.INFLUENCE}}
        for column, flows in uses.items():
            # Affected rows tell whether the old value was another one.
            verdict = join_all(self._verdict(relation, column, ours, flow) for flow in sorted(flows))
            self._allow(relation, column, verdict, ours, sent_home=flows <= {FlowKind.INFLUENCE})
            found.append(Ruling(relation, column, frozenset(flows), "read", ours, verdict))
        return found

    def _allow(
        self, relation: Relation, column: str, verdict: Verdict, ours: tuple[str, ...], *, sent_home: bool = True
    ) -> None:
        """A target cannot be a leaf: what is written or looked at there is allowed, or carried out at home."""
        if verdict.action is Action.ALLOW or (sent_home and verdict.action is Action.SEND_HOME):
            return
        raise Refusal(*_denied(self.subject, relation, column, verdict, ours))


# --- what flows into written columns ----------------------------------------------------------------------------


def check_writes(policy: Policy, lineage: Lineage, masked: frozenset[tuple[Relation, str]]) -> None:
    """Whoever asks: what is written must not end up in a column of a lower class. Raises Refusal."""
    for write in lineage.writes:
        for source in write.sources:
            if (source.relation, source.column) not in masked:
                _check_write(policy, write, source)


def _check_write(policy: Policy, write: Write, source: Source) -> None:
    low = policy.class_of(source.relation.keyspace or "", source.relation.table or "", source.column)
    high = policy.class_of(write.relation.keyspace or "", write.relation.table or "", write.column)
    if not policy.dominates(high, low):
        raise refusal(
            "POLICY_FLOW", _name(source.relation, source.column), policy.class_name(low),
            _name(write.relation, write.column), policy.class_name(high),
        )  # fmt: skip


# --- small parts ------------------------------------------------------------------------------------------------


def _followed(relation: Relation) -> LiveTable:
    """Raises Refusal for what has no columns to decide about, and for a view, whose own text is not followed."""
    if relation.live is None:
        raise refusal("POLICY_OPAQUE", f"{relation.keyspace}.{relation.table}", "its columns are not known")
    if relation.live.kind == "view":
        raise refusal("POLICY_OPAQUE", f"view {relation.keyspace}.{relation.table}", "what it reads is not followed")
    return relation.live


def _denied(
    subject: Subject, relation: Relation, column: str, verdict: Verdict, ours: tuple[str, ...]
) -> tuple[Entry, tuple[str, ...]]:
    what = _name(relation, column)
    if verdict.action is Action.SEND_HOME:
        made = refusal("POLICY_HOME", what, " or ".join(ours), _rules(verdict))
    else:
        whom = subject.domain or "an unknown domain"
        made = refusal("POLICY_REFUSED", what, whom, _rules(verdict), verdict.reason or "it may not leave")
    return made.entry, made.filling


def _name(relation: Relation, column: str) -> str:
    table = f"{relation.keyspace}.{relation.table}"
    return f"{table}.{column}" if column else f"rows of {table}"


def _rules(verdict: Verdict) -> str:
    return ", ".join(verdict.rules) or "default"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _indexes(live: LiveTable) -> Iterator[tuple[str, set[str]]]:
    """Every index with its columns. One over an expression counts as over every column."""
    for key in live.unique_keys:
        yield key.name, {column.lower() for column in key_columns(key, live)}
    if live.indexes is None:
        raise refusal("POLICY_OPAQUE", f"table {live.name}", "its indexes are not known yet")
    for index in live.indexes:
        known = "" not in index.columns
        yield index.name, {name.lower() for name in (index.columns if known else _names(live))}


def _lies_open(live: LiveTable, ignored: tuple[str, ...]) -> bool:
    """Are rows stored in an order that may be seen: by the primary key, else by a unique key without NULL, if any?"""
    if any(key.primary for key in live.unique_keys):
        return "PRIMARY" not in ignored
    return not any(key.name in ignored and _is_total(key, live) for key in live.unique_keys)


def _is_total(key: UniqueKey, live: LiveTable) -> bool:
    return not any(column is None or column.nullable for column in map(live.column, key.columns))


def _names(live: LiveTable) -> list[str]:
    return [column.name for column in live.columns]


def person_of(policy: Policy, relation: Relation) -> str | None:
    """Without a label: one row is one person, told apart by a primary key of one column."""
    labelled = policy.person_of(relation.keyspace or "", relation.table or "")
    if labelled is not None or relation.live is None:
        return labelled
    primary = next((key for key in relation.live.unique_keys if key.primary), None)
    return primary.columns[0] if primary is not None and len(primary.columns) == 1 and primary.exact else None


def _is_plain(relation: Relation) -> bool:
    """Is the table as it is now meant, not its history?"""
    node = relation.node
    return node is not None and not {name for name, value in node.args.items() if value} - PLAIN_PARTS


def _is_one_row(relation: Relation, live: LiveTable, closed: set[str]) -> bool:
    """Do the conditions fix a unique key of open columns, so that no order of rows can tell anything?"""
    fixed = {name for condition in relation.query.filters if (name := _fixed(relation.query, condition, relation))}
    fixed -= closed
    for key in live.unique_keys:
        # A text compared with a number equals many; an integer equals one whatever it is compared with.
        integers = all(column is not None and column.data_type in _INTEGERS for column in map(live.column, key.columns))
        if key.exact and integers and {column.lower() for column in key.columns} <= fixed:
            return True
    return False


_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "integer", "bigint"})


def _fixed(query: Query, condition: exp.Expr, relation: Relation) -> str | None:
    """The column of `relation` that the condition equates with one literal or parameter."""
    if not isinstance(condition, exp.EQ):
        return None
    for one, other in ((condition.this, condition.expression), (condition.expression, condition.this)):
        value = other.this if isinstance(other, exp.Neg) else other
        if isinstance(one, exp.Column) and slot_of(value) is not None:
            found = resolve(query, one)
            if found is not None and found[0] is relation:
                return found[1]
    return None
