"""Lookups in plans: when a read may ask one, when a write is refused, and what a policy makes of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from _speedups import lexer
from config.load import load
from router import plan as plans
from router.context import Context
from router.entries import owner_of, places_of
from router.errors import Refusal
from router.plan import Planned
from router.policy.compiled import build
from router.policy.enforce import plan
from router.privileges import Grants
from router.schema import ForeignKey, LiveColumn, LiveTable, SchemaSnapshot, UniqueKey
from router.topology import Topology

ACCOUNT = {"user": "fairlead", "password": {"env": "X"}}
CONFIG: dict[str, Any] = {
    "region": "eu",
    "regions": {"eu": {}},
    "shards": {
        f"eu-{n}": {"region": "eu", "flavour": "mysql", "primary": f"127.0.0.1:{n + 1}", "account": ACCOUNT}
        for n in (0, 1)
    },
    "users": {"demo": {"password": {"env": "X"}, "grants": [{"on": "*.*", "verbs": ["all"]}]}},
    "listeners": {"mysql": {"port": 7306}},
    "keyspaces": {
        "shop": {
            "shards": ["eu-0", "eu-1"],
            "vindexes": {"by_hash": {"function": "hash"}},
            "tables": {"people": {"kind": "sharded", "vindex": "by_hash", "columns": ["id"]}},
            "lookups": {
                "by_email": {
                    "table": "people", "column": "email", "vindex": "by_hash", "unique": True, "state": "ready",
                }
            },
        }
    },
}


def text(name: str, *, collation: str = "utf8mb4_bin", **more: Any) -> LiveColumn:
    return LiveColumn(name, "varchar", "varchar(80)", charset=collation.split("_")[0], collation=collation, **more)


BIGINT = LiveColumn("id", "bigint", "bigint", nullable=False)
EMAIL_KEY = UniqueKey("mail", ("email",))
PRIMARY = UniqueKey("PRIMARY", ("id",))
PEOPLE = LiveTable("people", columns=(BIGINT, text("email"), text("name")), unique_keys=(PRIMARY, EMAIL_KEY))
STORE = LiveTable(
    "fairlead_lookup_by_email", columns=(text("email"), BIGINT), unique_keys=(UniqueKey("PRIMARY", ("email",)),)
)


def topology(folder: Path, changes: dict[str, Any] | None = None) -> Topology:
    path = folder / "fairlead.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **(changes or {})}, sort_keys=False))
    return Topology.build(load(path, secrets=False))


def schema(*tables: LiveTable) -> SchemaSnapshot:
    return SchemaSnapshot("shop", 1, {table.name: table for table in tables})


def planned(folder: Path, sql: str, *tables: LiveTable, **more: Any) -> Planned:
    found = topology(folder)
    known = MappingProxyType({"shop": schema(*(tables or (PEOPLE, STORE)))})
    grants = Grants("demo", load(folder / "fairlead.yaml", secrets=False).users["demo"].grants)
    return plan(lexer.lex(sql.encode(), 0), sql.encode(), Context(found, grants, "shop", 0, known, **more))


READ = "SELECT * FROM people WHERE email = 'x'"
UNFIT = {
    "no table": (PEOPLE,),
    "no primary key": (replace(PEOPLE, unique_keys=(EMAIL_KEY,)), STORE),
    "no unique key": (replace(PEOPLE, unique_keys=(PRIMARY,)), STORE),
    "triggers": (replace(PEOPLE, triggers=("t",)), STORE),
    "cascades": (
        replace(PEOPLE, foreign_keys=(ForeignKey("f", ("id",), "parents", ("id",), "CASCADE"),)), STORE
    ),
    "generated": (replace(PEOPLE, columns=(BIGINT, text("email", generated=True), text("name"))), STORE),
    "a language's collation": (
        replace(PEOPLE, columns=(BIGINT, text("email", collation="utf8mb4_sv_0900_ai_ci"), text("name"))), STORE
    ),
    "another collation": (
        PEOPLE, replace(STORE, columns=(text("email", collation="utf8mb4_general_ci"), BIGINT))
    ),
    "other keys": (PEOPLE, replace(STORE, unique_keys=(UniqueKey("PRIMARY", ("email", "id")),))),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_kept_in_step_is_not_asked_and_not_written(tmp_path: Path, name: str) -> None:
    assert isinstance(planned(tmp_path, READ, *UNFIT[name]).plan, plans.Scatter)
    for sql in ("DELETE FROM people WHERE id = 1", "UPDATE people SET email = 'x' WHERE id = 1"):
        found = planned(tmp_path, sql, *UNFIT[name])
        assert found.refusal is not None and found.refusal.entry.name == "LOOKUP_UNFIT"
    assert isinstance(planned(tmp_path, "UPDATE people SET name = 'x' WHERE id = 1", *UNFIT[name]).plan, plans.ByKey)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        (READ, plans.ByLookup),
        ("SELECT COUNT(*) FROM people WHERE email IN ('a', 'b') AND name = 'c'", plans.ByLookup),
        ("SELECT * FROM people WHERE email = 'x' OR email = 'y'", plans.ByLookup),
        ("SELECT RANK() OVER (ORDER BY id) FROM people WHERE email = 'x'", plans.ByLookup),
        ("SELECT * FROM people WHERE email = 'x' AND id = 1", plans.ByKey),
        ("SELECT * FROM people WHERE email = 'x' OR name = 'y'", plans.Scatter),
        ("SELECT * FROM people WHERE email > 'x'", plans.Scatter),
        ("SELECT * FROM people WHERE email = 'x' COLLATE utf8mb4_general_ci", plans.Scatter),
        ("SELECT * FROM people WHERE LOWER(email) = 'x'", plans.Scatter),
        ("SELECT * FROM people WHERE NOT email = 'x'", plans.Scatter),
        ("SELECT * FROM people WHERE email = 'x' UNION ALL SELECT * FROM people WHERE email = 'y'", plans.Scatter),
        ("SELECT * FROM people WHERE email = 'x' FOR UPDATE", plans.Scatter),
        ("SELECT * FROM people a JOIN people b ON a.name = b.name WHERE a.email = 'x'", plans.Refuse),
        ("SELECT * FROM people a JOIN people b ON a.id = b.id WHERE a.email = 'x'", plans.ByLookup),
        ("SELECT * FROM people a LEFT JOIN people b ON a.id = b.id AND b.email = 'x'", plans.Scatter),
    ],
)
def test_which_reads_ask_a_lookup(tmp_path: Path, sql: str, kind: type) -> None:
    assert isinstance(planned(tmp_path, sql).plan, kind)


def test_values_lead_to_entries(tmp_path: Path) -> None:
    table = topology(tmp_path).keyspace("shop").table("people")
    (entries,) = owner_of(table, schema(PEOPLE, STORE)).entries
    found = places_of(entries, ["a", "b", "it's", None])
    assert found is not None and sum(map(len, found.values())) == 3
    assert places_of(entries, ["a", 5]) is None, "several texts may equal a number"
    folding = tuple(
        replace(one, columns=tuple(text(c.name, collation="utf8mb4_general_ci") if c.name == "email" else c
                                   for c in one.columns))
        for one in (PEOPLE, STORE)
    )  # fmt: skip
    (entries,) = owner_of(table, schema(*folding)).entries
    assert places_of(entries, ["Straße"]) is None
    with pytest.raises(Refusal) as refused:
        entries.shard("é".encode().hex().encode())
    assert refused.value.entry.name == "LOOKUP_VALUE"


POLICY = {
    "domains": {"eea": {"regions": ["eu"]}},
    "labels": {"shop": {"classes": "public", "tables": {"people": {
        "classes": "public", "columns": {"email": {"classes": "personal", "mask": "email"}}}}}},
    "subjects": {"inside": {"users": ["demo"], "domain": "eea"}},
    "rules": {"masked": {"classes": "personal", "homes": "eea", "domains": "eea", "then": "mask"}},
}  # fmt: skip


@pytest.mark.parametrize("verdict", ["mask", "allow"])
def test_a_policy_decides_first(tmp_path: Path, verdict: str) -> None:
    rules = {"rules": {"masked": {**POLICY["rules"]["masked"], "then": verdict}}}
    path = tmp_path / "fairlead.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "policy": {**POLICY, **rules}}, sort_keys=False))
    settings = load(path, secrets=False)
    found = Topology.build(settings)
    policy = build(settings, found)
    assert policy is not None
    subject = policy.subject_of("demo", "mysql", None, "eu")
    known = MappingProxyType({"shop": schema(PEOPLE, STORE)})
    context = Context(
        found, Grants("demo", settings.users["demo"].grants), "shop", 0, known, policy=policy, subject=subject
    )
    asked = plan(lexer.lex(READ.encode(), 0), READ.encode(), context)
    assert isinstance(asked.plan, plans.ByLookup if verdict == "allow" else plans.Scatter | plans.Refuse)
    write = b"UPDATE people SET email = 'x' WHERE id = 1"
    kept = plan(lexer.lex(write, 0), write, context)
    assert isinstance(kept.plan, plans.Keep if verdict == "allow" else plans.Refuse)
