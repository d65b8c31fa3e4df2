"""What changed, in sentences; secrets never show."""

from __future__ import annotations

from pathlib import Path

import pytest

import config
from config.diff import diff
from config.load import load

EXAMPLE = Path(config.__file__).with_name("example.yaml")


@pytest.fixture
def changed(tmp_path):
    """diff() between the example and the example with texts replaced."""

    def changed(*replacements: tuple[str, str]) -> list[str]:
        text = EXAMPLE.read_text().replace("/run/secrets/", "/run/")
        new = text
        for old, other in replacements:
            assert old in new
            new = new.replace(old, other)
        (tmp_path / "fairlead.yaml").write_text(text)
        before = load(tmp_path / "fairlead.yaml", secrets=False)
        (tmp_path / "fairlead.yaml").write_text(new)
        return diff(before, load(tmp_path / "fairlead.yaml", secrets=False))

    return changed


@pytest.mark.parametrize(
    ("old", "new", "sentences"),
    [
        ("region: eu\n\n", "region: us\n\n", ["region changes from eu to us"]),
        ("# max_packet: 64MiB", "max_packet: 128MiB", ["limits.max_packet changes from 64MiB to 128MiB"]),
        ("# queue_wait: 5s", "queue_wait: 250ms", ["limits.queue_wait changes from 5s to 250ms"]),
        ("max_lag: 30s", "max_lag: 1m", ["user reports: max_lag changes from 30s to 1m"]),
        ("    max_lag: 30s\n", "", ["user reports: max_lag is no longer set, it was 30s"]),
        (
            "# version: 10.11.6-MariaDB",
            "version: 10.11.6-MariaDB",
            ["listener mysql: version is set to 10.11.6-MariaDB"],
        ),
        ("# required: false", "required: true", ["listener mysql: tls.required changes from false to true"]),
        ("  by_hash:\n        function: hash\n", "  by_crc:\n        function: hash\n",
         ["keyspace shop: vindex by_hash is removed", "keyspace shop: vindex by_crc is added"]),
        ("    failover: within_domain", "    failover: refuse",
         ["class personal: failover changes from within_domain to refuse"]),
        ("      then: mask\n", "      then: mask(last4)\n",
         ["rule analysts-see-masked: then changes from mask to mask(last4)"]),
        ("            passport: sensitive\n", "            passport: personal\n",
         ["labels of shop: table customers: column passport: classes changes, gone: [sensitive]; new: [personal]"]),
        ("            passport: sensitive\n", "",
         ["labels of shop: table customers: column passport is removed"]),
        ("usa: {regions: [us]}", "usa: {regions: [us], token_key: {env: OTHER}}",
         ["domain usa: token_key changes"]),
        ("    eu-0: [eu-1]\n", "    eu-0: [us-1]\n", ["failover eu-0 changes, gone: [eu-1]; new: [us-1]"]),
        (
            "countries: {kind: reference}",
            "countries: {kind: reference}\n      more: {kind: reference}",
            ["keyspace shop: table more is added"],
        ),
        (
            "settings: {kind: pinned, shard: eu-0}",
            "settings: {kind: pinned, shard: us-0}",
            ["keyspace shop: table settings: shard changes from eu-0 to us-0"],
        ),
        (
            "settings: {kind: pinned, shard: eu-0}",
            "settings: {kind: reference}",
            ["keyspace shop: table settings changes from pinned to reference"],
        ),
        (
            "us: [2, 3]",
            "us: [2, 4]",
            ["keyspace shop: vindex by_id: regions us changes, gone: [3]; new: [4]"],
        ),
        (
            "us: [2, 3]",
            "us: [3, 2]",
            ["keyspace shop: vindex by_id: regions us changes from [2, 3] to [3, 2]"],
        ),
        (
            "{on: wiki.*, verbs: [all]}",
            "{on: wiki.*, verbs: [select]}",
            [
                "user shop: grants changes, gone: [{on: wiki.*, verbs: [all]}]; "
                "new: [{on: wiki.*, verbs: [select]}]"
            ],
        ),
        (
            "buckets: {eu-0: 0-1023, eu-1: 1024-2047,",
            "buckets: {eu-0: 0-1000, eu-1: 1001-2047,",
            [
                "keyspace shop: vindex by_hash: buckets eu-0 changes from 0-1023 to 0-1000",
                "keyspace shop: vindex by_hash: buckets eu-1 changes from 1024-2047 to 1001-2047",
            ],
        ),
        (
            "shards: [eu-0, eu-1, us-0, us-1]",
            "shards: [eu-1, eu-0, us-0, us-1]",
            ["keyspace shop: shards changes from [eu-0, eu-1, us-0, us-1] to [eu-1, eu-0, us-0, us-1]"],
        ),
        (
            "columns: [customer_id]",
            "columns: [buyer_id]",
            [
                "keyspace shop: table orders: columns, gone: customer_id",
                "keyspace shop: table orders: columns, new: buyer_id",
            ],
        ),
        ("# --- bounds", "# --- bounds and more", []),
    ],
)
def test_sentences(changed, old, new, sentences):
    assert changed((old, new)) == sentences


def test_passwords_change_without_showing(changed):
    sentences = changed(("{file: /run/shop-password}", "{value: hunter2}"))
    assert sentences == ["user shop: password changes"]


def test_a_new_account_does_not_show(changed):
    sentences = changed(("name: db.eu.example.com", "name: x"), ("user: fairlead\n", "user: other\n"))
    assert "shard eu-0: account.user changes from fairlead to other" in sentences


def test_the_order_of_things_means_nothing(changed):
    one = "      countries: {kind: reference}\n"
    assert changed((one, ""), ("      customers: {", one + "      customers: {")) == []


def test_added_and_removed_sections(changed):
    assert changed(("  http: {address: 127.0.0.1, port: 7380}\n", "")) == ["listener http is removed"]


def test_a_table_goes(changed):
    gone = (("      countries: {kind: reference}\n", ""), ("        countries: public\n", ""))
    assert changed(*gone) == [
        "keyspace shop: table countries is removed",
        "labels of shop: table countries is removed",
    ]


def test_a_policy_comes_and_goes(changed):
    policy = EXAMPLE.read_text().partition("\npolicy:\n")[2].partition("# --- listeners -")[0]
    audit = EXAMPLE.read_text().partition("\naudit:\n")[2].partition("# --- bounds -")[0]
    removed = changed(("\npolicy:\n" + policy, "\n"), ("\naudit:\n" + audit, "\n"))
    assert sorted(removed) == [
        "audit is no longer set, it was {folder: /var/lib/fairlead/audit, key: a secret}", "policy is removed"
    ]
