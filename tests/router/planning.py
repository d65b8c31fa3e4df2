"""The world of tests/cases/plans as contexts to plan in."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from _speedups import lexer
from config.load import load
from config.settings import Settings
from router.context import Context
from router.plan import Planned
from router.planner import plan
from router.privileges import Grants
from router.schema import Index, LiveColumn, LiveTable, SchemaSnapshot, UniqueKey
from router.topology import Topology

CASES = Path(__file__).parent.parent / "cases" / "plans"


@cache
def settings() -> Settings:
    return load(CASES / "fairlead.yaml", secrets=False)


@cache
def topology() -> Topology:
    return Topology.build(settings())


def live_table(name: str, given: dict[str, Any]) -> LiveTable:
    """A table in the shorthand of schema.json: type, `!` for NOT NULL, `+` for AUTO_INCREMENT, `=default`."""
    columns = []
    for column, text in given["columns"].items():
        text, _, default = text.partition("=")
        kind = text.rstrip("!+")
        is_text = kind.startswith(("varchar", "char", "text"))
        columns.append(
            LiveColumn(
                column,
                kind.partition("(")[0],
                kind,
                nullable="!" not in text,
                default=default or None,
                auto_increment="+" in text,
                charset="utf8mb4" if is_text else None,
                collation="utf8mb4_general_ci" if is_text else None,
            )
        )
    keys = tuple(UniqueKey(key, tuple(parts)) for key, parts in given.get("keys", {}).items())
    indexes = tuple(Index(index, tuple(parts)) for index, parts in given.get("indexes", {}).items())
    return LiveTable(name, given.get("kind", "table"), tuple(columns), keys, indexes=indexes)


@cache
def schemas() -> MappingProxyType[str, SchemaSnapshot]:
    given = json.loads((CASES / "schema.json").read_text())
    tables = {name: live_table(name, table) for name, table in given.items()}
    snapshots = {name: SchemaSnapshot(name, 1, tables) for name in ("shop", "best", "strict", "narrow")}
    return MappingProxyType(snapshots)


def context(database: str | None = "shop", user: str = "demo", mode: int = 0, *, offline: bool = False) -> Context:
    grants = Grants(user, settings().users[user].grants)
    known = MappingProxyType({}) if offline else schemas()
    return Context(topology(), grants, database, mode, known, offline)


def planned(sql: str, where: Context) -> Planned:
    text = sql.encode()
    return plan(lexer.lex(text, where.mode), text, where)
