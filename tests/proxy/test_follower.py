"""The follower over a metastore in memory: what it names, reports, goes back from, and does without a metastore."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import MetastoreSettings
from metastore.memory import MemoryStore
from metastore.registry import discover
from metastore.store import Store, Unavailable
from metastore.versions import ACTIVE, CONTENT, SHADOW, Bundle, Trial, Versions
from proxy.supervision import control, follower
from proxy.supervision.follower import Ended, Follower, FollowerStart, first_version
from proxy.supervision.version_cache import VersionCache

PATIENCE = 20.0


def bundle(text: str) -> Bundle:
    return Bundle({"fairlead.yaml": text}, folder=False)


class Away(Store):
    """A metastore behind a switch."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.away = False

    def _there(self) -> MemoryStore:
        if self.away:
            raise Unavailable("switched off")
        return self._store

    def get(self, key: str) -> Any:
        return self._there().get(key)

    def list(self, prefix: str, **options: Any) -> Any:
        return self._there().list(prefix, **options)

    def txn(self, compares: Any, operations: Any) -> Any:
        return self._there().txn(compares, operations)

    def watch(self, prefix: str, after: int) -> Any:
        inner, outer = self._there().watch(prefix, after), self

        class Watch:
            def next(self, timeout: float) -> Any:
                outer._there()
                return inner.next(min(timeout, 0.01))

            def close(self) -> None:
                inner.close()

        return Watch()

    def grant(self, ttl: float) -> int:
        return self._there().grant(ttl)

    def keep_alive(self, lease: int) -> None:
        self._there().keep_alive(lease)

    def revoke(self, lease: int) -> None:
        self._there().revoke(lease)

    def close(self) -> None:
        pass


class Scene:
    """A follower in a thread, and the supervisor's end of its pair."""

    def __init__(self, folder: Path) -> None:
        self.memory = MemoryStore()
        self.store = Away(self.memory)
        self.versions = Versions(self.memory)
        self.settings = MetastoreSettings(sqlite=folder / "absent.db", cache=folder / "cache")
        self.ours, self.theirs = control.pair()
        self._heard: list[control.Message] = []
        self._thread: threading.Thread | None = None

    def start(self, number: int = 0) -> Scene:
        start = FollowerStart(self.settings, "eu", self.theirs, number)
        one = Follower(start, lambda: self.store)

        def run() -> None:
            with contextlib.suppress(Ended):
                one.run()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        return self

    def hears(self) -> control.Message:
        """The next message."""
        if not self._heard:
            assert select.select([self.ours], [], [], PATIENCE)[0], "the follower is silent"
            messages = control.receive(self.ours)
            assert messages is not None
            self._heard += messages
        return self._heard.pop(0)

    def says(self, verb: str, number: int, error: str = "") -> None:
        control.send(self.ours, {"verb": verb, "number": number, "error": error})

    def reported(self) -> list[bytes]:
        return list(discover(self.memory, follower.KIND).values())

    def stop(self) -> None:
        self.ours.shutdown(socket.SHUT_RDWR)
        self.ours.close()
        if self._thread is not None:
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()
        self.theirs.close()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(follower, "AWAY_TURN", 0.02)
    one = Scene(tmp_path)
    yield one
    one.stop()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_names_the_version_in_force_and_each_new_one(scene: Scene) -> None:
    scene.versions.publish(bundle("a"), "ann", "")
    scene.start()
    first = scene.hears()
    assert (first["verb"], first["number"]) == ("version", 1) and Path(first["path"]).read_text() == "a"
    scene.versions.publish(bundle("b"), "ann", "")
    second = scene.hears()
    assert second["number"] == 2 and Path(second["path"]).read_text() == "b"


def test_it_does_not_name_what_the_supervisor_has(scene: Scene) -> None:
    scene.versions.publish(bundle("a"), "ann", "")
    scene.start(number=1)
    until(lambda: len(scene.reported()) == 1)
    scene.versions.publish(bundle("b"), "ann", "")
    assert scene.hears()["number"] == 2


