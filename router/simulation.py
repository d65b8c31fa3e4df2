"""What another configuration would do with the statements that were seen: which shapes change, and how.

The statements are recorded shapes (normalised texts with their users, keyspaces and counts), never literals. Both
configurations plan each of them; whatever the explanations differ in is told. A forecast is as good as its corpus, and
is made without values: a shape whose shard depends on them is compared by how it is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from _speedups import lexer
from config.settings import Settings
from router.context import Context
from router.errors import refusal
from router.explain import describe
from router.plan import ByKey, OneShard, Plan, Planned, Refuse, Residual, Scatter
from router.policy.compiled import build as build_policy
from router.policy.enforce import Enforcement, plan
from router.policy.model import Action, FlowKind
from router.policy.proof import Finding, Proof
from router.privileges import Grants
from router.schema import SchemaSnapshot
from router.topology import Shard, Topology

MOST_SHAPES = 100_000


@dataclass(frozen=True, slots=True)
class Shape:
    """A recorded statement: norm, who asked, in which keyspace, how often. `whole`: its text was not cut."""

    norm: str
    user: str
    keyspace: str | None
    count: int = 1
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one configuration does with a shape: aspect -> what it says ('plan', 'shards', 'tables', 'column x' …).

    `refused`: why it is refused, None when it is answered; `refused_on`: shard -> why, when only some of those that it
    may lead to refuse. `leaves`: (what, to which legal domain) pairs, when there is a policy: 'shop.customers.email of
    eea, masked (email)'.
    """

    aspects: Mapping[str, str]
    refused: str | None = None
    refused_on: Mapping[str, str] = field(default_factory=dict)
    leaves: frozenset[tuple[str, str]] = frozenset()


Planner = Callable[[Shape], Outcome]
REFUSED, ALLOWED, CHANGED = "refused", "allowed", "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One shape that changes. `what`: 'refused', 'allowed', 'changed'; `details` in sentences."""

    shape: Shape
    what: str
    details: tuple[str, ...]


@dataclass(slots=True)
class Simulation:
    """`unjudged`: shapes whose text was cut when it was recorded. `leaving`: (what, where) that is new in any shape."""

    shapes: int = 0
    executions: int = 0
    unjudged: int = 0
    changes: list[Change] = field(default_factory=list)
    leaving: dict[tuple[str, str], int] = field(default_factory=dict)

    def of(self, what: str) -> list[Change]:
        return [change for change in self.changes if change.what == what]

    def as_dict(self) -> dict[str, Any]:
        return {
            "shapes": self.shapes,
            "executions": self.executions,
            "unjudged": self.unjudged,
            "changed": len(self.changes),
            "newly_leaving": [{"what": what, "to": to, "shapes": n} for (what, to), n in self.leaving.items()],
            "changes": [
                {
                    "what": change.what,
                    "statement": change.shape.norm,
                    "user": change.shape.user,
                    "keyspace": change.shape.keyspace,
                    "count": change.shape.count,
                    "details": list(change.details),
                }
                for change in self.changes
            ],
        }


def simulate(shapes: Iterable[Shape], old: Planner, new: Planner) -> Simulation:
    """Plans every shape twice. Raises ValueError for more than MOST_SHAPES."""
    found = Simulation()
    for shape in shapes:
        found.shapes += 1
        found.executions += shape.count
        if found.shapes > MOST_SHAPES:
            raise ValueError(f"a corpus has {MOST_SHAPES} shapes at most")
        if not shape.whole:
            found.unjudged += 1
            continue
        before, after = old(shape), new(shape)
        for pair in sorted(after.leaves - before.leaves):
            found.leaving[pair] = found.leaving.get(pair, 0) + 1
        change = compare(shape, before, after)
        if change is not None:
            found.changes.append(change)
    found.changes.sort(key=lambda change: -change.shape.count)
    return found


