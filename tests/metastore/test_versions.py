"""Configuration versions: publish, confirm, revert, roll back, and what two operators do to each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from metastore import versions as module
from metastore.memory import MemoryStore
from metastore.versions import CONTENT, SHADOW, Active, Bundle, Conflict, Trial, VersionError, Versions


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def versions(store: MemoryStore, clock: Clock) -> Versions:
    return Versions(store, clock)


def bundle(text: str = "region: eu\n") -> Bundle:
    return Bundle({"fairlead.yaml": text}, folder=False)


def test_the_first_version_needs_no_confirmation(versions: Versions) -> None:
    version = versions.publish(bundle(), "ann", "first", within=60.0, on=0)
    assert (version.number, version.base, version.who, version.why) == (1, 0, "ann", "first")
    assert versions.active() == Active(1, 0)
    assert versions.bundle(1) == bundle() and versions.history() == [version]


def test_a_version_goes_back_unless_it_is_confirmed(versions: Versions, clock: Clock) -> None:
    versions.publish(bundle("a"), "ann", "")
    versions.publish(bundle("b"), "ann", "", within=60.0)
    waiting = versions.active()
    assert waiting == Active(2, 1, 60.0, clock.now + 60)
    assert waiting is not None and waiting.left(clock.now + 10) == 50 and waiting.left(clock.now - 3600) == 60
    clock.now += 61
    with pytest.raises(VersionError, match="not confirmed in time"):
        versions.confirm()
    version = versions.revert(waiting, "fairlead eu")
    assert (version.number, version.of, version.content) == (3, 1, bundle("a").digest)
    assert "not confirmed within 60 s" in version.why and versions.active() == Active(3, 0)
    with pytest.raises(Conflict):
        versions.revert(waiting, "fairlead us")


def test_a_confirmed_version_stays(versions: Versions) -> None:
    versions.publish(bundle("a"), "ann", "")
    versions.publish(bundle("b"), "ann", "", within=60.0)
    waiting = versions.active()
    assert waiting is not None
    assert versions.confirm() == Active(2, 1)
    with pytest.raises(Conflict):
        versions.revert(waiting, "fairlead eu")
    with pytest.raises(VersionError, match="no version waits"):
        versions.confirm()


def test_nothing_is_applied_over_what_waits(versions: Versions) -> None:
    versions.publish(bundle("a"), "ann", "")
    versions.publish(bundle("b"), "ann", "", within=60.0)
    with pytest.raises(VersionError, match="waits to be confirmed"):
        versions.publish(bundle("c"), "bob", "")
    assert versions.rollback("ann", "").content == bundle("a").digest
    assert versions.publish(bundle("c"), "bob", "").number == 4


def test_going_back_and_forth(versions: Versions) -> None:
    for text in "abc":
        versions.publish(bundle(text), "ann", "")
    assert versions.bundle(versions.rollback("ann", "why").number) == bundle("b")
    assert versions.bundle(versions.rollback("ann", "").number) == bundle("c")
    assert versions.bundle(versions.rollback("ann", "", to=1).number) == bundle("a")
    assert [one.number for one in versions.history()] == [6, 5, 4, 3, 2, 1]
    with pytest.raises(VersionError, match="is in force"):
        versions.rollback("ann", "", to=6)
    with pytest.raises(VersionError, match="no version 77"):
        versions.rollback("ann", "", to=77)


def test_nothing_to_go_back_to(versions: Versions) -> None:
    with pytest.raises(VersionError, match="no version is in force"):
        versions.rollback("ann", "")
    versions.publish(bundle(), "ann", "")
    with pytest.raises(VersionError, match="no version before 1"):
        versions.rollback("ann", "")


def test_what_somebody_else_applied_meanwhile_is_not_overwritten(store: MemoryStore, versions: Versions) -> None:
    versions.publish(bundle("a"), "ann", "", on=0)
    with pytest.raises(Conflict, match="version 1 is in force meanwhile, not 0"):
        Versions(store).publish(bundle("b"), "bob", "", on=0)


def test_equal_contents_are_stored_once(store: MemoryStore, versions: Versions) -> None:
    for text in ("a", "b", "a"):
        versions.publish(bundle(text), "ann", "")
    assert len(store.list(CONTENT).items) == 2


def test_old_versions_and_their_contents_go(
    store: MemoryStore, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    for text in ("a", "b", "a", "c", "d", "a"):
        versions.publish(bundle(text), "ann", "")
    assert [one.number for one in versions.history()] == [6, 5, 4]
    kept = {one.key.removeprefix(CONTENT) for one in store.list(CONTENT).items}
    assert kept == {bundle(text).digest for text in "acd"}


def test_a_content_that_was_tampered_with_is_refused(store: MemoryStore, versions: Versions) -> None:
    versions.publish(bundle("a"), "ann", "")
    for data in (bundle("b").encode(), b"nothing", b""):
        store.put(CONTENT + bundle("a").digest, data)
        with pytest.raises(VersionError, match="content"):
            versions.bundle(1)


@pytest.mark.parametrize("name", ["../x.yaml", "/etc/x.yaml", ".x.yaml", "a/b.yaml", "a\n.yaml"])
def test_a_file_name_leads_nowhere_else(name: str) -> None:
    evil = Bundle({name: ""}, folder=False)
    with pytest.raises(VersionError, match="not what was published"):
        Bundle.decode(evil.encode(), evil.digest)


def test_files_come_back_as_they_were(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for name in ("a.yaml", "b.yaml"):
        (source / name).write_text(f"# {name}: ä\n")
    whole = Bundle.of(source, tuple(sorted(source.iterdir())))
    assert Bundle.decode(whole.encode(), whole.digest) == whole
    assert whole.write(target) == target and (target / "b.yaml").read_bytes() == (source / "b.yaml").read_bytes()
    one = Bundle.of(source / "a.yaml", (source / "a.yaml",))
    assert one.write(tmp_path) == tmp_path / "a.yaml"


def test_a_bundle_that_the_metastore_does_not_take_is_refused(versions: Versions) -> None:
    import random

    noise = random.Random(1).randbytes(2 << 20).hex()
    with pytest.raises(VersionError, match="bytes compressed"):
        versions.publish(bundle(noise), "ann", "")


def test_a_version_on_trial_leaves_the_one_before_in_force(versions: Versions) -> None:
    with pytest.raises(VersionError, match="needs a version that stays in force"):
        versions.publish(bundle("a"), "ann", "", within=60.0, trial=Trial(SHADOW))
    versions.publish(bundle("a"), "ann", "")
    versions.publish(bundle("b"), "ann", "", within=60.0, trial=Trial(SHADOW))
    active = versions.active()
    assert active is not None and (active.number, active.enforced, active.trial) == (2, 1, Trial(SHADOW))
    assert versions.confirm() == Active(2, 1) and versions.active() == Active(2, 1)
    versions.publish(bundle("c"), "ann", "", within=60.0, trial=Trial(SHADOW))
    assert versions.rollback("ann", "").of == 2
    active = versions.active()
    assert active is not None and (active.number, active.enforced, active.trial) == (4, 4, None)
