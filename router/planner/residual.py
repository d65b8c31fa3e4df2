"""What only one server can answer: rows of several shards go into temporary tables of a scratch server, and the
client's own text runs there with these tables in place of the sharded ones.

A pull takes the columns that the statement may look at, and the rows that meet what the shards can decide about them
alone. Reference tables, and pinned ones of the scratch server's own shard, are read where they are; under a policy
only those of which everything is open to the user, so that what the client's text then reads has been judged before
(`router/policy/scratched.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from config.words import Flavour
from router import functions
from router.engine.assemble import norm_of
from router.engine.loading import SPATIAL, Loaded, form_of
from router.engine.recipe import Piece, Script, Span
from router.errors import Refusal, refusal
from router.plan import OneShard, Pull, Residual, Scatter
from router.planner.clauses import Range
from router.planner.conditions import Conditions
from router.planner.lookups import Mention, in_order
from router.planner.merging import Edit, edited
from router.planner.parsed import Parsed
from router.planner.placement import Placement
from router.planner.request import Draft, Request
from router.policy.model import UNKNOWN_DOMAIN, FlowKind, Policy, Subject
from router.relations import Relation
from router.schema import LiveColumn, LiveTable
from router.template import places
from router.tokens import Token, closings, quoted
from router.topology import Shard, TableKind

TEMPORARY = "__fairlead_"
INSTEAD_OF = frozenset(
    {"CROSS_SHARD_JOIN", "CROSS_SHARD_SUBQUERY", "CROSS_SHARD_UNION", "OUTER_REFERENCE", "ROLLUP_SCATTER"}
    | {"WINDOW_SCATTER", "AGGREGATE_SCATTER", "AGGREGATE_EXPRESSION", "MERGE_FORM", "DISTINCT_ORDER", "NOT_PINNED"}
    | {"PINNED_WITH_SHARDED", "PINNED_ELSEWHERE", "UNSTABLE_FUNCTION", "COMPUTE_DOMAINS"}
)
"""Refusals that a scratch server helps against."""
_ELSEWHERE = functions.CONNECTION | functions.WAITS | functions.SERVER
_PARTS = frozenset({"this", "db", "alias", "joins", "hints"})


def residual_of(
    request: Request, parsed: Parsed, placement: Placement, draft: Draft, instead: Refusal
) -> Residual | None:
    """None: `instead` stands. Raises Refusal for what a scratch server cannot finish either."""
    scratch = placement.keyspace.scratch
    if scratch is None or request.context.bound or instead.entry.name not in INSTEAD_OF or _is_bound(request, draft):
        return None
    guarded = None
    if request.context.policy is not None:
        if request.context.subject is None:
            raise refusal("SCRATCH_POLICY", "it is not known who asks")
        guarded = Guarded(request.context.policy, request.context.subject)
    return _Residual(request, parsed, placement, scratch, guarded).done(instead.entry.name)


def _is_bound(request: Request, draft: Draft) -> bool:
    """Is it about the session, its connection or locks, or about a server?"""
    if draft.pins or draft.locks or draft.last_insert_id or draft.connection:
        return True
    return any(
        token.kind in ("user_variable", "system_variable") or token.upper in _ELSEWHERE for token in request.tokens
    )


@dataclass(slots=True)
class _Residual:
    request: Request
    parsed: Parsed
    placement: Placement
    scratch: Shard
    guarded: Guarded | None
    pulls: list[Pull] = field(default_factory=list)

    def done(self, instead: str) -> Residual:
        edits: list[Edit] = []
        conditions = Conditions(self.request)
        found: list[Mention] = []
        for mentions, within, shadows in self._standing():
            pull = self._pull(mentions, conditions, shadows=shadows)
            self.pulls.append(pull)
            found.append(Mention(pull, mentions[0] if len(mentions) == 1 else None))
            if not shadows:
                edits.append(_edit(mentions[0], pull, within))
        shards = dict.fromkeys(shard for pull in self.pulls for shard in _shards(pull))
        text = self._script(edited(self.request.tokens, edits))
        names = tuple(dict.fromkeys((self.scratch.name, *shards)))
        # Values of one shard do not go into the text for others where a policy is in force.
        pulls = tuple(self.pulls) if self.guarded is not None else in_order(self.request, found)
        return Residual(self.placement.keyspace.name, self.scratch.name, names, pulls, text, instead)

    def _standing(self) -> list[tuple[list[Relation], Range, bool]]:
        """What has to be pulled, its place among the tokens, and whether it keeps its name: the first mention of each
        table does, or the one whose words are a column's name; of a protected one none. Raises Refusal."""
        at = places(self.request.lexed, self.request.tokens)
        found = [(mentions, _place(mentions[0], at)) for mentions in self._mentions()]
        keeping: dict[str | None, int] = {}
        for number, (mentions, within) in enumerate(found):
            named = names_a_column(self.request.tokens, within[0])
            if self.guarded is not None and not self.guarded.is_open(mentions[0]):
                # By no mistake of ours is the table itself read then.
                if named:
                    raise refusal("SCRATCH_POLICY", "a subquery over a protected table in a select list, without AS")
                if any(one.node is not None and one.node.args.get("hints") for one in mentions):
                    raise refusal("SCRATCH_POLICY", "an index hint for a protected table")
                continue
            if named and self._keeps(found, keeping, mentions[0].table):
                raise refusal("SCRATCH_FORM", "two subqueries over one table in a select list, without AS")
            if named or mentions[0].table not in keeping:
                keeping[mentions[0].table] = number
        return [(*one, keeping.get(one[0][0].table) == number) for number, one in enumerate(found)]

    def _keeps(
        self, found: list[tuple[list[Relation], Range]], keeping: dict[str | None, int], table: str | None
    ) -> bool:
        """Is there a mention already that must keep the table's name?"""
        return table in keeping and names_a_column(self.request.tokens, found[keeping[table]][1][0])

    def _script(self, pieces: tuple[Piece, ...]) -> Script:
        tokens = self.request.tokens
        return Script(pieces, norm_of(pieces, self.request.norm, tokens, self.request.context.mode), tokens)

    def _mentions(self) -> list[list[Relation]]:
        """What has to be pulled, by its place in the text: a common table expression's is several relations."""
        found: dict[int, list[Relation]] = {}
        placement = self.placement
        for relation in (*placement.sharded, *placement.pinned, *placement.reference):
            if not self._is_here(relation):
                found.setdefault(id(relation.node), []).append(relation)
        if self.scratch.flavour is not Flavour.MARIADB and any(len(one) > 1 for one in found.values()):
            raise refusal("SCRATCH_FORM", "MySQL reads a temporary table only once in a statement")
        return list(found.values())

    def _is_here(self, relation: Relation) -> bool:
        """May it be read where it is? Only if nothing has to be done about any of its columns."""
        declared = relation.declared
        assert declared is not None
        here = declared.kind is TableKind.PINNED and declared.shards == (self.scratch.index,)
        here = here or (declared.kind is TableKind.REFERENCE and self.scratch.index in declared.shards)
        return here and (self.guarded is None or self.guarded.is_open(relation))

    # --- one pull -------------------------------------------------------------------------------------------

    def _pull(self, mentions: list[Relation], conditions: Conditions, *, shadows: bool) -> Pull:
        relation = mentions[0]
        live = self._live(relation)
        columns = self._columns(relation, live)
        ranges = conditions.of(relation) if len(mentions) == 1 else []
        node = relation.node
        assert node is not None
        name = f"{quoted(self.placement.keyspace.name)}.{quoted(live.name)}"
        alias = [f"AS {quoted(relation.alias)}"] if node.args.get("alias") else []
        listed = ", ".join(one.asked for one in columns)
        pieces: list[Piece] = [f"SELECT {listed} FROM {name}", *alias]
        for number, (first, end) in enumerate(ranges):
            pieces += ["AND (" if number else "WHERE (", Span(first, end - 1), ")"]
        return Pull(
            live.name,
            relation.alias,
            f"{TEMPORARY}{len(self.pulls) + 1}",
            shadows,
            self._route(mentions),
            self._script(tuple(pieces)),
            columns,
            tuple(self._words(one) for one in ranges),
            () if self.guarded is None else self.guarded.dropped(relation, live),
        )

    def _words(self, within: Range) -> str:
        tokens = self.request.tokens
        last = tokens[within[1] - 1]
        return self.request.norm[tokens[within[0]].at : last.at + len(last.text)]

    def _route(self, mentions: list[Relation]) -> Scatter | OneShard:
        relation, names = mentions[0], self.request.context.topology.shards
        declared = relation.declared
        assert declared is not None
        if declared.vindex is None:
            here = self.scratch.index in declared.shards
            return OneShard(self.scratch.name if here else names[declared.shards[0]].name)
        keys = self.placement.keys.get(relation) if len(mentions) == 1 else None
        shards = tuple(shard.name for shard in self.placement.keyspace.shards if shard.index in declared.vindex.shards)
        if keys is None:
            return Scatter(self.placement.keyspace.name, shards)
        return Scatter(self.placement.keyspace.name, shards, declared.vindex.name, keys)

    def _live(self, relation: Relation) -> LiveTable:
        live, declared, name = relation.live, relation.declared, relation.table or ""
        schema = self.request.context.schemas.get(self.placement.keyspace.name)
        if live is None or declared is None or schema is None:
            raise refusal("SCRATCH_FORM", f"the columns of {name} are not known")
        if schema.drifting.get(name):
            raise refusal("SCHEMA_DRIFT", self.placement.keyspace.name, name, "definition")
        if self.scratch.index not in declared.shards:
            raise refusal("SCRATCH_FORM", f"table {name} is not on the scratch server's shard")
        return live

    def _columns(self, relation: Relation, live: LiveTable) -> tuple[Loaded, ...]:
        used = self._used(relation, live)
        found = []
        for column in live.columns:
            if column.name.lower() not in used:
                continue
            if column.generated:
                # It would be computed from what is masked.
                if self.guarded is not None and not self.guarded.is_open(relation):
                    raise refusal("SCRATCH_POLICY", f"{column.name} of {live.name} is a generated column")
                continue
            form = form_of(column)
            if form is None:
                raise refusal("SCRATCH_TYPE", column.name, live.name, f"its type is {column.data_type}")
            found.append(Loaded(column.name, form, not column.nullable))
        return tuple(found)

    def _used(self, relation: Relation, live: LiveTable) -> set[str]:
        """The columns that the statement may look at, in lower case; and what keys, checks and generated columns need,
        so that rows are as different and as valid there as they are on their shards."""
        names = {token.name.lower() for token in self.request.tokens if token.is_name}
        if self._is_whole(relation):
            names |= {column.name.lower() for column in live.insertable}
        names |= _constrained(live) if self.guarded is None else self.guarded.constrained(relation, live)
        names |= {column.name.lower() for column in live.columns if _must_be_given(column)}
        if not any(column.name.lower() in names for column in live.columns if not column.generated):
            names.add(next(column.name.lower() for column in live.columns if not column.generated))
        return names

    def _is_whole(self, relation: Relation) -> bool:
        """Are all its columns asked for, by a star or a NATURAL join?"""
        tree = self.parsed.tree
        return any(join.method == "NATURAL" for join in tree.find_all(exp.Join)) or any(
            _means(star, relation) for star in tree.find_all(exp.Star)
        )


