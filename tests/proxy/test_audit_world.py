"""Decision records of Fairleads that serve: what is recorded where, what waits for it, crashes, full disks."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pymysql
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from ops.audit import segment
from ops.audit.anchor import key_id
from ops.audit.hlc import stamp_of
from ops.audit.report import Query, report
from ops.audit.verify import verify
from tests.ops.audit.logs import KEY
from tests.proxy.clients import ask, client, ids_on, raw, refused
from tests.proxy.test_policy_world import POLICY, USERS

pytestmark = pytest.mark.world(regions=2)

KEYS = (key_id(KEY),)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PATIENCE = 30.0
Plain = dict[str, Any]
Members = dict[str, Fairlead]


def changes(folder: Path, **audit: Any) -> Plain:
    settings = {"folder": str(folder), "key": {"value": PEM}, "sample": 1, "anchor": "200ms", **audit}
    return {"users": USERS, "policy": POLICY, "audit": settings}


_since = {"stamp": 0}


@pytest.fixture(params=["on", "strict"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _since["stamp"] = 0
    return tmp_path / "audit"


@pytest.fixture
def kept_folder(mode: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the Fairleads that several tests share; what was recorded before this one does not count."""
    _since["stamp"] = stamp_of(time.time())
    return tmp_path_factory.getbasetemp() / f"audit-{mode}"


@pytest.fixture
def fleet(world: World, kept_folder: Path, mode: str) -> Members:
    settings = changes(kept_folder, mode=mode)
    return {region: world.kept(settings, region=region) for region in ("eu", "us")}


def entries(folder: Path, domain: str, kind: str = "decision") -> list[Plain]:
    """What is in the files now, up to what is being written."""
    found: list[Plain] = []
    for path in sorted((folder / domain).glob("*.audit")):
        with path.open("rb") as file, contextlib.suppress(segment.Damage):
            found += [entry.plain for entry in segment.entries(file)]
    return [one for one in found if one["kind"] == kind and one["ts"] >= _since["stamp"]]


