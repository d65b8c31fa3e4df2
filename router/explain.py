"""Why a statement goes where: for `EXPLAIN ROUTE`, `fairlead explain`, and tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from _speedups import lexer
from _speedups.lexer import LexedStatement
from router import plan as plans
from router.context import Context
from router.errors import CATALOGUE, Refusal
from router.literals import Params
from router.numbering import survey, table_of, written
from router.plan import ByKey, Key, KeyRef, Plan, Planned, Refuse, Residual
from router.plan_tree import tree
from router.policy.account import account
from router.policy.counting import Counting
from router.policy.enforce import plan
from router.route import Execution, is_atomic, route, split
from router.topology import Topology


@dataclass(frozen=True, slots=True)
class Explanation:
    """`kind`: the plan's name; `shards`: where this text goes, by name; `regions`: of those shards.

    `tables`: (keyspace.table, read or write). `reasons`: in the order they were found. `sql`: shard → its
    text when that is not the statement's own, else empty. `error`: the refusal, when it is refused.
    `plan`: the plan, printed. `policy`: what the policy says of who asks and of every column, and what it sends.
    `counting`: how each shard's answer is counted against budgets of exposure. `tree`: the steps of several
    shards' answer (`router.plan_tree`).
    """

    kind: str
    shards: tuple[str, ...]
    regions: tuple[str, ...]
    tables: tuple[tuple[str, str], ...]
    reasons: tuple[str, ...]
    plan: str
    sql: dict[str, str]
    error: str | None = None
    pins: tuple[str, ...] = ()
    replica_ok: bool = False
    policy: tuple[tuple[str, str], ...] = ()
    counting: tuple[Counting, ...] = ()
    tree: tuple[tuple[str, str], ...] = ()

    def as_rows(self) -> list[tuple[str, str]]:
        """(step, detail), as EXPLAIN ROUTE shows it."""
        return list(self._rows())

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield ("route", self.error or self.kind)
        for table, access in self.tables:
            yield ("table", f"{table} ({access})")
        for reason in self.reasons:
            if reason != self.error:
                yield ("because", reason)
        yield from self.policy
        for how in dict.fromkeys(one.told() for one in self.counting):
            yield ("counted", how)
        for shard in self.shards:
            yield ("shard", shard)
        if self.regions:
            yield ("region", ", ".join(self.regions))
        for pin in self.pins:
            yield ("pins", pin.replace("_", " "))
        if self.kind == "Residual":
            yield ("reads from", "the primary")
        elif self.shards:
            yield (
                "reads from",
                "a replica, when the session allows it" if self.replica_ok else "the primary",
            )
            if self.sql or not self.tree:
                yield ("sends", _sends(self.sql, self.policy))
        for shard, text in self.sql.items():
            yield (f"sends to {shard}", text)
        yield from self.tree
        yield ("plan", self.plan)

    def as_dict(self) -> dict[str, Any]:
        """The same for `--format json`."""
        return {
            "route": self.kind,
            "error": self.error,
            "shards": list(self.shards),
            "regions": list(self.regions),
            "tables": [{"table": table, "access": access} for table, access in self.tables],
            "reasons": list(self.reasons),
            "pins": list(self.pins),
            "replica_ok": self.replica_ok,
            "sql": self.sql or "verbatim",
            "policy": [{"step": step, "detail": detail} for step, detail in self.policy],
            "counted": list(dict.fromkeys(one.told() for one in self.counting)),
            "tree": [{"step": step, "detail": detail} for step, detail in self.tree],
            "plan": self.plan,
        }


def _sends(sql: dict[str, str], policy: tuple[tuple[str, str], ...]) -> str:
    if not sql:
        return "the statement as it is"
    return "what the policy makes of it" if policy else "a part of the rows to each shard"


def explain(sql: str | bytes, context: Context, params: Params = ()) -> Explanation:
    """The route of one statement as this session would send it. Never raises for what `sql` may hold."""
    text = sql.encode("utf-8", "surrogateescape") if isinstance(sql, str) else sql
    lexed = lexer.lex(text, context.mode)
    planned = plan(lexed, text, context)
    if isinstance(planned.plan, plans.Numbered):
        return _explain_numbered(planned, planned.plan, lexed, text, context, params)
    return explain_planned(planned, lexed, text, context, params)


def _explain_numbered(
    planned: Planned, numbered: plans.Numbered, lexed: LexedStatement, sql: bytes, context: Context, params: Params
) -> Explanation:
    """As it would be with the first ids of the sequence, which are not taken."""
    given = Execution(sql, lexed, context.topology, context.mode, params)
    try:
        rows = survey(numbered, given, zero_is_kept=False)
        sequence = table_of(numbered, given)[1].sequences[context.topology.region.name]
        text = written(given, rows, sequence.base + 1, prepared=False).text
    except Refusal as reason:
        refused = Planned(Refuse(reason.entry.name, reason.filling), planned.facts, planned.reasons, planned.topology)
        return explain_planned(refused, lexed, sql, context, params)
    fresh: Literal["fresh", "given"] = "fresh" if len(rows.spots) == rows.rows else "given"
    inner = replace(context, numbered=fresh)
    found = explain(text, inner, params)
    reasons = (*planned.reasons, f"it gets {len(rows.spots)} id(s) and is planned with them, here with the first ones")
    return replace(found, reasons=(*reasons, *found.reasons), plan=f"{describe(numbered)}: {found.plan}")


def explain_planned(
    planned: Planned, lexed: LexedStatement, sql: bytes, context: Context, params: Params = ()
) -> Explanation:
    """The same for a plan that is there already."""
    found: tuple[str, ...] | Refuse = ()
    if not isinstance(planned.plan, plans.ByLookup):
        found = _allowed(planned, route(planned, lexed, sql, params, mode=context.mode))
    error = _error(found) if isinstance(found, Refuse) else None
    shards = () if isinstance(found, Refuse) else found
    facts = planned.facts
    return Explanation(
        kind=_kind(planned.plan, found),
        shards=shards,
        regions=_regions(context.topology, shards),
        tables=tuple((f"{use.keyspace}.{use.table}", use.access) for use in facts.tables),
        reasons=(*planned.reasons, *_computed(planned, shards, error)),
        plan=describe(planned.plan),
        sql=_texts(planned, lexed, sql, context, shards, params),
        error=error,
        pins=facts.pins,
        replica_ok=facts.replica_ok,
        policy=account(lexed, sql, context),
        counting=_counting(planned, shards),
        tree=tuple(_tree(planned, shards, lexed, sql, context, params)) if error is None else (),
    )


def _carried_out(plan: Plan, shards: tuple[str, ...]) -> Plan:
    return plan.otherwise if isinstance(plan, ByKey) and len(shards) > 1 else plan


def _tree(
    planned: Planned, shards: tuple[str, ...], lexed: LexedStatement, sql: bytes, context: Context, params: Params
) -> list[tuple[str, str]]:
    def routed(plan: Plan) -> tuple[str, ...]:
        found = route(replace(planned, plan=plan), lexed, sql, params, mode=context.mode)
        return () if isinstance(found, Refuse) else found

    return tree(_carried_out(planned.plan, shards), shards, planned.topology, routed)


def _counting(planned: Planned, shards: tuple[str, ...]) -> tuple[Counting, ...]:
    parts = planned.policy.parts if planned.policy is not None else {}
    found = (parts[shard].counting for shard in shards if shard in parts)
    return tuple(one for one in found if one is not None)


def _allowed(planned: Planned, found: tuple[str, ...] | Refuse) -> tuple[str, ...] | Refuse:
    """The shards, or why the policy sends nothing to one of them."""
    if planned.policy is None or isinstance(found, Refuse) or isinstance(_carried_out(planned.plan, found), Residual):
        return found
    parts = (planned.policy.parts.get(shard) for shard in found)
    return next((part.refusal for part in parts if part is not None and part.refusal is not None), found)


def _error(refused: Refuse) -> str:
    return str(Refusal(CATALOGUE[refused.entry], refused.args))


def _kind(plan: Plan, found: tuple[str, ...] | Refuse) -> str:
    if isinstance(found, Refuse):
        return "Refuse"
    if isinstance(plan, ByKey) and len(found) > 1:
        return type(plan.otherwise).__name__
    return type(plan).__name__


def _computed(planned: Planned, shards: tuple[str, ...], error: str | None) -> Iterator[str]:
    if isinstance(planned.plan, ByKey) and error is None:
        if len(shards) == 1:
            yield f"all values of the shard key lead to {shards[0]}"
        else:
            yield f"the values of the shard key lead to {len(shards)} shards"
    elif error is not None:
        yield error
    if is_atomic(planned, shards):
        yield "atomic: all shards commit or none, by two-phase commit"


def _regions(topology: Topology, shards: tuple[str, ...]) -> tuple[str, ...]:
    names = (topology.shard(shard) for shard in shards)
    return tuple(dict.fromkeys(shard.region.name for shard in names if shard is not None))


def _texts(
    planned: Planned, lexed: LexedStatement, sql: bytes, context: Context, shards: tuple[str, ...], params: Params
) -> dict[str, str]:
    if planned.policy is not None:
        given = planned.policy.parts
        return {shard: given[shard].template for shard in shards if shard in given and given[shard].splices}
    whole = planned.plan.write if isinstance(planned.plan, plans.Keep) else planned.plan
    plan = whole.otherwise if isinstance(whole, ByKey) else whole
    if not isinstance(plan, plans.SplitInsert) or len(shards) < 2:
        return {}
    parts = split(replace(planned, plan=whole), lexed, sql, params, mode=context.mode)
    return {shard: part.text.decode("utf-8", "replace") for shard, part in parts.items()}


# --- plans in words ---------------------------------------------------------------------------------------


def describe(plan: Plan) -> str:
    """A plan in one line: `ByKey(shop.by_id, keys=[0], otherwise=Refuse(MULTI_SHARD_WRITE))`."""
    match plan:
        case plans.OneShard(shard):
            return f"OneShard({shard})"
        case plans.AnyShard(keyspace, shards):
            return f"AnyShard({keyspace or '-'}: {', '.join(shards)})"
        case plans.ByKey():
            return _by_key(plan)
        case plans.Scatter() | plans.MultiWrite():
            limited = f", keys={_keys(plan.keys)}" if plan.keys is not None else ""
            merged = f", {plan.merge.describe()}" if isinstance(plan, plans.Scatter) and plan.merge is not None else ""
            clock = ", one time" if isinstance(plan, plans.MultiWrite) and plan.clock else ""
            return f"{type(plan).__name__}({plan.keyspace}: {', '.join(plan.shards)}{limited}{merged}{clock})"
        case plans.Transfer():
            clock = ", one time" if plan.clock else ""
            return f"Transfer({plan.keyspace}.{plan.table}: {', '.join(plan.shards)}{clock})"
        case plans.Chosen():
            limited = f", keys={_keys(plan.keys)}" if plan.keys is not None else ""
            how = "ordered" if plan.read else "in any order"
            clock = ", one time" if plan.clock else ""
            return f"Chosen({plan.keyspace}: {', '.join(plan.shards)}{limited}, ?{plan.limit} {how}{clock})"
        case plans.Move():
            limited = f", keys={_keys(plan.keys)}" if plan.keys is not None else ""
            clock = ", one time" if plan.clock else ""
            name, new = f"{plan.keyspace}.{plan.table}", _keys((plan.new,))
            return f"Move({name}: {', '.join(plan.shards)}{limited}, new={new}{clock})"
        case plans.Residual():
            pulled = ", ".join(f"{one.temporary}={one.table}" for one in plan.pulls)
            return f"Residual({plan.keyspace} on {plan.scratch}: {pulled})"
        case plans.SplitInsert():
            clock = ", one time" if plan.clock else ""
            return f"SplitInsert({plan.keyspace}.{plan.vindex}, keys={_keys(plan.keys)}, rows={plan.rows_slot}{clock})"
        case plans.SplitLoad():
            fields = ", ".join(map(str, plan.keys))
            return f"SplitLoad({plan.keyspace}.{plan.vindex}, {plan.table}: fields {fields} of {plan.fields})"
        case plans.Numbered():
            return f"Numbered({plan.keyspace}.{plan.table}, rows={plan.rows_slot}, value={plan.position})"
        case plans.SchemaChange():
            return f"SchemaChange({plan.keyspace}.{plan.table}: {', '.join(plan.shards)})"
        case plans.ByLookup():
            return f"ByLookup({plan.keyspace}.{plan.lookup}, keys={_keys(plan.keys)}, {describe(plan.otherwise)})"
        case plans.Keep():
            return f"Keep({plan.keyspace}.{plan.table}, {describe(plan.write)})"
        case plans.PullOut(keyspace, pulls):
            return f"PullOut({keyspace}: {', '.join(one.kind for one in pulls)})"
        case plans.Survey(views):
            return f"Survey({', '.join(f'{one.name}: {_asked_for(one)}' for one in views)})"
        case plans.Told(calls):
            return f"Told({', '.join(one.fact for one in calls)})"
        case plans.Refuse(entry, args):
            return f"Refuse({', '.join((entry, *args))})"
        case _:
            return _session(plan)


def _asked_for(view: plans.View) -> str:
    if view.slots is not None:
        return " ".join(f"?{slot}" for slot in view.slots)
    return " ".join(view.keyspaces) or "none"


def _by_key(plan: ByKey) -> str:
    parts = [f"{plan.keyspace}.{plan.vindex}", f"keys={_keys(plan.keys)}"]
    if plan.stored:
        parts.append("stored")
    parts.append(f"otherwise={describe(plan.otherwise)}")
    return f"ByKey({', '.join(parts)})"


def _keys(keys: tuple[Key, ...]) -> str:
    """[0] slot 0; [-0] negated; [0…] a list; [0.1] the second value of every row; [0+1] two columns."""
    return "[" + ", ".join("+".join(_ref(ref) for ref in key) for key in keys) + "]"


def _ref(ref: KeyRef) -> str:
    sign = "-" if ref.negate else ""
    if ref.item is None:
        return f"{sign}{ref.slot}"
    return f"{ref.slot}…" if ref.item == "list" else f"{ref.slot}.{ref.item}"


def _session(plan: Plan) -> str:
    match plan:
        case plans.Transaction(verb, options, savepoint):
            words = [verb, *sorted(options), *([savepoint] if savepoint else [])]
            return f"Transaction({', '.join(words)})"
        case plans.SetSession(assignments, _, verbatim):
            words = [f"{_scope(one)}{one.variable}={_value(one.value)}" for one in assignments]
            return f"SetSession({', '.join([*words, *(['verbatim'] if verbatim else [])])})"
        case plans.UseDatabase(keyspace):
            return f"UseDatabase({keyspace})"
        case plans.Kill(slot, statement):
            return f"Kill({'query ' if statement else ''}{'this session' if slot is None else f'?{slot}'})"
        case plans.SessionValue(columns):
            return f"SessionValue({', '.join(f'{column.fact} {column.label!r}' for column in columns)})"
        case plans.Names(label, names):
            return f"Names({label!r}: {', '.join(names)})"
        case plans.ShowFairlead(what):
            return f"ShowFairlead({what})"
        case plans.ShowRoute(statement):
            return f"ShowRoute({statement.decode('utf-8', 'replace')})"
    return type(plan).__name__


def _scope(assignment: plans.Assignment) -> str:
    return "" if assignment.scope == "session" else "next "


def _value(value: plans.Value) -> str:
    match value:
        case plans.SlotValue(slot, negate):
            return f"{'-' if negate else ''}?{slot}"
        case plans.WordValue(word):
            return word
    return "server"
