"""Decision records of plans that the policy had a part in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from _speedups import lexer
from cli.schema_file import read_schema
from config.load import load
from config.settings import Settings
from ops.audit.decided import decision_of, vocabulary_of
from ops.audit.record import UNKNOWN, Verdict, encode
from router.context import Context
from router.policy.compiled import build
from router.policy.enforce import plan
from router.privileges import Grants
from router.topology import Topology

POLICY: dict[str, Any] = {
    "domains": {"eea": {"regions": ["eu"]}, "usa": {"regions": ["us"]}},
    "tags": {"health": {}},
    "labels": {
        "shop": {
            "tables": {
                "customers": {
                    "classes": "internal",
                    "columns": {
                        "email": {"classes": "personal", "mask": "email"},
                        "notes": ["personal", "health"],
                        "passport": "sensitive",
                    },
                    "person": "id",
                }
            }
        }
    },
    "subjects": {"analysts": {"users": "app", "domain": "usa", "purpose": "research", "counterparty": "acme"}},
    "budgets": {"bulk": {"persons": 1000}},
    "rules": {
        "internal-abroad": {"classes": "internal", "domains": "any", "then": "allow"},
        "abroad": {"classes": "personal", "homes": "eea", "domains": "usa", "then": "mask", "budget": "bulk"},
        "health-abroad": {"classes": "health", "homes": "eea", "domains": "usa", "then": "mask(null)"},
    },
}
TABLES = """CREATE TABLE customers (id BIGINT NOT NULL PRIMARY KEY, email VARCHAR(100) COLLATE utf8mb4_bin,
 notes VARCHAR(100) COLLATE utf8mb4_bin, passport VARCHAR(20) COLLATE utf8mb4_bin);"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "fairlead.yaml"
    account = {"user": "fairlead", "password": {"env": "X"}}
    content = {
        "region": "eu",
        "regions": {"eu": {}, "us": {}},
        "shards": {"eu-0": {"region": "eu", "flavour": "mariadb", "primary": "127.0.0.1:3306", "account": account}},
        "keyspaces": {
            "shop": {
                "shards": ["eu-0"],
                "vindexes": {"by_id": {"function": "hash"}},
                "tables": {"customers": {"kind": "sharded", "vindex": "by_id", "columns": {"id": "bigint"}}},
            }
        },
        "users": {"app": {"password": {"env": "X"}, "grants": [{"on": "shop.*", "verbs": ["all"]}]}},
        "listeners": {"mysql": {"port": 7306}},
        "policy": POLICY,
        "audit": {"folder": str(tmp_path / "audit"), "key": {"env": "X"}},
    }
    path.write_text(yaml.safe_dump(content))
    return load(path, secrets=False)


def record(settings: Settings, sql: str, tmp_path: Path) -> dict[str, Any]:
    topology = Topology.build(settings)
    policy = build(settings, topology)
    keyspace = topology.keyspace("shop")
    assert policy is not None and keyspace is not None
    schema = tmp_path / "shop.sql"
    schema.write_text(TABLES)
    context = Context(
        topology, Grants("app", settings.users["app"].grants), "shop", schemas={"shop": read_schema(schema, keyspace)},
        offline=True, policy=policy, subject=policy.subject_of("app", "", None),
    )  # fmt: skip
    found = lexer.lex(sql.encode(), 0)
    planned = plan(found, sql.encode(), context)
    assert planned.policy is not None, planned
    decision = decision_of(
        vocabulary_of(settings), planned.policy, policy, proxy="eu", version=3, user="app",
        fingerprint=found.fingerprint, rows=1, bytes_out=2, latency_us=3,
    )  # fmt: skip
    return dict(json.loads(encode(decision, 1)))


def test_a_masked_read(settings: Settings, tmp_path: Path) -> None:
    found = record(settings, "SELECT email FROM customers WHERE id = 4711", tmp_path)
    assert found["verdict"] == "mask" and found["tables"] == ["shop.customers"]
    assert (found["homes"], found["to"], found["subject"]) == (["eea"], "usa", "app")
    assert set(found["classes"]) == {"internal", "personal"} and found["obligations"] == ["budget(bulk)", "log"]
    assert set(found["rules"]) == {"abroad", "internal-abroad"} and found["shards"] == ["eu-0"]
    assert (found["purpose"], found["counterparty"]) == ("research", "acme")
    assert "4711" not in json.dumps(found) and UNKNOWN not in json.dumps(found)


def test_classes_are_named_by_their_parts(settings: Settings, tmp_path: Path) -> None:
    found = record(settings, "SELECT notes FROM customers WHERE id = 1", tmp_path)
    assert {"personal", "health"} <= set(found["classes"]) and found["verdict"] == str(Verdict.MASK)


def test_tables_of_the_live_schema_are_added(settings: Settings) -> None:
    assert vocabulary_of(settings).name("shop.temporary") is UNKNOWN
    assert vocabulary_of(settings, ["shop.live"]).name("shop.live") == "shop.live"
