"""What a simulation tells of two configurations and a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.schema_file import read_schema
from config.load import load
from config.settings import Settings
from router import simulation
from router.simulation import Outcome, RoutePlanner, Shape, simulate
from router.topology import Topology

BASE: dict[str, Any] = {
    "region": "eu",
    "regions": {"eu": {}, "us": {"peer": {"host": "127.0.0.1", "port": 9326}}},
    "shards": {
        name: {
            "region": name[:2],
            "flavour": "mariadb",
            "primary": f"127.0.0.1:{port}",
            "account": {"user": "fairlead", "password": {"env": "X"}},
        }
        for port, name in enumerate(("eu-0", "eu-1", "us-0"), 3306)
    },
    "keyspaces": {
        "shop": {
            "shards": ["eu-0", "eu-1"],
            "vindexes": {"by_id": {"function": "hash"}},
            "tables": {
                "orders": {"kind": "sharded", "vindex": "by_id", "columns": {"id": "bigint"}},
                "countries": {"kind": "reference"},
                "settings": {"kind": "pinned", "shard": "eu-0"},
            },
        }
    },
    "users": {"app": {"password": {"env": "X"}, "grants": [{"on": "shop.*", "verbs": ["all"]}]}},
    "listeners": {"mysql": {"port": 7306}},
    "peer_tls": {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"},
}
CORPUS = [
    Shape("SELECT * FROM orders WHERE id=?", "app", "shop", 900),
    Shape("SELECT COUNT(*) FROM settings", "app", "shop", 50),
    Shape("SELECT * FROM countries", "app", "shop", 40),
    Shape("DELETE FROM orders WHERE id=?", "app", "shop", 3),
    Shape("SELECT a very long", "app", "shop", 2, whole=False),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def settings(folder: Path, **changes: Any) -> Settings:
    path = folder / "fairlead.yaml"
    path.write_text(yaml.safe_dump({**BASE, **changes}))
    return load(path, secrets=False)


def shop(**changes: Any) -> dict[str, Any]:
    return {"keyspaces": {"shop": {**BASE["keyspaces"]["shop"], **changes}}}


def changes(folder: Path, **sections: Any) -> simulation.Simulation:
    old = RoutePlanner(settings(folder))
    return simulate(CORPUS, old, RoutePlanner(settings(folder, **sections)))


def test_nothing_changes_under_the_same_configuration(folder: Path) -> None:
    found = changes(folder)
    assert (found.shapes, found.executions, found.unjudged, found.changes) == (5, 995, 1, [])


def test_what_a_lost_grant_refuses(folder: Path) -> None:
    grants = [{"on": "shop.orders", "verbs": ["select"]}, {"on": "shop.countries", "verbs": ["select"]}]
    found = changes(folder, users={"app": {**BASE["users"]["app"], "grants": grants}})
    assert [(one.shape.norm, one.what) for one in found.changes] == [
        ("SELECT COUNT(*) FROM settings", "refused"),
        ("DELETE FROM orders WHERE id=?", "refused"),
    ]
    assert all("denied" in one.details[0] for one in found.changes)
    back = simulate(
        CORPUS,
        RoutePlanner(settings(folder, users={"app": {**BASE["users"]["app"], "grants": grants}})),
        RoutePlanner(settings(folder)),
    )
    assert {one.what for one in back.changes} == {"allowed"}


def test_a_user_or_keyspace_that_is_gone_refuses_all(folder: Path) -> None:
    other = {"other": BASE["users"]["app"]}
    assert len(changes(folder, users=other).of("refused")) == 4
    renamed = {"market": BASE["keyspaces"]["shop"]}
    anybody = {"app": {**BASE["users"]["app"], "grants": [{"on": "*.*", "verbs": ["all"]}]}}
    assert changes(folder, keyspaces=renamed, users=anybody).of("refused")[0].details == ("there is no keyspace shop",)


def test_a_table_that_moves(folder: Path) -> None:
    tables = {**BASE["keyspaces"]["shop"]["tables"], "settings": {"kind": "pinned", "shard": "eu-1"}}
    found = changes(folder, **shop(tables=tables))
    (change,) = found.changes
    assert change.what == "changed" and "shards: eu-0 -> eu-1" in change.details


def test_another_bucket_map_changes_whatever_goes_by_it(folder: Path) -> None:
    buckets = {"eu-0": "0-9", "eu-1": "10-4095"}
    found = changes(folder, **shop(vindexes={"by_id": {"function": "hash", "buckets": buckets}}))
    assert {one.shape.norm for one in found.changes} == {CORPUS[0].norm, CORPUS[3].norm}
    assert all(one.details[0].startswith("sharding: by_id over") for one in found.changes)


def test_what_reaches_another_region_is_named(folder: Path) -> None:
    found = changes(folder, **shop(shards=["eu-0", "eu-1", "us-0"]))
    assert any("regions: eu -> eu, us" in one.details for one in found.changes)


def test_what_newly_leaves_is_summed_up() -> None:
    """With outcomes as a policy gives them."""
    before = {"a": Outcome({}), "b": Outcome({}, leaves=frozenset({("customers.id", "us")}))}
    mail = frozenset({("customers.email", "us")})
    after = {"a": Outcome({}, leaves=mail), "b": Outcome({}, leaves=mail)}
    shapes = [Shape("a", "app", None), Shape("b", "app", None)]
    found = simulate(shapes, lambda shape: before[shape.norm], lambda shape: after[shape.norm])
    assert found.leaving == {("customers.email", "us"): 2}
    details = {one.shape.norm: one.details for one in found.changes}
    assert details["a"] == ("newly leaves to us: customers.email",)
    assert "leaves no more to us: customers.id" in details["b"]
    assert found.as_dict()["newly_leaving"] == [{"what": "customers.email", "to": "us", "shapes": 2}]


def test_a_corpus_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "MOST_SHAPES", 3)
    with pytest.raises(ValueError, match="3 shapes at most"):
        simulate(CORPUS, lambda _: Outcome({}), lambda _: Outcome({}))


# --- with a policy ------------------------------------------------------------------------------------------

TABLES = """
CREATE TABLE customers (
  id BIGINT NOT NULL PRIMARY KEY, email VARCHAR(100) COLLATE utf8mb4_bin, passport VARCHAR(20) COLLATE utf8mb4_bin
);
"""
ABROAD = {"classes": "personal", "homes": "eea", "domains": "usa", "then": "mask"}
POLICY: dict[str, Any] = {
    "domains": {"eea": {"regions": ["eu"]}, "usa": {"regions": ["us"]}},
    "labels": {
        "shop": {
            "tables": {
                "customers": {
                    "classes": "internal",
                    "columns": {"email": {"classes": "personal", "mask": "email"}, "passport": "sensitive"},
                    "person": "id",
                }
            }
        }
    },
    "subjects": {"analysts": {"users": "app", "domain": "usa"}},
    "rules": {"internal-abroad": {"classes": "internal", "domains": "any", "then": "allow"}, "abroad": ABROAD},
}
ASKED = [
    Shape("SELECT email FROM customers WHERE id=?", "app", "shop", 30),
    Shape("SELECT id FROM customers WHERE id=?", "app", "shop", 20),
    Shape("SELECT passport FROM customers WHERE id=?", "app", "shop", 10),
]


def with_rule(folder: Path, rule: dict[str, Any] | None) -> RoutePlanner:
    tables = {"customers": {"kind": "sharded", "vindex": "by_id", "columns": {"id": "bigint"}}}
    rules = {**POLICY["rules"], "abroad": rule}
    policy = {**POLICY, "rules": {name: one for name, one in rules.items() if one is not None}}
    found = settings(folder, policy=policy, **shop(tables=tables))
    schema = folder / "shop.sql"
    schema.write_text(TABLES)
    keyspace = Topology.build(found).keyspace("shop")
    assert keyspace is not None
    return RoutePlanner(found, {"shop": read_schema(schema, keyspace)})


def test_what_a_wider_rule_lets_out_is_named(folder: Path) -> None:
    found = simulate(ASKED, with_rule(folder, ABROAD), with_rule(folder, {**ABROAD, "then": "allow"}))
    assert found.leaving == {("shop.customers.email of eea, as it is", "usa"): 1}
    (change,) = found.changes
    assert change.shape == ASKED[0] and change.what == "changed"
    assert "leaves no more to usa: shop.customers.email of eea, masked (email)" in change.details
    ruling = "policy on shop.customers.email of eea, identity: mask (email)"
    assert any(one.startswith(ruling) for one in change.details)


def test_what_a_rule_that_is_gone_refuses(folder: Path) -> None:
    found = simulate(ASKED, with_rule(folder, ABROAD), with_rule(folder, None))
    assert [(one.shape, one.what) for one in found.changes] == [(ASKED[0], "refused")]
    assert found.leaving == {}
    back = simulate(ASKED, with_rule(folder, None), with_rule(folder, ABROAD))
    assert [(one.shape, one.what) for one in back.changes] == [(ASKED[0], "allowed")]
    assert back.leaving == {("shop.customers.email of eea, masked (email)", "usa"): 1}