def test_it_reports_and_remembers(scene: Scene) -> None:
    scene.versions.publish(bundle("a"), "ann", "")
    scene.start()
    scene.hears()
    scene.says("refused", 1, "port 1 is taken")
    until(lambda: b"port 1 is taken" in b"".join(scene.reported()))
    assert VersionCache(scene.settings.cache_folder, "eu").marked() is None
    scene.says("in force", 1)
    until(lambda: b'"in force"' in b"".join(scene.reported()))
    marked = VersionCache(scene.settings.cache_folder, "eu").marked()
    assert marked is not None and marked.number == 1 and marked.path.read_text() == "a"
    found, trouble = first_version(scene.settings, "eu")
    assert found == marked and trouble is not None
    assert first_version(scene.settings, "us")[0] is None


def test_what_is_not_confirmed_goes_back_in_the_metastore(scene: Scene) -> None:
    scene.versions.publish(bundle("a"), "ann", "")
    scene.start()
    assert scene.hears()["number"] == 1
    scene.versions.publish(bundle("b"), "ann", "", within=0.3)
    assert scene.hears()["number"] == 2
    back = scene.hears()
    assert back["number"] == 3 and Path(back["path"]).read_text() == "a"
    assert scene.versions.version(3).why == "version 2 was not confirmed within 0.3 s"


def test_what_is_confirmed_stays(scene: Scene) -> None:
    scene.versions.publish(bundle("a"), "ann", "")
    scene.start()
    assert scene.hears()["number"] == 1
    scene.versions.publish(bundle("b"), "ann", "", within=2.0)
    scene.versions.confirm()
    assert scene.hears()["number"] == 2
    assert not select.select([scene.ours], [], [], 2.5)[0]
    assert scene.versions.active() is not None and len(scene.versions.history()) == 2


def test_a_time_that_ran_out_while_nobody_was_there(scene: Scene) -> None:
    scene.versions.publish(bundle("a"), "ann", "")
    Versions(scene.memory, lambda: time.time() - 3600).publish(bundle("b"), "ann", "", within=60.0)
    scene.start()
    named = scene.hears()
    assert named["number"] == 3 and Path(named["path"]).read_text() == "a"


def test_without_the_metastore_it_goes_back_here_and_then_follows_what_was_decided(scene: Scene) -> None:
    scene.versions.publish(bundle("a"), "ann", "")
    scene.start()
    assert scene.hears()["number"] == 1
    scene.versions.publish(bundle("b"), "ann", "", within=3.0)
    assert scene.hears()["number"] == 2
    scene.store.away = True
    back = scene.hears()
    assert back["number"] == 1 and Path(back["path"]).read_text() == "a"
    # Another Fairlead still saw the metastore, and its operator confirmed there in time.
    active = scene.memory.get(ACTIVE)
    assert active is not None
    Versions(scene.memory, lambda: time.time() - 3600).confirm()
    scene.store.away = False
    assert scene.hears()["number"] == 2


def test_a_content_that_cannot_be_read_changes_nothing(scene: Scene) -> None:
    scene.versions.publish(bundle("a"), "ann", "")
    scene.start()
    assert scene.hears()["number"] == 1
    broken = bundle("b")
    scene.memory.put(CONTENT + broken.digest, b"something else")
    scene.versions.publish(broken, "ann", "")
    scene.versions.publish(bundle("c"), "ann", "")
    assert scene.hears()["number"] == 3


def test_contents_on_the_disk_are_bounded_and_the_one_in_force_stays(tmp_path: Path) -> None:
    cache = VersionCache(tmp_path, "eu")
    cache.mark(cache.keep(1, bundle("first")))
    for number in range(2, 30):
        cache.keep(number, bundle(str(number)))
    assert len([one for one in tmp_path.iterdir() if one.is_dir()]) <= 12
    marked = cache.marked()
    assert marked is not None and marked.path.read_text() == "first"


def test_it_names_a_version_on_trial_beside_the_one_in_force(scene: Scene) -> None:
    scene.versions.publish(bundle("a"), "ann", "")
    scene.versions.publish(bundle("b"), "ann", "", within=60.0, trial=Trial(SHADOW))
    scene.start()
    told = scene.hears()
    assert told["number"] == 1 and Path(told["path"]).read_text() == "a"
    assert (told["trial"]["number"], told["trial"]["kind"]) == (2, SHADOW)
    assert Path(told["trial"]["path"]).read_text() == "b"
    scene.says("on trial", 2)
    until(lambda: any(b"on trial" in one for one in scene.reported()))
    scene.versions.confirm()
    told = scene.hears()
    assert told["number"] == 2 and told["trial"] is None

