"""The planner with the policy in it: what a statement's plan becomes for the subject who asks.

`plan` is `router.planner.plan` where no policy is in force. Otherwise every shard that the plan can lead to is
judged for itself, since its home is: what it gets is the statement as it is, the statement with leaves in place of
tables, or nothing. Shards whose rows do not exist for the subject are dropped from scatter reads and never asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

from _speedups import lexer
from _speedups.lexer import LexedStatement
from router import plan as plans
from router.context import Context
from router.errors import CATALOGUE, Refusal, refusal
from router.gate import Family, gate
from router.plan import Planned, Refuse
from router.planner import plan as plan_route
from router.planner.parsed import Parsed, read
from router.planner.request import Request, refused
from router.policy import forms
from router.policy.checker import Scene
from router.policy.checker import check as check_again
from router.policy.constraints import Constraints
from router.policy.counting import Counting, counting
from router.policy.decide import Decision, Hidden, Judge, check_writes
from router.policy.gathering import CARRIES, unrestricted, within_domains
from router.policy.homes import candidates
from router.policy.lineage import Lineage, lineage
from router.policy.model import Policy, Subject
from router.policy.proof import Proof, prove
from router.policy.reach import Reach, reach
from router.policy.scratched import judged
from router.policy.splices import Placed, Splice, in_norm, ordered, place
from router.policy.substitute import splices
from router.policy.witness import Name, allowed, needed
from router.relations import SYSTEM, Relation
from router.template import NotUnderstood, places, spliced_text
from router.text import Text
from router.tokens import Token, decode, tokenize
from router.topology import Shard

ASCII_KEYS = 256
"""Mode bit: the session's character set is not UTF-8, so only ASCII may be put into its text."""


OVER_SHARDS = "persons cannot be counted over several shards"


@dataclass(frozen=True, slots=True)
class Part:
    """What one shard gets. `refusal`: nothing, and why; `hidden`: because its rows do not exist for the subject.
    `splices`: into the text; none for the statement as it is. `norm`: what the outgoing text must lex to.
    `remote`: the shard's own Fairlead puts them in, and gets the statement as it is. `template`: as sent, in words.
    `witness`: which columns its answer may hold as they are; None where nothing restricted is touched. `counting`: of
    the persons in the answer, against budgets."""

    refusal: Refuse | None = None
    hidden: bool = False
    splices: tuple[Splice, ...] = ()
    norm: bytes = b""
    template: str = ""
    remote: bool = False
    proof: Proof | None = None
    witness: frozenset[Name] | None = None
    counting: Counting | None = None

    @property
    def as_it_is(self) -> bool:
        """May the client's own bytes go there?"""
        return self.refusal is None and (not self.splices or self.remote)


@dataclass(frozen=True, slots=True)
class Enforcement:
    """The policy's part of a plan, by shard. `guarded`: the statement touches what is not open to the subject, so the
    texts of servers' errors are kept back. `tokens`: of norm, which the splices are bound to."""

    epoch: int
    subject: Subject
    parts: Mapping[str, Part]
    tokens: tuple[Token, ...] = field(default=(), repr=False)
    guarded: bool = False

    @property
    def direct(self) -> bool:
        """Every shard may get the client's own bytes: nothing has to be looked at when the plan is used."""
        return all(part.as_it_is for part in self.parts.values())

    @property
    def free(self) -> bool:
        """Nothing has to be looked at when the plan is used, not even its answer."""
        return self.direct and all(part.witness is None for part in self.parts.values())

    @property
    def counts(self) -> bool:
        """Are persons to be counted before an answer is shown?"""
        return any(part.counting is not None for part in self.parts.values())

    @property
    def alike(self) -> bool:
        """Do all shards get the same form, so that their answers are described alike?"""
        return len({part.splices for part in self.parts.values() if part.refusal is None}) <= 1

    def part(self, shard: str) -> Part:
        """What the shard gets, which is something. Raises Refusal."""
        part = self.parts.get(shard)
        if part is None:
            raise refusal("POLICY_PROOF", "nothing was decided about this shard")
        if part.refusal is not None:
            raise Refusal(CATALOGUE[part.refusal.entry], part.refusal.args)
        return part

    def text(self, shard: str, sql: Text, lexed: LexedStatement, mode: int) -> bytes | None:
        """What the shard is sent in place of `sql`; None for `sql` itself. Raises Refusal."""
        part = self.part(shard)
        return None if part.as_it_is else self.placed(part, sql, lexed, mode).text

    def placed(self, part: Part, sql: Text, lexed: LexedStatement, mode: int) -> Placed:
        """The part's splices in the text. Raises Refusal."""
        return place(sql, lexed, self.tokens, part.splices, mode, part.norm)

    @property
    def allowed(self) -> tuple[str, ...]:
        """The shards that get anything."""
        return tuple(name for name, part in self.parts.items() if part.refusal is None)