def eventually(folder: Path, domain: str, count: int, kind: str = "decision", **fields: Any) -> list[Plain]:
    """At least so many entries with these fields."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = [
            one for one in entries(folder, domain, kind) if all(one.get(key) == want for key, want in fields.items())
        ]
        if len(found) >= count or time.monotonic() > deadline:
            assert len(found) >= count, entries(folder, domain, kind)
            return found
        time.sleep(0.02)


def as_analyst(member: Fairlead, **options: Any) -> Any:
    return client(member, user="analyst", password="x", **options)


@pytest.mark.parametrize("region", ["eu", "us"])
def test_what_leaves_is_recorded_at_home_and_only_there(
    world: World, fleet: Members, kept_folder: Path, region: str
) -> None:
    (key,) = ids_on(world, "eu-0")
    with as_analyst(fleet[region]) as connection:
        for _ in range(3):
            ask(connection, f"SELECT email, id FROM customers WHERE id = {key}")
        ask(connection, f"SELECT country FROM customers WHERE id = {key}")
    masked = eventually(kept_folder, "eea", 3, verdict="mask")
    assert len(masked) == 3
    one = masked[0]
    assert one["subject"] == "analyst" and one["to"] == "usa" and one["homes"] == ["eea"] and one["proxy"] == "eu"
    assert one["tables"] == ["shop.customers"] and "personal" in one["classes"] and "masked-abroad" in one["rules"]
    assert one["shards"] == ["eu-0"]
    strict = "rows" not in one
    outcomes = eventually(kept_folder, "eea", 3, "result") if strict else masked
    assert all(out["rows"] == 1 and out["bytes_out"] > 20 and "latency_us" in out for out in outcomes)
    if strict:
        assert {out["of"] for out in outcomes} >= {one["ts"] for one in masked}
        assert all(out["error"] == 0 for out in outcomes)
    assert entries(kept_folder, "usa") == []
    assert verify(kept_folder, KEYS).findings == []


def test_what_is_refused_is_recorded_where_it_was_refused(
    world: World, fleet: Members, kept_folder: Path
) -> None:
    (key,) = ids_on(world, "eu-0")
    (home,) = ids_on(world, "us-0")
    for region, domain in (("eu", "eea"), ("us", "usa")):
        with as_analyst(fleet[region]) as connection:
            for _ in range(2):
                refused(connection, f"SELECT name FROM customers WHERE id = {key}", "FL2101")
            refused(connection, f"EXPLAIN SELECT email FROM customers WHERE id = {key}", "FL2105")
        found = eventually(kept_folder, domain, 3, verdict="refuse")
        assert len(found) == 3
        assert all(one["tables"] == ["shop.customers"] for one in found) and found[0]["rules"]
    with raw(fleet["us"], user="analyst", password="x") as connection:
        statement = connection.prepare("SELECT name FROM customers WHERE id = ?")
        assert connection.execute(statement, [home]).rows
        assert connection.execute(statement, [key]).message.startswith("FL2101")
    eventually(kept_folder, "usa", 4, verdict="refuse")
    assert "Ada" not in (kept_folder / "usa").joinpath("us.0.00000000.audit").read_text()


@pytest.mark.parametrize("region", ["eu", "us"])
def test_prepared_statements_and_several_shards(
    world: World, fleet: Members, kept_folder: Path, region: str
) -> None:
    keys = [ids_on(world, shard)[0] for shard in ("eu-0", "eu-1")]
    with raw(fleet[region], user="analyst", password="x") as connection:
        statement = connection.prepare("SELECT email FROM customers WHERE id = ?")
        for key in keys * 2:
            assert b"*" in (connection.execute(statement, [key]).rows[0][0] or b"")
    assert len(eventually(kept_folder, "eea", 4, verdict="mask")) == 4
    with as_analyst(fleet[region]) as connection:
        assert len(ask(connection, f"SELECT email FROM customers WHERE id IN ({keys[0]}, {keys[1]})")) == 2
    # From the other region each shard's part is a statement of its own there.
    found = eventually(kept_folder, "eea", 5 if region == "eu" else 6, verdict="mask")
    results = eventually(kept_folder, "eea", len(found), "result") if "rows" not in found[0] else found
    assert sum(one["rows"] for one in results) == 6
    assert verify(kept_folder, KEYS).findings == []


def test_what_is_loaded_into_a_scratch_server_is_recorded_at_home(world: World, folder: Path, mode: str) -> None:
    """As reads by the user, each table's and each shard's of the other region."""
    settings = {**changes(folder, mode=mode), "keyspaces": {"shop": {"scratch": ["eu-0", "us-0"]}}}
    fleet = world.fleet(settings).start()
    with as_analyst(fleet["us"]) as connection:
        ask(connection, "SELECT COUNT(*) FROM customers a JOIN customers b ON b.email = a.email")
    found = eventually(folder, "eea", 4, verdict="mask")
    assert len(found) == 4
    assert all(one["tables"] == ["shop.customers"] and one["to"] == "usa" for one in found)
    assert verify(folder, KEYS).findings == []


def test_of_what_stays_at_home_some_is_recorded(world: World, folder: Path) -> None:
    fleet = world.fleet(changes(folder, sample=10)).start()
    (key,) = ids_on(world, "eu-0")
    with client(fleet["eu"], user="clerk", password="x") as connection:
        for _ in range(400):
            ask(connection, f"SELECT email FROM customers WHERE id = {key}")
            ask(connection, "SELECT COUNT(*) FROM countries")
    with as_analyst(fleet["eu"]) as connection:
        ask(connection, f"SELECT email FROM customers WHERE id = {key}")
    eventually(folder, "eea", 1, verdict="mask")
    found = [one for one in entries(folder, "eea") if one["verdict"] == "allow"]
    assert 10 < len(found) < 90 and all(one["sample"] == 10 for one in found)
    assert all(one["tables"] == ["shop.customers"] for one in found)


def test_strict_runs_nothing_before_its_record_is_on_the_disk(
    world: World, fleet: Members, kept_folder: Path
) -> None:
    """A decision is in the file when its answer has arrived, even if the writer then ends at once."""
    (key,) = ids_on(world, "eu-0")
    if fleet["eu"].configuration["audit"]["mode"] == "on":
        pytest.skip("about strict")
    with as_analyst(fleet["us"]) as connection:
        for number in range(1, 21):
            ask(connection, f"SELECT email FROM customers WHERE id = {key}")
            assert len(entries(kept_folder, "eea")) == number


def test_what_cannot_be_recorded_is_not_shown(world: World, folder: Path, mode: str) -> None:
    (key,) = ids_on(world, "eu-0")
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("no folder")  # root may write anywhere, but not into a file
    fleet = world.fleet(changes(folder, mode=mode, sample=0)).start()
    with as_analyst(fleet["eu"]) as connection:
        for _ in range(2):
            refused(connection, f"SELECT email FROM customers WHERE id = {key}", "FL2111")
        refused(connection, f"SELECT name FROM customers WHERE id = {key}", "FL2101")
    with client(fleet["eu"], user="clerk", password="x") as connection:
        assert ask(connection, f"SELECT email FROM customers WHERE id = {key}")
        assert ask(connection, "SELECT COUNT(*) FROM countries")
    assert 'fairlead_audit_refusals_total 2' in fleet["eu"].http("/metrics")
    folder.unlink()
    with as_analyst(fleet["eu"]) as connection:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                assert ask(connection, f"SELECT email FROM customers WHERE id = {key}")
                break
            except pymysql.err.Error as error:
                assert "FL2111" in str(error) and time.monotonic() < deadline
                time.sleep(0.1)
    eventually(folder, "eea", 1, verdict="mask")
    eventually(folder, "eea", 1, verdict="refuse")  # it was kept until it could be written


class Load:
    """Clients that read across the border all the time, and count the answers that they got."""

    def __init__(self, member: Fairlead, key: int, clients: int = 8) -> None:
        self.answers = 0
        self._member = member
        self._key = key
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with as_analyst(self._member) as connection:
                    while not self._stopping.is_set():
                        ask(connection, f"SELECT email FROM customers WHERE id = {self._key}")
                        with self._lock:
                            self.answers += 1
            except (pymysql.err.Error, OSError):
                time.sleep(0.02)

    def go_on(self, more: int) -> None:
        """Wait for so many more answers."""
        wanted, deadline = self.answers + more, time.monotonic() + 2 * PATIENCE
        while self.answers < wanted:
            assert time.monotonic() < deadline, f"{self.answers} of {wanted} answers"
            time.sleep(0.02)


def test_kill_9_in_mid_append_leaves_a_gap_and_nothing_else(world: World, folder: Path, mode: str) -> None:
    fleet = world.fleet(changes(folder, mode=mode, segment="64KiB")).start()
    member = fleet["eu"]
    (key,) = ids_on(world, "eu-0")
    with Load(member, key) as load:
        for _ in range(2):
            load.go_on(150)
            member.kill_group()
            member.launch()
            member.wait_ready()
        load.go_on(100)
    fleet.stop()
    found = verify(folder, KEYS)
    assert found.findings == [] and any("crash" in note for note in found.notes), found
    kept = report(folder, Query(by=("verdict",), where={"verdict": frozenset({"mask"})})).decisions
    if mode == "strict":
        assert kept >= load.answers
    plant_and_find(folder)


def plant_and_find(folder: Path) -> None:
    """A changed byte, a line that is gone, two that changed places, a cut end: each named at its entry."""
    path = max((folder / "eea").glob("*.audit"), key=lambda one: one.stat().st_size)
    lines = path.read_bytes().splitlines(keepends=True)
    at = len(lines) // 2
    flipped = lines[at][:80] + bytes((lines[at][80] ^ 1,)) + lines[at][81:]
    plants = {
        "flip": [*lines[:at], flipped, *lines[at + 1 :]],
        "delete": [*lines[:at], *lines[at + 1 :]],
        "reorder": [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]],
    }
    for name, planted in plants.items():
        copy = folder.with_name(f"planted-{name}")
        shutil.copytree(folder, copy)
        (copy / "eea" / path.name).write_bytes(b"".join(planted))
        named = [one for one in verify(copy, KEYS).findings if one.file.name == path.name]
        assert named and named[0].entry == at, (name, named)
    copy = folder.with_name("planted-truncate")
    shutil.copytree(folder, copy)
    (copy / "eea" / path.name).write_bytes(b"".join(lines[:at]))
    assert verify(copy, KEYS).findings


def test_a_reload_turns_it_on_and_off(world: World, folder: Path) -> None:
    with_audit = changes(folder)
    fleet = world.fleet({"users": USERS, "policy": POLICY}).start()
    member = fleet["eu"]
    (key,) = ids_on(world, "eu-0")
    with as_analyst(member) as connection:
        ask(connection, f"SELECT email FROM customers WHERE id = {key}")
        off = member.configuration
        member.write({**off, "audit": with_audit["audit"]})
        member.reload()
        deadline = time.monotonic() + PATIENCE
        while not entries(folder, "eea"):
            assert time.monotonic() < deadline
            ask(connection, f"SELECT email FROM customers WHERE id = {key}")
        member.write(off)
        member.reload()
        while not entries(folder, "eea", "seal"):
            assert time.monotonic() < deadline
            ask(connection, f"SELECT email FROM customers WHERE id = {key}")
    assert verify(folder, KEYS).findings == []
