"""`fairlead apply`: make a configuration the next version, and put it in force everywhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from cli.corpus import read_corpus
from cli.output import (
    config_option,
    exit_with_mistakes,
    format_option,
    print_json,
    region_option,
)
from cli.simulate import corpus_option, run, schema_option, show
from cli.versions import (
    IN_FORCE,
    ON_TRIAL,
    Duration,
    Percent,
    caller,
    finish,
    versions_of,
    wait_option,
    who_option,
    why_option,
)
from config.errors import ConfigError
from config.settings import Settings
from metastore.versions import SESSIONS, SHADOW, WORKERS, Bundle, Trial, Versions
from metastore.workflow import checked, compared, folder_of, gate, settings_of_version
from router.simulation import Simulation

EPILOG = """\b
Examples:
  fairlead apply -c new.yaml --dry-run --corpus http://127.0.0.1:7380
  fairlead apply -c new.yaml --why "reports may read orders" --confirm-within 10m
  fairlead confirm -c new.yaml
  fairlead apply -c new.yaml --at-once
  fairlead apply -c new.yaml --shadow --confirm-within 7d
  fairlead apply -c new.yaml --canary 10%
  fairlead apply -c new.yaml --canary-workers 1 --confirm-within 1h

Exit codes: 0 done (or nothing to do), 1 mistakes, or a Fairlead has not put it in force, 2 usage.
"""


@click.command("apply", epilog=EPILOG)
@config_option
@region_option
@click.option(
    "--confirm-within",
    type=Duration(),
    default="10m",
    show_default=True,
    help="Goes back by itself unless `fairlead confirm` comes in this time.",
)
@click.option("--at-once", is_flag=True, help="Needs no confirmation.")
@click.option(
    "--shadow", is_flag=True, help="Only decide by it and record what would change, until it is confirmed."
)
@click.option(
    "--canary",
    "percent",
    type=Percent(),
    metavar="N%",
    help="Until it is confirmed, only for so many percent of the sessions. For changes of the policy and of grants.",
)
@click.option(
    "--canary-workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Until it is confirmed, only in so many workers of each Fairlead.",
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@corpus_option
@schema_option
@why_option
@who_option
@wait_option
@format_option
def apply(
    path: Path,
    region: str | None,
    confirm_within: float,
    at_once: bool,
    shadow: bool,
    percent: float | None,
    canary_workers: int | None,
    dry_run: bool,
    corpus: str | None,
    schemas: tuple[str, ...],
    why: str,
    who: str | None,
    wait: float,
    style: str,
) -> None:
    """Validate, compare with what is in force, simulate, and put in force (or on trial) by the metastore."""
    trial = _trial(shadow, percent, canary_workers)
    if trial is not None and at_once:
        raise click.UsageError("a trial ends with a confirmation, or by itself: it has no --at-once")
    settings = _checked(path, region, style)
    bundle = Bundle.of(path, settings.files)
    with versions_of(settings, create=not dry_run) as (store, versions):
        active = versions.active()
        before = active.number if active else 0
        told = _compared(versions, before, path, settings, corpus, schemas)
        if style == "table":
            _show(told, before)
        if before and told["simulation"] is not None:
            versions.simulated(bundle.digest, before)
        if dry_run or (before and versions.version(before).content == bundle.digest):
            if style == "json":
                print_json({**_plain(told), "version": before})
            return
        if before:
            gate(versions, told["before"], bundle.digest, before)
        within = None if at_once else confirm_within
        version = versions.publish(bundle, caller(who), why, within=within, on=before, trial=trial)
        limit = within if before else None
        if style == "table":
            click.echo(f"version {version.number} is published")
        more = {**_plain(told), "confirm_within": limit, "trial": trial and dataclasses.asdict(trial)}
        finish(store, version.number, wait, style, more, ON_TRIAL if trial else IN_FORCE)
        if limit is not None and style == "table":
            if trial:
                click.echo(f"{trial}; version {before} stays in force meanwhile")
            click.echo(f"within {limit:g} s, or it goes back to version {before}: fairlead confirm -c {path}")


def _trial(shadow: bool, percent: float | None, workers: int | None) -> Trial | None:
    given = [Trial(SHADOW)] if shadow else []
    given += [Trial(SESSIONS, percent)] if percent is not None else []
    given += [Trial(WORKERS, workers)] if workers is not None else []
    if len(given) > 1:
        raise click.UsageError("choose one of --shadow, --canary and --canary-workers")
    return given[0] if given else None


def _checked(path: Path, region: str | None, style: str) -> Settings:
    try:
        return checked(path, region)
    except ConfigError as error:
        exit_with_mistakes(error, style)


def _compared(
    versions: Versions, before: int, path: Path, settings: Settings, corpus: str | None, schemas: tuple[str, ...]
) -> dict[str, Any]:
    """changes, stored_rows, simulation; before: the settings in force"""
    if not before:
        return {"changes": [], "stored_rows": [], "simulation": None, "before": None}
    old = settings_of_version(versions, before, folder_of(path), settings.region)
    found = compared(old, settings)
    return {
        "before": old,
        "changes": found.changes,
        "stored_rows": found.stored_rows,
        "simulation": run(old, settings, read_corpus(corpus), schemas) if corpus else None,
    }


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    simulation: Simulation | None = told["simulation"]
    plain = {name: one for name, one in told.items() if name != "before"}
    return {**plain, "simulation": simulation and simulation.as_dict()}


def _show(told: dict[str, Any], before: int) -> None:
    if not before:
        click.echo("no version is in force yet")
        return
    click.echo(f"{len(told['changes'])} changes from version {before}")
    for change in told["changes"]:
        click.echo(f"  {change}")
    if told["stored_rows"]:
        click.echo("A change of sharding moves no rows. Before this one is used:")
    for sentence in told["stored_rows"]:
        click.echo(f"  {sentence}")
    if told["simulation"] is not None:
        show(told["simulation"])