def plan(lexed: LexedStatement, sql: Text, context: Context) -> Planned:
    """The plan of one statement for the context's subject. Never raises for what a client may send."""
    planned = plan_route(lexed, sql, context)
    # What ids are written into is decided about when they are.
    if context.policy is None or isinstance(planned.plan, Refuse | plans.Numbered | plans.Told):
        return planned
    try:
        if isinstance(planned.plan, plans.PullOut):
            return unrestricted(planned, planned.plan, context.policy)
        if context.subject is not None:
            planned = _Enforcer(planned, lexed, sql, context, context.policy, context.subject).enforce()
        planned = judged(planned, context, context.policy, plan)
        return within_domains(planned, context.policy, context.topology)
    except Refusal as reason:
        facts = planned.facts
        return refused(reason, facts.verb, context, facts.hints, cacheable=facts.cacheable, tables=facts.tables)


@dataclass(slots=True)
class _Enforcer:
    planned: Planned
    lexed: LexedStatement
    sql: Text
    context: Context
    policy: Policy
    subject: Subject
    tokens: tuple[Token, ...] = ()
    _counts: bool = False
    _named: bool = False
    """May the text mean a closed table?"""

    def enforce(self) -> Planned:
        within = reach(self.policy, self.subject, self.context)
        if not within.restricted and not within.closed and not self._unknown_closed():
            return self.planned
        if self.lexed.error:
            raise refusal("POLICY_OPAQUE", "a statement of this size", "it is not read to its end")
        norm = decode(self.lexed.norm)
        self.tokens = tokenize(norm)
        gated = gate(self.tokens)
        forms.check(gated, self.tokens, self.lexed.flags, norm, self.planned.plan, within)
        if gated.family not in forms.FOLLOWED or not self._must_follow(gated.family, within):
            return self.planned
        request = Request(self.sql, self.lexed, norm, self.tokens, gated, self.context)
        try:
            return self._with_lookups(request, within)
        except (NotUnderstood, RecursionError) as problem:
            why = str(problem) if isinstance(problem, NotUnderstood) else "it is nested too deeply"
            raise refusal("POLICY_OPAQUE", gated.verb, why) from None

    def _unknown_closed(self) -> bool:
        """Is a table that nothing is known of closed? Then one that was not seen yet may be."""
        uses = self.planned.facts.tables
        return any(not self.policy.open_to(use.keyspace, use.table, self.subject) for use in uses)

    def _must_follow(self, family: Family, within: Reach) -> bool:
        """Could it touch what is closed to the subject, or carry values from one column of a class to another?"""
        if within.closed or self._unknown_closed():
            return True
        words = {token.upper for token in self.tokens}
        carries = family is Family.UPDATE or (family is Family.INSERT and words & {"SELECT", "TABLE", "DUPLICATE"})
        return bool(carries) and within.names_restricted(self.tokens)

    def _with_lookups(self, request: Request, within: Reach) -> Planned:
        """Lookups are asked and kept in step only where the subject's statement is carried out as it is: what they find
        is told by values as they are."""
        plan = self.planned.plan
        if isinstance(plan, plans.ByLookup):
            found = self._follow(request, within)
            if _is_open(found):
                return found
            self.planned = replace(self.planned, plan=plan.otherwise)
            if (refused := self.planned.refusal) is not None:
                raise refused
        elif isinstance(plan, plans.Keep):
            self.planned = replace(self.planned, plan=plan.write)
            found = self._follow(request, within)
            if not _is_open(found) or not isinstance(found.plan, plans.Write):
                raise refusal("POLICY_FORM", "a write that lookups are kept in step with")
            guarded = found.policy is not None and found.policy.guarded
            return replace(found, plan=replace(plan, write=found.plan, guarded=guarded), policy=None)
        return self._follow(request, within)

    def _follow(self, request: Request, within: Reach) -> Planned:
        parsed = read(request)
        if self._is_elsewhere(parsed):
            return self.planned
        if within.closed:
            _check_opaque(parsed)
        self._named = within.names_closed(self.tokens)
        if not any(relation.keyspace != SYSTEM for relation in parsed.tables()):
            if self._named:
                # Where a parser sees no table, a server may see one.
                raise refusal("POLICY_OPAQUE", request.gate.verb, "it names a table that is not open, and reads none")
            return self.planned
        if any(node.args.get("db") is not None for node in parsed.tree.find_all(exp.Column)):
            raise refusal("POLICY_FORM", "columns named with their database")
        if isinstance(self.planned.plan, plans.Residual):
            return self.planned  # its parts are judged, each as a statement of its own
        found = lineage(parsed)
        at = places(self.lexed, self.tokens)
        names = frozenset(token.name.lower() for token in self.tokens if token.is_name)
        constraints = Constraints(self.policy, self.subject, found, self.context.topology, self.context.schemas)
        judge = Judge(self.policy, self.subject, found, names, constraints)
        parts: dict[str, Part] = {}
        made: dict[tuple[str, str, bool], Part] = {}
        for shard in candidates(self.planned.plan, self.context.topology):
            key = (self.policy.domain_of_region(shard.region.name), shard.flavour.value, shard.is_local)
            if key not in made:
                made[key] = self._part(parsed, found, judge, at, shard)
            parts[shard.name] = made[key]
        return self._apply(found, parts)

    def _is_elsewhere(self, parsed: Parsed) -> bool:
        """Is nothing known here of a table because all its shards are in other regions? They decide."""
        shards = candidates(self.planned.plan, self.context.topology)
        known = {relation.keyspace in self.context.schemas for relation in parsed.tables()}
        return False in known and not any(shard.is_local for shard in shards)

    # --- one shard ------------------------------------------------------------------------------------------

    def _part(self, parsed: Parsed, found: Lineage, judge: Judge, at: dict[int, int], shard: Shard) -> Part:
        try:
            decision = judge.on(shard)
            self._check_reductions(decision)
            check_writes(self.policy, found, _masked(decision))
            put = tuple(ordered(splices(parsed, self.tokens, at, decision)))
            return self._checked(parsed, found, decision, put, shard)
        except Refusal as reason:
            why = Refuse(reason.entry.name, reason.filling)
            return Part(why, hidden=isinstance(reason, Hidden), remote=not shard.is_local)

    def _check_reductions(self, decision: Decision) -> None:
        """Raises Refusal where several shards' answers would be put together behind least counts. One by its key alone
        may be counted on: `_by_key` refuses its other executions."""
        plan = self.planned.plan
        self._counts = self._counts or bool(decision.counts)
        if decision.counts and isinstance(plan, plans.Scatter) and len(plan.shards) > 1:
            raise refusal("POLICY_FORM", OVER_SHARDS)

    def _checked(
        self, parsed: Parsed, found: Lineage, decision: Decision, put: tuple[Splice, ...], shard: Shard
    ) -> Part:
        """The part, once the checker has agreed to it."""
        if not decision.rulings:
            self._check_unruled(found, decision, shard)
            return Part(remote=not shard.is_local)
        if len(found.targets) and found.rewrites and len(found.mentions) > len(found.targets):
            raise refusal("POLICY_FORM", "a change that reads other tables")
        norm = decode(self.lexed.norm)
        text = in_norm(norm, self.tokens, put)
        outgoing = lexer.lex(text.encode("utf-8", "surrogateescape"), self.context.mode)
        if put and (outgoing.error or outgoing.params < self.lexed_literals()):
            raise refusal("POLICY_PROOF", "the outgoing text is not read as one statement")
        if put and self.context.mode & ASCII_KEYS and not all(one.text.isascii() for one in put):
            raise refusal("POLICY_FORM", "names beyond ASCII in a session that does not speak UTF-8")
        proof = prove(self.policy, self.subject, shard, found, decision, text)
        check_again(text, spliced_text(self.lexed, self.tokens, _by_token(put)), proof, self._scene(shard))
        template = self.policy.redact(text)
        looked_at = shard.is_local and needed(self.policy, self.subject, shard, found)
        witness = self._witness(parsed, found, shard) if looked_at else None
        counted = counting(self.policy, self.planned, parsed, found, decision) if shard.is_local else None
        return Part(None, False, put, outgoing.norm, template, not shard.is_local, proof, witness, counted)

    def _check_unruled(self, found: Lineage, decision: Decision, shard: Shard) -> None:
        """Nothing that was read is restricted. Where a closed table may be named, the checker reads for itself."""
        if self._named:
            norm = decode(self.lexed.norm)
            proof = prove(self.policy, self.subject, shard, found, decision, norm)
            check_again(norm, spliced_text(self.lexed, self.tokens, {}), proof, self._scene(shard))

    def _witness(self, parsed: Parsed, found: Lineage, shard: Shard) -> frozenset[Name]:
        names = allowed(self.policy, self.subject, shard, found, parsed.queries())
        if self.context.mode & ASCII_KEYS and not all(part.isascii() for name in names for part in name):
            raise refusal("POLICY_FORM", "names beyond ASCII in a session that does not speak UTF-8")
        return names

    def lexed_literals(self) -> int:
        """The `?` of norm, which are parameters to whoever lexes norm as a text."""
        return sum(token.kind == "literal" for token in self.tokens)

    def _scene(self, shard: Shard) -> Scene:
        context = self.context
        return Scene(self.policy, self.subject, shard, context.topology, context.schemas, context.database)

    # --- all shards -----------------------------------------------------------------------------------------

    def _apply(self, found: Lineage, parts: dict[str, Part]) -> Planned:
        refusals = [part.refusal for part in parts.values() if part.refusal is not None]
        if parts and len(refusals) == len(parts):
            raise Refusal(CATALOGUE[refusals[0].entry], refusals[0].args)
        plan = self._reduced(self.planned.plan, parts)
        local = [part for part in parts.values() if not part.remote]
        guarded = any(part.proof is not None or part.refusal is not None for part in local)
        enforcement = Enforcement(self.policy.epoch, self.subject, parts, self.tokens, guarded)
        return replace(self.planned, plan=plan, policy=enforcement, reasons=(*self.planned.reasons, *_reasons(parts)))

    def _reduced(self, plan: plans.Plan, parts: dict[str, Part]) -> plans.Plan:
        """The plan without the shards that the subject may not touch. Raises Refusal where all are needed."""
        match plan:
            case plans.Scatter():
                return replace(plan, shards=self._readable(plan.shards, parts))
            case plans.AnyShard():
                allowed = tuple(name for name in plan.shards if parts[name].refusal is None)
                return replace(plan, shards=tuple(sorted(allowed, key=lambda name: not parts[name].as_it_is)))
            case plans.MultiWrite():
                self._all_of(plan.shards, parts)
            case plans.Move() | plans.Chosen() | plans.Transfer():
                raise refusal("POLICY_FORM", "a write that carries rows from shard to shard")
            case plans.ByKey():
                return self._by_key(plan, parts)
        return plan

    def _by_key(self, plan: plans.ByKey, parts: dict[str, Part]) -> plans.Plan:
        try:
            if self._counts:
                raise refusal("POLICY_FORM", OVER_SHARDS)
            reduced = self._reduced(plan.otherwise, parts)
        except Refusal as reason:
            reduced = Refuse(reason.entry.name, reason.filling)
        assert isinstance(
            reduced, plans.Scatter | plans.MultiWrite | plans.SplitInsert | CARRIES | plans.Residual | Refuse
        )
        empty = plan.when_empty
        if empty is not None and parts[empty].refusal is not None:
            empty = next(name for name, part in parts.items() if part.refusal is None)
        return replace(plan, otherwise=reduced, when_empty=empty)

    def _readable(self, names: tuple[str, ...], parts: dict[str, Part]) -> tuple[str, ...]:
        """Raises Refusal when a shard refuses what the statement asks for, rather than having nothing to show."""
        self._all_of(tuple(name for name in names if not parts[name].hidden), parts)
        kept = tuple(name for name in names if not parts[name].hidden)
        if not kept:
            hidden = next(parts[name].refusal for name in names)
            assert hidden is not None
            raise Refusal(CATALOGUE[hidden.entry], hidden.args)
        return kept

    def _all_of(self, names: tuple[str, ...], parts: dict[str, Part]) -> None:
        for name in names:
            reason = parts[name].refusal
            if reason is not None:
                raise Refusal(CATALOGUE[reason.entry], reason.args)


