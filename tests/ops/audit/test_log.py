"""The writer: groups, back-pressure, failing disks, kill -9."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from concurrent.futures import wait
from pathlib import Path

import pytest

from ops.audit import anchor as anchors
from ops.audit import files, segment
from ops.audit.log import AuditLog, AuditUnavailable, LogOptions
from ops.audit.record import Result
from ops.audit.report import Query, report
from ops.audit.stream import StreamTaken
from ops.audit.verify import verify
from tests.ops.audit import logs
from tests.ops.audit.logs import KEY, decision, stream_options

KEYS = (anchors.key_id(KEY),)
PATIENCE = 20.0
KILLS = 12


def test_what_is_durable_is_in_the_file(tmp_path: Path) -> None:
    log = AuditLog(stream_options(tmp_path), KEY)
    stamp, durable = log.append(decision())
    durable.result(PATIENCE)
    assert b'"fingerprint":"000000000000abcd"' in (tmp_path / "eea" / "eu.0.00000000.audit").read_bytes()
    log.append(Result(of=stamp, rows=3, bytes_out=4, latency_us=5)).durable.result(PATIENCE)
    log.close()
    found = verify(tmp_path, KEYS)
    assert found.findings == [] and found.entries == 4 and found.unanchored == 0


def test_many_appends_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, first = threading.Event(), threading.Event()
    sync = os.fdatasync

    def slow(descriptor: int) -> None:
        first.set()
        gate.wait(PATIENCE)
        sync(descriptor)

    log = AuditLog(stream_options(tmp_path), KEY)
    monkeypatch.setattr(os, "fdatasync", slow)
    waiting = [log.append(decision(0)).durable]
    assert first.wait(PATIENCE)
    waiting += [log.append(decision(one)).durable for one in range(1, 500)]
    assert not waiting[0].done()
    gate.set()
    wait(waiting, PATIENCE)
    assert log.counters.records == 500 and log.counters.syncs == 2
    log.close()


def test_a_full_buffer_refuses_and_then_takes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    sync = os.fdatasync

    def slow(descriptor: int) -> None:
        gate.wait(PATIENCE)
        sync(descriptor)

    log = AuditLog(stream_options(tmp_path), KEY, LogOptions(buffer=5000))
    monkeypatch.setattr(os, "fdatasync", slow)
    taken = []
    with pytest.raises(AuditUnavailable, match="buffer"):
        while True:
            taken.append(log.append(decision()).durable)
    assert 5 < len(taken) < 20 and log.counters.refused == 1
    gate.set()
    wait(taken, PATIENCE)
    log.append(decision()).durable.result(PATIENCE)
    log.close()
    with pytest.raises(AuditUnavailable, match="closed"):
        log.append(decision())


def test_a_disk_that_fails_refuses_and_a_new_segment_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.audit.log.FIRST_RETRY", 0.05)
    log = AuditLog(stream_options(tmp_path), KEY)
    log.append(decision(1)).durable.result(PATIENCE)
    write = files.write_all

    def partial(descriptor: int, data: bytes) -> None:
        write(descriptor, bytes(data)[:40])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_all", partial)
    with pytest.raises(AuditUnavailable, match="No space"):
        log.append(decision(2)).durable.result(PATIENCE)
    with pytest.raises(AuditUnavailable, match="No space"):
        log.append(decision(3))
    monkeypatch.setattr(files, "write_all", write)
    for _ in range(1000):
        try:
            log.append(decision(4)).durable.result(PATIENCE)
            break
        except AuditUnavailable:
            threading.Event().wait(0.02)
    log.close()
    names = {finding.file.name for finding in verify(tmp_path, KEYS).findings}
    assert names <= {"eu.0.00000000.audit"} | {f"eu.0.{n:08d}.audit" for n in range(1, 6)}
    kept = [entry.plain for entry in entries_of(tmp_path) if entry.kind == segment.DECISION]
    assert [int(one["fingerprint"], 16) - 0xABCD for one in kept] == [1, 4]
    assert any(entry.kind == segment.GAP and entry.plain["reason"] == "write error" for entry in entries_of(tmp_path))


def entries_of(directory: Path) -> list[segment.Entry]:
    """All entries that are whole."""
    found = []
    for path in segment.segments_in(directory / "eea").get("eu.0", {}).values():
        with path.open("rb") as file:
            try:
                found += list(segment.entries(file))
            except segment.Damage:
                with path.open("rb") as again:
                    for entry in segment.entries(again):
                        found.append(entry)
                        if entry.number + 1 == segment.read_tail(path).count:
                            break
    return found


def test_two_writers_of_one_stream_are_refused(tmp_path: Path) -> None:
    log = AuditLog(stream_options(tmp_path), KEY)
    with pytest.raises(StreamTaken):
        AuditLog(stream_options(tmp_path), KEY)
    log.close()
    AuditLog(stream_options(tmp_path), KEY).close()
    found = verify(tmp_path, KEYS)
    assert found.findings == [] and found.segments == 2


def test_anchors_are_published_in_order_and_again_after_a_failure(tmp_path: Path) -> None:
    given: list[anchors.Anchor] = []
    refusals = iter([True, True])

    def publish(anchor: anchors.Anchor) -> None:
        if next(refusals, False):
            raise ConnectionError("nobody there")
        given.append(anchor)

    log = AuditLog(stream_options(tmp_path), KEY, LogOptions(anchor_every=0.01), publish)
    log.append(decision()).durable.result(PATIENCE)
    log.close()
    kept = [line for _, line in anchors.lines(tmp_path / "eea" / "eu.0.00000000.anchors")]
    assert [one.line() for one in given] == kept[: len(given)]


def test_verify_and_report_read_a_log_that_is_being_written(tmp_path: Path) -> None:
    log = AuditLog(stream_options(tmp_path), KEY)
    log.append(decision()).durable.result(PATIENCE)
    path = tmp_path / "eea" / "eu.0.00000000.audit"
    with path.open("ab") as half:
        half.write(b"half a li")
    assert verify(tmp_path, KEYS).findings == []
    os.truncate(path, path.stat().st_size - 9)
    log.close()
    assert verify(tmp_path, KEYS).findings == []


def test_kill_9_loses_nothing_that_was_durable(tmp_path: Path) -> None:
    """A writer is killed again and again: every record that it called durable is there, once, and the log is whole."""
    durable: set[int] = set()
    dice = random.Random(7)
    for round_number in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-m", logs.__name__, str(tmp_path), str(round_number * 1_000_000)],
            stdout=subprocess.PIPE,
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            for _ in range(dice.randrange(1, 400)):
                durable.add(int(writer.stdout.readline()))
            writer.kill()
            lines = writer.stdout.read().split(b"\n")[:-1]
            durable |= {int(line) for line in lines}
    logs.Written(tmp_path, segment_bytes=20_000).stream.close()
    found = verify(tmp_path, KEYS)
    assert found.findings == []
    assert any("crash" in note for note in found.notes)
    kept = [int(entry.plain["fingerprint"], 16) - 0xABCD for entry in entries_of(tmp_path) if entry.kind == "decision"]
    assert len(kept) == len(set(kept)) and durable <= set(kept)
    assert report(tmp_path, Query(by=("verdict",))).decisions == len(kept)
