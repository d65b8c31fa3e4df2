"""Which names may be given."""

from __future__ import annotations

import re
from collections.abc import Iterable

from config.findings import Findings, KeyPath, near_or_known

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
MAX_IDENTIFIER = 64
MAX_USER = 80


def check_plain(findings: Findings, section: str, names: Iterable[str]) -> None:
    """Names of our own things: they appear in metrics, logs and hints."""
    for name in names:
        if not _PLAIN.fullmatch(name):
            findings.add((section, name), "a name is up to 63 letters, digits, '.', '_' and '-'")


def check_identifier(findings: Findings, path: KeyPath, name: str) -> None:
    """Names of databases, tables and columns, as servers allow them."""
    if not name or len(name) > MAX_IDENTIFIER or name != name.rstrip() or not name.isprintable():
        findings.add(path, "a database, table or column name is 1 to 64 printable characters")


def check_known(
    findings: Findings, path: KeyPath, name: str, known: Iterable[str], what: str, plural: str | None = None
) -> bool:
    """Adds 'there is no shard eu-3. Did you mean eu-2?' unless the name is known."""
    names = list(known)
    if name in names:
        return True
    title = plural or f"{what}s"
    findings.add(path, f"there is no {what} {name}", near_or_known(name, names, title[0].upper() + title[1:]))
    return False
