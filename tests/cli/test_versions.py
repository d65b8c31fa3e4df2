"""The verbs of configuration versions, without a running Fairlead."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cli.main import fairlead

ROWS = [
    {"statement": "SELECT * FROM t", "user": "app", "keyspace": "shop", "count": 9, "truncated": False},
    {"statement": "DELETE FROM t", "user": "app", "keyspace": "shop", "count": 2, "truncated": False},
    {"statement": "", "user": None, "keyspace": None, "count": 1, "truncated": False},
]


class Operator:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "fairlead.yaml"
        self.store = folder / "meta.db"

    def write(self, verbs: str = "all", **changes: Any) -> Path:
        content = {
            "region": "eu",
            "regions": {"eu": {}},
            "shards": {
                "eu-0": {
                    "region": "eu",
                    "flavour": "mariadb",
                    "primary": "127.0.0.1:3306",
                    "account": {"user": "fairlead", "password": {"env": "X"}},
                }
            },
            "keyspaces": {"shop": {"shards": ["eu-0"]}},
            "users": {"app": {"password": {"env": "X"}, "grants": [{"on": "shop.*", "verbs": [verbs]}]}},
            "listeners": {"mysql": {"port": 7306}},
            "metastore": {"sqlite": "meta.db"},
            **changes,
        }
        self.path.write_text(yaml.safe_dump(content))
        return self.path

    def run(self, verb: str, *arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(fairlead, [verb, "-c", str(self.path), *arguments], prog_name="fairlead")
        assert result.exit_code == code, result.output
        return result.output

    def json(self, verb: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        return dict(json.loads(self.run(verb, *arguments, "--format", "json", code=code)))


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.write()
    return operator


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.versions.FIRST_COMERS", 0.0)


def test_apply_confirm_rollback_history(operator: Operator) -> None:
    assert "no Fairlead follows" in operator.run("apply", "--who", "ann", "--why", "first")
    operator.write("select")
    output = operator.run("apply", "--confirm-within", "10m", "--who", "ann")
    assert "user app" in output
    assert "within 600 s, or it goes back to version 1" in output
    assert "version 2 stays" in operator.run("confirm")
    operator.run("rollback", "--why", "slow", "--who", "bob")
    found = operator.json("history")
    assert [(one["number"], one["of"], one["who"]) for one in found["versions"]] == [
        (3, 1, "bob"), (2, 0, "ann"), (1, 0, "ann"),
    ]  # fmt: skip
    table = operator.run("history")
    assert "in force" in table and "slow" in table
    assert "verbs" in operator.run("history", "--show", "2")
    assert "fairlead.yaml" in operator.json("history", "--show", "1")["files"]
    operator.run("history", "--show", "9", code=1)


def test_a_dry_run_changes_nothing(operator: Operator) -> None:
    operator.run("apply")
    operator.write("select")
    told = operator.json("apply", "--dry-run")
    assert told["version"] == 1 and told["changes"] != []
    assert operator.json("history")["active"]["number"] == 1


def test_a_dry_run_makes_no_metastore(operator: Operator) -> None:
    assert "No such file" in operator.run("apply", "--dry-run", code=1)
    assert not operator.store.exists()


def test_what_waits_is_not_overwritten(operator: Operator) -> None:
    operator.run("apply")
    operator.write("select")
    operator.run("apply")
    operator.write("insert")
    assert "waits to be confirmed" in operator.run("apply", code=1)


def test_secrets_are_not_published(operator: Operator) -> None:
    users = {"app": {"password": {"value": "secret"}}}
    operator.write(users=users)
    output = operator.run("apply", code=1)
    assert "users.app.password: a version in the metastore holds no secrets" in output and ":" in output
    assert not operator.store.exists()


def test_a_configuration_without_a_metastore(operator: Operator) -> None:
    operator.write(metastore=None)
    for verb in ("apply", "confirm", "rollback", "history"):
        assert "names no metastore" in operator.run(verb, code=2)


def test_mistakes_come_first(operator: Operator) -> None:
    operator.write(limits={"drain": "soon"})
    for verb in ("apply", "confirm", "rollback", "history"):
        assert "limits.drain" in operator.run(verb, code=1)


def test_a_simulation_of_two_files(operator: Operator, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.json"
    corpus.write_text(json.dumps({"rows": ROWS}))
    old = operator.path.rename(tmp_path / "old.yaml")
    new = operator.write("select")
    arguments = ["simulate", str(old), str(new), "--corpus", str(corpus)]
    result = CliRunner().invoke(fairlead, arguments, prog_name="fairlead")
    assert result.exit_code == 1
    assert "1 of 2 shapes change" in result.output and "1 become refused" in result.output
    assert "2 x app: DELETE FROM t" in result.output
    same = CliRunner().invoke(fairlead, ["simulate", str(old), str(old), "--corpus", str(corpus)])
    assert same.exit_code == 0 and "0 of 2 shapes change" in same.output
    corpus.write_text("[]")
    assert CliRunner().invoke(fairlead, arguments).exit_code == 2
    assert CliRunner().invoke(fairlead, arguments[:3]).exit_code == 2


def test_a_corpus_straight_from_a_fairlead(operator: Operator) -> None:
    asked: list[str] = []

    class Digests(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps({"rows": ROWS}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Digests)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        operator.run("apply")
        operator.write("select")
        told = operator.json("apply", "--dry-run", "--corpus", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert told["simulation"]["changed"] == 1 and asked == ["/digests?limit=1000&format=json"]


def test_a_version_may_ask_for_a_simulation_of_what_follows(operator: Operator) -> None:
    gated = {"sqlite": "meta.db", "require_simulation": True}
    operator.write(metastore=gated)
    operator.run("apply", "--at-once")
    operator.write("select", metastore=gated)
    corpus = operator.folder / "corpus.json"
    corpus.write_text(json.dumps({"rows": ROWS}))
    assert "simulated first" in operator.run("apply", "--at-once", code=1)
    assert "1 of 2 shapes change" in operator.run("apply", "--dry-run", "--corpus", str(corpus))
    operator.run("apply", "--at-once")
    operator.write("insert", metastore={"sqlite": "meta.db"})
    assert "simulated first" in operator.run("apply", "--at-once", code=1)
    operator.run("apply", "--at-once", "--corpus", str(corpus))
    operator.write("select", metastore=gated)
    operator.run("apply", "--at-once")
    operator.run("rollback", "--to", "1")
    operator.write("insert", metastore={"sqlite": "meta.db"})
    assert "simulated first" in operator.run("apply", "--at-once", code=1)
