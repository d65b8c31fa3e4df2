"""What the policy lets a subject do with keys: the rows' verdicts, for keys that belong to them.

A key pattern says what its keys hold: a class, or a hash whose fields are columns of the table. What may be done with
a key in clear is compiled into bits (`Ability`) for each (subject, pattern, domain of the key's shard), which the
relay tests. A hash of which only a part is open is looked at field by field, with the same verdicts as the columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from types import MappingProxyType

from config.settings import KeyPattern, Settings
from router.policy.homes import homes_in
from router.policy.model import Action, ClassId, Duty, FlowKind, Operation, Policy, Subject, Verdict
from router.policy.verdict import join_all
from router.redis.keys import flows
from router.redis.table import Ability, Command
from router.redis.where import Pattern, Places
from router.topology import Table, Topology

READ: Operation = "read"
WRITE: Operation = "write"
HIDES = (Action.MASK, Action.TOKENISE)


@dataclass(frozen=True, slots=True)
class Holding:
    """What the keys of a pattern hold. `rest`: the class of what no field of `columns` stands for; `whole`: of all of
    it; `row`: of the fact that a key is there. `columns`: field -> column. `path`: the columns whose values the key
    names."""

    keyspace: str
    table: str
    rest: ClassId
    whole: ClassId
    row: ClassId
    columns: Mapping[bytes, str]
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Of one policy over the patterns of one configuration. A pattern's number is its place; one more stands for
    the keys that none knows. `domains`: the shards' legal domains, each once; `of_shard`: index of each shard's."""

    policy: Policy
    names: tuple[str, ...]
    holdings: tuple[Holding, ...]
    domains: tuple[str, ...]
    of_shard: tuple[int, ...]
    _known: dict[tuple[int, int, int], Ability] = field(default_factory=dict, repr=False, compare=False)

    def bits(self, subject: Subject, *, recorded: bool = False) -> bytes:
        """The subject's abilities by pattern and domain, as the relay tests them. `recorded`: decisions are."""
        return bytes(
            self.ability(subject, pattern, domain)
            | (Ability.ASKED if recorded and self._leaves_records(subject, pattern, domain) else 0)
            for pattern in range(len(self.holdings))
            for domain in range(len(self.domains))
        )

    def _leaves_records(self, subject: Subject, pattern: int, domain: int) -> bool:
        """What another domain allows, it records itself; what is refused here, is recorded here."""
        if self.domains[domain] != self.policy.domain and _is_open(self._bare(subject, pattern, domain)):
            return False
        everything = Ability.EXISTS | Ability.READ | Ability.WRITE
        judge = Judge.of(self, subject, pattern, domain)
        return not all(verdict.free for _, verdict in judge.uses(everything, None))

    def ability(self, subject: Subject, pattern: int, domain: int) -> Ability:
        found = self._bare(subject, pattern, domain)
        if all(_is_open(self._bare(subject, one, domain)) for one in range(len(self.holdings))):
            found |= Ability.EVERYTHING
        return found

    def _bare(self, subject: Subject, pattern: int, domain: int) -> Ability:
        key = (subject.id, pattern, domain)
        if key not in self._known:
            self._known[key] = Judge.of(self, subject, pattern, domain).ability()
        return self._known[key]

    def may_flow(self, source: int, target: int) -> bool:
        """May values of keys of one pattern get into keys of another? Never into a lower class."""
        if source == target:
            return True
        low, high = self.holdings[source], self.holdings[target]
        return not high.columns and self.policy.dominates(high.whole, low.whole)

    def may_move(self, command: Command, arguments: list[bytes], places: Places) -> bool:
        """Whoever asks: does no value that the command moves get into a key of a lower class?"""
        ends = flows(command, arguments)
        sources, targets = ({places.find(arguments[place])[0] for place in end} for end in ends)
        return all(self.may_flow(one, other) for one in sources for other in targets)

    def reaches_all(self, subject: Subject, places: Places) -> bool:
        """Is everything that this region's servers hold open to the subject?"""
        return all(self.ability(subject, 0, self.of_shard[shard]) & Ability.EVERYTHING for shard in places.spread)


