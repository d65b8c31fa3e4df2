"""`fairlead` with a leak in it: python planted.py NAME serve -c FILE …

The leaks are edits of our own source (tests/cases/noninterference/leaks.yaml), made as the modules are imported. So
nothing in the program knows of them, and an edit that no longer fits fails loudly.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import yaml

LEAKS = Path(__file__).parents[1] / "cases" / "noninterference" / "leaks.yaml"


@dataclass(frozen=True, slots=True)
class Edit:
    module: str
    find: str
    put: str

    def of(self, source: str) -> str:
        """Raises LookupError when the text is not there exactly once."""
        if source.count(self.find) != 1:
            raise LookupError(f"{self.module} has this {source.count(self.find)} times: {self.find!r}")
        return source.replace(self.find, self.put)


@cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(LEAKS.read_text())
    return found


def edits_of(name: str) -> list[Edit]:
    """The edits of one leak, with those of the defences that it takes away besides."""
    given = _file()
    leak = given["leaks"][name]
    defences = [edit for one in leak.get("without", []) for edit in given["defences"][one]]
    return [Edit(**edit) for edit in (*leak["edits"], *defences)]


def names() -> Mapping[str, Any]:
    """Every leak as its file tells it."""
    found: Mapping[str, Any] = _file()["leaks"]
    return found


class _Loader(importlib.machinery.SourceFileLoader):
    edits: Sequence[Edit] = ()

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode()
        for edit in self.edits:
            source = edit.of(source)
        return compile(source, self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, edits: Sequence[Edit]) -> None:
        self._edits = edits

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        mine = [edit for edit in self._edits if edit.module == name]
        if not mine:
            return None
        sys.meta_path.remove(self)
        try:
            found = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if found is None or found.origin is None:
            raise LookupError(name)
        loader = _Loader(name, found.origin)
        loader.edits = mine
        return importlib.util.spec_from_file_location(name, found.origin, loader=loader)


def main() -> None:
    edits = edits_of(sys.argv.pop(1))
    sys.meta_path.insert(0, _Finder(edits))
    for module in {edit.module for edit in edits}:
        importlib.import_module(module)
    importlib.import_module("cli.main").main()


if __name__ == "__main__":
    main()
