"""`fairlead confirm`: what was applied stays."""

from __future__ import annotations

from pathlib import Path

import click

from cli.output import config_option, exit_with_mistakes, format_option, print_json, region_option
from cli.versions import finish, versions_of, wait_option
from config.errors import ConfigError
from config.load import load

EPILOG = """\b
Examples:
  fairlead confirm -c fairlead.yaml

Exit codes: 0 it stays, 1 there is nothing to confirm, or it is too late, or a Fairlead has not put it in force,
2 usage.
"""


@click.command("confirm", epilog=EPILOG)
@config_option
@region_option
@wait_option
@format_option
def confirm(path: Path, region: str | None, wait: float, style: str) -> None:
    """Stop the timer of the version in force: it stays. One that is on trial becomes the version in force."""
    try:
        settings = load(path, region=region, secrets=False)
    except ConfigError as error:
        exit_with_mistakes(error, style)
    with versions_of(settings) as (store, versions):
        before = versions.active()
        active = versions.confirm()
        if before is not None and before.trial is not None:
            finish(store, active.number, wait, style, {})
        elif style == "json":
            print_json({"version": active.number})
        else:
            click.echo(f"version {active.number} stays")