def _constrained(live: LiveTable) -> set[str]:
    """The words of all keys and checks."""
    parts = (*(key.columns for key in live.unique_keys), *(check.words for check in live.checks))
    return {word.lower() for words in parts for word in words}


@dataclass(frozen=True, slots=True)
class Guarded:
    """Tables as the policy shows them to the user: what is masked need not meet keys and checks."""

    policy: Policy
    subject: Subject

    def is_open(self, relation: Relation) -> bool:
        """Is every use of every column free for the user, from every home?"""
        return self.policy.open_to(relation.keyspace or "", relation.table or "", self.subject)

    def constrained(self, relation: Relation, live: LiveTable) -> set[str]:
        """The columns of the keys that the temporary table keeps. Raises Refusal for checks that might not hold."""
        if self.is_open(relation):
            return _constrained(live)
        closed = self._closed(relation, live)
        generated = {column.name.lower() for column in live.columns if column.generated}
        for check in live.checks:
            if check.name.lower() not in generated and not closed.isdisjoint(check.words):
                raise refusal("SCRATCH_POLICY", f"the check {check.name} of {live.name} is about a protected column")
        dropped = self.dropped(relation, live)
        return {name.lower() for key in live.unique_keys if key.name not in dropped for name in key.columns}

    def dropped(self, relation: Relation, live: LiveTable) -> tuple[str, ...]:
        """The unique keys over columns that are not wholly open to the user."""
        if self.is_open(relation):
            return ()
        closed = self._closed(relation, live)
        return tuple(
            key.name
            for key in live.unique_keys
            if not key.exact or not closed.isdisjoint(name.lower() for name in key.columns)
        )

    def _closed(self, relation: Relation, live: LiveTable) -> set[str]:
        database, table = relation.keyspace or "", relation.table or ""
        homes = self.policy.homes_of(database, table) or (UNKNOWN_DOMAIN,)
        uses = [(home, flow) for home in homes for flow in FlowKind if flow is not FlowKind.WRITE]
        return {
            column.name.lower()
            for column in live.columns
            if column.generated
            or not all(
                self.policy.decide_column(database, table, column.name, home, self.subject, "read", flow).free
                for home, flow in uses
            )
        }


