"""Whatever is done to the files of an audit log, `verify` says so and names the place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ops.audit import anchor as anchors
from ops.audit.anchor import AnchorError
from ops.audit.record import Decision
from ops.audit.verify import Verified, verify
from ops.audit.witness import Witness
from tests.ops.audit.logs import KEY, OTHER_KEY, Written, decision

KEYS = (anchors.key_id(KEY),)


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sync is for, no test of this file can see."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)


def brief(number: int) -> Decision:
    """A short line: the tests go through every byte of them."""
    return decision(number, tables=(), rules=(), obligations=(), shards=(), rows=None, bytes_out=None, latency_us=None)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Head, four decisions, seal: anchored after the head, after two decisions, and at the end."""
    log = Written(tmp_path)
    log.add(brief(1), brief(2))
    log.stream.anchor()
    log.add(brief(3), brief(4))
    log.stream.close()
    return tmp_path


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """Head, three decisions, no seal: anchored after the head and two decisions."""
    log = Written(tmp_path)
    log.add(brief(1), brief(2))
    log.stream.anchor()
    log.add(brief(3))
    log.abandon()
    return tmp_path


def segment_of(directory: Path, number: int = 0) -> Path:
    return directory / "eea" / f"eu.0.{number:08d}.audit"


def anchors_of(directory: Path, number: int = 0) -> Path:
    return segment_of(directory, number).with_suffix(".anchors")


def first(found: Verified) -> tuple[str, int | None]:
    assert found.findings, "nothing was found"
    return found.findings[0].file.name, found.findings[0].entry


def test_a_whole_log_is_whole(whole: Path) -> None:
    found = verify(whole, KEYS)
    assert found.findings == [] and found.notes == []
    assert (found.streams, found.segments, found.entries, found.anchors, found.unanchored) == (1, 1, 6, 3, 0)


def test_every_flip_of_one_byte_is_found_and_named(whole: Path) -> None:
    path = segment_of(whole)
    data = path.read_bytes()
    number = 0
    for position, byte in enumerate(data):
        path.write_bytes(data[:position] + bytes([byte ^ (1 << position % 8)]) + data[position + 1 :])
        assert first(verify(whole, KEYS)) == (path.name, number), position
        number += byte == 0x0A


def test_every_flip_of_one_byte_of_an_anchor_is_found(whole: Path) -> None:
    path = anchors_of(whole)
    data = path.read_bytes()
    number = 0
    for position, byte in enumerate(data):
        path.write_bytes(data[:position] + bytes([byte ^ (1 << position % 8)]) + data[position + 1 :])
        assert first(verify(whole, KEYS)) == (path.name, number), position
        number += byte == 0x0A


@pytest.mark.parametrize("gone", range(5))
def test_a_deleted_entry_is_named(whole: Path, gone: int) -> None:
    path = segment_of(whole)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    found = verify(whole, KEYS)
    assert first(found) == (path.name, gone)
    assert "removed" in found.findings[0].what


def test_swapped_entries_are_named(whole: Path) -> None:
    path = segment_of(whole)
    lines = path.read_bytes().splitlines(keepends=True)
    for a in range(len(lines)):
        for b in range(a + 1, len(lines)):
            swapped = list(lines)
            swapped[a], swapped[b] = lines[b], lines[a]
            path.write_bytes(b"".join(swapped))
            assert first(verify(whole, KEYS)) == (path.name, a)


def test_a_doubled_entry_is_named(whole: Path) -> None:
    path = segment_of(whole)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[2], *lines[3:]]))
    assert first(verify(whole, KEYS)) == (path.name, 3)


def test_truncation_at_every_byte_of_a_sealed_segment_is_found(whole: Path) -> None:
    path = segment_of(whole)
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        number = data[:size].count(b"\n")
        assert first(verify(whole, KEYS)) == (path.name, number), size


def test_truncation_of_an_unfinished_segment_is_found_up_to_its_last_anchor(unfinished: Path) -> None:
    """Behind it, a cut between two entries looks like a crash a moment earlier: that is the anchors' interval."""
    path = segment_of(unfinished)
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        number, torn = data[:size].count(b"\n"), not data[:size].endswith(b"\n")
        found = verify(unfinished, KEYS)
        if number >= 3 and not torn:
            assert found.findings == [] and found.unanchored == number - 3
        else:
            assert first(found) == (path.name, number), size


