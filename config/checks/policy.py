"""The policy: every name means something, and no two entries contradict each other.

Whether data may be where the topology puts it is `router.policy.placement`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

from config.checks.names import check_identifier, check_known
from config.checks.shards import check_zone
from config.findings import Findings, KeyPath, item
from config.policy import (
    ANY,
    DEFAULT_CLASSES,
    HERE,
    HOME,
    MAX_LEVELS,
    MAX_RULES,
    MAX_TAGS,
    ClassSettings,
    KeyspaceLabel,
    PolicySettings,
    RuleSettings,
    StoreSettings,
    SubjectSettings,
    TableLabel,
)
from config.secrets import Secret
from config.settings import KeyspaceSettings, Settings
from config.words import Operation, StoreKind

MIN_KEY = 32
_WORDS = frozenset({ANY, HOME, HERE})
_READING_ONLY = frozenset({"mask", "tokenise", "aggregate"})


def check_policy(settings: Settings, findings: Findings) -> None:
    policy = settings.policy
    if policy is None:
        return
    _domains_fit(settings, findings, policy)
    _classes_fit(findings, policy)
    _labels_fit(settings, findings, policy)
    _subjects_fit(settings, findings, policy)
    _rules_fit(findings, policy)
    for name, budget in policy.budgets.items():
        if budget.warn is not None and budget.warn > budget.persons:
            findings.add(("policy", "budgets", name, "warn"), "more than persons, so it would never warn")
        if settings.audit is None and any(rule.budget == name for rule in policy.rules.values()):
            path = ("policy", "budgets", name)
            findings.add(path, "there is nowhere to count it", "The section audit names the folder")
    _failover_fits(findings, policy)
    for name, store in policy.stores.items():
        _store_fits(settings, findings, policy, store, ("policy", "stores", name))


def check_token_key(findings: Findings, key: Secret, path: KeyPath) -> None:
    """Called once the secrets are read."""
    if key.value is not None and len(key.value) < MIN_KEY:
        findings.add(path, f"a token key has at least {MIN_KEY} characters")


# --- domains and classes ------------------------------------------------------------------------------------


def _domains_fit(settings: Settings, findings: Findings, policy: PolicySettings) -> None:
    owners: dict[str, str] = {}
    for name, domain in policy.domains.items():
        path = ("policy", "domains", name)
        _check_name(findings, path, name)
        for region in domain.regions:
            check_known(findings, (*path, "regions"), region, findings.declared("regions"), "region")
            if owners.setdefault(region, name) != name:
                findings.add((*path, "regions"), f"region {region} is in domain {owners[region]} already")
    if findings.wrong(("policy", "domains")):
        return
    for region in settings.regions:
        if region not in owners:
            hint = "Name it in one of policy.domains"
            findings.add(("policy", "domains"), f"region {region} is in no legal domain", hint)


def _classes_fit(findings: Findings, policy: PolicySettings) -> None:
    for section, entries, most in (("classes", policy.classes, MAX_LEVELS), ("tags", policy.tags, MAX_TAGS)):
        if len(entries) > most:
            findings.add(("policy", section), f"at most {most}, not {len(entries)}")
        for name, given in entries.items():
            path = ("policy", section, name)
            _check_name(findings, path, name)
            _residency_fits(findings, policy, given, path)
    if policy.classes and len(policy.classes) < 2:
        findings.add(("policy", "classes"), "needs at least two classes: the first is never restricted")
    for name in policy.tags:
        if name in _levels(policy):
            findings.add(("policy", "tags", name), f"{name} is a class already")


def _levels(policy: PolicySettings) -> Mapping[str, ClassSettings]:
    return policy.classes or DEFAULT_CLASSES


def _residency_fits(findings: Findings, policy: PolicySettings, given: ClassSettings, path: KeyPath) -> None:
    for option in ("replicas_in", "backup_in", "logs_in"):
        known = [*findings.declared("policy", "domains"), HOME, ANY]
        for domain in getattr(given, option):
            check_known(findings, (*path, option), domain, known, "domain")


def _check_name(findings: Findings, path: KeyPath, name: str) -> None:
    if name in _WORDS:
        findings.add(path, f"{name} is a word of rules and cannot be a name")
    if not name or len(name) > 63 or not name.replace("-", "_").replace(".", "_").isidentifier():
        findings.add(path, "a name is up to 63 letters, digits, '.', '_' and '-', and begins with a letter")


def check_classes(findings: Findings, policy: PolicySettings, names: tuple[str, ...], path: KeyPath) -> None:
    """A class and any tags; nothing is fine where it has a default."""
    levels = _declared_levels(findings, policy)
    for name in names:
        check_known(findings, path, name, [*levels, *findings.declared("policy", "tags")], "class", "classes and tags")
    given = [name for name in names if name in levels]
    if len(given) > 1:
        findings.add(path, f"{given[0]} and {given[1]} are both classes", "One class, and any tags")
    if names and not given and not findings.wrong(path):
        findings.add(path, "names tags only", "One class, and any tags")


def _declared_levels(findings: Findings, policy: PolicySettings) -> list[str]:
    return findings.declared("policy", "classes") or list(_levels(policy))


# --- labels -------------------------------------------------------------------------------------------------


def _labels_fit(settings: Settings, findings: Findings, policy: PolicySettings) -> None:
    for name, label in policy.labels.items():
        path = ("policy", "labels", name)
        if not check_known(findings, path, name, findings.declared("keyspaces"), "keyspace"):
            continue
        check_classes(findings, policy, label.classes, (*path, "classes") if label.classes else path)
        keyspace = settings.keyspaces.get(name)
        if keyspace is not None:
            _table_labels_fit(findings, policy, keyspace, label, (*path, "tables"))


def _table_labels_fit(
    findings: Findings, policy: PolicySettings, keyspace: KeyspaceSettings, label: KeyspaceLabel, path: KeyPath
) -> None:
    for title, table in label.tables.items():
        where = (*path, title)
        if keyspace.unsharded:
            check_identifier(findings, where, title)
        else:
            check_known(findings, where, title, keyspace.tables, "table")
        _table_label_fits(findings, policy, table, where)


def _table_label_fits(findings: Findings, policy: PolicySettings, table: TableLabel, path: KeyPath) -> None:
    check_classes(findings, policy, table.classes, (*path, "classes"))
    if table.home is not None:
        check_known(findings, (*path, "home"), table.home, findings.declared("policy", "domains"), "domain")
    if table.person is not None:
        check_identifier(findings, (*path, "person"), table.person)
    lowered: set[str] = set()
    for name, column in table.columns.items():
        where = (*path, "columns", name)
        check_identifier(findings, where, name)
        if name.lower() in lowered:
            findings.add(where, f"{name} is named twice")
        lowered.add(name.lower())
        check_classes(findings, policy, column.classes, where)
        if not column.classes and not findings.wrong(where):
            findings.add(where, "needs a class")


# --- subjects -----------------------------------------------------------------------------------------------


def _subjects_fit(settings: Settings, findings: Findings, policy: PolicySettings) -> None:
    for name, subject in policy.subjects.items():
        path = ("policy", "subjects", name)
        known = [*findings.declared("policy", "domains"), HERE]
        check_known(findings, (*path, "domain"), subject.domain, known, "domain")
        for user in subject.users:
            check_known(findings, (*path, "users"), user, findings.declared("users"), "user")
        for listener in subject.listeners:
            check_known(findings, (*path, "listeners"), listener, findings.declared("listeners"), "listener")
    for (one, first), (other, second) in combinations(policy.subjects.items(), 2):
        if _collide(first, second):
            findings.add(
                ("policy", "subjects", other),
                f"an identity may be {one} and {other} alike",
                "Name different users, listeners or certificates",
            )


def _collide(one: SubjectSettings, other: SubjectSettings) -> bool:
    """Do both match some identity by the same kinds of conditions, so that none goes before the other?"""
    pairs = (
        (one.users, other.users),
        (one.listeners, other.listeners),
        (one.certificates, other.certificates),
    )
    return all((not a and not b) or not set(a).isdisjoint(b) for a, b in pairs)


# --- rules --------------------------------------------------------------------------------------------------


def _rules_fit(findings: Findings, policy: PolicySettings) -> None:
    if len(policy.rules) > MAX_RULES:
        findings.add(("policy", "rules"), f"at most {MAX_RULES}, not {len(policy.rules)}")
    for name, rule in policy.rules.items():
        path = ("policy", "rules", name)
        _check_name(findings, path, name)
        _rule_names_fit(findings, policy, rule, path)
        _verdict_fits(findings, policy, rule, path)


def _rule_names_fit(findings: Findings, policy: PolicySettings, rule: RuleSettings, path: KeyPath) -> None:
    levels = _declared_levels(findings, policy)
    domains = findings.declared("policy", "domains")
    for one in rule.classes:
        known = [*levels, *findings.declared("policy", "tags")]
        check_known(findings, (*path, "classes"), one, known, "class", "classes and tags")
        if levels and one == levels[0]:
            findings.add((*path, "classes"), f"{one} is the lowest class and never restricted")
    for one in rule.homes:
        check_known(findings, (*path, "homes"), one, domains, "domain")
    for one in rule.domains:
        check_known(findings, (*path, "domains"), one, [*domains, HOME, ANY], "domain")
    _check_used(findings, rule.roles, (role for one in policy.subjects.values() for role in one.roles), path, "role")
    _check_used(findings, rule.purposes, (one.purpose or "" for one in policy.subjects.values()), path, "purpose")
    parties = (one.counterparty or "" for one in policy.subjects.values())
    _check_used(findings, rule.counterparties, parties, path, "counterparty")
    if rule.budget is not None:
        check_known(findings, (*path, "budget"), rule.budget, findings.declared("policy", "budgets"), "budget")


def _check_used(
    findings: Findings, names: tuple[str, ...], used: Iterable[str], path: KeyPath, what: str
) -> None:
    """A rule about what no subject is would never match: most likely it is misspelt."""
    known = sorted(set(used) - {""})
    section = "counterparties" if what == "counterparty" else f"{what}s"
    for name in names:
        if name not in known and not findings.wrong(("policy", "subjects")):
            check_known(findings, (*path, section), name, known, what, section)


def _verdict_fits(findings: Findings, policy: PolicySettings, rule: RuleSettings, path: KeyPath) -> None:
    word = rule.then.word
    if Operation.WRITE in rule.operations and word in _READING_ONLY:
        findings.add((*path, "operations"), f"{word} is about reading", "Writing is allowed, sent home or refused")
    if word == "refuse" and rule.budget is not None:
        findings.add((*path, "budget"), "what is refused exposes nobody")
    if word == "aggregate" and rule.budget is not None:
        findings.add((*path, "budget"), "an aggregate does not say whom it is about, so nobody can be counted")
    if word == "tokenise":
        for name, domain in policy.domains.items():
            if domain.token_key is None and (not rule.homes or name in rule.homes):
                findings.add((*path, "then"), f"domain {name} has no token_key", "Give it one, or narrow `homes`")


# --- what the topology check needs --------------------------------------------------------------------------


def _failover_fits(findings: Findings, policy: PolicySettings) -> None:
    shards = findings.declared("shards")
    for name, targets in policy.failover.items():
        path = ("policy", "failover", name)
        check_known(findings, path, name, shards, "shard")
        for target in targets:
            check_known(findings, path, target, shards, "shard")
            if target == name:
                findings.add(path, f"{name} cannot take over its own rows")


def _store_fits(
    settings: Settings, findings: Findings, policy: PolicySettings, store: StoreSettings, path: KeyPath
) -> None:
    known = check_known(findings, (*path, "region"), store.region, findings.declared("regions"), "region")
    if known:
        check_zone(settings, findings, (*path, "zone"), store.region, store.zone)
    check_classes(findings, policy, store.carries, (*path, "carries"))
    backup = store.kind is StoreKind.BACKUP
    if backup and store.carries:
        findings.add((*path, "carries"), "a backup holds what the shards hold, and has their classes")
    if not backup and not store.carries:
        findings.add(path, f"a store of kind {store.kind} says what it carries", "carries: the highest class in it")
    sources = findings.declared("shards" if backup else "regions")
    peers = [name for name, one in policy.stores.items() if (one.kind is StoreKind.BACKUP) == backup]
    for index, source in enumerate(store.of):
        what = ("shard or backup", "shards and backups") if backup else ("region or store", "regions and stores")
        at = (*path, "of", item(index)) if (*path, "of", item(index)) in findings.places else (*path, "of")
        check_known(findings, at, source, [*sources, *peers], *what)
    if not store.of:
        findings.add((*path, "of"), "names nothing that it is filled from")
