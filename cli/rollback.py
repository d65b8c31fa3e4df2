"""`fairlead rollback`: go back to an earlier version."""

from __future__ import annotations

from pathlib import Path

import click

from cli.output import config_option, exit_with_mistakes, format_option, region_option
from cli.versions import caller, finish, versions_of, wait_option, who_option, why_option
from config.errors import ConfigError
from config.load import load

EPILOG = """\b
Examples:
  fairlead rollback -c fairlead.yaml
  fairlead rollback -c fairlead.yaml --to 7 --why "reports are slow"

Exit codes: 0 done, 1 there is no such version, or a Fairlead has not put it in force, 2 usage.
"""


@click.command("rollback", epilog=EPILOG)
@config_option
@region_option
@click.option("--to", type=click.IntRange(min=1), help="The version. Default: the one in force before this one.")
@why_option
@who_option
@wait_option
@format_option
def rollback(
    path: Path, region: str | None, to: int | None, why: str, who: str | None, wait: float, style: str
) -> None:
    """Put the content of an earlier version in force, as a new version. Needs no confirmation."""
    try:
        settings = load(path, region=region, secrets=False)
    except ConfigError as error:
        exit_with_mistakes(error, style)
    with versions_of(settings) as (store, versions):
        version = versions.rollback(caller(who), why, to)
        if style == "table":
            click.echo(f"version {version.number} is published, with the content of version {version.of}")
        finish(store, version.number, wait, style, {"of": version.of})
