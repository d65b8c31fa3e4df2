"""proxy.mysql stands on its own: the standard library, cryptography, and the packet heads of _speedups."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "proxy" / "mysql"
ALLOWED = {"cryptography", "proxy.mysql", "zstandard", "_speedups.packet"}


def imported(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports(path: Path) -> None:
    foreign = {
        name
        for name in imported(path.read_text())
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not any(name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED)
    }
    assert not foreign
