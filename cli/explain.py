"""`fairlead explain`: where a statement would go and why, without a server."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import click

from _speedups import lexer
from cli.explain_redis import check_user, show_command
from cli.output import (
    EXIT_REFUSED,
    config_option,
    exit_with_mistakes,
    format_option,
    print_json,
    print_rows,
    region_option,
)
from cli.schema_file import SchemaFileError, read_schema
from config.errors import ConfigError
from config.findings import near_or_known
from config.load import load
from config.settings import Grant, GrantTarget, Settings
from config.words import Flavour, Hint, Verb
from ops.ledger import LedgerError, left_for
from router.context import Context
from router.explain import Explanation
from router.explain import explain as explain_statement
from router.keys import Value
from router.policy.compiled import CompiledPolicy, build
from router.privileges import Grants
from router.schema import SchemaSnapshot
from router.topology import Topology

EPILOG = """\b
Examples:
  fairlead explain -c fairlead.yaml "SELECT * FROM orders WHERE customer_id = 7"
  fairlead explain -c fairlead.yaml --database shop --user reports "DELETE FROM orders"
  fairlead explain -c fairlead.yaml --param 7 "SELECT * FROM orders WHERE customer_id = ?"
  mysqldump --no-data shop > shop.sql
  fairlead explain -c fairlead.yaml --schema shop.sql - < statement.sql
  fairlead explain -c fairlead.yaml --redis "GET user:42:profile"

Exit codes: 0 it has a route, 1 the configuration has mistakes, 2 usage, 3 it would be refused.
"""

ANYBODY = Grants("anybody", (Grant(on=GrantTarget(None, None), verbs=(Verb.ALL,)),))
"""Stands in when no user is named: may do everything but administer servers."""

SQL_MODES = {"ANSI_QUOTES": lexer.ANSI_QUOTES, "NO_BACKSLASH_ESCAPES": lexer.NO_BACKSLASH_ESCAPES}
"""The parts of sql_mode that change how a statement is read."""

_INTEGER = re.compile(r"[+-]?\d{1,40}")


@click.command("explain", epilog=EPILOG)
@click.argument("sql")
@config_option
@click.option("-d", "--database", help="The keyspace selected. Default: the user's, or the only one there is.")
@click.option("-u", "--user", help="The user who asks. Default: one who may do everything.")
@click.option("--listener", default="", help="The listener that the user comes in by, where the policy asks for it.")
@click.option("--certificate", help="The name in the user's certificate, where the policy asks for it.")
@click.option(
    "--schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The tables of the keyspace: CREATE TABLE statements (mysqldump --no-data), or .json. "
    "Without it, sharding columns have their declared types, or bigint.",
)
@click.option("-p", "--param", "params", multiple=True, help="The value of a ?, once per ?: 7, NULL, text or 'text'.")
@click.option("--sql-mode", default="", help="ANSI_QUOTES, NO_BACKSLASH_ESCAPES: how the session reads text.")
@click.option("--redis", is_flag=True, help="SQL is a Redis command: its keys, where they live, what the policy says.")
@region_option
@format_option
def explain(
    sql: str,
    path: Path,
    database: str | None,
    user: str | None,
    listener: str,
    certificate: str | None,
    schema: Path | None,
    params: tuple[str, ...],
    sql_mode: str,
    redis: bool,
    region: str | None,
    style: str,
) -> None:
    """Show where a statement would go, and why. SQL is `-` to read it from the standard input."""
    try:
        settings = load(path, region=region, secrets=False)
        topology = Topology.build(settings)
    except ConfigError as error:
        exit_with_mistakes(error, style)
    if redis:
        show_command(sql, settings, topology, user, (listener, certificate), style)
        return
    context = _context(settings, topology, _database(settings, database, user), user, _mode(sql_mode))
    policy = build(settings, topology)
    # Who is not named is nobody's subject: what is restricted is refused.
    subject = policy.subject_of(user or "", listener, certificate) if policy is not None else None
    context = _with_schema(replace(context, policy=policy, subject=subject), schema)
    text = sys.stdin.buffer.read() if sql == "-" else sql.encode("utf-8", "surrogateescape")
    explanation = explain_statement(text, context, [parameter(one) for one in params])
    left = _left(settings, context, explanation)
    if style == "json":
        print_json(explanation.as_dict() | {"budgets": [{"step": step, "detail": detail} for step, detail in left]})
    else:
        print_rows([*explanation.as_rows(), *left])
    if explanation.error is not None:
        raise SystemExit(EXIT_REFUSED)


def _database(settings: Settings, database: str | None, user: str | None) -> str | None:
    """The keyspace that the session would have selected. Raises UsageError for an unknown one."""
    if database is None:
        given = settings.users.get(user) if user is not None else None
        default = given.default_database if given else None
        return default or (next(iter(settings.keyspaces)) if len(settings.keyspaces) == 1 else None)
    if database not in settings.keyspaces:
        hint = near_or_known(database, settings.keyspaces, "Keyspaces")
        raise click.UsageError(f"there is no keyspace {database}. {hint}")
    return database


def _context(settings: Settings, topology: Topology, database: str | None, user: str | None, mode: int) -> Context:
    keyspace = topology.keyspace(database) if database is not None else None
    if keyspace is not None and keyspace.shards[0].flavour is Flavour.MARIADB:
        mode |= lexer.MARIADB
    check_user(settings, user)
    grants, hints = ANYBODY, frozenset(Hint)
    if user is not None:
        given = settings.users[user]
        grants, hints = Grants(user, given.grants), frozenset(given.hints)
    return Context(topology, grants, database, mode, offline=True, hints=hints)


def _mode(sql_mode: str) -> int:
    """The lexer's bits. Raises UsageError for what it does not know."""
    mode = 0
    for name in filter(None, (part.strip().upper() for part in sql_mode.split(","))):
        if name not in SQL_MODES:
            hint = near_or_known(name, SQL_MODES, "Known")
            raise click.UsageError(f"{name} does not change how a statement is read. {hint}")
        mode |= SQL_MODES[name]
    return mode


def _with_schema(context: Context, schema: Path | None) -> Context:
    if schema is None:
        return context
    keyspace = context.keyspace
    if keyspace is None:
        raise click.UsageError("--schema is of one keyspace; name it with --database")
    try:
        snapshot: SchemaSnapshot = read_schema(schema, keyspace)
    except SchemaFileError as reason:
        raise click.UsageError(str(reason)) from None
    schemas = MappingProxyType({keyspace.name: snapshot})
    if isinstance(context.policy, CompiledPolicy):
        policy, astray = context.policy.seeing(schemas)
        context = replace(context, policy=policy)
        for name in astray:
            click.echo(f"policy.labels: there is no column {name}", err=True)
    return replace(context, schemas=schemas)


def parameter(text: str) -> Value:
    """7 -> 7, NULL -> None, 'a' -> 'a', a -> 'a'."""
    if text.upper() == "NULL":
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text


def _left(settings: Settings, context: Context, explanation: Explanation) -> list[tuple[str, str]]:
    """Of budgets, where the ledger is on this host."""
    if context.subject is None:
        return []
    try:
        return left_for(settings, context.subject, explanation.counting)
    except LedgerError as error:
        return [("budget", f"the meters cannot be read: {error}")]
