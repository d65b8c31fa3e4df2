"""Cases as data: tests/cases/differential/*.json.

A file holds `about`, `way` (how the clients connect) and `cases`, which run in order on one connection each. A
case is a statement, or {sql, params, ordered, refused, differs}. With `params` it is prepared. A statement that only
reads is run in both protocols. Names in angle brackets stand for buyers' ids: <eu>, <eu_sibling> (the same
shard), <eu_other> (another shard of the region), <us>, <many_purchases>, <new_…> (no such row yet); in params,
<eu:int> and <eu:float> are numbers and <eu> is text.

`refused` is the error that Fairlead answers instead of the server's answer, which then must not come. `differs`
names what may not be the same, with the reason: "warnings" for their number, "column X" for the cells of a column.
Either may be given by flavour: {"mariadb": …, "mysql": …}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.differential import bazaar
from tests.differential.duel import Duel, Way

FOLDER = Path(__file__).parent.parent / "cases" / "differential"
FILES = sorted(FOLDER.glob("*.json"))
_NAME = re.compile(r"<(\w+)(?::(int|float))?>")
_READ = re.compile(r"(?is)\s*(?:/\*.*?\*/\s*|--\s[^\n]*\n|#[^\n]*\n)*(?:select|with|table|values)\b")
_STATEFUL = re.compile(r"(?i)row_count|last_insert_id|warning_count|error_count|@x|lock|update")


@dataclass(frozen=True, slots=True)
class Case:
    """`params` None: text protocol. `refused`: the id of the error that Fairlead answers with, "" for none.
    `differs`: what may not be the same -> why."""

    sql: str
    params: tuple[Any, ...] | None = None
    ordered: bool = False
    refused: str = ""
    differs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """One file."""

    about: str
    way: Way
    cases: tuple[Case, ...]


def load(path: Path, ids: Mapping[str, int], flavour: str) -> Group:
    data = json.loads(path.read_text())
    cases: list[Case] = []
    for given in data["cases"]:
        entry = {"sql": given} if isinstance(given, str) else given
        sql = _NAME.sub(lambda match: str(ids[match[1]]), entry["sql"])
        params = tuple(_param(one, ids) for one in entry["params"]) if "params" in entry else None
        refused, differs = (_of_flavour(entry.get(name), flavour) for name in ("refused", "differs"))
        case = Case(sql, params, entry.get("ordered", False), refused or "", differs or {})
        cases.append(case)
        if params is None and _READ.match(sql) and not _STATEFUL.search(sql):
            cases.append(replace(case, params=()))
    return Group(data["about"], Way(**data.get("way", {})), tuple(cases))


def _of_flavour(given: Any, flavour: str) -> Any:
    by_flavour = isinstance(given, dict) and not given.keys() - {"mariadb", "mysql"}
    return given.get(flavour) if by_flavour else given


def _param(given: Any, ids: Mapping[str, int]) -> Any:
    if not isinstance(given, str):
        return given
    match = _NAME.fullmatch(given)
    if match is not None and match[2]:
        return {"int": int, "float": float}[match[2]](ids[match[1]])
    return _NAME.sub(lambda found: str(ids[found[1]]), given)


def named_ids(duel: Duel) -> dict[str, int]:
    """What the names stand for, by where the rows are."""
    shard_of = duel.placement()
    mine = bazaar.EU + 1
    siblings = [key for key, shard in shard_of.items() if shard == shard_of[mine] and key != mine]
    others = [key for key, shard in shard_of.items() if shard != shard_of[mine] and key < bazaar.US]
    counted = duel.plain.query("SELECT buyer_id FROM purchases GROUP BY buyer_id HAVING COUNT(*) > 2", bazaar.KEYSPACE)
    return {
        "eu": mine,
        "eu_sibling": siblings[0],
        "eu_other": others[0],
        "us": bazaar.US + 1,
        "many_purchases": counted[0][0],
        "new_eu": bazaar.EU + 7001,
        "new_eu2": bazaar.EU + 7002,
        "new_us": bazaar.US + 7001,
    }
