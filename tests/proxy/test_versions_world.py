"""Configuration versions over a running Fairlead and real servers: apply, confirm, revert, roll back, no metastore."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pymysql
import pytest
import yaml

from loadtest.world import configuration
from loadtest.world.fairlead import Fairlead, program
from loadtest.world.layout import region_id
from loadtest.world.process import POLL_INTERVAL
from loadtest.world.sqlserver import Passwords
from loadtest.world.world import World
from proxy.mysql.auth.scramble import native_digest, sha256_digest

PATIENCE = 30.0
ONE_CUSTOMER = f"SELECT 1 FROM customers WHERE id = {region_id('eu', 1)}"


def stored(password: str) -> dict[str, str]:
    """What a version may hold of a password."""
    data = password.encode()
    return {"sha256": sha256_digest(data).hex(), "native": f"*{native_digest(data).hex().upper()}"}


class Operator:
    """A Fairlead that follows a metastore, and the commands that an operator gives."""

    def __init__(self, world: World, folder: Path, workers: int = 2) -> None:
        self.folder = folder
        self.metastore = folder / "meta.db"
        changes = {"metastore": {"sqlite": str(self.metastore), "timeout": "1s"}, "limits": {"drain": "5s"}}
        fleet = world.fleet(changes)
        self.member: Fairlead = fleet.launch("eu", workers=workers)
        self.member.wait_ready()
        self.users = {
            name: {**user, "password": stored(user["password"]["value"])}
            for name, user in self.member.configuration["users"].items()
        }

    def file(self, users: Mapping[str, Any] | None = None, **sections: Any) -> Path:
        path = self.folder / "new.yaml"
        content = {**self.member.configuration, "users": {**self.users, **(users or {})}, **sections}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    def run(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """A verb in JSON. Fails on another exit code."""
        path = self.folder / "new.yaml"
        command = [program(), arguments[0], "-c", str(path), *arguments[1:], "--format", "json"]
        variable = {configuration.PASSWORD_VARIABLE: Passwords().service}
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variable}, check=False)
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return dict(json.loads(done.stdout)) if done.stdout else {"error": done.stderr}

    def apply(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        return self.run("apply", *arguments, code=code)

    def knows(self, user: str) -> bool:
        try:
            self.member.connect(user=user, password=user).close()
        except pymysql.err.OperationalError as error:
            # 2013: the login was taken, and then its user was gone.
            assert error.args[0] in (1045, 2013)
            return False
        return True

    def log(self) -> str:
        """Since this Fairlead's start, what it says before its banner included."""
        before, _, after = self.member.log.read_text().rpartition(" configured by ")
        return "\n".join(before.splitlines()[-3:]) + after

    def until(self, what: str) -> None:
        """In the log of this start."""
        deadline = time.monotonic() + PATIENCE
        while what not in self.log():
            if time.monotonic() > deadline:
                pytest.fail(f"not seen: {what}\n{self.member.log_tail(60)}")
            time.sleep(POLL_INTERVAL)


@pytest.fixture
def operator(world: World, tmp_path: Path) -> Operator:
    return Operator(world, tmp_path)


def late(operator: Operator) -> dict[str, Any]:
    """A user more."""
    return {"late": {**operator.users["demo"], "password": stored("late")}}


def test_apply_confirm_and_roll_back(operator: Operator) -> None:
    with contextlib.closing(operator.member.connect()) as client, client.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(ONE_CUSTOMER)
        operator.file()
        first = operator.apply("--why", "first")
        assert first["version"] == 1 and first["in_force"] is True and len(first["fairleads"]) == 1
        assert not operator.knows("late")
        operator.file(late(operator))
        second = operator.apply("--confirm-within", "60s")
        assert second["version"] == 2 and second["changes"] == ["user late is added"] and second["in_force"] is True
        assert operator.knows("late")
        assert operator.run("confirm")["version"] == 2
        assert operator.apply("--at-once")["version"] == 2, "nothing changes, and no version is made"
        third = operator.run("rollback", "--why", "enough")
        assert third["version"] == 3 and third["of"] == 1 and third["in_force"] is True
        assert not operator.knows("late")
        cursor.execute(ONE_CUSTOMER)
        assert cursor.fetchone() == (1,), "a transaction has seen three configurations, and noticed none"
        cursor.execute("COMMIT")
    told = operator.run("history")
    assert [one["number"] for one in told["versions"]] == [3, 2, 1]
    assert told["fairleads"][0]["version"] == 3 and told["fairleads"][0]["state"] == "in force"


def test_the_timer_goes_back_without_a_confirmation(operator: Operator) -> None:
    operator.file()
    operator.apply("--at-once")
    operator.file(late(operator))
    assert operator.apply("--confirm-within", "3s")["in_force"] is True
    operator.until("user late is added")
    operator.until("version 3: version 2 was not confirmed within 3 s")
    deadline = time.monotonic() + PATIENCE
    while operator.knows("late"):
        assert time.monotonic() < deadline
        time.sleep(POLL_INTERVAL)
    assert "no version waits" in operator.run("confirm", code=1)["error"]