def compare(shape: Shape, before: Outcome, after: Outcome) -> Change | None:
    """What becomes of a shape; None when nothing changes."""
    if before == after:
        return None
    details = [f"newly leaves to {where}: {what}" for what, where in sorted(after.leaves - before.leaves)]
    details += [f"leaves no more to {where}: {what}" for what, where in sorted(before.leaves - after.leaves)]
    if after.refused is not None and before.refused is None:
        return Change(shape, REFUSED, (after.refused, *details))
    if before.refused is not None and after.refused is None:
        still = _on_shards(after.refused_on, "still refused")
        return Change(shape, ALLOWED, (f"was: {before.refused}", *still, *details))
    if before.refused != after.refused:
        details.insert(0, f"refused for another reason: {after.refused}")
    lost = {name: why for name, why in after.refused_on.items() if name not in before.refused_on}
    gained = {name: why for name, why in before.refused_on.items() if name not in after.refused_on}
    details = [*_on_shards(lost, "refused"), *_on_shards(gained, "no longer refused"), *details]
    what = CHANGED
    if bool(lost) != bool(gained):
        what = REFUSED if lost else ALLOWED
    return Change(shape, what, (*details, *_differences(before.aspects, after.aspects)))


def _on_shards(refused: Mapping[str, str], how: str) -> Iterator[str]:
    """'refused for rows on eu-0, eu-1: FL2101: …'"""
    for why in dict.fromkeys(refused.values()):
        yield f"{how} for rows on {', '.join(name for name in refused if refused[name] == why)}: {why}"


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    names = dict.fromkeys((*before, *after))
    return [
        f"{name}: {before.get(name, 'none')} -> {after.get(name, 'none')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


# --- the router as a planner --------------------------------------------------------------------------------


class RoutePlanner:
    """What the router of one configuration does with a shape, its policy included.

    `schemas`: keyspace -> its tables, where they are known: without them a policy refuses what it restricts. A corpus
    knows users and not where they came from, so subjects are those that the user's name makes. Raises ConfigError.
    """

    def __init__(self, settings: Settings, schemas: Mapping[str, SchemaSnapshot] | None = None) -> None:
        self._settings = settings
        self._topology = Topology.build(settings)
        self._policy = build_policy(settings, self._topology)
        self._schemas = dict(schemas or {})

    def __call__(self, shape: Shape) -> Outcome:
        user = self._settings.users.get(shape.user)
        if user is None:
            return Outcome({}, f"there is no user {shape.user}")
        if shape.keyspace is not None and self._topology.keyspace(shape.keyspace) is None:
            return Outcome({}, f"there is no keyspace {shape.keyspace}")
        context = Context(
            topology=self._topology,
            grants=Grants(shape.user, user.grants),
            database=shape.keyspace,
            schemas=self._schemas,
            offline=True,
            hints=frozenset(hint.value for hint in user.hints),
            policy=self._policy,
            subject=self._policy.subject_of(shape.user, "", None) if self._policy else None,
        )
        text = shape.norm.encode("utf-8", "surrogateescape")
        planned = plan(lexer.lex(text), text, context)
        return outcome_of(planned, self._topology, sharding_of(planned.plan, self._settings))


def outcome_of(planned: Planned, topology: Topology, sharding: str = "") -> Outcome:
    """A plan as something to compare: printed, with where it may go. `sharding`: see `sharding_of`."""
    found, facts = planned.plan, planned.facts
    shards = _shards_of(found, topology)
    aspects = {
        "plan": describe(found),
        "shards": ", ".join(shard.name for shard in shards),
        "regions": ", ".join(dict.fromkeys(shard.region.name for shard in shards)),
        "sharding": sharding,
        "tables": ", ".join(f"{use.keyspace}.{use.table} ({use.access})" for use in facts.tables),
        "reads from": "a replica, when the session allows it" if facts.replica_ok else "the primary",
        "pins": ", ".join(facts.pins),
    }
    refused = str(refusal(found.entry, *found.args)) if isinstance(found, Refuse) else None
    kept = {name: text for name, text in aspects.items() if text}
    given = tuple(_enforcements(planned))
    refused_on = _refused_on(planned.policy, found) if refused is None and planned.policy is not None else {}
    leaving = frozenset(one for enforcement in given for one in _leaving(enforcement))
    return Outcome(kept | _rulings(given), refused, refused_on, leaving)


def _enforcements(planned: Planned) -> Iterator[Enforcement]:
    """What the policy makes of the statement, and of the parts that go to a scratch server."""
    if planned.policy is not None:
        yield planned.policy
    plan = planned.plan.otherwise if isinstance(planned.plan, ByKey) else planned.plan
    for pull in plan.pulls if isinstance(plan, Residual) else ():
        if pull.planned is not None and pull.planned.policy is not None:
            yield pull.planned.policy


def _refused_on(enforcement: Enforcement, found: Plan) -> dict[str, str]:
    """Reads of several shards are answered without those whose rows do not exist for the user, which is no refusal."""
    return {
        name: str(refusal(part.refusal.entry, *part.refusal.args))
        for name, part in enforcement.parts.items()
        if part.refusal is not None and not (part.hidden and isinstance(found, Scatter))
    }


def _shards_of(found: Plan, topology: Topology) -> tuple[Shard, ...]:
    """The shards that a plan may touch, whatever the values."""
    if isinstance(found, ByKey):
        keyspace = topology.keyspace(found.keyspace)
        return keyspace.shards if keyspace else ()
    names = (found.shard,) if isinstance(found, OneShard) else getattr(found, "shards", ())
    return tuple(shard for name in names if (shard := topology.shard(name)) is not None)


def sharding_of(found: Plan, settings: Settings) -> str:
    """Names one state of a sharding function: with the same text, every key leads to the same shard."""
    keyspace = settings.keyspaces.get(getattr(found, "keyspace", None) or "")
    name = getattr(found, "vindex", None)
    if keyspace is None or name is None:
        return ""
    state = crc32(repr((keyspace.vindexes[name], keyspace.shards)).encode())
    return f"{name} over {', '.join(keyspace.shards)} (state {state:08x})"


# --- what the policy says -----------------------------------------------------------------------------------

_ACROSS = {
    (Action.ALLOW, FlowKind.IDENTITY): "as it is",
    (Action.ALLOW, FlowKind.DERIVED): "computed from",
    (Action.ALLOW, FlowKind.AGGREGATE): "aggregated",
    (Action.AGGREGATE, FlowKind.AGGREGATE): "aggregated",
}
"""What comes out of the domain, and how; the other uses of a column bring none of its values along."""


def _findings(enforcement: Enforcement) -> Iterator[tuple[Proof, Finding]]:
    for proof in (part.proof for part in enforcement.parts.values()):
        if proof is not None:
            yield from ((proof, finding) for finding in proof.findings)


def _rulings(given: Iterable[Enforcement]) -> dict[str, str]:
    """'policy on shop.customers.email of eea, identity' -> 'mask (email) by personal_abroad'."""
    told: dict[str, set[str]] = {}
    for _, finding in (found for enforcement in given for found in _findings(enforcement)):
        aspect = f"policy on {_column(finding)} of {', '.join(finding.homes)}, {finding.flow.name.lower()}"
        told.setdefault(aspect, set()).add(_verdict(finding))
    return {aspect: "; ".join(sorted(verdicts)) for aspect, verdicts in sorted(told.items())}


def _verdict(finding: Finding) -> str:
    words = finding.action.name.lower().replace("_", " ")
    words += f" ({finding.mask})" if finding.mask else ""
    words += f" over at least {finding.k}" if finding.k else ""
    words += f" by {', '.join(finding.rules)}" if finding.rules else ""
    return words + "".join(f"; {duty}" for duty in finding.obligations)


def _leaving(enforcement: Enforcement) -> Iterator[tuple[str, str]]:
    for proof, finding in _findings(enforcement):
        how = _ACROSS.get((finding.action, finding.flow))
        if finding.action in (Action.MASK, Action.TOKENISE) and finding.flow is not FlowKind.WRITE:
            how = f"{'masked' if finding.action is Action.MASK else 'tokenised'} ({finding.mask})"
        for home in finding.homes if how is not None and finding.operation == "read" else ():
            if home != proof.domain:
                yield f"{_column(finding)} of {home}, {how}", proof.domain


def _column(finding: Finding) -> str:
    database, table, column = finding.name
    return f"{database}.{table}.{column}" if column else f"the rows of {database}.{table}"
