"""Type-checks the topology: can data of some class and home get where it may not be?

Places are shards, replicas, backups, log and audit stores; data gets from one to another by the edges between them.
For each (class, home) that the labels can give rise to, everything that it reaches by allowed edges is walked; the
first edge that is not allowed is a mistake, told with the whole path. (What lies behind it is not: it would follow.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from config.errors import Mistake
from config.findings import Findings, KeyPath, item
from config.policy import PolicySettings
from config.settings import Settings
from config.words import StoreKind
from router.policy.classes import Classes
from router.policy.labels import Labels, TableClasses
from router.policy.model import ClassId
from router.policy.residency import Means, Residency, Spot
from router.topology import Keyspace, Shard, Table, TableKind, Topology


@dataclass(frozen=True, slots=True)
class Edge:
    """Data flows from `source` (None: it is written here first) to `target`; `key` is the setting that says so."""

    source: str | None
    target: str
    means: Means
    key: KeyPath


@dataclass(frozen=True, slots=True)
class Item:
    """Data of a class and home, and where it is written first. `origin` names it: 'shop.customers'."""

    cls: ClassId
    home: str
    origin: str
    entries: tuple[Edge, ...]


@dataclass(slots=True)
class Graph:
    """The places and the edges between them."""

    spots: dict[str, Spot] = field(default_factory=dict)
    edges: dict[str, list[Edge]] = field(default_factory=dict)

    def add(self, edge: Edge) -> None:
        if edge.source is not None:
            self.edges.setdefault(edge.source, []).append(edge)


@dataclass(frozen=True, slots=True)
class Violation:
    """An edge that is not allowed, the last one of `path`."""

    item: Item
    path: tuple[Edge, ...]
    objections: tuple[str, ...]

    @property
    def edge(self) -> Edge:
        return self.path[-1]


def violations(graph: Graph, residency: Residency, data: Item) -> Iterator[Violation]:
    """Every forbidden edge that the item can come to over allowed ones, each once, with a shortest path."""
    seen: set[str] = set()
    waiting: deque[tuple[Edge, ...]] = deque((edge,) for edge in data.entries)
    tried: set[Edge] = set()
    while waiting:
        path = waiting.popleft()
        edge = path[-1]
        if edge in tried:
            continue
        tried.add(edge)
        source = None if edge.source is None else graph.spots[edge.source]
        objections = residency.objections(data.cls, data.home, edge.means, source, graph.spots[edge.target])
        if objections:
            yield Violation(data, path, objections)
        elif edge.target not in seen:
            seen.add(edge.target)
            waiting.extend((*path, onward) for onward in graph.edges.get(edge.target, ()))


def mistakes(settings: Settings, topology: Topology) -> list[Mistake]:
    """Every illegal placement with the path by which the data would get there; empty without a policy."""
    policy = settings.policy
    if policy is None:
        return []
    classes = Classes.of(policy)
    residency = Residency(policy, classes)
    domains = {region: name for name, domain in policy.domains.items() for region in domain.regions}
    graph = graph_of(policy, topology, domains)
    found = [one for data in items(policy, topology, classes, domains) for one in violations(graph, residency, data)]
    findings = Findings()
    for path, place in settings.places.items():
        findings.saw(path, place)
    for group in _grouped(found):
        findings.add(group[0].edge.key, _message(group, graph, classes), _hint(group))
    return list(findings.mistakes)


# --- the graph ----------------------------------------------------------------------------------------------


def graph_of(policy: PolicySettings, topology: Topology, domains: Mapping[str, str]) -> Graph:
    """`domains`: region -> legal domain."""
    graph = Graph()
    for shard in topology.shards:
        graph.spots[_shard(shard.name)] = Spot(shard.region.name, domains[shard.region.name])
        for index, replica in enumerate(shard.settings.replicas):
            title = f"replica {replica.address} of {shard.name}"
            region = replica.region or shard.region.name
            graph.spots[title] = Spot(region, domains[region])
            key = ("shards", shard.name, "replicas", item(index))
            graph.add(Edge(_shard(shard.name), title, Means.REPLICA, key))
            if replica.promotable:
                graph.add(Edge(_shard(shard.name), title, Means.FAILOVER, key))
    for name, targets in policy.failover.items():
        for target in targets:
            graph.add(Edge(_shard(name), _shard(target), Means.FAILOVER, ("policy", "failover", name)))
    for name, store in policy.stores.items():
        graph.spots[_store(name, policy)] = Spot(store.region, domains[store.region])
        for source in _sources(name, policy):
            means = Means.BACKUP if store.kind is StoreKind.BACKUP else Means.LOG
            graph.add(Edge(source, _store(name, policy), means, ("policy", "stores", name)))
    return graph


def _shard(name: str) -> str:
    return f"shard {name}"


def _store(name: str, policy: PolicySettings) -> str:
    return f"{policy.stores[name].kind} {name}"


def _sources(name: str, policy: PolicySettings) -> Iterator[str]:
    """Where a store is filled from; what Fairleads write into it is an item of its own."""
    store = policy.stores[name]
    for source in store.of:
        other = policy.stores.get(source)
        same = other is not None and (other.kind is StoreKind.BACKUP) == (store.kind is StoreKind.BACKUP)
        if same:
            yield _store(source, policy)
        elif store.kind is StoreKind.BACKUP:
            yield _shard(source)


# --- the data -----------------------------------------------------------------------------------------------


def items(
    policy: PolicySettings, topology: Topology, classes: Classes, domains: Mapping[str, str]
) -> Iterator[Item]:
    """Everything that labels and stores say there is."""
    labels = Labels.of(policy, classes)
    for keyspace in topology.keyspaces:
        for name, table, label in _tables(keyspace, policy, labels):
            yield from _table_items(keyspace, name, table, label, topology, domains)
    for name, store in policy.stores.items():
        for region in store.of if store.kind is not StoreKind.BACKUP else ():
            if region in domains and region not in policy.stores:
                entry = Edge(None, _store(name, policy), Means.LOG, ("policy", "stores", name))
                cls = classes.named(store.carries)
                yield Item(cls, domains[region], f"what the Fairlead of {region} writes down", (entry,))


def _tables(
    keyspace: Keyspace, policy: PolicySettings, labels: Labels
) -> Iterator[tuple[str, Table | None, TableClasses]]:
    """The declared tables, or, where none need be declared, the labelled ones and all others."""
    for name, table in keyspace.tables.items():
        yield name, table, labels.table(keyspace.name, name)
    if keyspace.unsharded:
        given = policy.labels.get(keyspace.name)
        for name in given.tables if given is not None else ():
            yield name, None, labels.table(keyspace.name, name)
        yield "*", None, labels.table(keyspace.name, "")


def _table_items(
    keyspace: Keyspace,
    name: str,
    table: Table | None,
    label: TableClasses,
    topology: Topology,
    domains: Mapping[str, str],
) -> Iterator[Item]:
    """Without a declared home rows belong to where they are; those of a reference table to every such domain."""
    key = ("keyspaces", keyspace.name, "tables", name)
    shards = keyspace.shards if table is None else tuple(topology.shards[index] for index in table.shards)
    reference = table is not None and table.kind is TableKind.REFERENCE
    means = Means.REFERENCE if reference else Means.ROWS
    homes = [label.home] if label.home else dict.fromkeys(domains[shard.region.name] for shard in shards)
    for home in homes:
        held = [shard for shard in shards if reference or label.home or domains[shard.region.name] == home]
        entries = tuple(Edge(None, _shard(shard.name), means, key) for shard in _home_first(held, home, domains))
        for cls in sorted({label.own, *label.columns.values()}):
            yield Item(cls, home, f"{keyspace.name}.{name}", entries)


def _home_first(shards: Iterable[Shard], home: str, domains: Mapping[str, str]) -> list[Shard]:
    return sorted(shards, key=lambda shard: domains[shard.region.name] != home)


# --- what is told -------------------------------------------------------------------------------------------


def _grouped(found: Iterable[Violation]) -> list[list[Violation]]:
    """One mistake for each setting, place and home, whatever number of classes and tables it concerns."""
    groups: dict[tuple[KeyPath, str, str], list[Violation]] = {}
    for one in found:
        groups.setdefault((one.edge.key, one.edge.target, one.item.home), []).append(one)
    return list(groups.values())


def _message(group: list[Violation], graph: Graph, classes: Classes) -> str:
    first = max(group, key=lambda one: one.item.cls)
    names = ", ".join(classes.name(cls) for cls in sorted({one.item.cls for one in group}))
    spot = graph.spots[first.edge.target]
    target = spot.domain if spot.domain != first.item.home else f"region {spot.region}"
    steps = [first.item.origin, *(_step(edge, graph) for edge in first.path)]
    return f"{names} data of {first.item.home} would get to {target}: {' → '.join(steps)}"


def _step(edge: Edge, graph: Graph) -> str:
    spot = graph.spots[edge.target]
    how = {Means.REFERENCE: " as a reference copy", Means.FAILOVER: " by failover"}.get(edge.means, "")
    return f"{edge.target} in {spot.region}{how}"


def _hint(group: list[Violation]) -> str:
    options = dict.fromkeys(option for one in group for option in one.objections)
    return f"Forbidden by {', '.join(f'policy.{option}' for option in options)}"
