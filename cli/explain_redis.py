"""`fairlead explain --redis`: a Redis command instead of a statement."""

from __future__ import annotations

import shlex

import click

from cli.output import EXIT_REFUSED, print_json, print_rows
from config.findings import near_or_known
from config.settings import Settings
from router.policy.compiled import build
from router.redis import where
from router.redis.explain import Asker, Explainer
from router.redis.table import Level, table
from router.redis.verdicts import build as verdicts_of
from router.topology import Topology

Way = tuple[str, str | None]
"""By which listener somebody comes, and the name in the certificate."""


def check_user(settings: Settings, user: str | None) -> None:
    """Raises UsageError for an unknown one."""
    if user is not None and user not in settings.users:
        raise click.UsageError(f"there is no user {user}. {near_or_known(user, settings.users, 'Users')}")


def show_command(
    text: str, settings: Settings, topology: Topology, user: str | None, way: Way, style: str
) -> None:
    """Words are split as a shell does. Raises UsageError; SystemExit when it would be refused."""
    check_user(settings, user)
    places = where.build(settings, topology)
    asker = _asker(settings, topology, places, user, way)
    explanation = Explainer(settings, places, table(), asker).explain(_words(text))
    if style == "json":
        print_json(explanation.as_dict())
    else:
        print_rows(explanation.as_rows())
    if explanation.error is not None:
        raise SystemExit(EXIT_REFUSED)


def _words(text: str) -> list[bytes]:
    try:
        words = shlex.split(text)
    except ValueError as reason:
        raise click.UsageError(f"no Redis command: {reason}") from None
    if not words:
        raise click.UsageError("no Redis command")
    return [one.encode("utf-8", "surrogateescape") for one in words]


def _asker(settings: Settings, topology: Topology, places: where.Places, user: str | None, way: Way) -> Asker:
    """Who is not named may do everything, but is nobody's subject: what is restricted is refused."""
    level = Level.ADMIN if user is None else Level[settings.users[user].redis.name]
    policy = build(settings, topology)
    if policy is None:
        return Asker(level)
    return Asker(level, verdicts_of(policy, settings, topology, places), policy.subject_of(user or "", *way))
