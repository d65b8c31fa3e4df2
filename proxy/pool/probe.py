"""What is asked of a server to know its health, and what the answers mean. One function per question.

`read_vitals` is one SELECT of variables: it takes no lock and answers on a busy server. `read_channels`
(replication) and `read_load` (connections) are SHOW statements, which may wait for an administrator's `STOP
REPLICA`; they are asked less often and tell nothing about life or death.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from config.words import Flavour
from proxy.pool.gtid import GtidError, Position, parse, parse_mariadb, parse_mysql
from proxy.pool.probe_connection import Answer, ProbeConnection

MAX_CHANNELS = 64

MARIADB_VITALS = (
    "SELECT @@global.read_only, @@global.innodb_read_only, @@global.server_id, @@global.max_connections, "
    "@@global.log_bin, @@global.gtid_strict_mode, @@global.gtid_domain_id, @@global.gtid_current_pos, "
    "@@global.gtid_slave_pos, @@global.gtid_binlog_state"
)
MYSQL_VITALS = (
    "SELECT @@global.read_only, @@global.super_read_only, @@global.innodb_read_only, @@global.server_id, "
    "@@global.max_connections, @@global.server_uuid, @@global.gtid_mode, @@global.gtid_executed"
)
LOAD = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'Uptime')"
SHOW_REPLICA_STATUS_SINCE = (8, 0, 22)


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a server says of itself.

    `current`: everything it has, its own writes included; `applied`: what it got by replication (for MySQL
    the same). None: its positions prove nothing, because not every transaction has a GTID.
    `write_source`: the source (see `proxy.pool.gtid`) that its own writes get. `server_uuid` is '' on
    MariaDB.
    """

    version: str
    read_only: bool
    server_id: int
    server_uuid: str
    max_connections: int
    write_source: str
    current: Position | None
    applied: Position | None
    problems: tuple[str, ...] = ()


class IoState(StrEnum):
    """The thread that fetches a source's binary log."""

    RUNNING = "running"
    CONNECTING = "connecting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Channel:
    """One source that a server replicates from.

    `source_id`: the source's server id (MariaDB) or uuid (MySQL) as text, '' while it never connected.
    `received`: what was fetched, applied or not; None when that is not known by GTID.
    Messages of failed replication hold row values and are not kept; their numbers are.
    """

    name: str
    source_host: str
    source_port: int
    source_id: str
    io: IoState
    sql_running: bool
    seconds_behind: int | None
    received: Position | None
    io_errno: int = 0
    sql_errno: int = 0

    @property
    def running(self) -> bool:
        """It fetches, or tries to, and applies."""
        return self.io is not IoState.STOPPED and self.sql_running

    @property
    def attached(self) -> bool:
        """Nobody has ended it: one of its threads may have failed, not both."""
        return self.io is not IoState.STOPPED or self.sql_running


@dataclass(frozen=True, slots=True)
class Load:
    connections: int
    uptime: int
    """Seconds."""


async def read_vitals(connection: ProbeConnection, timeout: float) -> Vitals:
    """The same object as the last time when nothing changed. Raises ServerUnavailable."""
    if connection.flavour is Flavour.MARIADB:
        question, meaning = MARIADB_VITALS, mariadb_vitals
    else:
        question, meaning = MYSQL_VITALS, mysql_vitals
    version = connection.version
    return await connection.ask(question, timeout, 1, lambda answer: meaning(version, _only_row(answer)))


def _only_row(answer: Answer) -> tuple[Any, ...]:
    (row,) = answer.rows
    return row


def mariadb_vitals(version: str, row: tuple[Any, ...]) -> Vitals:
    """From the answer to MARIADB_VITALS."""
    (
        read_only,
        innodb_read_only,
        server_id,
        max_connections,
        log_bin,
        strict,
        domain,
        current,
        applied,
        state,
    ) = row
    problems = []
    if not _is_on(log_bin):
        problems.append("log_bin is off: its own writes have no GTID")
    if not _is_on(strict):
        problems.append("gtid_strict_mode is off: a number may be used twice unnoticed")
    positions, trouble = _mariadb_positions(str(current or ""), str(applied or ""), str(state or ""))
    own_writes_known = positions is not None and _is_on(log_bin)
    return Vitals(
        version=version,
        read_only=_is_on(read_only) or _is_on(innodb_read_only),
        server_id=int(server_id),
        server_uuid="",
        max_connections=int(max_connections),
        write_source=f"{int(domain)}-{int(server_id)}",
        current=positions[0] if positions and own_writes_known else None,
        applied=positions[1] if positions else None,
        problems=(*problems, *trouble),
    )


