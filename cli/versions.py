"""What the verbs of configuration versions share: the metastore that a file names, who asks, who follows."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import click

from cli.output import EXIT_FINDINGS, print_json
from config.parse import duration
from config.settings import Settings
from metastore.open import open_store
from metastore.registry import discover
from metastore.store import MetastoreError, Store
from metastore.versions import Versions

F = TypeVar("F", bound=Callable[..., Any])

FOLLOWERS = "fairlead"
POLL = 0.1
FIRST_COMERS = 3.0
"""Seconds; Fairleads look for an absent metastore every second."""
IN_FORCE, ON_TRIAL, REFUSED = "in force", "on trial", "refused"


class Duration(click.ParamType[float]):
    """'90s', '10m' -> seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return duration(str(value))
        except ValueError as reason:
            self.fail(str(reason), param, ctx)


class Percent(click.ParamType[float]):
    """'10%', '2.5' -> percent."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            found = float(str(value).removesuffix("%"))
        except ValueError:
            found = 0.0
        if not 0 < found < 100:
            self.fail(f"expected more than 0% and less than 100%, not {value!r}", param, ctx)
        return found


def why_option(function: F) -> F:
    return click.option("--why", default="", help="A reason, for the history.")(function)


def who_option(function: F) -> F:
    return click.option("--who", default=None, help="Whose doing it is. Default: user@host.")(function)


def wait_option(function: F) -> F:
    return click.option(
        "--wait",
        type=Duration(),
        default="20s",
        show_default=True,
        help="How long to wait for the running Fairleads to put it in force.",
    )(function)


def caller(who: str | None) -> str:
    if who:
        return who
    with contextlib.suppress(OSError, KeyError):
        return f"{getpass.getuser()}@{socket.gethostname()}"
    return f"uid {os.getuid()}"


@contextmanager
def versions_of(settings: Settings, *, create: bool = False) -> Iterator[tuple[Store, Versions]]:
    """The versions in the metastore that the settings name. A MetastoreError ends the verb with exit code 1."""
    if settings.metastore is None:
        raise click.UsageError("this configuration names no metastore. Give it metastore: {sqlite: PATH}")
    try:
        with contextlib.closing(open_store(settings.metastore, create=create)) as store:
            yield store, Versions(store)
    except MetastoreError as error:
        give_up(str(error))


def give_up(message: str) -> NoReturn:
    click.echo(message, err=True)
    raise SystemExit(EXIT_FINDINGS)


# --- who follows --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Follower:
    """A running Fairlead: the version it last told of, and how that went."""

    name: str
    version: int
    state: str
    error: str


def followers(store: Store) -> list[Follower]:
    found = []
    for name, value in discover(store, FOLLOWERS).items():
        plain = json.loads(value)
        found.append(Follower(name, plain["version"], plain["state"], plain["error"]))
    return found


def wait_for(store: Store, number: int, patience: float, state: str = IN_FORCE) -> list[Follower]:
    """Until every Fairlead that runs has told of this version, or of a later one, that it is in this state, or refused;
    at most `patience` seconds.

    Where nobody is, somebody may be on the way: with the very first version the metastore has just been made, and on a
    busy host a Fairlead may lose its lease for a moment. "All have it" must not be said of nobody then.
    """
    begun = time.monotonic()
    until = begun + patience
    while True:
        found = followers(store)
        if not found and time.monotonic() < min(until, begun + FIRST_COMERS):
            time.sleep(POLL)
            continue
        open_ones = [one for one in found if one.version < number or one.state not in (state, IN_FORCE, REFUSED)]
        if not open_ones or time.monotonic() >= until:
            return found
        time.sleep(POLL)


def all_are(found: list[Follower], number: int, state: str) -> bool:
    return all(one.version >= number and one.state == state for one in found)


def show_followers(found: list[Follower], number: int, state: str = IN_FORCE) -> None:
    there = sum(one.version >= number and one.state == state for one in found)
    if not found:
        click.echo("no Fairlead follows this metastore now")
        return
    click.echo(f"{state} in {there} of {len(found)} Fairleads")
    for one in found:
        if one.version < number:
            click.echo(f"  {one.name}: still version {one.version}")
        elif one.state != state:
            click.echo(f"  {one.name}: {one.state}: {one.error}")


def finish(
    store: Store, number: int, patience: float, style: str, told: dict[str, Any], state: str = IN_FORCE
) -> None:
    """Waits, tells, and exits 1 when some Fairlead has not put the version in force, or on trial."""
    found = wait_for(store, number, patience, state)
    done = all_are(found, number, state)
    if style == "json":
        names = [{"name": one.name, "version": one.version, "state": one.state, "error": one.error} for one in found]
        said = {"in_force": done and state == IN_FORCE, "on_trial": done and state == ON_TRIAL}
        print_json({**told, "version": number, **said, "fairleads": names})
    else:
        show_followers(found, number, state)
    if not done:
        raise SystemExit(EXIT_FINDINGS)


def when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
