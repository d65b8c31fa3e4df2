"""The compiled policy: labels, homes, subjects, verdicts (cases in tests/cases/policy/classes.yaml)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from config.load import load
from router.policy import masks
from router.policy.compiled import build
from router.policy.model import OWN_MASK, FlowKind, Policy
from router.policy.review import review
from router.schema import LiveColumn
from router.topology import Topology
from tests.router.policy.worlds import CASES, world

LISTS = yaml.safe_load((CASES / "classes.yaml").read_text())


def compiled(folder, changes=None, **options):
    settings = world(folder, changes, **options)
    policy = build(settings, Topology.build(settings))
    assert policy is not None
    return policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Policy:
    return compiled(tmp_path_factory.mktemp("policy"))


def test_classes_of_columns(policy):
    for database, table, column, expected in LISTS["labels"]:
        assert policy.class_name(policy.class_of(database, table, column)) == expected, (database, table, column)


def test_classes_of_tables(policy):
    for database, table, restricted, top in LISTS["tables"]:
        assert policy.restricted(database, table) == restricted, (database, table)
        assert policy.class_name(policy.top_of(database, table)) == top


def test_homes(policy):
    for database, table, homes in LISTS["homes"]:
        assert policy.homes_of(database, table) == tuple(homes), (database, table)
    assert (policy.domain, policy.domain_of_region("us"), policy.domain_of_region("x")) == ("eea", "usa", "")


def test_subjects(policy):
    for user, listener, certificate, region, domain, roles in LISTS["subjects"]:
        subject = policy.subject_of(user, listener, certificate, region)
        assert (subject.domain, subject.roles) == (domain, frozenset(roles)), (user, region)
        assert (subject.id == 0) == (domain == "")


def test_verdicts(policy):
    for table, column, home, user, operation, flow, action, mask in LISTS["verdicts"]:
        subject = policy.subject_of(user, "mysql", None)
        verdict = policy.decide_column("shop", table, column, home, subject, operation, FlowKind[flow.upper()])
        assert (verdict.action.name.lower(), verdict.mask) == (action, mask), (table, column, home, user, verdict)


def test_equal_attributes_are_one_subject(tmp_path):
    entries = {
        "one": {"users": "app", "domain": "usa", "roles": ["a", "b"]},
        "two": {"users": "reports", "domain": "usa", "roles": ["b", "a"]},
        "three": {"listeners": "mysql", "domain": "usa"},
        "four": {"certificates": "c.example", "domain": "eea"},
    }
    policy = compiled(tmp_path, {"policy.subjects": entries, "policy.rules": {}})
    app, reports = policy.subject_of("app", "mysql", None), policy.subject_of("reports", "mysql", None)
    assert app == reports and app.roles == {"a", "b"}
    assert policy.subject_of("other", "mysql", None).roles == frozenset()
    assert policy.subject_of("app", "mysql", "c.example").domain == "eea"
    assert policy.subject_of("other", "else", None).id == 0
    ids = [subject.id for subject in policy.subjects.all()]
    assert ids == list(range(len(ids)))


def test_labels_that_differ_in_case_are_joined(tmp_path):
    keyspaces = {"wiki": {"shards": ["eu-0"]}, "Wiki": {"shards": ["eu-0"]}}
    labels = {
        "wiki": {"classes": "public", "tables": {"T": "internal", "t": {"columns": {"c": "personal"}}}},
        "Wiki": {"classes": "internal"},
    }
    policy = compiled(tmp_path, {"keyspaces": keyspaces, "policy.labels": labels})
    assert policy.class_name(policy.class_of("WIKI", "t", "x")) == "internal"
    assert policy.class_name(policy.class_of("wiki", "T", "C")) == "personal"
    assert policy.class_name(policy.class_of("wiki", "other", "c")) == "internal"


def test_open_to(policy):
    app, reports, nobody = (policy.subject_of(user, "mysql", None) for user in ("app", "reports", "?"))
    assert policy.open_to("wiki", "secrets", app)
    assert not policy.open_to("wiki", "secrets", reports)
    assert not policy.open_to("shop", "customers", app), "rows of usa are abroad"
    assert all(policy.open_to("shop", "countries", subject) for subject in (app, reports, nobody))
    assert not policy.open_to("elsewhere", "t", nobody)


def test_obligations_close_a_table(tmp_path):
    rules = {"counted": {"classes": "sensitive", "then": "allow", "log": True}}
    policy = compiled(tmp_path, {"policy.rules": rules})
    assert not policy.open_to("wiki", "secrets", policy.subject_of("app", "mysql", None))


def test_own_mask(tmp_path):
    policy = compiled(tmp_path, {"policy.labels.shop.tables.customers.columns.phone": "personal"})
    reports = policy.subject_of("reports", "mysql", None)
    cls = policy.class_of("shop", "customers", "phone")
    assert policy.decide(cls, "eea", reports, "read", FlowKind.IDENTITY).mask == OWN_MASK
    verdict = policy.decide_column("shop", "customers", "phone", "eea", reports, "read", FlowKind.IDENTITY)
    assert verdict.mask == "null"


def test_person(policy):
    assert policy.person_of("shop", "customers") == "id"
    assert policy.person_of("shop", "countries") is None


def test_no_policy_no_cost(tmp_path):
    settings = replace(world(tmp_path), policy=None)
    assert build(settings, Topology.build(settings)) is None


MAIL = LiveColumn("email", "varchar", "varchar(100)", charset="utf8mb4", collation="utf8mb4_bin")


def test_the_key_is_not_in_the_text_and_the_salt_is_redacted(tmp_path):
    key = "a key of thirty-two characters!!"
    (tmp_path / "key").write_text(key)
    world(tmp_path, {"policy.domains.eea.token_key": {"file": "key"}, "peer_tls": None})
    path = tmp_path / "fairlead.yaml"
    text = yaml.safe_load(path.read_text())
    del text["peer_tls"], text["listeners"]["peer"]
    text["keyspaces"] = {"wiki": {"shards": ["eu-0"]}}
    text["policy"] |= {"labels": {"wiki": "public"}, "rules": {}}
    path.write_text(yaml.safe_dump(text))
    settings = load(path)
    policy = build(settings, Topology.build(settings))
    sql = policy.mask_sql("token", "t.email", MAIL, "mariadb")
    salt = masks.Salt.of(key, "eea")
    assert salt.inner in sql and salt.outer in sql
    assert key not in sql and key.encode().hex() not in sql
    shown = policy.redact(sql)
    assert salt.inner not in shown and salt.outer not in shown and "0x…" in shown
    assert key not in repr(policy) and salt.inner not in repr(policy)
    assert masks.Salt.of(key, "usa") != salt


def test_tokens_without_a_key(policy, tmp_path):
    assert policy.mask_sql("token", "t.email", MAIL, "mariadb") is None
    unread = compiled(tmp_path, {"policy.domains.eea.token_key": {"env": "NOT_SET"}})
    assert unread.mask_sql("token", "t.email", MAIL, "mysql") == "NULLIF(t.email,t.email)"


def test_every_mask_says_what_it_reveals(policy):
    names = [*masks._MASKS, masks.TOKEN]
    assert sorted(names) == sorted(masks.REVEALS)
    assert policy.mask_sql("no_such_mask", "c", MAIL, "mysql") is None
    assert policy.mask_sql("email", "c", MAIL, "oracle") is None


def test_remarks(tmp_path):
    settings = world(
        tmp_path,
        {
            "policy.labels": {"shop": {"tables": {"customers": "internal", "countries": "public"}}},
            "policy.subjects": {"applications": {"users": "app", "domain": "here"}},
            "policy.rules": {
                "wrong": {"classes": "sensitive", "domains": "any", "then": "allow"},
                "right": {"classes": ["internal", "pseudonymous"], "domains": "any", "then": "allow"},
            },
        },
    )
    policy = build(settings, Topology.build(settings))
    told = [str(one).partition(": ")[2] for one in review(settings, policy)]
    assert told == [
        "keyspaces.wiki: has no label, so all of it is sensitive+health. Name it in policy.labels",
        "users.reports: belongs to no subject on listener mysql: what is restricted is refused. "
        "Name it in policy.subjects",
        "policy.labels.shop: table settings has no label, so it is sensitive+health",
        "policy.rules.wrong: treats sensitive data of eea looser for a subject in usa than personal data is treated",
    ]
