"""The independent checker: re-validates what would be sent, from its own reading of the outgoing text.

It shares no code with lineage, decision and substitution, resolves no names, and so is stricter than they are: every
mention of a restricted table is either a leaf whose every column is open, masked by exactly the policy's mask or only
counted, or the whole statement names no protected column. It trusts no field of the proof: each is derived again or
compared with the rest. Whatever it does not know it refuses.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from router.policy import outgoing
from router.policy.model import Action, FlowKind, Policy, Subject, Verdict
from router.policy.outgoing import PERSON, no
from router.policy.proof import Finding, Name, Proof
from router.policy.verdict import join_all
from router.schema import LiveColumn, LiveTable, SchemaSnapshot
from router.template import NotUnderstood, parse_text
from router.tokens import tokenize
from router.topology import Shard, TableKind, Topology

OPEN = (FlowKind.IDENTITY, FlowKind.DERIVED, FlowKind.INFLUENCE)
REDUCED = (Action.MASK, Action.TOKENISE)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the checker knows besides the proof: the policy, who asks, the shard, the live schemas."""

    policy: Policy
    subject: Subject
    shard: Shard
    topology: Topology
    schemas: Mapping[str, SchemaSnapshot]
    database: str | None


def check(sent: str, parsed: str, proof: Proof, scene: Scene) -> None:
    """`sent`: the outgoing template; `parsed`: the same for the parser, literals as markers. Raises Refusal."""
    try:
        _Checker(sent, parse_text(parsed), proof, scene).check()
    except (NotUnderstood, AttributeError, KeyError, RecursionError) as problem:
        raise no(f"it is not understood ({type(problem).__name__})") from None