def _mariadb_positions(
    current: str, applied: str, state: str
) -> tuple[tuple[Position, Position] | None, tuple[str, ...]]:
    try:
        return (parse_mariadb(current, state), parse_mariadb(applied, state)), ()
    except GtidError as error:
        return None, (f"position not usable: {error}",)


def mysql_vitals(version: str, row: tuple[Any, ...]) -> Vitals:
    """From the answer to MYSQL_VITALS."""
    read_only, super_read_only, innodb_read_only, server_id, max_connections, uuid, gtid_mode, executed = row
    position: Position | None = None
    problems: tuple[str, ...] = ()
    if str(gtid_mode).upper() != "ON":
        problems = (f"gtid_mode is {gtid_mode}, not ON: not every transaction has a GTID",)
    else:
        try:
            position = parse_mysql(str(executed or ""))
        except GtidError as error:
            problems = (f"position not usable: {error}",)
    return Vitals(
        version=version,
        read_only=_is_on(read_only) or _is_on(super_read_only) or _is_on(innodb_read_only),
        server_id=int(server_id),
        server_uuid=str(uuid).lower(),
        max_connections=int(max_connections),
        write_source=str(uuid).lower(),
        current=position,
        applied=position,
        problems=problems,
    )


def _is_on(value: Any) -> bool:
    # MariaDB 11.8 on makes read_only an enumeration (OFF, ON, NO_LOCK, NO_LOCK_NO_ADMIN): whatever is not
    # off is on.
    return str(value).upper() not in ("0", "OFF")


async def read_channels(connection: ProbeConnection, timeout: float) -> tuple[Channel, ...]:
    """Every source the server is set up to replicate from; the same object as the last time when nothing changed.

    Raises ServerUnavailable.
    """
    if connection.flavour is Flavour.MARIADB:
        statement = "SHOW ALL SLAVES STATUS"
    elif version_of(connection.version) >= SHOW_REPLICA_STATUS_SINCE:
        statement = "SHOW REPLICA STATUS"
    else:
        statement = "SHOW SLAVE STATUS"
    flavour = connection.flavour
    return await connection.ask(
        statement, timeout, MAX_CHANNELS, lambda answer: tuple(channel_of(flavour, row) for row in answer.named())
    )


def channel_of(flavour: Flavour, row: Mapping[str, Any]) -> Channel:
    """From a row of SHOW ALL SLAVES STATUS or SHOW REPLICA STATUS, whichever words the version uses."""
    row = {_new_word(name): value for name, value in row.items()}
    mariadb = flavour is Flavour.MARIADB
    source_id = str(row.get("source_server_id" if mariadb else "source_uuid") or "").lower()
    return Channel(
        name=str(row.get("connection_name" if mariadb else "channel_name") or ""),
        source_host=str(row.get("source_host") or ""),
        source_port=int(row.get("source_port") or 0),
        source_id="" if source_id == "0" else source_id,
        io=_io_state(str(row.get("replica_io_running") or "")),
        sql_running=str(row.get("replica_sql_running")).lower() == "yes",
        seconds_behind=_int_or_none(row.get("seconds_behind_source")),
        received=_received(flavour, row),
        io_errno=int(row.get("last_io_errno") or 0),
        sql_errno=int(row.get("last_sql_errno") or 0),
    )


def _new_word(name: str) -> str:
    return name.lower().replace("master", "source").replace("slave", "replica")


def _io_state(word: str) -> IoState:
    # MariaDB: No, Yes, Connecting, Preparing; MySQL: No, Yes, Connecting.
    match word.lower():
        case "yes":
            return IoState.RUNNING
        case "connecting" | "preparing":
            return IoState.CONNECTING
    return IoState.STOPPED


def _received(flavour: Flavour, row: Mapping[str, Any]) -> Position | None:
    if flavour is Flavour.MARIADB and str(row.get("using_gtid") or "No").lower() == "no":
        return None
    if flavour is Flavour.MYSQL and not int(row.get("auto_position") or 0):
        return None
    try:
        return parse(
            flavour, str(row.get("gtid_io_pos" if flavour is Flavour.MARIADB else "retrieved_gtid_set") or "")
        )
    except GtidError:
        return None


def _int_or_none(value: Any) -> int | None:
    return None if value is None else int(value)


async def read_load(connection: ProbeConnection, timeout: float) -> Load:
    """Raises ServerUnavailable."""
    return await connection.ask(LOAD, timeout, 8, _load_of)


def _load_of(answer: Answer) -> Load:
    values = {row[0]: row[1] for row in answer.rows}
    return Load(connections=int(values.get("Threads_connected") or 0), uptime=int(values.get("Uptime") or 0))


def version_of(text: str) -> tuple[int, ...]:
    """(10, 11, 19) for '10.11.19-MariaDB-log', (9, 7, 4) for '9.7.4-1'."""
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(number) for number in numbers.groups()) if numbers else (0, 0, 0)
