"""Keyspaces, their tables, and what the tables' sharding functions need."""

from __future__ import annotations

from config.checks.ids import check_ids
from config.checks.lookups import check_lookup
from config.checks.names import check_identifier, check_known
from config.checks.vindexes import check_vindex
from config.findings import Findings, KeyPath, item
from config.settings import (
    VINDEX_ARITY,
    KeyspaceSettings,
    PinnedTable,
    Settings,
    ShardedTable,
)

SYSTEM_DATABASES = frozenset({"mysql", "information_schema", "performance_schema", "sys"})


def check_keyspaces(settings: Settings, findings: Findings) -> None:
    for name, keyspace in settings.keyspaces.items():
        path = ("keyspaces", name)
        check_identifier(findings, path, name)
        if name.lower() in SYSTEM_DATABASES:
            findings.add(path, f"{name} is a system database of the servers, not one to shard")
        _shards_fit(settings, findings, keyspace, (*path, "shards"))
        for title, vindex in keyspace.vindexes.items():
            check_vindex(settings, findings, keyspace, vindex, (*path, "vindexes", title))
        _tables_fit(settings, findings, name, keyspace)
        for title, lookup in keyspace.lookups.items():
            check_lookup(settings, findings, keyspace, title, lookup, (*path, "lookups", title))
        for shard in keyspace.scratch:
            check_known(findings, (*path, "scratch"), shard, keyspace.shards, "shard")


def _shards_fit(settings: Settings, findings: Findings, keyspace: KeyspaceSettings, path: KeyPath) -> None:
    if not keyspace.shards:
        findings.add(path, "a keyspace needs at least one shard")
    for index, shard in enumerate(keyspace.shards):
        where = (*path, item(index)) if (*path, item(index)) in findings.places else path
        check_known(findings, where, shard, findings.declared("shards"), "shard")
        if shard in keyspace.shards[:index]:
            findings.add(where, f"{shard} is named twice")
    flavours = {settings.shards[name].flavour for name in keyspace.shards if name in settings.shards}
    if len(flavours) > 1:
        findings.add(path, "the shards are of different flavours", "One keyspace lies on servers of one kind")


def _tables_fit(settings: Settings, findings: Findings, name: str, keyspace: KeyspaceSettings) -> None:
    path = ("keyspaces", name)
    if len(keyspace.shards) > 1 and not findings.declared(*path, "tables"):
        findings.add(
            path,
            "a keyspace on several shards names its tables",
            "A keyspace on one shard without tables passes every statement as it is",
        )
    for title, table in keyspace.tables.items():
        where = (*path, "tables", title)
        check_identifier(findings, where, title)
        if isinstance(table, ShardedTable):
            _columns_fit(findings, path, keyspace, table, where)
            check_ids(settings, findings, keyspace, table, where)
        elif isinstance(table, PinnedTable):
            check_known(findings, (*where, "shard"), table.shard, keyspace.shards, "shard")


def _columns_fit(
    findings: Findings, path: KeyPath, keyspace: KeyspaceSettings, table: ShardedTable, where: KeyPath
) -> None:
    lowered: set[str] = set()
    for column in table.columns:
        check_identifier(findings, (*where, "columns"), column)
        if column.lower() in lowered:
            findings.add((*where, "columns"), f"{column} is named twice")
        lowered.add(column.lower())
    known = findings.declared(*path, "vindexes")
    if not check_known(findings, (*where, "vindex"), table.vindex, known, "vindex"):
        return
    if table.vindex in keyspace.vindexes and not findings.wrong((*where, "columns")):
        function = keyspace.vindexes[table.vindex].function
        if len(table.columns) != VINDEX_ARITY[function]:
            message = (
                f"vindex {table.vindex} takes {VINDEX_ARITY[function]} column(s), not {len(table.columns)}"
            )
            findings.add((*where, "columns"), message)