def test_an_invalid_version_is_refused_and_changes_nothing(operator: Operator) -> None:
    operator.file()
    operator.apply("--at-once")
    path = operator.file(limits={"drain": "soon"})
    assert operator.apply(code=1)["findings"][0]["key"] == "limits.drain"
    path.write_text(yaml.safe_dump(operator.member.configuration))
    assert "holds no secrets" in operator.apply(code=1)["findings"][0]["message"]
    # Right by itself, and not on this host: it is refused there, told, and can be taken back.
    operator.file(listeners={**operator.member.configuration["listeners"], "more": {"kind": "mysql", "port": 1}})
    busy = {"kind": "http", "address": "127.0.0.1", "port": operator.member.port}
    operator.file(listeners={**operator.member.configuration["listeners"], "more": busy})
    refused = operator.apply("--confirm-within", "60s", code=1)
    assert refused.get("in_force", False) is False
    assert operator.member.query(ONE_CUSTOMER) == [(1,)]


def test_a_version_that_one_host_cannot_take_is_refused_there(operator: Operator) -> None:
    operator.file()
    operator.apply("--at-once")
    file = {"file": str(operator.folder / "absent.txt")}
    operator.file({"late": {**operator.users["demo"], "password": file}})
    told = operator.apply("--confirm-within", "60s", code=1)
    assert told["version"] == 2 and told["in_force"] is False
    assert told["fairleads"][0]["state"] == "refused" and "absent.txt" in told["fairleads"][0]["error"]
    assert operator.member.query(ONE_CUSTOMER) == [(1,)]
    assert operator.run("rollback")["in_force"] is True


def test_without_the_metastore_traffic_goes_on(operator: Operator) -> None:
    """Invariant 9, under load: the file is removed while clients ask, and comes back."""
    operator.file(late(operator))
    operator.apply("--at-once")
    failures: list[Exception] = []
    asked = [0]
    stop = threading.Event()

    def ask() -> None:
        try:
            with contextlib.closing(operator.member.connect(user="late", password="late")) as client:
                while not stop.is_set():
                    with client.cursor() as cursor:
                        cursor.execute(ONE_CUSTOMER)
                        assert cursor.fetchone() == (1,)
                    asked[0] += 1
        except Exception as error:
            failures.append(error)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    away = operator.metastore.with_suffix(".away")
    operator.metastore.rename(away)
    operator.until("the metastore is away, version 1 stays in force")
    before = asked[0]
    operator.member.reload()
    operator.until("configuration read again: nothing changes")
    assert operator.knows("late")
    away.rename(operator.metastore)
    operator.until("the metastore is back")
    assert operator.apply("--at-once")["version"] == 1
    stop.set()
    for client in clients:
        client.join()
    assert failures == [] and asked[0] > before


def test_a_start_without_the_metastore_takes_the_last_version(operator: Operator) -> None:
    operator.file(late(operator))
    operator.apply("--at-once")
    operator.member.stop()
    operator.metastore.rename(operator.metastore.with_suffix(".away"))
    operator.member.launch()
    operator.member.wait_ready()
    operator.until("version 1 of the last run is in force")
    assert operator.knows("late")


def test_a_version_not_confirmed_while_the_metastore_is_away_goes_back_here(operator: Operator) -> None:
    operator.file()
    operator.apply("--at-once")
    operator.file(late(operator))
    operator.apply("--confirm-within", "10s")
    away = operator.metastore.with_suffix(".away")
    operator.metastore.rename(away)
    operator.until("version 2 was not confirmed in time: back to 1")
    deadline = time.monotonic() + PATIENCE
    while operator.knows("late"):
        assert time.monotonic() < deadline
        time.sleep(POLL_INTERVAL)
    away.rename(operator.metastore)
    operator.until("version 3: version 2 was not confirmed within 10 s")
    assert operator.run("history")["active"]["number"] == 3


def test_the_follower_is_killed_and_comes_again(operator: Operator) -> None:
    operator.file()
    operator.apply("--at-once")
    pid = int(re.findall(r"follower started, pid (\d+)", operator.log())[-1])
    os.kill(pid, signal.SIGKILL)
    operator.until("follower was killed by SIGKILL")
    operator.file(late(operator))
    told = operator.apply("--at-once")
    assert told["version"] == 2
    deadline = time.monotonic() + PATIENCE
    while not operator.knows("late"):
        assert time.monotonic() < deadline
        time.sleep(POLL_INTERVAL)


def test_the_forecast_is_what_then_happens(operator: Operator) -> None:
    """The corpus is what was asked; the new grants refuse a part of it; the simulation names exactly that part."""
    statements = {
        "SELECT name FROM settings WHERE name = 'currency'": "allowed",
        "SELECT COUNT(*) FROM countries": "refused",
        f"UPDATE customers SET name = name WHERE id = {region_id('eu', 1)}": "refused",
        ONE_CUSTOMER: "allowed",
    }
    operator.file()
    operator.apply("--at-once")
    for statement in statements:
        operator.member.query(statement)
    demo = operator.users["demo"]
    grants = [{"on": "shop.customers", "verbs": ["select"]}, {"on": "shop.settings", "verbs": ["select"]}]
    operator.file({"demo": {**demo, "grants": grants}})
    told = operator.apply("--at-once", "--corpus", f"http://127.0.0.1:{operator.member.http_port}")
    forecast = [one for one in told["simulation"]["changes"] if one["what"] == "refused" and one["user"] == "demo"]
    assert len(forecast) == 2 and told["in_force"] is True
    for statement, outcome in statements.items():
        if outcome == "allowed":
            operator.member.query(statement)
        else:
            with pytest.raises(pymysql.err.Error):
                operator.member.query(statement)
    norms = {one["statement"] for one in forecast}
    assert norms == {"SELECT COUNT(*) FROM countries", "UPDATE customers SET name=name WHERE id=?"}
