"""`fairlead audit`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cli.main import fairlead
from metastore.memory import MemoryStore
from metastore.sqlite import SqliteStore
from ops.audit.anchor import parse, sign
from ops.audit.record import Result, Verdict
from proxy.audit.anchors import AnchorPublisher, anchors_in
from tests.ops.audit.logs import KEY, OTHER_KEY, WORDS, Written, decision


@pytest.fixture
def log(tmp_path: Path) -> Path:
    directory = tmp_path / "audit"
    written = Written(directory)
    written.add(decision(1), decision(2, verdict=Verdict.REFUSE, rows=0, bytes_out=0))
    early = written.clock.now()
    written.add(decision(3, rows=None, bytes_out=None, latency_us=None, homes=WORDS.names(["eea", "us"])))
    written.add(Result(of=early + 1, rows=7, bytes_out=70, latency_us=5))
    written.stream.close()
    for name, key in (("right", KEY), ("wrong", OTHER_KEY)):
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub").write_bytes(pem)
    return directory


def run(*arguments: str | Path):
    return CliRunner().invoke(fairlead, ["audit", *map(str, arguments)], prog_name="fairlead")


def test_a_whole_log(log: Path) -> None:
    result = run("verify", log, "--key", log.parent / "right.pub")
    assert result.exit_code == 0 and "whole" in result.output and "(note)" not in result.output
    assert json.loads(run("verify", log, "--format", "json").output)["ok"] is True


def test_the_first_bad_record_is_named(log: Path) -> None:
    path = log / "eea" / "eu.0.00000000.audit"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"verdict":"refuse"', b'"verdict":"allow"', 1))
    result = run("verify", log)
    assert result.exit_code == 1 and "00000000.audit: entry 2 (byte" in result.output
    found = json.loads(run("verify", log, "--format", "json").output)["findings"]
    assert found[0]["entry"] == 2
    assert run("report", log).exit_code == 1


def test_a_key_that_is_not_trusted(log: Path) -> None:
    assert "trusted" in run("verify", log, "--key", log.parent / "wrong.pub").output
    bad = log.parent / "bad.pub"
    bad.write_text("nothing")
    assert run("verify", log, "--key", bad).exit_code == 2


def test_anchors_in_a_metastore_show_what_was_cut_off_here(log: Path) -> None:
    store = SqliteStore(log.parent / "meta.db", create=True)
    publish = AnchorPublisher(store)
    file = log / "eea" / "eu.0.00000000.anchors"
    lines = file.read_bytes().splitlines(keepends=True)
    for line in lines:
        publish(parse(line))
    assert run("verify", log, "--metastore", log.parent / "meta.db").exit_code == 0
    path = log / "eea" / "eu.0.00000000.audit"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    file.write_bytes(lines[0])
    assert run("verify", log).exit_code == 0
    result = run("verify", log, "--metastore", log.parent / "meta.db")
    assert result.exit_code == 1 and "entry 2" in result.output and "cut off" in result.output
    assert run("verify", log, "--metastore", log.parent / "right.pub").exit_code == 2
    store.close()


def test_published_anchors_are_bounded(log: Path) -> None:
    store = MemoryStore()
    publish = AnchorPublisher(store, kept=3)
    for segment in range(8):
        publish(sign(KEY, domain="eea", stream="eu.0", segment=segment, count=1, hash="", root="", ts=1, prev=""))
    assert [parse(line).segment for line in anchors_in(store)] == [5, 6, 7]


def test_a_report(log: Path) -> None:
    found = json.loads(run("report", log, "--by", "from,verdict", "--format", "json").output)
    assert found["decisions"] == 3
    rows = {tuple(row["group"].values()): (row["decisions"], row["rows"]) for row in found["rows"]}
    assert rows == {("eea", "mask"): (2, 12), ("eea", "refuse"): (1, 0), ("us", "mask"): (1, 7)}


def test_a_report_with_filters(log: Path) -> None:
    result = run("report", log, "--verdict", "refuse,allow", "--subject", "analyst")
    assert result.exit_code == 0 and "1 decisions" in result.output and "analyst" in result.output
    assert "0 decisions" in run("report", log, "--to", "eea").output
    assert "0 decisions" in run("report", log, "--until", "2020-01-01").output
    assert "3 decisions" in run("report", log, "--since", "2020-01-01T08:00").output


def test_wrong_use(log: Path) -> None:
    assert run("report", log, "--by", "colour").exit_code == 2
    assert run("report", log, "--since", "yesterday").exit_code == 2
    assert run("verify", log / "absent").exit_code == 2