@dataclass(frozen=True, slots=True)
class Judge:
    """The verdicts of one subject about the keys of one pattern in one domain."""

    policy: Policy
    subject: Subject
    holding: Holding
    homes: tuple[str, ...]

    @classmethod
    def of(cls, verdicts: Verdicts, subject: Subject, pattern: int, domain: int) -> Judge:
        policy, holding, name = verdicts.policy, verdicts.holdings[pattern], verdicts.domains[domain]
        homes = homes_in(policy, holding.keyspace, holding.table, name) if holding.table else (name,)
        return cls(policy, subject, holding, homes)

    # --- the whole value --------------------------------------------------------------------------------------

    def ability(self) -> Ability:
        found, holding = Ability.NONE, self.holding
        reached, sent = self._reached()
        shown = reached and _allows(self._class(holding.whole, READ, FlowKind.IDENTITY))
        written = sent and _allows(self._class(holding.whole, WRITE, FlowKind.WRITE), home=True)
        told = sent and _allows(self._class(holding.whole, READ, FlowKind.INFLUENCE), home=True)
        found |= Ability.READ if shown else found
        found |= Ability.WRITE if written else found
        found |= Ability.TOLD if told else found
        if not holding.columns:
            found |= Ability.EXISTS if shown else found
            return found | Ability.ROW if written and told else found
        found |= Ability.EXISTS if reached and self._shows_itself() else found
        found |= Ability.ROW if sent and _allows(self._class(holding.row, WRITE, FlowKind.WRITE), home=True) else found
        return found | Ability.PARTS if reached or sent else found

    def _reached(self) -> tuple[bool, bool]:
        """May the row be named by the values in the key: to read it, to write it?"""
        verdict = join_all(self._column(one, READ, FlowKind.INFLUENCE) for one in self.holding.path)
        return _allows(verdict), _allows(verdict, home=True)

    def _shows_itself(self) -> bool:
        """Where a field may be shown, that there is a key shows with it (as rows do)."""
        verdicts = [self._class(self.holding.row, READ, FlowKind.INFLUENCE)]
        verdicts += [self._column(one, READ, FlowKind.IDENTITY) for one in self.holding.columns.values()]
        verdicts.append(self._class(self.holding.rest, READ, FlowKind.IDENTITY))
        least = min(verdicts, key=lambda one: one.action)
        return _allows(least) or least.action in HIDES

    def uses(self, needs: Ability, named: list[bytes] | None) -> list[tuple[ClassId, Verdict]]:
        """The class and the verdict of each thing that a command which needs this shows or changes. `named`: fields of
        a declared hash, empty for all that may be read; None for the whole key."""
        holding = self.holding
        fields = named if holding.columns else None
        if fields is not None and not fields:
            fields = [one for one in holding.columns if self.reading(one) is not None]
        found: list[tuple[ClassId, Verdict]] = []
        shows, changes = needs & (Ability.READ | Ability.TOLD), needs & Ability.WRITE
        if needs & Ability.ROW:
            cls = holding.row if holding.columns else holding.whole
            found.append((cls, self._class(cls, WRITE, FlowKind.WRITE)))
        for flow, operation, does in ((FlowKind.IDENTITY, READ, shows), (FlowKind.WRITE, WRITE, changes)):
            if does and fields is not None:
                found += [(self._class_of(one), self._field(one, operation, flow)) for one in fields]
            elif does:
                found.append((holding.whole, self._class(holding.whole, operation, flow)))
        return found or [(holding.row, self._class(holding.row, READ, FlowKind.INFLUENCE))]

    def _class_of(self, name: bytes) -> ClassId:
        column = self.holding.columns.get(name)
        if column is None:
            return self.holding.rest
        return self.policy.class_of(self.holding.keyspace, self.holding.table, column)

    # --- fields of a declared hash ----------------------------------------------------------------------------

    def reading(self, name: bytes) -> Verdict | None:
        """The verdict of a field that may be read, in clear or by its mask; None of one that may not."""
        if not self._reached()[0]:
            return None
        verdict = self._field(name, READ, FlowKind.IDENTITY)
        if any(one.duty is Duty.BUDGET for one in verdict.obligations):
            return None  # nobody counts here
        hidden = verdict.action in HIDES and verdict.mask is not None
        return verdict if hidden or verdict.action is Action.ALLOW else None

    def may_write(self, name: bytes) -> bool:
        """May it be written, and told what was there?"""
        return (
            self._reached()[1]
            and _allows(self._field(name, WRITE, FlowKind.WRITE), home=True)
            and _allows(self._field(name, READ, FlowKind.INFLUENCE), home=True)
        )

    def _field(self, name: bytes, operation: Operation, flow: FlowKind) -> Verdict:
        column = self.holding.columns.get(name)
        if column is None:
            return self._class(self.holding.rest, operation, flow)
        return self._column(column, operation, flow)

    def _column(self, column: str, operation: Operation, flow: FlowKind) -> Verdict:
        keyspace, table = self.holding.keyspace, self.holding.table
        return join_all(
            self.policy.decide_column(keyspace, table, column, home, self.subject, operation, flow)
            for home in self.homes
        )

    def _class(self, cls: ClassId, operation: Operation, flow: FlowKind) -> Verdict:
        return join_all(self.policy.decide(cls, home, self.subject, operation, flow) for home in self.homes)


