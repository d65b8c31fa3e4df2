"""What servers' answers mean, on rows as MariaDB 10.11, MySQL 8.0 and MySQL 9.7 gave them."""

from __future__ import annotations

from typing import Any

import pytest

from config.words import Flavour
from proxy.pool.probe import IoState, channel_of, mariadb_vitals, mysql_vitals, version_of

UUID = "3E11FA47-71CA-11E1-9E33-C80AA9429562"
MARIADB_ROW = (0, 0, 11, 151, 1, 1, 7, "7-11-9", "", "7-11-9,7-12-4")
MYSQL_ROW = ("0", "0", "0", 12, 151, UUID, "ON", f"{UUID}:1-9,\n{UUID[:-1]}3:1-4:tag:2")


def changed(row: tuple[Any, ...], **places: Any) -> tuple[Any, ...]:
    """`p3=x` puts x at place 3."""
    changes = {int(place[1:]): value for place, value in places.items()}
    return tuple(changes.get(place, value) for place, value in enumerate(row))


def test_a_mariadb_primary() -> None:
    vitals = mariadb_vitals("10.11.19-MariaDB", MARIADB_ROW)
    assert not vitals.read_only and vitals.problems == ()
    assert (str(vitals.current), str(vitals.applied)) == ("7-11-9", "")
    assert vitals.write_source == "7-11"


def test_a_mysql_primary() -> None:
    vitals = mysql_vitals("9.7.4", MYSQL_ROW)
    assert not vitals.read_only and vitals.problems == ()
    assert vitals.server_uuid == vitals.write_source == UUID.lower()
    assert vitals.current is not None and vitals.current.bounds() == {
        UUID.lower(): 9,
        f"{UUID[:-1]}3".lower(): 4,
    }


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("word", [1, "1", "ON", "on", "NO_LOCK", "NO_LOCK_NO_ADMIN"])
def test_mariadb_is_read_only_by_either_switch(place: int, word: Any) -> None:
    assert mariadb_vitals("12.1.2-MariaDB", changed(MARIADB_ROW, **{f"p{place}": word})).read_only


@pytest.mark.parametrize("place", [0, 1, 2])
def test_mysql_is_read_only_by_any_of_three_switches(place: int) -> None:
    assert mysql_vitals("9.7.4", changed(MYSQL_ROW, **{f"p{place}": "1"})).read_only


def test_without_a_binary_log_mariadbs_own_writes_are_not_positions() -> None:
    vitals = mariadb_vitals("10.11.19-MariaDB", changed(MARIADB_ROW, p4=0, p7="", p9=""))
    assert vitals.current is None and vitals.applied is not None and len(vitals.problems) == 1


@pytest.mark.parametrize("mode", ["OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE"])
def test_without_gtid_mode_mysql_has_no_position(mode: str) -> None:
    vitals = mysql_vitals("8.4.3", changed(MYSQL_ROW, p6=mode, p7=""))
    assert vitals.current is vitals.applied is None and mode in vitals.problems[0]


def test_a_position_that_cannot_be_read_is_a_problem_and_no_crash() -> None:
    assert mysql_vitals("9.7.4", changed(MYSQL_ROW, p7="nonsense")).current is None
    vitals = mariadb_vitals("10.11.19-MariaDB", changed(MARIADB_ROW, p8="nonsense"))
    assert vitals.current is vitals.applied is None and "not usable" in vitals.problems[0]


def test_non_strict_gtids_are_mentioned() -> None:
    vitals = mariadb_vitals("10.11.19-MariaDB", changed(MARIADB_ROW, p5="OFF"))
    assert vitals.current is not None and "gtid_strict_mode" in vitals.problems[0]


MARIADB_CHANNEL = {
    "Connection_name": "", "Slave_SQL_State": "", "Master_Host": "10.0.0.1", "Master_Port": 3306,
    "Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes", "Last_Error": "",
    "Seconds_Behind_Master": 3, "Last_IO_Errno": 0, "Last_SQL_Errno": 0, "Master_Server_Id": 11,
    "Using_Gtid": "Slave_Pos", "Gtid_IO_Pos": "7-11-9", "Gtid_Slave_Pos": "7-11-8",
}  # fmt: skip
MYSQL_CHANNEL = {
    "Source_Host": "10.0.0.1", "Source_Port": 3306, "Replica_IO_Running": "Connecting",
    "Replica_SQL_Running": "No", "Seconds_Behind_Source": None, "Last_IO_Errno": 2003, "Last_SQL_Errno": 1062,
    "Last_SQL_Error": "Duplicate entry 'alice@example.org' for key", "Source_UUID": UUID,
    "Retrieved_Gtid_Set": f"{UUID}:1-7", "Auto_Position": 1, "Channel_Name": "main",
}  # fmt: skip


def test_a_mariadb_channel() -> None:
    channel = channel_of(Flavour.MARIADB, MARIADB_CHANNEL)
    assert (channel.source_host, channel.source_port, channel.source_id) == ("10.0.0.1", 3306, "11")
    assert channel.io is IoState.RUNNING and channel.running and channel.seconds_behind == 3
    assert str(channel.received) == "7-11-9"


def test_a_mysql_channel_keeps_no_message() -> None:
    channel = channel_of(Flavour.MYSQL, MYSQL_CHANNEL)
    assert channel.name == "main" and channel.source_id == UUID.lower()
    assert channel.io is IoState.CONNECTING and not channel.running and channel.attached
    assert (channel.io_errno, channel.sql_errno, channel.seconds_behind) == (2003, 1062, None)
    assert "alice" not in repr(channel)


def test_the_old_words_of_mysql_mean_the_same() -> None:
    old = {name.replace("Source", "Master").replace("Replica", "Slave"): value for name, value in MYSQL_CHANNEL.items()}
    assert channel_of(Flavour.MYSQL, old) == channel_of(Flavour.MYSQL, MYSQL_CHANNEL)


def test_a_source_that_was_never_reached_has_no_id() -> None:
    assert channel_of(Flavour.MARIADB, {**MARIADB_CHANNEL, "Master_Server_Id": 0}).source_id == ""


@pytest.mark.parametrize("word", ["No", "", "Preparing", "Connecting", "Yes"])
def test_the_fetching_thread_is_attached_unless_stopped(word: str) -> None:
    channel = channel_of(Flavour.MARIADB, {**MARIADB_CHANNEL, "Slave_IO_Running": word, "Slave_SQL_Running": "No"})
    assert channel.attached is (word not in ("No", ""))


def test_replication_by_file_position_receives_nothing_provable() -> None:
    assert channel_of(Flavour.MARIADB, {**MARIADB_CHANNEL, "Using_Gtid": "No"}).received is None
    assert channel_of(Flavour.MYSQL, {**MYSQL_CHANNEL, "Auto_Position": 0}).received is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("10.11.19-MariaDB-log", (10, 11, 19)),
        ("9.7.4-2", (9, 7, 4)),
        ("8.0.36", (8, 0, 36)),
        ("x", (0, 0, 0)),
    ],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version