def _means(star: exp.Star, relation: Relation) -> bool:
    around = star.parent
    if isinstance(around, exp.Count):
        return False
    if isinstance(around, exp.Column):
        return around.table.lower() == relation.alias.lower()
    return not isinstance(around, exp.Select) or around is relation.query.tree


def _must_be_given(column: LiveColumn) -> bool:
    return column.data_type.lower() in SPATIAL and not column.nullable


def _shards(pull: Pull) -> Iterator[str]:
    if isinstance(pull.route, OneShard):
        yield pull.route.shard
    else:
        yield from pull.route.shards


def _place(relation: Relation, at: dict[int, int]) -> Range:
    """Where the mention's name stands among the tokens. Raises Refusal for one in an unusual form."""
    node = relation.node
    if node is None or {name for name, value in node.args.items() if value} - _PARTS:
        raise refusal("SCRATCH_FORM", f"table {relation.table} is named in an unusual way")
    end = at.get(node.this.meta.get("start", -1))
    database = node.args.get("db")
    first = end if database is None else at.get(database.meta.get("start", -1))
    if first is None or end is None or first != (end if database is None else end - 2):
        raise refusal("SCRATCH_FORM", f"table {relation.table} is not where it is read")
    return first, end + 1


def _edit(relation: Relation, pull: Pull, within: Range) -> Edit:
    """The temporary table in place of the mention."""
    assert relation.node is not None
    alias = "" if relation.node.args.get("alias") else f" AS {quoted(relation.alias)}"
    return Edit(within, (f"{quoted(relation.keyspace or '')}.{quoted(pull.temporary)}{alias}",))


