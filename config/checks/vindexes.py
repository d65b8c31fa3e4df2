"""The settings of sharding functions: every key has one shard, and the shards exist."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from config.checks.names import check_known
from config.findings import Findings, KeyPath, item
from config.settings import (
    BUCKETS,
    Buckets,
    HashVindex,
    KeyspaceSettings,
    ListVindex,
    RangeVindex,
    RegionBitsVindex,
    RegionHashVindex,
    Settings,
    VindexSettings,
)


def check_vindex(
    settings: Settings, findings: Findings, keyspace: KeyspaceSettings, vindex: VindexSettings, path: KeyPath
) -> None:
    match vindex:
        case HashVindex():
            if vindex.buckets:
                _buckets_are_complete(findings, vindex.buckets, keyspace.shards, (*path, "buckets"))
        case RangeVindex():
            _ranges_rise(findings, vindex, keyspace, path)
        case ListVindex():
            _values_differ(findings, vindex.values, (*path, "values"))
            for shard in vindex.values:
                check_known(findings, (*path, "values", shard), shard, keyspace.shards, "shard")
        case RegionBitsVindex():
            _bits_fit(findings, vindex, path)
            _regions_fit(settings, findings, keyspace, vindex, path)
        case RegionHashVindex():
            _regions_fit(settings, findings, keyspace, vindex, path)


def _buckets_are_complete(
    findings: Findings, buckets: Mapping[str, Buckets], shards: tuple[str, ...], path: KeyPath
) -> None:
    """All 4,096, each once."""
    owner: dict[int, str] = {}
    for shard, given in buckets.items():
        check_known(findings, (*path, shard), shard, shards, "shard")
        for low, high in given.ranges:
            twice = next((bucket for bucket in range(low, high + 1) if bucket in owner), None)
            if twice is not None:
                findings.add((*path, shard), f"bucket {twice} is {owner[twice]}'s already")
            owner.update(dict.fromkeys(range(low, high + 1), shard))
    if len(owner) < BUCKETS and set(findings.declared(*path)) == set(buckets):
        first = next(bucket for bucket in range(BUCKETS) if bucket not in owner)
        missing = BUCKETS - len(owner)
        findings.add(path, f"{missing} of the {BUCKETS} buckets have no shard, the first is {first}")


def _ranges_rise(findings: Findings, vindex: RangeVindex, keyspace: KeyspaceSettings, path: KeyPath) -> None:
    if not vindex.ranges:
        findings.add((*path, "ranges"), "needs at least one range")
    before = vindex.start
    for index, step in enumerate(vindex.ranges):
        where = (*path, "ranges", item(index))
        check_known(findings, (*where, "shard"), step.shard, keyspace.shards, "shard")
        if step.below is None:
            if index + 1 < len(vindex.ranges):
                findings.add(where, "only the last range may leave out below")
            continue
        if before is not None and step.below <= before:
            findings.add((*where, "below"), f"{step.below} is not above {before}, where the range begins")
        before = step.below


def _values_differ(findings: Findings, values: Mapping[str, tuple[Hashable, ...]], path: KeyPath) -> None:
    """No value stands for two shards or regions."""
    owner: dict[Hashable, str] = {}
    for name, given in values.items():
        if not given:
            findings.add((*path, name), "needs at least one value")
        for value in given:
            if value in owner:
                findings.add((*path, name), f"{value} is {owner[value]}'s already")
            owner[value] = name


def _bits_fit(findings: Findings, vindex: RegionBitsVindex, path: KeyPath) -> None:
    if vindex.shift + vindex.bits > 64:
        findings.add((*path, "bits"), f"{vindex.bits} bits above the lowest {vindex.shift} do not fit in 64")
    for region, numbers in vindex.regions.items():
        for number in numbers:
            if not 0 <= number < 1 << vindex.bits:
                findings.add((*path, "regions", region), f"{number} does not fit in {vindex.bits} bits")


def _regions_fit(
    settings: Settings,
    findings: Findings,
    keyspace: KeyspaceSettings,
    vindex: RegionBitsVindex | RegionHashVindex,
    path: KeyPath,
) -> None:
    """Every region named has shards of the keyspace, and holds its own buckets."""
    _values_differ(findings, vindex.regions, (*path, "regions"))
    if not findings.declared(*path, "regions"):
        findings.add((*path, "regions"), "needs at least one region")
    homes = {name: settings.shards[name].region for name in keyspace.shards if name in settings.shards}
    for region in vindex.regions:
        where = (*path, "regions", region)
        known = check_known(findings, where, region, findings.declared("regions"), "region")
        if known and region not in homes.values() and len(homes) == len(keyspace.shards):
            findings.add(where, f"the keyspace has no shard in region {region}")
    for region, buckets in vindex.buckets.items():
        where = (*path, "buckets", region)
        if check_known(findings, where, region, vindex.regions, "region"):
            local = tuple(name for name, home in homes.items() if home == region)
            _buckets_are_complete(findings, buckets, local, where)
