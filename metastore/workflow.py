"""What comes before a configuration becomes a version: checked for every region, compared with the one in force.

Shared by `fairlead apply` and the admin console.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from config import diff as differences
from config.errors import ConfigError
from config.inline import inline_secrets
from config.load import load
from config.settings import Settings
from metastore.versions import Versions
from router.placement import placement_changes
from router.policy.compiled import build as build_policy
from router.topology import Topology


@dataclass(frozen=True, slots=True)
class Comparison:
    """`changes` in sentences; `stored_rows`: what a change of sharding means for rows that are there already."""

    changes: list[str] = field(default_factory=list)
    stored_rows: list[str] = field(default_factory=list)


def checked(path: Path, region: str | None, base: Path | None = None) -> Settings:
    """As every region would read it, nothing placed where it may not be, and without secrets. Raises ConfigError."""
    settings = load(path, region=region, secrets=False, base=base)
    for other in settings.regions:
        theirs = load(path, region=other, secrets=False, base=base)
        build_policy(theirs, Topology.build(theirs))
    if mistakes := inline_secrets(settings):
        raise ConfigError(mistakes)
    return settings


def settings_of_version(versions: Versions, number: int, base: Path, region: str | None) -> Settings:
    """A version, without its secrets. Raises ConfigError for one that this program does not accept any more."""
    with tempfile.TemporaryDirectory(prefix="fairlead-") as folder:
        path = versions.bundle(number).write(Path(folder))
        return load(path, region=region, secrets=False, base=base)


def gate(versions: Versions, in_force: Settings, digest: str, on: int) -> None:
    """May this content follow version `on`, whose settings are `in_force`? Raises VersionError."""
    if in_force.metastore is not None and in_force.metastore.require_simulation:
        versions.check_simulated(digest, on)


def folder_of(path: Path) -> Path:
    """What relative paths of a configuration are relative to."""
    return (path if path.is_dir() else path.parent).absolute()


def compared(before: Settings, after: Settings) -> Comparison:
    return Comparison(
        differences.diff(before, after), placement_changes(Topology.build(before), Topology.build(after))
    )
