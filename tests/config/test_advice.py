"""Remarks on what is allowed but seldom meant."""

from __future__ import annotations

import pytest

from config.advice import advice
from config.load import load

QUIET = """\
region: eu
regions: {eu: }
shards:
  eu-0: {region: eu, flavour: mariadb, primary: 127.0.0.1, account: {user: f, password: {env: X}}}
keyspaces:
  shop: {shards: eu-0}
users:
  demo: {password: {env: X}, grants: [{on: shop.*, verbs: [all]}]}
listeners:
  mysql: {port: 7306}
"""


def remarks(tmp_path, old="", new=""):
    assert old in QUIET
    (tmp_path / "f.yaml").write_text(QUIET.replace(old, new, 1) if old else QUIET)
    return [(one.line, one.key) for one in advice(load(tmp_path / "f.yaml", secrets=False))]


def test_nothing_to_say(tmp_path):
    assert remarks(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("password: {env: X}}}", "password: {value: x}}}", (4, "shards.eu-0.account.password")),
        ("{password: {env: X}, grants", "{password: {value: x}, grants", (8, "users.demo.password")),
        ("{port: 7306}", "{address: 0.0.0.0, port: 7306}", (10, "listeners.mysql")),
        ("{port: 7306}", "{port: 7306}\n  http: {address: '::', port: 7380}", (11, "listeners.http")),
        ("primary: 127.0.0.1", "primary: db1", (4, "shards.eu-0.tls")),
        (", grants: [{on: shop.*, verbs: [all]}]", "", (8, "users.demo")),
    ],
)
def test_remarks(tmp_path, old, new, where):
    assert remarks(tmp_path, old, new) == [where]
