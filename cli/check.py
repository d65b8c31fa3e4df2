"""`fairlead check`: is this configuration right?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.output import (
    EXIT_FINDINGS,
    config_option,
    exit_with_mistakes,
    format_option,
    mistake_data,
    print_json,
    region_option,
)
from cli.simulate import schema_option, schemas_of
from config.advice import advice
from config.errors import ConfigError, Mistake
from config.load import load
from config.settings import ListenerSettings, MysqlListener, Settings
from proxy.supervision.banner import address_of
from router.policy.compiled import CompiledPolicy
from router.policy.compiled import build as build_policy
from router.policy.review import labels_astray, review
from router.topology import Keyspace, TableKind, Topology

EPILOG = """\b
Examples:
  fairlead check -c fairlead.yaml
  fairlead check -c /etc/fairlead/ --region us --without-secrets
  fairlead check -c fairlead.yaml --every-region --strict --format json
  fairlead check -c fairlead.yaml --schema shop=shop.sql

Exit codes: 0 no findings, 1 findings, 2 usage.
"""


@click.command("check", epilog=EPILOG)
@config_option
@region_option
@click.option(
    "--every-region", is_flag=True, help="Check as every region would read it; implies --without-secrets."
)
@click.option(
    "--without-secrets", is_flag=True, help="Leave passwords unread and certificate files unopened."
)
@schema_option
@click.option("--strict", is_flag=True, help="Remarks count as findings.")
@format_option
def check(
    path: Path, region: str | None, every_region: bool, without_secrets: bool, schemas: tuple[str, ...], strict: bool,
    style: str,
) -> None:  # fmt: skip
    """Validate a configuration: every mistake with its file, line and key."""
    try:
        settings = load(path, region=region, secrets=not (without_secrets or every_region))
        topology = Topology.build(settings)
        policy = build_policy(settings, topology)
        for other in settings.regions if every_region else ():
            Topology.build(load(path, region=other, secrets=False))
        if policy is not None and (astray := labels_astray(settings, schemas_of(topology, schemas))):
            raise ConfigError(astray)
    except ConfigError as error:
        exit_with_mistakes(error, style)
    remarks = [*advice(settings), *(review(settings, policy) if policy else [])]
    if style == "json":
        print_json(_data(settings, topology, policy, remarks))
    else:
        _print(path, settings, topology, policy, remarks)
    if strict and remarks:
        raise SystemExit(EXIT_FINDINGS)


def _data(
    settings: Settings, topology: Topology, policy: CompiledPolicy | None, remarks: list[Mistake]
) -> dict[str, Any]:
    return {
        "ok": True,
        "findings": [],
        "remarks": [mistake_data(remark) for remark in remarks],
        "files": [str(file) for file in settings.files],
        "region": settings.region,
        "regions": list(settings.regions),
        "shards": {
            shard.name: {"region": shard.region.name, "local": shard.is_local} for shard in topology.shards
        },
        "keyspaces": {keyspace.name: _keyspace_data(keyspace) for keyspace in topology.keyspaces},
        "users": list(settings.users),
        "listeners": {
            name: {"kind": one.kind, "address": one.address, "port": one.port, "socket": _socket_of(one)}
            for name, one in settings.listeners.items()
        },
        "policy": policy and _policy_data(policy),
    }


def _socket_of(listener: ListenerSettings) -> str | None:
    return str(listener.socket) if isinstance(listener, MysqlListener) and listener.socket is not None else None


def _policy_data(policy: CompiledPolicy) -> dict[str, Any]:
    given = policy.settings
    return {
        "domains": {name: list(domain.regions) for name, domain in given.domains.items()},
        "classes": list(policy.classes.levels),
        "tags": list(policy.classes.tags),
        "labels": {name: list(label.tables) for name, label in given.labels.items()},
        "subjects": list(given.subjects),
        "rules": {name: str(rule.then) for name, rule in given.rules.items()},
        "stores": {name: str(store.kind) for name, store in given.stores.items()},
    }


def _keyspace_data(keyspace: Keyspace) -> dict[str, Any]:
    return {
        "shards": [shard.name for shard in keyspace.shards],
        "unsharded": keyspace.unsharded,
        "tables": {name: str(table.kind) for name, table in keyspace.tables.items()},
    }


def _print(
    path: Path, settings: Settings, topology: Topology, policy: CompiledPolicy | None, remarks: list[Mistake]
) -> None:
    for remark in remarks:
        click.echo(f"{remark} (remark)")
    click.echo(f"{path}: no mistakes")
    local = ", ".join(shard.name for shard in topology.local_shards)
    click.echo(f"  region     {settings.region} (of {', '.join(settings.regions)})")
    click.echo(f"  shards     {len(topology.shards)}, in this region: {local or 'none'}")
    for keyspace in topology.keyspaces:
        click.echo(f"  keyspace   {keyspace.name}: {_keyspace_text(keyspace)}")
    for name, listener in settings.listeners.items():
        click.echo(f"  listener   {name}: {listener.kind} on {address_of(listener)}")
    click.echo(f"  users      {', '.join(settings.users)}")
    if policy is not None:
        click.echo(f"  policy     {_policy_text(policy)}")


def _policy_text(policy: CompiledPolicy) -> str:
    tables = sum(len(label.tables) for label in policy.settings.labels.values())
    counts = f"{tables} labelled tables, {len(policy.settings.subjects)} subjects, {len(policy.settings.rules)} rules"
    return f"domains {', '.join(policy.domains)}; {counts}; all data stays where it may be"


def _keyspace_text(keyspace: Keyspace) -> str:
    shards = ", ".join(shard.name for shard in keyspace.shards)
    if keyspace.unsharded:
        return f"unsharded, on {shards}"
    kinds = [table.kind for table in keyspace.tables.values()]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in TableKind if kind in kinds)
    return f"{counts} tables on {shards}"
