"""The block at the start."""

from __future__ import annotations

from pathlib import Path

from config.load import load
from proxy.supervision import banner

FILE = """
region: eu
regions:
  eu: {peer: {host: eu.example.com, port: 7326}}
  us: {peer: {host: us.example.com, port: 7326}}
  ap: {}
peer_tls: {ca: ca.pem, cert: eu.pem, key: eu.key}
shards:
  us-0: {region: us, flavour: mariadb}
  eu-0: {region: eu, flavour: mariadb, primary: a, account: {user: f, password: {value: x}}}
  eu-1: {region: eu, flavour: mariadb, primary: b, account: {user: f, password: {value: x}}}
keyspaces: {shop: {shards: [eu-0]}}
users: {demo: {password: {value: x}}}
listeners:
  mysql: {address: "::1", port: 7306, tls: {cert: a.pem, key: a.key, required: true}}
  plain: {kind: mysql, port: 7307}
  peer: {port: 7326}
  http: {port: 7380}
"""


def test_every_listener_shard_and_way(tmp_path: Path) -> None:
    path = tmp_path / "fairlead.yaml"
    path.write_text(FILE)
    assert banner.describe(load(path, secrets=False), 4) == [
        ("mysql", "[::1]:7306 (TLS required)"),
        ("plain", "127.0.0.1:7307 (no TLS)"),
        ("peer", "127.0.0.1:7326 (mutual TLS)"),
        ("http", "http://127.0.0.1:7380/ (live, ready, metrics)"),
        ("shards", "eu-0 eu-1 (here)"),
        ("shards", "us-0 (by us, us.example.com:7326)"),
        ("workers", "4"),
    ]