@dataclass(slots=True)
class _Checker:
    sent: str
    tree: exp.Expr
    proof: Proof
    scene: Scene

    def check(self) -> None:
        self._check_head()
        self._check_findings()
        self._check_uses()
        self._check_tables()

    # --- the proof against the policy -----------------------------------------------------------------------

    def _check_head(self) -> None:
        policy, subject, shard, proof = self.scene.policy, self.scene.subject, self.scene.shard, self.proof
        who = (subject.id, subject.domain, subject.purpose, subject.counterparty)
        if (proof.subject, proof.domain, proof.purpose, proof.counterparty) != who:
            raise no("it is another subject's")
        if (proof.epoch, proof.here) != (policy.epoch, policy.domain_of_region(shard.region.name)):
            raise no("it is of another policy or place")
        digest = hashlib.sha256(self.sent.encode("utf-8", "surrogateescape")).hexdigest()
        if (proof.flavour, proof.digest) != (shard.flavour.value, digest):
            raise no("it is about another text")

    def _check_findings(self) -> None:
        groups: dict[tuple[int, Name, str], list[Finding]] = {}
        for one in self.proof.findings:
            groups.setdefault((one.mention, one.name, one.operation), []).append(one)
        for (_, name, _), findings in groups.items():
            if len({one.flow for one in findings}) != len(findings):
                raise no("a use is told twice")
            verdict = self._verdict(findings)
            for one in findings:
                self._check_finding(one, name, verdict)

    def _check_finding(self, one: Finding, name: Name, verdict: Verdict) -> None:
        policy = self.scene.policy
        database, table, column = name
        cls = policy.class_of(database, table, column) if column else policy.class_of_table(database, table)
        duties = tuple(sorted(str(duty) for duty in verdict.obligations))
        told = (one.cls, one.homes, one.action, one.mask, one.k, one.rules, one.obligations)
        if told != (cls, self._homes(name), verdict.action, verdict.mask, verdict.k, verdict.rules, duties):
            raise no("a verdict is not the policy's")
        counted = verdict.action is Action.AGGREGATE and one.flow is FlowKind.AGGREGATE
        at_home = verdict.action is Action.SEND_HOME and isinstance(self.tree, exp.Insert | exp.Update | exp.Delete)
        if verdict.action is not Action.ALLOW and verdict.action not in REDUCED and not counted and not at_home:
            raise no("a verdict does not let it leave")
        if verdict.action in REDUCED and one.operation == "write":
            raise no("what is written cannot be masked")

    def _verdict(self, findings: list[Finding]) -> Verdict:
        database, table, column = findings[0].name
        policy, subject, homes = self.scene.policy, self.scene.subject, self._homes(findings[0].name)
        if column:
            return join_all(
                policy.decide_column(database, table, column, home, subject, one.operation, one.flow)
                for one in findings
                for home in homes
            )
        cls = policy.class_of_table(database, table)
        row = join_all(policy.decide(cls, home, subject, one.operation, one.flow) for one in findings for home in homes)
        if findings[0].operation == "write":
            return row
        shown = (
            self._joined(database, table, other.name, (FlowKind.IDENTITY,))
            for other in self._columns(name=findings[0].name)
        )
        return min((row, *shown), key=lambda verdict: verdict.action)

    def _columns(self, name: Name) -> tuple[LiveColumn, ...]:
        return self._live(name[0], name[1]).columns

    def _live(self, database: str, table: str) -> LiveTable:
        found = self.scene.schemas[database].table(table)
        if found is None or found.kind == "view":
            raise no("a table is not known")
        return found

    def _homes(self, name: Name) -> tuple[str, ...]:
        database, table, _ = name
        keyspace = self.scene.topology.keyspace(database)
        declared = keyspace.table(table) if keyspace is not None else None
        homes = self.scene.policy.homes_of(database, table)
        here = self.scene.policy.domain_of_region(self.scene.shard.region.name)
        copied = declared is not None and declared.kind is TableKind.REFERENCE
        return (here,) if here in homes and not copied else homes or ("",)

    def _joined(self, database: str, table: str, column: str, flows: tuple[FlowKind, ...]) -> Verdict:
        policy, subject = self.scene.policy, self.scene.subject
        return join_all(
            policy.decide_column(database, table, column, home, subject, "read", flow)
            for flow in flows
            for home in self._homes((database, table, column))
        )

    # --- the proof against itself ---------------------------------------------------------------------------

    def _check_uses(self) -> None:
        """Outputs, influence and writes are made of the findings, by mention, and every finding is used there."""
        proof = self.proof
        columns = [one for one in proof.findings if one.name[2]]
        written = {place for place, _ in proof.written}
        used = {use for _, uses in (*proof.outputs, *proof.written) for use in uses}
        looked_at = written if outgoing.rewrites(self.tree, self.sent) else set()
        used |= {(place, FlowKind.INFLUENCE) for place in (*proof.influence, *looked_at)}
        if used != {((one.mention, one.name), one.flow) for one in columns if one.operation == "read"}:
            raise no("its uses are not its findings")
        if written != {(one.mention, one.name) for one in columns if one.operation == "write"}:
            raise no("its writes are not its findings")
        if any((one.operation == "write") != (one.flow is FlowKind.WRITE) for one in proof.findings):
            raise no("a use is of another operation")
        self._check_rows()
        self._check_shape()

    def _check_rows(self) -> None:
        """Of every mention it was decided whether its rows may be known of, in the way that the text shows them."""
        rows = [one for one in self.proof.findings if not one.name[2]]
        mentions = {one.mention: one.name[:2] for one in rows}
        if len(rows) != len(mentions) or any(mentions.get(one.mention) != one.name[:2] for one in self.proof.findings):
            raise no("a table's rows were not decided about")
        told = Counter((one.name[:2], one.flow) for one in rows)
        read = Counter(self._rows())
        if any(read[key] != count for key, count in told.items()):
            raise no("rows are used in another way")

    def _rows(self) -> Iterator[tuple[tuple[str, str], FlowKind]]:
        """Every mention of a base table: written, counted only, or read."""
        written = {id(node) for node in outgoing.targets(self.tree)}
        for table in self.tree.find_all(exp.Table):
            name = self._base(table)
            if name is None:
                continue
            leaf = outgoing.leaf_around(table)
            select = (leaf.parent if leaf is not None and leaf.parent is not None else table).parent_select
            counted = isinstance(select, exp.Select) and outgoing.only_counts(select)
            read = FlowKind.AGGREGATE if counted else FlowKind.INFLUENCE
            yield name, FlowKind.WRITE if id(table) in written else read

    def _check_shape(self) -> None:
        """As many columns come out, and are written, as the text says; labels are its own."""
        outputs = [label for label, _ in self.proof.outputs]
        written = [name[2] for (_, name), _ in self.proof.written]
        told_outputs, told_written = outgoing.outputs_of(self.tree), outgoing.written_by(self.tree)
        if told_outputs is not None and outputs != told_outputs:
            raise no("its outputs are not the text's")
        if told_written is not None and sorted(written) != sorted(told_written):
            raise no("its writes are not the text's")

    # --- the text against the policy ------------------------------------------------------------------------

    def _check_tables(self) -> None:
        ruled = {one.name[:2] for one in self.proof.findings}
        seen: set[tuple[str, str]] = set()
        open_ones: set[tuple[str, str]] = set()
        inside: set[int] = set()
        bare: list[LiveTable] = []
        only_counted: list[tuple[exp.Select, str, int]] = []
        for table in list(self.tree.find_all(exp.Table)):
            name = self._base(table)
            if name is None:
                continue
            if self._is_open(name[0], self._live(*name)):
                open_ones.add(name)
                continue
            self._check_name(table)
            seen.add(name)
            leaf = outgoing.leaf_around(table)
            if leaf is None:
                bare.append(self._live(*name))
            else:
                only_counted += self._check_leaf(leaf, *name)
                inside |= {id(node) for node in leaf.walk()}
        if not seen <= ruled <= seen | open_ones:
            raise no("its tables are not the text's")
        outside = [node for node in self.tree.walk() if id(node) not in inside]
        for live, name in zip(bare, [self._name_of(live, ruled) for live in bare], strict=True):
            self._check_bare(outside, live, name)
        self._check_counted(outside, only_counted)
        self._check_words(seen)

    def _name_of(self, live: LiveTable, ruled: set[tuple[str, str]]) -> tuple[str, str]:
        return next(name for name in ruled if self._live(*name) is live)

    def _base(self, table: exp.Table) -> tuple[str, str] | None:
        """The base table that is meant, if there is one of this name."""
        if not isinstance(table.this, exp.Identifier):
            return None
        database = table.db or self.scene.database or ""
        known = self.scene.schemas.get(database)
        if known is not None and known.table(table.name) is not None:
            return database, table.name
        if self.scene.policy.restricted(database, table.name) and (table.db or table.name.lower() not in self._ctes()):
            raise no("a table is not known")
        return None

    def _check_name(self, table: exp.Table) -> None:
        if not table.db and table.name.lower() in self._ctes():
            raise no("a common table expression is named like a restricted table")

    def _ctes(self) -> set[str]:
        return {cte.alias.lower() for cte in self.tree.find_all(exp.CTE)}

    def _is_open(self, database: str, live: LiveTable) -> bool:
        flows = (*OPEN, FlowKind.AGGREGATE)
        cls = self.scene.policy.class_of_table(database, live.name)
        rows = (
            self.scene.policy.decide(cls, home, self.scene.subject, "read", FlowKind.INFLUENCE)
            for home in self._homes((database, live.name, ""))
        )
        return join_all(rows).action is Action.ALLOW and all(
            self._joined(database, live.name, column.name, flows).action is Action.ALLOW for column in live.columns
        )

    def _check_leaf(self, leaf: exp.Select, database: str, table: str) -> Iterator[tuple[exp.Select, str, int]]:
        """Every column of a leaf is open, masked as the policy says, or one that may only be counted."""
        live = self._live(database, table)
        around = leaf.parent.parent_select if leaf.parent is not None else None
        for item in leaf.expressions:
            column = live.column(item.alias_or_name)
            if item.alias_or_name == PERSON and isinstance(item, exp.Alias) and isinstance(item.this, exp.Column):
                yield self._select(around), PERSON, 0
            elif column is None:
                raise no("a leaf gives what is no column of its table")
            elif isinstance(item, exp.Column) and not item.table:
                if self._joined(database, table, column.name, OPEN).action is not Action.ALLOW:
                    yield self._select(around), column.name.lower(), self._least(database, table, column.name)
            elif not self._is_masked(item, database, table, column):
                raise no("a leaf's mask is not the policy's")

    def _select(self, around: exp.Expr | None) -> exp.Select:
        if not isinstance(around, exp.Select):
            raise no("a leaf in an unusual place")
        return around

    def _least(self, database: str, table: str, column: str) -> int:
        """The least count under which a column may leave that is not open otherwise."""
        verdict = self._joined(database, table, column, (FlowKind.AGGREGATE,))
        if verdict.action not in (Action.AGGREGATE, Action.ALLOW):
            raise no("a leaf gives a protected column in clear")
        return verdict.k

    def _is_masked(self, item: exp.Expr, database: str, table: str, column: LiveColumn) -> bool:
        flows = {one.flow for one in self.proof.findings if one.name == (database, table, column.name.lower())}
        verdicts = [self._joined(database, table, column.name, OPEN)]
        if flows and FlowKind.WRITE not in flows:
            verdicts.append(self._joined(database, table, column.name, tuple(sorted(flows))))
        for verdict in verdicts:
            if verdict.action in REDUCED and verdict.mask is not None and isinstance(item, exp.Alias):
                name = "`" + column.name.replace("`", "``") + "`"
                mask = self.scene.policy.mask_sql(verdict.mask, name, column, self.scene.shard.flavour.value)
                if mask is not None and parse_text(f"SELECT {mask}").expressions[0] == item.this:
                    return True
        return False

    def _check_bare(self, nodes: list[exp.Expr], live: LiveTable, name: tuple[str, str]) -> None:
        """A restricted table as it is, or as the target of a write: no protected column of it is named anywhere."""
        allowed = {
            one.name[2]
            for one in self.proof.findings
            if one.name[:2] == name and (one.action is Action.ALLOW or self._is_at_home(one))
        }
        closed = {
            column.name.lower()
            for column in live.columns
            if self._joined(*name, column.name, OPEN).action is not Action.ALLOW
        }
        writes = isinstance(self.tree, exp.Insert | exp.Update | exp.Delete) and self.tree.args.get("returning") is None
        closed -= allowed if writes else set()
        for node in nodes:
            if isinstance(node, exp.Column) and node.name.lower() in closed:
                raise no("a protected column is named outside of a leaf")
            if isinstance(node, exp.Star) and closed and not isinstance(node.parent, exp.Count):
                raise no("a star outside of a leaf")

    def _is_at_home(self, one: Finding) -> bool:
        return one.action is Action.SEND_HOME

    def _check_counted(self, nodes: list[exp.Expr], counted: list[tuple[exp.Select, str, int]]) -> None:
        """A column that may only be counted is the bare argument of an aggregate, in a query that drops groups of
        fewer than k persons; the person's own column stands in those conditions only."""
        names = {name for _, name, _ in counted}
        for node in nodes:
            if isinstance(node, exp.Column) and node.name.lower() in names and not outgoing.in_count(node):
                raise no("a column that may only be counted leaves otherwise")
            if isinstance(node, exp.Star) and names and not isinstance(node.parent, exp.Count):
                raise no("a star over columns that may only be counted")
        for select, name, k in counted:
            if name != PERSON and k and k > outgoing.least_count(select, name):
                raise no("a least count is missing")
        for one in self.proof.findings:
            if one.k and one.action is Action.AGGREGATE and not one.name[2] and one.k > self._least_rows():
                raise no("a least count of rows is missing")

    def _least_rows(self) -> int:
        return max((outgoing.least_count(select, None) for select in self.tree.find_all(exp.Select)), default=0)

    def _check_words(self, seen: set[tuple[str, str]]) -> None:
        """No restricted table is named where the parser saw no name."""
        names = {table.lower() for _, table in seen}
        words = [token.name.lower() for token in tokenize(self.sent) if token.is_name]
        read = [node.name.lower() for node in self.tree.find_all(exp.Identifier)]
        for name in names:
            if words.count(name) > read.count(name):
                raise no("a restricted table is named in an unusual place")
