"""Decision records of Redis commands: the key's pattern, never the key; where the rows are; before it is done."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from loadtest.world import configuration
from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from ops.audit.hlc import stamp_of
from ops.audit.report import Query, report
from ops.audit.verify import verify
from router.redis.resp import Error, Simple
from tests.proxy import test_audit_world as audit
from tests.proxy.redis.test_policy import CHANGES, ROWS, as_user, key_of, rows
from tests.proxy.test_audit_world import KEYS, PATIENCE, entries, eventually

pytestmark = pytest.mark.world(regions=2, redis=True)
__all__ = ["rows"]
KEY = key_of("eu")
CUSTOMER = {"patterns": ["customer"], "tables": ["shop.customers"]}


def changes(folder: Path, **settings: Any) -> dict[str, Any]:
    dates = {"classes": "internal", "homes": "eea", "domains": "usa", "roles": "audit", "then": "allow"}
    more = {"policy": {"rules": {"dates": dates}}, "audit": audit.changes(folder, **settings)["audit"]}
    return configuration.merge(CHANGES, more)


@pytest.fixture(params=["on", "strict"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(mode: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the Fairleads that several tests share; what was recorded before this one does not count."""
    audit._since["stamp"] = stamp_of(time.time())
    return tmp_path_factory.getbasetemp() / f"records-{mode}"


@pytest.fixture
def fleet(world: World, folder: Path, mode: str) -> dict[str, Fairlead]:
    return {region: world.kept(changes(folder, mode=mode), region=region) for region in ROWS}


def ask(member: Fairlead, user: str, *commands: tuple[Any, ...]) -> list[Any]:
    with as_user(member, user) as client:
        return [client.ask(*one) for one in commands]


def decisions(folder: Path, domain: str, count: int) -> list[dict[str, Any]]:
    """All of them, when there are so many."""
    found = eventually(folder, domain, count)
    assert len(found) == count, found
    return found


@pytest.mark.parametrize("region", ROWS)
def test_what_crosses_is_recorded_at_home(fleet: dict[str, Fairlead], folder: Path, region: str):
    email, country, everything, _, there = ask(
        fleet[region], "analyst", ("HGET", KEY, "email"), ("HGET", KEY, "country"), ("HGETALL", KEY),
        ("KEYS", "*"), ("EXISTS", KEY),
    )  # fmt: skip
    assert b"*" in email and country and everything and there
    one, two = decisions(folder, "eea", 2)
    for found in (one, two):
        assert found["verdict"] == "mask" and found["subject"] == "analyst" and found["to"] == "usa"
        assert found["homes"] == ["eea"] and found["proxy"] == "eu" and "log" in found["obligations"]
        assert "masked-abroad" in found["rules"] and CUSTOMER.items() <= found.items()
    assert one["command"] == "hget" and one["classes"] == ["personal"]
    assert two["command"] == "hgetall" and set(two["classes"]) == {"internal", "personal"}
    assert entries(folder, "usa") == []
    text = "".join(path.read_text() for path in folder.glob("*/*"))
    assert str(ROWS["eu"]) not in text and email.decode() not in text
    assert verify(folder, KEYS).findings == []


def test_what_is_allowed_across_is_recorded_whole(fleet: dict[str, Fairlead], folder: Path):
    replies = ask(
        fleet["eu"], "auditor", ("HGET", KEY, "created_at"), ("SET", "page", 1), ("GET", f"note:{ROWS['eu']}")
    )
    assert replies[0] and replies[1:] == [Simple("OK"), b"public"]
    (found,) = decisions(folder, "eea", 1)
    assert found["verdict"] == "allow" and found["rules"] == ["dates"] and found["shards"]
    ask(fleet["eu"], "clerk", ("HGETALL", KEY), ("HSET", KEY, "country", "PT"), ("DEL", f"{KEY}:x"))
    with as_user(fleet["eu"], "auditor") as client:
        read = ("HGET", KEY, "created_at")
        assert len(client.many(("MULTI",), read, read, ("HGET", KEY, "id"), ("EXEC",))[-1]) == 3
    assert len(decisions(folder, "eea", 2)) == 2


def test_what_is_refused_is_recorded_where_it_was_refused(fleet: dict[str, Fairlead], folder: Path):
    for region, domain in (("eu", "eea"), ("us", "usa")):
        commands: list[tuple[Any, ...]] = [("HGET", KEY, "name"), ("SET", KEY, 1), ("MGET", "page", KEY)]
        commands += [("FLUSHALL",)] if region == "eu" else [("GETDEL", KEY)]
        replies = ask(fleet[region], "analyst", *commands)
        assert all(isinstance(one, Error) and "FL21" in one.text for one in replies), replies
        found = decisions(folder, domain, 4)
        assert [one["verdict"] for one in found] == ["refuse"] * 4
        assert [one["command"] for one in found] == [one[0].lower() for one in commands]
        assert all("customer" in one["patterns"] for one in found) and "shards" not in found[0]


def test_strict_carries_nothing_out_before_its_record_is_on_the_disk(
    fleet: dict[str, Fairlead], folder: Path, mode: str
):
    if mode == "on":
        pytest.skip("about strict")
    with as_user(fleet["us"], "analyst") as client:
        for number in range(1, 21):
            assert b"*" in client.ask("HGET", KEY, "email")
            assert len(entries(folder, "eea")) == number


def test_what_cannot_be_recorded_is_not_carried_out(world: World, tmp_path: Path):
    folder = tmp_path / "audit"
    folder.write_text("no folder")  # root may write anywhere, but not into a file
    fleet = world.fleet(changes(folder)).start()
    email, name, country = ask(
        fleet["eu"], "analyst", ("HGET", KEY, "email"), ("HGET", KEY, "name"), ("HGET", KEY, "country")
    )
    assert email.text.startswith("ERR FL2111: ") and "FL2101" in name.text and country
    assert ask(fleet["eu"], "clerk", ("HGET", KEY, "email"))[0]
    fleet.stop()


class Load:
    """Clients that read across the border all the time, and count the answers that they got."""

    def __init__(self, member: Fairlead) -> None:
        self.answers = 0
        self._member = member
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with as_user(self._member, "analyst") as client:
                    while not self._stopping.is_set():
                        assert b"*" in client.ask("HGET", KEY, "email")
                        with self._lock:
                            self.answers += 1
            except (OSError, EOFError):
                time.sleep(0.02)

    def go_on(self, more: int) -> None:
        wanted, deadline = self.answers + more, time.monotonic() + PATIENCE
        while self.answers < wanted:
            assert time.monotonic() < deadline, f"{self.answers} of {wanted} answers"
            time.sleep(0.02)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def test_kill_9_loses_no_record_of_what_was_answered(world: World, tmp_path: Path):
    folder = tmp_path / "audit"
    fleet = world.fleet(changes(folder, mode="strict")).start()
    load = Load(fleet["eu"])
    load.go_on(100)
    fleet["eu"].kill_group()
    fleet["eu"].launch()
    fleet["eu"].wait_ready()
    load.go_on(50)
    load.stop()
    fleet.stop()
    found = verify(folder, KEYS)
    assert found.findings == [] and any("crash" in note for note in found.notes), found
    kept = report(folder, Query(by=("verdict",), where={"verdict": frozenset({"mask"})})).decisions
    assert kept >= load.answers