def _allows(verdict: Verdict, *, home: bool = False) -> bool:
    """In clear. `home`: or carried out at home, where nothing of it comes back. What would have to be counted is not
    allowed, as nobody counts."""
    if any(one.duty is Duty.BUDGET for one in verdict.obligations):
        return False
    return verdict.action is Action.ALLOW or (home and verdict.action is Action.SEND_HOME)


def _is_open(ability: Ability) -> bool:
    needed = Ability.EXISTS | Ability.READ | Ability.WRITE | Ability.ROW | Ability.TOLD
    return ability & needed == needed


def needs(command: Command, arguments: list[bytes]) -> Ability:
    """Of each key of this command. SET with NX, XX or GET tells of the old value."""
    if command.name == "set" and any(one.upper() in (b"NX", b"XX", b"GET") for one in arguments[3:]):
        return Ability.READ | Ability.WRITE
    return command.needs


# --- what keys hold -------------------------------------------------------------------------------------------


def build(policy: Policy, settings: Settings, topology: Topology, places: Places) -> Verdicts:
    """For the patterns of settings that `config.load` accepted."""
    given = settings.redis.patterns
    holdings = [_holding(policy, given[one.name], one, topology) for one in places.patterns]
    loose = policy.class_named(settings.redis.unmatched_classes)
    holdings.append(Holding("", "", loose, loose, loose, MappingProxyType({}), ()))
    shards = [policy.domain_of_region(shard.region.name) for shard in topology.shards]
    domains = tuple(dict.fromkeys(shards))
    names = tuple(one.name for one in places.patterns)
    return Verdicts(policy, names, tuple(holdings), domains, tuple(map(domains.index, shards)))


def _holding(policy: Policy, given: KeyPattern, pattern: Pattern, topology: Topology) -> Holding:
    if given.table is None:
        cls = policy.class_named(given.classes)
        return Holding("", "", cls, cls, cls, MappingProxyType({}), ())
    keyspace, _, name = given.table.partition(".")
    rest = policy.class_named(given.classes) if given.classes else policy.top_of(keyspace, name)
    fields = MappingProxyType({one.encode(): column for one, column in given.columns.items()})
    whole = _joined(policy, [rest, *(policy.class_of(keyspace, name, column) for column in fields.values())])
    row = policy.class_of_table(keyspace, name)
    return Holding(keyspace, name, rest, whole, row, fields, tuple(_path(pattern, topology, keyspace, name)))


def _path(pattern: Pattern, topology: Topology, keyspace: str, name: str) -> Iterator[str]:
    """A pinned table's keys name no column that the configuration knows."""
    found = topology.keyspace(keyspace)
    table: Table | None = found.table(name) if found is not None else None
    if table is not None and pattern.vindex is not None:
        yield from table.columns


def _joined(policy: Policy, classes: Iterable[ClassId]) -> ClassId:
    return reduce(policy.join, classes)