def names_a_column(tokens: Sequence[Token], at: int) -> bool:
    """Is this token within a column of a select list that has no name of its own, so that it is called by its words?"""
    closed = closings(tokens)
    around = sorted(first for first, end in closed.items() if first < at < end)
    return any(_is_listed(tokens, first) and not _is_named(tokens, closed[first]) for first in around)


def _is_listed(tokens: Sequence[Token], opened: int) -> bool:
    """Does this parenthesis stand in a select list?"""
    depth = 0
    for token in reversed(tokens[:opened]):
        depth += (token.text == ")") - (token.text == "(")
        if depth < 0:
            return False
        if depth == 0 and token.upper in _CLAUSES:
            return token.upper == "SELECT"
    return False


def _is_named(tokens: Sequence[Token], closing: int) -> bool:
    """Is the parenthesis a whole column, with a name behind it?"""
    rest = list(tokens[closing + 1 : closing + 3])
    return bool(rest) and (rest[0].upper == "AS" or (rest[0].is_name and rest[0].upper not in _BEHIND))


_CLAUSES = frozenset({"SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "ON", "WINDOW", "USING", "WITH"})
_BEHIND = frozenset(
    {"FROM", "AND", "OR", "XOR", "DIV", "MOD", "IN", "IS", "LIKE", "REGEXP", "RLIKE", "BETWEEN", "NOT", "COLLATE"}
    | {"SOUNDS", "MEMBER", "OVER", "WHEN", "THEN", "ELSE", "END", "UNION", "EXCEPT", "INTERSECT", "LIMIT", "ORDER"}
)
