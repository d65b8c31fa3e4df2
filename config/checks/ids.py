"""What gives the ids of an AUTO_INCREMENT column: sequences that exist, each in the region that counts on it."""

from __future__ import annotations

from config.checks.names import check_identifier, check_known
from config.findings import Findings, KeyPath
from config.settings import BlockIds, KeyspaceSettings, RegionBitsVindex, RegionIds, Settings, ShardedTable


def check_ids(
    settings: Settings, findings: Findings, keyspace: KeyspaceSettings, table: ShardedTable, path: KeyPath
) -> None:
    given, where = table.auto_increment, (*path, "auto_increment")
    if given is None:
        return
    check_identifier(findings, (*where, "column"), given.column)
    if isinstance(given, BlockIds):
        check_known(findings, (*where, "on"), given.on, keyspace.shards, "shard")
        return
    if not check_known(findings, (*where, "vindex"), given.vindex, keyspace.vindexes, "vindex"):
        return
    vindex = keyspace.vindexes[given.vindex]
    if not isinstance(vindex, RegionBitsVindex):
        findings.add((*where, "vindex"), f"{given.vindex} is no region_bits: ids have no place for their region")
        return
    if vindex.shift + vindex.bits > 63:
        findings.add((*where, "vindex"), f"ids of {given.vindex} do not fit in a signed BIGINT")
    _sequences_fit(settings, findings, keyspace, given, vindex, where)


def _sequences_fit(
    settings: Settings,
    findings: Findings,
    keyspace: KeyspaceSettings,
    given: RegionIds,
    vindex: RegionBitsVindex,
    where: KeyPath,
) -> None:
    for region, shard in given.on.items():
        place = (*where, "on", region)
        if not check_known(findings, place, region, vindex.regions, "region"):
            continue
        if check_known(findings, place, shard, keyspace.shards, "shard") and shard in settings.shards:
            home = settings.shards[shard].region
            if home != region:
                findings.add(place, f"shard {shard} is in region {home}")
    if given.size > 1 << vindex.shift:
        findings.add((*where, "size"), f"there are only {vindex.shift} bits to count in")