def test_recovery_from_truncation_at_every_byte(unfinished: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What was anchored and cut off is told for ever; what was not is cut to whole entries and goes on."""
    data = segment_of(unfinished).read_bytes()
    anchored = len(b"".join(data.splitlines(keepends=True)[:3]))
    copies = tmp_path_factory.mktemp("copies")
    for size in (*range(0, anchored - 3, 11), *range(anchored - 3, len(data) + 1)):
        copy = copies / str(size)
        shutil.copytree(unfinished, copy)
        segment_of(copy).write_bytes(data[:size])
        log = Written(copy)
        log.add(decision(9))
        log.stream.close()
        found = verify(copy, KEYS)
        if data[:size].count(b"\n") >= 3:
            assert found.findings == [] and any("crash" in note for note in found.notes), size
            assert segment_of(copy).read_bytes().startswith(data[: data[:size].rfind(b"\n") + 1])
        else:
            assert first(found)[0] == segment_of(copy).name, size
            assert segment_of(copy).read_bytes() == data[:size], "evidence is left as it was found"
        shutil.rmtree(copy)


def test_a_log_written_anew_is_found_by_its_anchors(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    log = Written(other)
    log.add(brief(1), brief(7), brief(3), brief(4))
    log.stream.close()
    segment_of(whole).write_bytes(segment_of(other).read_bytes())
    found = verify(whole, KEYS)
    assert "written anew" in found.findings[0].what and first(found) == (segment_of(whole).name, 2)


def test_anchors_written_anew_need_the_key(whole: Path) -> None:
    found = verify(whole, [anchors.key_id(OTHER_KEY)])
    assert "not among the trusted ones" in found.findings[0].what
    assert "give trusted ones by --key" in verify(whole).notes[0]


def test_removed_anchors_are_found(whole: Path) -> None:
    path = anchors_of(whole)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    assert "is missing" in verify(whole, KEYS).findings[0].what
    path.unlink()
    assert "has no anchors" in verify(whole, KEYS).findings[0].what


def test_an_anchor_kept_elsewhere_finds_what_was_cut_off_everywhere_here(whole: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.elsewhere"
    kept.write_bytes(anchors_of(whole).read_bytes())
    lines = segment_of(whole).read_bytes().splitlines(keepends=True)
    segment_of(whole).write_bytes(b"".join(lines[:3]))
    anchors_of(whole).write_bytes(b"".join(anchors_of(whole).read_bytes().splitlines(keepends=True)[:2]))
    assert verify(whole, KEYS).findings == []
    assert first(verify(whole, KEYS, [kept])) == (segment_of(whole).name, 3)
    segment_of(whole).unlink()
    anchors_of(whole).unlink()
    assert "has anchors elsewhere" in verify(whole, KEYS, [kept]).findings[0].what


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Five segments, of which the first two were removed as retention says."""
    log = Written(tmp_path, segment_bytes=1500, segments=3)
    while not segment_of(tmp_path, 4).exists():
        log.add(decision())
    log.stream.close()
    return tmp_path


def test_retention_is_no_finding(several: Path) -> None:
    assert [segment_of(several, number).exists() for number in range(5)] == [False, False, True, True, True]
    assert verify(several, KEYS).findings == []


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_missing_segment_is_found(several: Path, number: int) -> None:
    segment_of(several, number).unlink()
    names = [finding.file.name for finding in verify(several, KEYS).findings]
    assert segment_of(several, number).name in names
    anchors_of(several, number).unlink()
    if number < 4:
        assert verify(several, KEYS).findings


def test_a_segment_under_another_name_is_found(several: Path) -> None:
    segment_of(several, 3).rename(segment_of(several, 7))
    assert "another name" in "".join(str(one) for one in verify(several, KEYS).findings)


def test_a_whole_segment_cut_to_its_entries_before_the_seal_is_found(several: Path) -> None:
    path = segment_of(several, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert first(verify(several, KEYS)) == (path.name, len(lines) - 1)


# --- the witness --------------------------------------------------------------------------------------------


def read(path: Path) -> list[anchors.Anchor]:
    return [anchors.parse(line) for _, line in anchors.lines(path)]


def test_a_witness_signs_what_goes_on_and_keeps_it(whole: Path, tmp_path: Path) -> None:
    directory = tmp_path / "witness"
    directory.mkdir()
    for anchor in read(anchors_of(whole)):
        signature = Witness(directory, OTHER_KEY, KEYS).countersign(anchor)
        signature.check()
        assert signature.anchor == anchor.id and signature.by == anchors.key_id(OTHER_KEY)
    assert (directory / "eea.eu.0.anchors").read_bytes() == anchors_of(whole).read_bytes()


def test_a_witness_refuses_a_fork_a_stranger_and_a_forgery(whole: Path, tmp_path: Path) -> None:
    directory = tmp_path / "witness"
    directory.mkdir()
    one, two, three = read(anchors_of(whole))
    witness = Witness(directory, OTHER_KEY, KEYS)
    witness.countersign(one)
    witness.countersign(one)
    with pytest.raises(AnchorError, match="does not follow"):
        witness.countersign(three)
    witness.countersign(two)
    given = {name: getattr(two, name) for name in ("domain", "stream", "segment", "count", "hash", "root")}
    with pytest.raises(AnchorError, match="shorter"):
        witness.countersign(anchors.sign(KEY, **{**given, "count": 1}, ts=two.ts + 1, prev=two.id))
    with pytest.raises(AnchorError, match="signature"):
        witness.countersign(anchors.Anchor(**given, ts=two.ts + 1, prev=two.id, key=two.key, signature=bytes(64)))
    with pytest.raises(AnchorError, match="trusted"):
        witness.countersign(anchors.sign(OTHER_KEY, **given, ts=two.ts + 1, prev=two.id))
    with pytest.raises(AnchorError, match="no name"):
        witness.countersign(anchors.sign(KEY, **{**given, "domain": "../x"}, ts=two.ts + 1, prev=two.id))
    witness.countersign(three)
