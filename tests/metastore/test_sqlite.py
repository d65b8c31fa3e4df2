"""The SQLite file: kill -9, removed and replaced files, locks held by others, forks, reboots."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from metastore import sqlite
from metastore.sqlite import SqliteStore
from metastore.store import Unavailable

KILLS = 12
WRITER = """
    import sys
    from pathlib import Path
    from metastore.sqlite import SqliteStore
    from metastore.store import Compare, Put, Unavailable

    store = SqliteStore(Path(sys.argv[1]), create=True, log_kept=100_000)
    print("ready", flush=True)
    while True:
        found = store.get("count")
        number = int(found.value) + 1 if found else 1
        operations = [Put("count", b"%d" % number), Put("twin", b"%d" % number), Put(f"log/{number}", b"")]
        try:
            done = store.txn([Compare("count", found.modified if found else 0)], operations)
        except Unavailable:
            continue  # the other writer is always faster: on a busy machine that may last
        if done.succeeded:
            print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def start_writer(path: Path) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])


def test_kill_9_loses_and_halves_nothing(path: Path) -> None:
    """Two writers at a time, killed at any moment; a watch sees every revision once and in order all along."""
    dice = random.Random(3)
    acknowledged = 0
    store = SqliteStore(path, create=True, log_kept=100_000)
    watch = store.watch("count", 0)
    seen: list[int] = []
    for _ in range(KILLS // 2):
        writers = [start_writer(path), start_writer(path)]
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        for writer in writers:
            assert writer.stdout is not None
            for _ in range(dice.randrange(1, 30)):
                acknowledged = max(acknowledged, int(writer.stdout.readline()))
            writer.kill()
            rest = writer.stdout.read().split(b"\n")[:-1]
            acknowledged = max([acknowledged, *map(int, rest)])
            writer.wait()
            writer.stdout.close()
        while (found := watch.next(0)) is not None:
            assert not found.resync
            seen += [int(one.value or b"0") for one in found.events]
        count, twin = store.get("count"), store.get("twin")
        assert count is not None and twin is not None and count.value == twin.value
        assert int(count.value) >= acknowledged and seen == list(range(1, int(count.value) + 1))
        assert len(store.list("log/").items) == int(count.value)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_an_absent_file_is_not_made_by_accident(path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        SqliteStore(path)
    assert not path.exists()


def test_what_is_no_metastore_is_left_alone(path: Path) -> None:
    path.write_bytes(b"something else entirely, and longer than a header of a hundred bytes has to be" * 3)
    with pytest.raises(Unavailable, match="not a database"):
        SqliteStore(path, create=True)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE of_others (x)")
    with pytest.raises(Unavailable, match="user_version"):
        SqliteStore(path, create=True)
    assert list(path.parent.glob("*.new*")) == []


def test_a_removed_file_is_noticed_and_a_new_one_found(path: Path) -> None:
    store = SqliteStore(path, create=True, poll=0.001)
    for number in range(5):
        store.put("a", b"%d" % number)
    watch = store.watch("", 5)
    path.rename(path.with_suffix(".away"))
    for call in (lambda: store.get("a"), lambda: store.put("a", b"x"), lambda: watch.next(0)):
        with pytest.raises(Unavailable, match="No such file"):
            call()
    SqliteStore(path, create=True).put("b", b"new")
    found = watch.next(1.0)
    assert found is not None and found.resync and [one.key for one in found.events] == ["b"]
    assert store.get("a") is None


def test_a_writer_that_holds_the_lock_is_waited_for_and_not_for_ever(path: Path) -> None:
    store = SqliteStore(path, create=True, busy=0.05)
    store.put("a", b"1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        store.put("a", b"2")
    found = store.get("a")
    assert found is not None and found.value == b"1", "readers wait for nobody"
    other.execute("ROLLBACK")
    assert store.put("a", b"2") == 2


def test_a_fork_may_not_use_its_parents_store(path: Path) -> None:
    store = SqliteStore(path, create=True)
    pid = os.fork()
    if not pid:
        try:
            store.get("a")
        except Unavailable:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert store.get("a") is None


def test_after_a_reboot_all_leases_have_run_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(path, create=True)
    store.put("a", b"1", store.grant(3600.0))
    store.close()
    monkeypatch.setattr(sqlite, "boot_id", lambda: "another boot")
    assert SqliteStore(path).get("a") is None


def test_the_log_is_bounded_in_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LOG_BYTES", 10_000)
    store = SqliteStore(path, create=True)
    watch = store.watch("", 0)
    for number in range(50):
        store.put(f"k{number % 5}", bytes(1000))
    found = watch.next(1.0)
    assert found is not None and found.resync and len(found.events) == 5
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT sum(length(value)) FROM log").fetchone() == (10_000,)


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    SqliteStore(path, create=True).put("a", b"1")
    assert path.stat().st_mode & 0o077 == 0
