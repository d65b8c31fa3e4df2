"""tests/cases/policy/world.yaml, with keys changed."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from config.load import load
from config.settings import Settings

CASES = Path(__file__).parents[2] / "cases" / "policy"


def world(folder: Path, changes: dict[str, Any] | None = None, **options: Any) -> Settings:
    """The settings with values put in by dotted keys."""
    tree = yaml.safe_load((CASES / "world.yaml").read_text())
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        reduce(lambda found, name: found.setdefault(name, {}), parents, tree)[last] = value
    path = folder / "fairlead.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return load(path, secrets=False, **options)
