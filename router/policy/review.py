"""What a policy allows but is seldom meant: remarks of `fairlead check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise, product

from config.errors import Mistake
from config.findings import Findings, KeyPath, near_or_known
from config.policy import SubjectSettings, TableLabel
from config.settings import MysqlListener, Settings
from router.policy.compiled import CompiledPolicy
from router.policy.model import FlowKind, Operation, Policy, Subject
from router.policy.verdict import at_least
from router.schema import SchemaSnapshot

Remark = tuple[KeyPath, str, str | None]

_USES: tuple[tuple[Operation, FlowKind], ...] = (
    ("read", FlowKind.IDENTITY),
    ("read", FlowKind.AGGREGATE),
    ("write", FlowKind.WRITE),
)


def review(settings: Settings, policy: CompiledPolicy) -> list[Mistake]:
    """The remarks, in the order of the file."""
    findings = Findings()
    for path, place in settings.places.items():
        findings.saw(path, place)
    for remarks in (_labels, _users, _levels):
        for where, message, hint in remarks(settings, policy):
            findings.add(where, message, hint)
    return list(findings.mistakes)


def labels_astray(settings: Settings, schemas: Mapping[str, SchemaSnapshot]) -> list[Mistake]:
    """Labels for tables and columns that these schemas do not have: what they were meant for is without them."""
    findings = Findings()
    for path, place in settings.places.items():
        findings.saw(path, place)
    labels = settings.policy.labels if settings.policy is not None else {}
    for keyspace, schema in schemas.items():
        for table, label in labels[keyspace].tables.items() if keyspace in labels else ():
            _fits(findings, ("policy", "labels", keyspace, "tables", table), label, schema)
    return list(findings.mistakes)


def _fits(findings: Findings, path: KeyPath, label: TableLabel, schema: SchemaSnapshot) -> None:
    tables = {name.lower(): table for name, table in schema.tables.items()}
    live = tables.get(path[-1].lower())
    if live is None:
        findings.add(path, f"there is no table {path[-1]}", near_or_known(path[-1], schema.tables, "Tables"))
        return
    columns = [column.name for column in live.columns]
    named = [((*path, "columns", name), name) for name in label.columns]
    named += [((*path, "person"), label.person)] if label.person is not None else []
    for where, name in named:
        if live.column(name) is None:
            findings.add(where, f"table {path[-1]} has no column {name}", near_or_known(name, columns, "Columns"))


def _labels(settings: Settings, policy: CompiledPolicy) -> Iterator[Remark]:
    top = policy.class_name(policy.classes.top)
    for name, keyspace in settings.keyspaces.items():
        label = policy.settings.labels.get(name)
        if label is None:
            yield ("keyspaces", name), f"has no label, so all of it is {top}", "Name it in policy.labels"
            continue
        for table in keyspace.tables:
            if not label.classes and table.lower() not in {one.lower() for one in label.tables}:
                yield ("policy", "labels", name), f"table {table} has no label, so it is {top}", None


def unlabelled(policy: Policy, schemas: Mapping[str, SchemaSnapshot]) -> Iterator[tuple[str, str]]:
    """(keyspace.table.column, what it counts as) of live columns that nobody has labelled, nor their table."""
    if not isinstance(policy, CompiledPolicy):
        return
    for keyspace, schema in schemas.items():
        label = policy.settings.labels.get(keyspace)
        tables = {name.lower(): one for name, one in label.tables.items()} if label is not None else {}
        for name, table in schema.tables.items():
            own = tables.get(name.lower())
            if own is not None and own.classes:
                continue
            known = {column.lower() for column in own.columns} if own is not None else set()
            counts = policy.class_name(policy.labels.table(keyspace, name).own)
            for column in table.columns:
                if column.name.lower() not in known:
                    yield f"{keyspace}.{name}.{column.name}", f"has no label, so it is {counts}"


def _users(settings: Settings, policy: CompiledPolicy) -> Iterator[Remark]:
    for user in settings.users:
        for listener in settings.listeners_of(MysqlListener):
            if not any(_may_match(entry, user, listener) for entry in policy.subjects.entries):
                message = f"belongs to no subject on listener {listener}: what is restricted is refused"
                yield ("users", user), message, "Name it in policy.subjects"
                break


def _may_match(entry: SubjectSettings, user: str, listener: str) -> bool:
    """With some certificate, or without."""
    return (not entry.users or user in entry.users) and (not entry.listeners or listener in entry.listeners)


def _levels(settings: Settings, policy: CompiledPolicy) -> Iterator[Remark]:
    """A higher class is expected to be treated no looser than a lower one."""
    classes = policy.classes
    levels = [classes.named((name,)) for name in classes.levels[1:]]
    for low, high in pairwise(levels):
        looser = _looser(policy, low, high)
        if looser is not None:
            home, subject, operation = looser
            rules = policy.decide(high, home, subject, operation, FlowKind.IDENTITY).rules
            yield (
                ("policy", "rules", rules[0]),
                f"treats {classes.name(high)} data of {home} looser for a subject in {subject.domain} than "
                f"{classes.name(low)} data is treated",
                None,
            )


def _looser(policy: CompiledPolicy, low: int, high: int) -> tuple[str, Subject, Operation] | None:
    for home, subject, (operation, flow) in product(policy.domains, policy.subjects.all(), _USES):
        one, other = (policy.decide(cls, home, subject, operation, flow) for cls in (low, high))
        if other.action < one.action and not at_least(other, one):
            return home, subject, operation
    return None
