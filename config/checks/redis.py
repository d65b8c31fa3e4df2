"""Redis: key patterns lead somewhere, and there is a server where they lead."""

from __future__ import annotations

import re

from config.checks.names import check_identifier, check_known, check_plain
from config.checks.policy import check_classes
from config.findings import Findings, KeyPath
from config.settings import VINDEX_ARITY, KeyPattern, PinnedTable, RedisListener, RedisServer, Settings, ShardedTable
from config.words import RedisAccess

MAX_REPLICAS = 8


def check_redis(settings: Settings, findings: Findings) -> None:
    for name, pattern in settings.redis.patterns.items():
        path = ("redis", "patterns", name)
        check_plain(findings, "redis", [name])
        _value_is_found(findings, pattern, path)
        _leads_somewhere(settings, findings, pattern, path)
        _says_what_it_holds(settings, findings, pattern, path)
    _classes_are_known(settings, findings, settings.redis.unmatched_classes, ("redis", "unmatched_classes"))
    for title, listener in settings.listeners_of(RedisListener).items():
        _has_servers(settings, findings, title)
        if listener.anonymous is not None:
            where = ("listeners", title, "anonymous")
            known = check_known(findings, where, listener.anonymous, findings.declared("users"), "user")
            user = settings.users.get(listener.anonymous)
            if known and user is not None and user.redis is RedisAccess.NONE:
                findings.add(where, f"user {listener.anonymous} may do nothing at a Redis listener", "Say redis: read")
    for shard, given in settings.shards.items():
        if given.redis is not None:
            _is_one_kind(findings, given.redis, ("shards", shard, "redis"))
            _servers_are_several(findings, given.redis, ("shards", shard, "redis", "replicas"))
        if given.redis is not None and given.redis.ca is not None and not given.redis.tls:
            findings.add(("shards", shard, "redis", "ca"), "is not looked at without tls", "Say tls: true")


def _is_one_kind(findings: Findings, server: RedisServer, path: KeyPath) -> None:
    """One server with its replicas, what sentinels know, or a cluster."""
    kinds = [name for name in ("primary", "sentinel", "cluster") if getattr(server, name)]
    if len(kinds) != 1:
        findings.add(path, "needs a primary, a sentinel or a cluster, one of them")
    elif server.replicas and server.primary is None:
        findings.add((*path, "replicas"), f"are known by {kinds[0]}", "Leave them out")
    if server.sentinel is not None and not server.sentinel.addresses:
        findings.add((*path, "sentinel", "addresses"), "needs at least one")


def _servers_are_several(findings: Findings, server: RedisServer, path: KeyPath) -> None:
    if len(server.replicas) > MAX_REPLICAS:
        findings.add(path, f"at most {MAX_REPLICAS}, not {len(server.replicas)}")
    if server.primary is not None and len({server.primary, *server.replicas}) <= len(server.replicas):
        findings.add(path, "name a server twice, or the primary")


def _value_is_found(findings: Findings, pattern: KeyPattern, path: KeyPath) -> None:
    ways = [name for name in ("fields", "tag", "regex") if getattr(pattern, name)]
    if len(ways) > 1:
        findings.add((*path, ways[1]), f"and {ways[0]}: a value is found one way")
    if pattern.table is not None and not ways:
        findings.add(path, "where in the key is the value? Say fields, tag or regex")
    if len(pattern.delimiter.encode()) != 1:
        findings.add((*path, "delimiter"), "is one character of ASCII")
    if pattern.fields != tuple(sorted(set(pattern.fields))):
        findings.add((*path, "fields"), "rise: the columns' values stand in the key in the order of the columns")
    if pattern.regex is not None:
        if pattern.prefix:
            findings.add((*path, "prefix"), "and regex: a regular expression is over the whole key")
        try:
            re.compile(pattern.regex.encode())
        except re.error as error:
            findings.add((*path, "regex"), f"is no regular expression: {error}")


def _leads_somewhere(settings: Settings, findings: Findings, pattern: KeyPattern, path: KeyPath) -> None:
    if (pattern.table is None) == (pattern.shard is None):
        findings.add(path, "needs a table or a shard, one of them")
    elif pattern.shard is not None:
        check_known(findings, (*path, "shard"), pattern.shard, findings.declared("shards"), "shard")
    else:
        _table_fits(settings, findings, pattern, path)


def _table_fits(settings: Settings, findings: Findings, pattern: KeyPattern, path: KeyPath) -> None:
    title, _, name = (pattern.table or "").partition(".")
    where = (*path, "table")
    if not check_known(findings, where, title, findings.declared("keyspaces"), "keyspace"):
        return
    keyspace = settings.keyspaces.get(title)
    if keyspace is None or not check_known(findings, where, name, keyspace.tables, "table"):
        return
    table = keyspace.tables[name]
    if isinstance(table, PinnedTable):
        return
    if not isinstance(table, ShardedTable):
        findings.add(where, f"{pattern.table} is the same on every shard, so no shard is its keys' home")
        return
    vindex = keyspace.vindexes.get(table.vindex)
    arity = VINDEX_ARITY[vindex.function] if vindex is not None else 1
    given = _values(pattern)
    if given is not None and given != arity:
        findings.add(path, f"finds {given} value(s), and {pattern.table} has {arity} sharding column(s)")


def _values(pattern: KeyPattern) -> int | None:
    if pattern.regex is None:
        return 1 if pattern.tag else len(pattern.fields)
    try:
        return re.compile(pattern.regex).groups
    except re.error:
        return None


def _says_what_it_holds(settings: Settings, findings: Findings, pattern: KeyPattern, path: KeyPath) -> None:
    _classes_are_known(settings, findings, pattern.classes, (*path, "classes"))
    if pattern.columns and pattern.table is None:
        findings.add((*path, "columns"), "of which table? The keys belong to none")
    for field, column in pattern.columns.items():
        check_identifier(findings, (*path, "columns", field), column)


def _classes_are_known(settings: Settings, findings: Findings, names: tuple[str, ...], path: KeyPath) -> None:
    """Without a policy nobody looks at them."""
    if settings.policy is not None:
        check_classes(findings, settings.policy, names, path)


def _has_servers(settings: Settings, findings: Findings, listener: str) -> None:
    own = [shard for shard in settings.shards.values() if shard.region == settings.region]
    if own and not any(shard.redis for shard in own):
        findings.add(
            ("listeners", listener),
            f"no shard of region {settings.region} has a redis server",
            "Say where it is: shards: {NAME: {redis: {primary: host:port}}}",
        )
