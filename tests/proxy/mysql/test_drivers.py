"""Real drivers and command-line clients against our connection phase, answered by a minimal listener."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import aiomysql
import mysql.connector
import MySQLdb
import pymysql
import pytest

from loadtest.world import mysql97
from loadtest.world.sqlserver import ServerMissing
from proxy.mysql.auth.accounts import Account, Accounts, Verifier
from proxy.mysql.auth.scramble import CACHING_SHA2, NATIVE
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import AuthenticationFailed, ConnectionClosed, HandshakeRefused
from proxy.mysql.server_handshake import ClientIdentity, ServerHandshakeConfig
from tests.proxy.mysql.helpers import PATIENCE, Certificates, Listener
from tests.servers import absent

PASSWORD = "s3cret"
FULL = Verifier.of_password(PASSWORD)
assert FULL.sha256 is not None
assert FULL.native is not None
ACCOUNTS = [
    Account("both", FULL),
    Account("sha2", Verifier.of_sha256(FULL.sha256.hex()), (CACHING_SHA2,)),
    Account("full", Verifier.of_native("*" + FULL.native.hex()), (CACHING_SHA2,)),
    Account("native", FULL, (NATIVE,)),
    Account("empty", Verifier.of_password("")),
]

Connect = Callable[[int, str, str, bool, Certificates], int]
"""(port, user, password, with TLS, certificates) -> the answer to SELECT 1."""


def by_pymysql(port: int, user: str, password: str, tls: bool, certificates: Certificates) -> int:
    context = certificates.client().context if tls else None
    with pymysql.connect(
        host="127.0.0.1",
        port=port,
        user=user,
        password=password,
        database="shop",
        ssl=context,
        ssl_disabled=not tls,
        program_name="tests",
    ) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        (row,) = cursor.fetchall()
        return int(row[0])


def by_aiomysql(port: int, user: str, password: str, tls: bool, certificates: Certificates) -> int:
    async def main() -> int:
        connection = await aiomysql.connect(
            host="127.0.0.1",
            port=port,
            user=user,
            password=password,
            db="shop",
            ssl=certificates.client().context if tls else None,
            program_name="tests",
        )
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT 1")
            (row,) = await cursor.fetchall()
        await connection.ensure_closed()
        return int(row[0])

    return asyncio.run(main())


def by_mysqlclient(port: int, user: str, password: str, tls: bool, certificates: Certificates) -> int:
    connection = MySQLdb.connect(
        host="127.0.0.1",
        port=port,
        user=user,
        password=password,
        database="shop",
        charset="utf8mb4",
        ssl={"ca": str(certificates.authority.ca)} if tls else None,
        ssl_mode="REQUIRED" if tls else "DISABLED",
    )
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        return int(cursor.fetchone()[0])
    finally:
        connection.close()


def by_connector(prepared: bool) -> Connect:
    def connect(port: int, user: str, password: str, tls: bool, certificates: Certificates) -> int:
        connection = mysql.connector.connect(
            host="127.0.0.1",
            port=port,
            user=user,
            password=password,
            database="shop",
            use_pure=True,
            ssl_disabled=not tls,
            connection_timeout=10,
        )
        try:
            cursor: Any = connection.cursor(prepared=prepared)
            cursor.execute("SELECT 1")
            (row,) = cursor.fetchall()
            return int(row[0])
        finally:
            connection.close()

    return connect


def by_command(program: Callable[[bool], list[str]]) -> Connect:
    def connect(port: int, user: str, password: str, tls: bool, certificates: Certificates) -> int:
        options = ["--protocol=tcp", "--host=127.0.0.1", f"--port={port}", f"--user={user}", "-N"]
        result = subprocess.run(
            [*program(tls), *options, "-e", "SELECT 1", "shop"],
            env={"MYSQL_PWD": password, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if result.returncode:
            raise ConnectionError(result.stderr)
        return int(result.stdout)

    return connect


def mariadb_command(tls: bool) -> list[str]:
    program = shutil.which("mariadb")
    if program is None:
        absent("mariadb", "the mariadb client; wanted: mariadb-client")
    return [program, "--no-defaults", "--ssl" if tls else "--skip-ssl"]


def mysql_command(tls: bool) -> list[str]:
    try:
        command = mysql97.client_command()
    except ServerMissing as missing:
        absent("mysql", missing)
    # Without TLS it asks for the public key only if told to.
    return [*command, f"--ssl-mode={'REQUIRED' if tls else 'DISABLED'}", "--get-server-public-key"]


CONNECTORS = [by_connector(prepared=False), by_connector(prepared=True)]
by_mysql = by_command(mysql_command)
DRIVERS = [
    pytest.param(by_pymysql, id="PyMySQL"),
    pytest.param(by_aiomysql, id="aiomysql"),
    pytest.param(by_mysqlclient, id="mysqlclient"),
    pytest.param(CONNECTORS[0], id="connector"),
    pytest.param(CONNECTORS[1], id="connector-prepared"),
    pytest.param(by_command(mariadb_command), id="mariadb"),
    pytest.param(by_mysql, id="mysql", marks=pytest.mark.mysql97),
]


@pytest.fixture(params=["announce-sha2", "announce-native"])
def listener(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[Listener]:
    config = ServerHandshakeConfig(
        Accounts(ACCOUNTS),
        default_plugin=CACHING_SHA2 if request.param == "announce-sha2" else NATIVE,
        tls=certificates.server,
    )
    with Listener(config).running() as running:
        yield running


def beyond(connect: Connect, account: Account, listener: Listener, tls: bool) -> bool:
    """What a driver gets wrong with any server."""
    if connect is by_aiomysql and listener.config.default_plugin == NATIVE:
        # 0.3.2 makes its proof with the NUL that ends a switch request's nonce.
        return NATIVE not in account.plugins
    if connect in CONNECTORS and not tls:
        # 26.10 sends the bare password instead of asking for the public key.
        return account.user == "full"
    # MySQL 9 ships its client without the native plugin.
    return connect is by_mysql and account.plugins == (NATIVE,)


@pytest.mark.parametrize("connect", DRIVERS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_driver_logs_in_and_reads_a_result(
    connect: Connect, tls: bool, listener: Listener, certificates: Certificates
) -> None:
    for account in ACCOUNTS:
        if beyond(connect, account, listener, tls):
            continue
        password = "" if account.verifier.empty else PASSWORD
        for _ in range(2):  # the second time the fast path is open to "full" as well
            assert connect(listener.port, account.user, password, tls, certificates) == 1
            identity = listener.identities[-1]
            assert identity.user == account.user
            assert identity.plugin in account.plugins
            assert identity.database == "shop"
            assert (identity.tls is not None) is tls
        with pytest.raises(Exception, match="1045"):
            connect(listener.port, account.user, "wrong", tls, certificates)
    with pytest.raises(Exception, match=r"1045|2059"):  # a decoy may ask for the plugin that is not there
        connect(listener.port, "nobody", PASSWORD, tls, certificates)
    assert all(isinstance(failure, (AuthenticationFailed, ConnectionClosed)) for failure in listener.failures)


def test_attributes_and_character_set_arrive(listener: Listener) -> None:
    with pymysql.connect(
        host="127.0.0.1",
        port=listener.port,
        user="empty",
        charset="gbk",
        ssl_disabled=True,
        program_name="tests",
    ):
        identity = listener.identities[-1]
    assert identity.attributes["program_name"] == "tests"
    assert identity.attributes["_client_name"] == "pymysql"
    assert identity.collation.charset == "gbk"


def test_a_refusal_reaches_the_application(certificates: Certificates) -> None:
    def admit(identity: ClientIdentity) -> Status:
        raise HandshakeRefused(1049, f"Unknown database '{identity.database}'")

    with Listener(ServerHandshakeConfig(Accounts(ACCOUNTS), admit=admit)).running() as listener:
        for driver in DRIVERS:
            connect: Any = driver.values[0]
            with pytest.raises(Exception, match=r"1049.*Unknown database 'shop'"):
                connect(listener.port, "empty", "", False, certificates)
