"""What a lookup needs: a sharded table, a function for its entries, and atomic writes within one region."""

from __future__ import annotations

from config.checks.names import check_identifier, check_known
from config.findings import Findings, KeyPath
from config.settings import HashVindex, KeyspaceSettings, LookupSettings, Settings, ShardedTable
from config.words import MultiShardWrites

NAME_MAX = 48
"""Characters; its table's name has 16 more, and servers take 64."""


def check_lookup(
    settings: Settings, findings: Findings, keyspace: KeyspaceSettings, name: str, given: LookupSettings, path: KeyPath
) -> None:
    check_identifier(findings, path, name)
    check_identifier(findings, (*path, "column"), given.column)
    if len(name) > NAME_MAX:
        findings.add(path, f"the name of a lookup has at most {NAME_MAX} characters")
    _table_fits(findings, keyspace, given, path)
    if check_known(findings, (*path, "vindex"), given.vindex, keyspace.vindexes, "vindex") and not isinstance(
        keyspace.vindexes[given.vindex], HashVindex
    ):
        findings.add((*path, "vindex"), f"{given.vindex} is no hash, which takes values of any type")
    if keyspace.multi_shard_writes is not MultiShardWrites.ATOMIC:
        findings.add(path, "a lookup is kept in step by writes to several shards", "Set multi_shard_writes: atomic")
    _one_region(settings, findings, keyspace, path)


def _table_fits(findings: Findings, keyspace: KeyspaceSettings, given: LookupSettings, path: KeyPath) -> None:
    if not check_known(findings, (*path, "table"), given.table, keyspace.tables, "table"):
        return
    table = keyspace.tables[given.table]
    if not isinstance(table, ShardedTable):
        findings.add((*path, "table"), f"{given.table} is not sharded: its rows are found without a lookup")
    elif [given.column.lower()] == [column.lower() for column in table.columns]:
        findings.add((*path, "column"), f"{given.column} is the shard key: its rows are found without a lookup")


def _one_region(settings: Settings, findings: Findings, keyspace: KeyspaceSettings, path: KeyPath) -> None:
    """Entries are copies of values: they stay in the region of the rows, whatever a policy says of it."""
    regions = {settings.shards[name].region for name in keyspace.shards if name in settings.shards}
    if len(regions) > 1:
        findings.add(
            path,
            f"the keyspace lies in regions {', '.join(sorted(regions))}: a lookup would copy values to others",
            "A lookup is for a keyspace whose shards are all of one region",
        )
