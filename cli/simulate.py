"""`fairlead simulate`: what another configuration would do with the statements that were seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from cli.corpus import read_corpus
from cli.output import EXIT_FINDINGS, exit_with_mistakes, format_option, print_json, region_option
from cli.schema_file import SchemaFileError, read_schema
from config.errors import ConfigError
from config.load import load
from config.settings import Settings
from router.schema import SchemaSnapshot
from router.simulation import RoutePlanner, Shape, Simulation
from router.simulation import simulate as simulate_shapes
from router.topology import Topology

EPILOG = """\b
Examples:
  curl -s 'http://127.0.0.1:7380/digests?limit=1000' > corpus.json
  fairlead simulate fairlead.yaml new.yaml --corpus corpus.json
  fairlead simulate fairlead.yaml new.yaml --corpus http://127.0.0.1:7380 --schema shop=shop.sql

Exit codes: 0 no shape changes, 1 some do, 2 usage.
"""

SHOWN = 20
"""Changes of one kind that are written out."""
KINDS = (("refused", "become refused"), ("allowed", "are no longer refused"), ("changed", "are carried out otherwise"))

_FILE = click.Path(exists=True, path_type=Path)
corpus_option = click.option(
    "--corpus", metavar="FILE|URL", help="Recorded statements: the answer of /digests, or a Fairlead's HTTP address."
)
schema_option = click.option(
    "--schema",
    "schemas",
    multiple=True,
    metavar="KEYSPACE=FILE",
    help="The tables of a keyspace, as for `fairlead explain`. Without it, sharding columns have their declared types.",
)


@click.command("simulate", epilog=EPILOG)
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@corpus_option
@schema_option
@region_option
@format_option
def simulate(
    old: Path, new: Path, corpus: str | None, schemas: tuple[str, ...], region: str | None, style: str
) -> None:
    """Plan every statement of the corpus under OLD and under NEW, and say what changes."""
    if corpus is None:
        raise click.UsageError("name the recorded statements with --corpus")
    try:
        before = load(old, region=region, secrets=False)
        after = load(new, region=region, secrets=False)
        found = run(before, after, read_corpus(corpus), schemas)
    except ConfigError as error:
        exit_with_mistakes(error, style)
    if style == "json":
        print_json(found.as_dict())
    else:
        show(found)
    if found.changes:
        raise SystemExit(EXIT_FINDINGS)


def run(before: Settings, after: Settings, shapes: list[Shape], schemas: tuple[str, ...]) -> Simulation:
    """Raises ConfigError, UsageError."""
    try:
        return simulate_shapes(
            shapes,
            RoutePlanner(before, schemas_of(Topology.build(before), schemas)),
            RoutePlanner(after, schemas_of(Topology.build(after), schemas)),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def schemas_of(topology: Topology, given: tuple[str, ...]) -> Mapping[str, SchemaSnapshot]:
    """From `KEYSPACE=FILE`. A keyspace that only one of two configurations has, counts there. Raises UsageError."""
    found = {}
    for one in given:
        name, equals, file = one.partition("=")
        if not equals:
            raise click.UsageError("--schema is KEYSPACE=FILE")
        keyspace = topology.keyspace(name)
        try:
            if keyspace is not None:
                found[name] = read_schema(Path(file), keyspace)
        except SchemaFileError as error:
            raise click.UsageError(str(error)) from None
    return found


def show(found: Simulation) -> None:
    """For people: the sum first, then who is hit most."""
    click.echo(f"{len(found.changes)} of {found.shapes} shapes change")
    for (what, where), shapes in found.leaving.items():
        click.echo(f"  newly leaves to {where}: {what} (in {shapes} shapes)")
    if found.unjudged:
        click.echo(f"  {found.unjudged} could not be judged: their text was cut when it was recorded")
    for kind, words in KINDS:
        changes = found.of(kind)
        if changes:
            click.echo(f"{len(changes)} {words}:")
        for change in changes[:SHOWN]:
            click.echo(f"  {change.shape.count} x {change.shape.user}: {change.shape.norm}")
            for detail in change.details:
                click.echo(f"      {detail}")
        if len(changes) > SHOWN:
            click.echo(f"  and {len(changes) - SHOWN} more")
