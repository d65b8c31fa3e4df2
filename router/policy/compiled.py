"""The policy in force: everything `router.policy.model.Policy` may be asked, compiled from the settings once.

Verdicts are kept as they are asked for, in a table that is bounded: it is emptied when full, which costs time only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from types import MappingProxyType
from typing import get_args

from config.errors import ConfigError
from config.policy import PolicySettings
from config.settings import Settings
from router.policy import mask_values, masks, placement
from router.policy.classes import Classes
from router.policy.labels import Labels
from router.policy.model import (
    NOTHING_LEFT,
    OWN_MASK,
    UNKNOWN_DOMAIN,
    ClassId,
    FlowKind,
    Operation,
    Subject,
    Verdict,
)
from router.policy.residency import Means, Residency, Spot
from router.policy.rules import Rules
from router.policy.subject import Subjects
from router.schema import LiveColumn, SchemaSnapshot
from router.topology import Keyspace, Topology

MAX_VERDICTS = 65536
_OPERATIONS: tuple[Operation, ...] = get_args(Operation)

_Verdicts = dict[tuple[ClassId, str, int, Operation, FlowKind], Verdict]


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """See `Policy` for what the methods answer."""

    epoch: int
    region: str
    settings: PolicySettings
    classes: Classes
    labels: Labels
    subjects: Subjects
    rules: Rules
    region_domains: Mapping[str, str]
    _homes: Mapping[str, Mapping[str, tuple[str, ...]]] = field(repr=False)
    _salt: masks.Salt | None = field(repr=False)
    _verdicts: _Verdicts = field(default_factory=dict, repr=False, compare=False)
    _open: dict[tuple[ClassId, tuple[str, ...], int], bool] = field(default_factory=dict, repr=False, compare=False)

    @property
    def domain(self) -> str:
        return self.domain_of_region(self.region)

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(self.settings.domains)

    # --- classes ---

    def restricted(self, database: str, table: str) -> bool:
        return self.labels.table(database, table).top != self.classes.bottom

    def class_of(self, database: str, table: str, column: str) -> ClassId:
        return self.labels.table(database, table).of(column)

    def class_of_table(self, database: str, table: str) -> ClassId:
        return self.labels.table(database, table).own

    def top_of(self, database: str, table: str) -> ClassId:
        return self.labels.table(database, table).top

    def class_name(self, cls: ClassId) -> str:
        return self.classes.name(cls)

    def class_named(self, names: tuple[str, ...]) -> ClassId:
        return self.classes.named(names) if names else self.classes.top

    def join(self, one: ClassId, other: ClassId) -> ClassId:
        return self.classes.join(one, other)

    def dominates(self, high: ClassId, low: ClassId) -> bool:
        return self.classes.dominates(high, low)

    def seeing(self, schemas: Mapping[str, SchemaSnapshot]) -> tuple[CompiledPolicy, tuple[str, ...]]:
        """-> (the policy for these live tables, labels for columns that they do not have: 'shop.customers.e_mail')."""
        astray = tuple(self.labels.astray(schemas))
        if not astray:
            return self, ()
        tables = {(database, table) for database, table, _ in astray}
        return replace(self, labels=self.labels.distrusting(tables)), tuple(".".join(one) for one in astray)

    # --- places ---

    def domain_of_region(self, region: str) -> str:
        return self.region_domains.get(region, UNKNOWN_DOMAIN)

    def homes_of(self, database: str, table: str) -> tuple[str, ...]:
        declared = self.labels.table(database, table).home
        if declared is not None:
            return (declared,)
        keyspace = self._homes.get(database.lower())
        if keyspace is None:
            return self.domains
        return keyspace.get(table.lower(), keyspace[""])

    def objections_to_copy(self, cls: ClassId, home: str, region: str) -> tuple[str, ...]:
        residency = Residency(self.settings, self.classes)
        return residency.objections(cls, home, Means.SCRATCH, None, Spot(region, self.domain_of_region(region)))

    def person_of(self, database: str, table: str) -> str | None:
        return self.labels.table(database, table).person

    # --- subjects and verdicts ---

    def subject_of(self, user: str, listener: str, certificate: str | None, region: str | None = None) -> Subject:
        return self.subjects.of_identity(user, listener, certificate, self.region if region is None else region)

    def decide(self, cls: ClassId, home: str, subject: Subject, operation: Operation, flow: FlowKind) -> Verdict:
        key = (cls, home, subject.id, operation, flow)
        verdict = self._verdicts.get(key)
        if verdict is None:
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            verdict = self._verdicts[key] = self.rules.decide(cls, home, subject, operation, flow)
        return verdict

    def decide_column(
        self, database: str, table: str, column: str, home: str, subject: Subject, operation: Operation, flow: FlowKind
    ) -> Verdict:
        labels = self.labels.table(database, table)
        verdict = self.decide(labels.of(column), home, subject, operation, flow)
        if verdict.mask != OWN_MASK:
            return verdict
        return replace(verdict, mask=labels.masks.get(column.lower(), NOTHING_LEFT))

    def open_to(self, database: str, table: str, subject: Subject) -> bool:
        labels = self.labels.table(database, table)
        homes = self.homes_of(database, table)
        return all(self._class_is_open(cls, homes, subject) for cls in {labels.own, *labels.columns.values()})

    def _class_is_open(self, cls: ClassId, homes: tuple[str, ...], subject: Subject) -> bool:
        key = (cls, homes, subject.id)
        found = self._open.get(key)
        if found is None:
            if len(self._open) >= MAX_VERDICTS:
                self._open.clear()
            uses = product(homes, _OPERATIONS, FlowKind)
            found = self._open[key] = all(self.decide(cls, home, subject, op, flow).free for home, op, flow in uses)
        return found

    def explain(self, cls: ClassId, home: str, subject: Subject, operation: Operation, flow: FlowKind) -> list[str]:
        return self.rules.explain(cls, home, subject, operation, flow)

    # --- masks ---

    def mask_sql(self, mask: str, column_sql: str, column: LiveColumn, flavour: str) -> str | None:
        return masks.expression(mask, column_sql, column, flavour, self._salt)

    def mask_value(self, mask: str, value: bytes, column: LiveColumn) -> bytes | None:
        return mask_values.masked(mask, value, column, self._salt)

    def redact(self, sql: str) -> str:
        return sql if self._salt is None else self._salt.redact(sql)


def build(settings: Settings, topology: Topology, epoch: int = 1) -> CompiledPolicy | None:
    """The policy of settings that `config.load` accepted; None when they have none.

    Raises ConfigError when the topology puts data where it may not be (`router.policy.placement`).
    """
    policy = settings.policy
    if policy is None:
        return None
    if found := placement.mistakes(settings, topology):
        raise ConfigError(found)
    domains = {region: name for name, domain in policy.domains.items() for region in domain.regions}
    classes = Classes.of(policy)
    return CompiledPolicy(
        epoch=epoch,
        region=settings.region,
        settings=policy,
        classes=classes,
        labels=Labels.of(policy, classes),
        subjects=Subjects.of(policy, domains),
        rules=Rules.of(policy, classes),
        region_domains=MappingProxyType(domains),
        _homes=_homes(topology, domains),
        _salt=_salt(settings, policy, domains),
    )


def _homes(topology: Topology, domains: Mapping[str, str]) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Keyspace -> table -> domains of its shards, both in lower case; '' stands for every other table."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for keyspace in topology.keyspaces:
        tables = found.setdefault(keyspace.name.lower(), {})
        for name, homes in _keyspace_homes(keyspace, topology, domains):
            tables[name] = _unique((*tables.get(name, ()), *homes))
    return MappingProxyType({name: MappingProxyType(tables) for name, tables in found.items()})


def _keyspace_homes(
    keyspace: Keyspace, topology: Topology, domains: Mapping[str, str]
) -> list[tuple[str, tuple[str, ...]]]:
    whole = tuple(domains[shard.region.name] for shard in keyspace.shards)
    tables = [
        (name.lower(), tuple(domains[topology.shards[shard].region.name] for shard in table.shards))
        for name, table in keyspace.tables.items()
    ]
    return [("", whole), *tables]


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _salt(settings: Settings, policy: PolicySettings, domains: Mapping[str, str]) -> masks.Salt | None:
    """The own domain's; None where it has no key."""
    name = domains[settings.region]
    key = policy.domains[name].token_key
    if key is None:
        return None
    return masks.Salt() if key.value is None else masks.Salt.of(key.value, name)
