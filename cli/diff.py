"""`fairlead diff`: what changes from one configuration to another, and what that means for stored rows."""

from __future__ import annotations

from pathlib import Path

import click

from cli.output import EXIT_FINDINGS, exit_with_mistakes, format_option, print_json, region_option
from config import diff as differences
from config.errors import ConfigError
from config.load import load
from router.placement import placement_changes
from router.topology import Topology

EPILOG = """\b
Examples:
  fairlead diff fairlead.yaml new.yaml
  fairlead diff /etc/fairlead new/ --format json

Exit codes: 0 no difference, 1 differences, 2 usage.
"""

_FILE = click.Path(exists=True, path_type=Path)


@click.command("diff", epilog=EPILOG)
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@region_option
@format_option
def diff(old: Path, new: Path, region: str | None, style: str) -> None:
    """Say what changes from OLD to NEW.

    Passwords are not read, so a change inside a secret's file does not show.
    """
    try:
        before = load(old, region=region, secrets=False)
        after = load(new, region=region, secrets=False)
        placement = placement_changes(Topology.build(before), Topology.build(after))
    except ConfigError as error:
        exit_with_mistakes(error, style)
    changes = differences.diff(before, after)
    if style == "json":
        print_json({"same": not changes, "changes": changes, "stored_rows": placement})
    else:
        _print(changes, placement)
    if changes:
        raise SystemExit(EXIT_FINDINGS)


def _print(changes: list[str], placement: list[str]) -> None:
    for change in changes or ["no difference"]:
        click.echo(change)
    if placement:
        click.echo("\nA change of sharding moves no rows. Before this one is used:")
        for sentence in placement:
            click.echo(f"  {sentence}")