def _is_open(planned: Planned) -> bool:
    """Is the statement carried out as it is, and nothing in its answer looked at?"""
    policy = planned.policy
    return policy is None or (policy.free and not policy.counts)


def _check_opaque(parsed: Parsed) -> None:
    """Raises Refusal for what reads or writes other tables than it names, as far as is known."""
    for relation in parsed.tables():
        what = f"{relation.keyspace}.{relation.table}"
        if relation.keyspace == SYSTEM:
            continue
        if relation.live is None:
            raise refusal("POLICY_OPAQUE", what, "the live schema does not have it yet")
        if relation.live.kind == "view":
            raise refusal("POLICY_OPAQUE", f"view {what}", "what it reads is not followed")
        if relation in parsed.targets and relation.live.triggers:
            raise refusal("POLICY_OPAQUE", what, "its triggers are not followed")


def _masked(decision: Decision) -> frozenset[tuple[Relation, str]]:
    return frozenset(
        (leaf.relation, name.lower()) for leaf in decision.leaves for name, mask in leaf.columns if mask is not None
    )


def _by_token(put: tuple[Splice, ...]) -> dict[int, list[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = {}
    for one in put:
        found.setdefault(one.token, []).append((one.side, one.text))
    return found


def _reasons(parts: dict[str, Part]) -> Iterator[str]:
    hidden = [name for name, part in parts.items() if part.hidden]
    if hidden:
        yield f"the policy leaves out {', '.join(hidden)}: no row there exists for this user"
    masked = [name for name, part in parts.items() if part.splices]
    if masked:
        yield f"the policy reduces what {', '.join(masked)} gives"
