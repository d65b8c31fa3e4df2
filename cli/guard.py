"""Are our packages ours?

Fairlead's top-level packages have plain names (`config`, `proxy` …). pip silently lets another distribution
overwrite files in a package of the same name, so each start makes sure that no other one has such a package.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

DISTRIBUTION = "fairlead"
PACKAGES = ("cli", "proxy", "metastore", "ops", "router", "config", "_speedups")


def foreign_packages(owners: Mapping[str, list[str]] | None = None) -> dict[str, list[str]]:
    """Our package -> the other distributions that have one of its name; empty when all is well.

    `owners` are those of `importlib.metadata.packages_distributions()`, package -> distributions.
    """
    installed = metadata.packages_distributions() if owners is None else owners
    found = {
        package: sorted({name for name in installed.get(package, ()) if name.lower() != DISTRIBUTION})
        for package in PACKAGES
    }
    return {package: names for package, names in found.items() if names}
