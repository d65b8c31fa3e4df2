"""Our client's connection phase against real servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from loadtest.world import ports, rundir
from loadtest.world.certs import Authority
from loadtest.world.mariadb import MariaDB
from loadtest.world.mysql97 import MySQL97
from loadtest.world.sqlserver import SERVICE_USER, Passwords, ServerMissing, SqlServer
from proxy.mysql.auth.client import BackendAccount
from proxy.mysql.auth.scramble import CACHING_SHA2, NATIVE
from proxy.mysql.certificates import ClientFiles, TlsMode, client_context
from proxy.mysql.client_handshake import NO_TLS, BackendConnection, BackendTls, connect_backend
from proxy.mysql.constants import collations
from proxy.mysql.constants.capabilities import BACKEND_CAPABILITIES, Capability
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import AuthenticationFailed, ServerError, TlsRefused
from tests.proxy.mysql.helpers import query_one, run
from tests.servers import BOTH, ON_MYSQL, absent

pytestmark = pytest.mark.servers
SERVICE = BackendAccount(SERVICE_USER, Passwords().service.encode())
CLASSES: dict[str, type[SqlServer]] = {"mariadb": MariaDB, "mysql": MySQL97}


@dataclass(frozen=True)
class Running:
    server: SqlServer
    authority: Authority

    def tls(self, mode: TlsMode, **changes: Path) -> BackendTls:
        files: dict[str, Path] = {"ca": self.authority.ca} if mode is TlsMode.VERIFY else {}
        return BackendTls(mode, client_context(ClientFiles(mode, **files | changes)))

    async def connect(
        self, account: BackendAccount = SERVICE, tls: BackendTls = NO_TLS, **options: object
    ) -> BackendConnection:
        address = ("127.0.0.1", self.server.port)
        deadline = asyncio.get_running_loop().time() + 10
        return await connect_backend(address, account, tls, deadline=deadline, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=BOTH)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    directory = rundir.create()
    try:
        authority = Authority(directory / "certs")
        (port,) = ports.reserve()
        server = CLASSES[request.param]("db", directory, port=port, server_id=1, tls=authority.issue("db.test"))
        try:
            server.start()
        except ServerMissing as missing:
            absent(request.param, missing)
        try:
            server.create_keyspace("shop")
            yield Running(server, authority)
        finally:
            server.kill()
    finally:
        rundir.remove(directory)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("mode", list(TlsMode))
@pytest.mark.parametrize("eof", [Capability(0), Capability.DEPRECATE_EOF], ids=["eof", "deprecate-eof"])
def test_the_service_account_logs_in_and_may_ask(mode: TlsMode, eof: Capability, loop: str, running: Running) -> None:
    async def main() -> None:
        connection = await running.connect(
            tls=running.tls(mode), capabilities=BACKEND_CAPABILITIES | eof, database="shop"
        )
        with contextlib.closing(connection.sock):
            assert connection.status & Status.AUTOCOMMIT
            assert connection.flavour == running.server.flavour
            assert connection.server_version[0].isdigit()
            assert not connection.server_version.startswith("5.5.5-")
            assert (connection.tls is not None) is (mode is not TlsMode.DISABLED)
            assert bool(connection.capabilities & Capability.DEPRECATE_EOF) is bool(eof)
            assert not connection.sock.getblocking()
            assert await query_one(connection.sock) == b"\x011"
            users = running.server.query("SELECT ID, DB FROM information_schema.PROCESSLIST")
            assert (connection.thread_id, "shop") in users

    run(main(), loop)


def test_what_the_server_refuses_is_passed_on(running: Running) -> None:
    cases = [
        (replace(SERVICE, password=b"wrong"), None, 1045),
        (replace(SERVICE, password=b""), None, 1045),
        (SERVICE, "mysql", 1044),
    ]

    async def main() -> None:
        for account, database, errno in cases:
            for mode in (TlsMode.DISABLED, TlsMode.REQUIRED):
                with pytest.raises(ServerError) as caught:
                    await running.connect(account, running.tls(mode), database=database)
                assert caught.value.errno == errno
                assert caught.value.message

    run(main())


def test_an_account_that_does_not_exist_is_refused_somehow(running: Running) -> None:
    """MySQL makes up a plugin for it, maybe one that we do not speak."""

    async def main() -> None:
        for number in range(6):
            with pytest.raises((ServerError, AuthenticationFailed)):
                await running.connect(BackendAccount(f"nobody{number}", b"x"))

    run(main())


def test_too_many_connections_are_told_before_the_greeting(running: Running) -> None:
    async def main() -> None:
        connection = await running.connect()
        with contextlib.closing(connection.sock):
            running.server.run(f"SET GLOBAL max_connections = {10 if running.server.flavour == 'mariadb' else 1}")
            open_ones = []
            with pytest.raises(ServerError) as caught:
                for _ in range(20):
                    open_ones.append(await running.connect())
            assert caught.value.errno == 1040
            for one in open_ones:
                one.sock.close()

    try:
        run(main())
    finally:
        running.server.run("SET GLOBAL max_connections = 1200")


def test_verify_checks_the_servers_name_and_authority(running: Running, tmp_path: Path) -> None:
    async def main() -> None:
        stranger = Authority(tmp_path)
        right = running.tls(TlsMode.VERIFY)
        (await running.connect(tls=replace(right, server_name="db.test"))).sock.close()
        for wrong in (
            replace(right, server_name="other.test"),
            running.tls(TlsMode.VERIFY, ca=stranger.ca),
        ):
            with pytest.raises(TlsRefused):
                await running.connect(tls=wrong)

    run(main())


def test_a_client_certificate_satisfies_the_server(running: Running) -> None:
    running.server.run("CREATE USER mtls@'127.0.0.1' IDENTIFIED BY 'm' REQUIRE X509")
    files = running.authority.issue("fairlead")
    account = BackendAccount("mtls", b"m")

    async def main() -> None:
        with pytest.raises(ServerError):
            await running.connect(account, running.tls(TlsMode.REQUIRED))
        own = running.tls(TlsMode.VERIFY, cert=files.certificate, key=files.key)
        (await running.connect(account, own)).sock.close()

    run(main())


def test_many_logins_at_once(running: Running) -> None:
    async def main() -> None:
        connections = await asyncio.gather(*(running.connect() for _ in range(40)))
        assert len({connection.thread_id for connection in connections}) == 40
        for connection in connections:
            connection.sock.close()

    run(main())


def test_our_collations_are_the_servers(running: Running) -> None:
    flavour: collations.Flavour = "mariadb" if running.server.flavour == "mariadb" else "mysql"
    if flavour == "mariadb":  # COLLATIONS leaves the UCA 14.0.0 ones without an id
        statement = (
            "SELECT ID, FULL_COLLATION_NAME, CHARACTER_SET_NAME "
            "FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
        )
    else:
        statement = "SELECT ID, COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS"
    rows = running.server.query(statement)
    assert len(rows) > 280
    for number, name, charset in rows:
        ours = collations.by_id(int(number), flavour)
        assert ours is not None, name
        assert (ours.name, ours.charset) == (name, charset)
        assert collations.by_name(name, flavour) == ours
    for charset, default in running.server.query(
        "SELECT CHARACTER_SET_NAME, DEFAULT_COLLATE_NAME FROM information_schema.CHARACTER_SETS"
    ):
        if charset != "utf8mb4":  # its default differs between the two
            number = collations.default_of(charset)
            assert number is not None
            found = collations.by_id(number, flavour)
            assert found is not None
            assert found.name == default


# --- what only one of the two has --------------------------------------------------------------------------


MYSQL_ONLY = pytest.mark.parametrize("running", [ON_MYSQL], indirect=True)
ON_MARIADB = pytest.mark.parametrize("running", ["mariadb"], indirect=True)


@MYSQL_ONLY
def test_mysqls_full_exchange_by_rsa_and_by_tls(running: Running) -> None:
    pem = (running.server.datadir / "public_key.pem").read_bytes()
    forget = "FLUSH PRIVILEGES"  # empties the server's cache of proved passwords
    ways = [
        (SERVICE, NO_TLS),
        (replace(SERVICE, public_key=pem, allow_public_key_retrieval=False), NO_TLS),
        (replace(SERVICE, allow_public_key_retrieval=False), running.tls(TlsMode.REQUIRED)),
        (replace(SERVICE, password=b"wrong", public_key=pem), NO_TLS),
    ]

    async def main() -> None:
        for account, tls in ways:
            running.server.run(forget)
            for _ in range(2):  # full, then fast
                if account.password == b"wrong":
                    with pytest.raises(ServerError):
                        await running.connect(account, tls)
                else:
                    (await running.connect(account, tls)).sock.close()
        running.server.run(forget)
        with pytest.raises(AuthenticationFailed, match="public key"):
            await running.connect(replace(SERVICE, allow_public_key_retrieval=False))

    run(main())


@MYSQL_ONLY
def test_mysql_sees_our_attributes(running: Running) -> None:
    async def main() -> None:
        connection = await running.connect(attributes={"program_name": "fairlead", "fairlead_user": "ann"})
        with contextlib.closing(connection.sock):
            rows = running.server.query(
                "SELECT ATTR_NAME, ATTR_VALUE FROM performance_schema.session_connect_attrs "
                f"WHERE PROCESSLIST_ID = {connection.thread_id} ORDER BY 1"
            )
            assert rows == [("fairlead_user", "ann"), ("program_name", "fairlead")]

    run(main())


@MYSQL_ONLY
def test_mysql_switches_to_its_accounts_plugin(running: Running) -> None:
    """The greeting names caching_sha2_password; a sha256_password account is asked for by a switch."""
    running.server.run("CREATE USER old@'127.0.0.1' IDENTIFIED WITH sha256_password BY 'o'")

    async def main() -> None:
        with pytest.raises(AuthenticationFailed, match="sha256_password"):
            await running.connect(BackendAccount("old", b"o"))

    run(main())


@ON_MARIADB
def test_mariadb_tries_an_accounts_alternatives(running: Running) -> None:
    running.server.run(
        "INSTALL SONAME 'auth_ed25519'",
        "CREATE USER two@'127.0.0.1' IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('t')",
        "CREATE USER ed@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('e')",
    )

    async def main() -> None:
        (await running.connect(BackendAccount("two", b"t"))).sock.close()
        with pytest.raises(ServerError):
            await running.connect(BackendAccount("two", b"x"))
        with pytest.raises(AuthenticationFailed, match="client_ed25519"):
            await running.connect(BackendAccount("ed", b"e"))

    run(main())


def test_the_plugins_are_the_ones_we_speak(running: Running) -> None:
    plugins = {"mariadb": NATIVE, "mysql": CACHING_SHA2}
    rows = running.server.query(f"SELECT plugin FROM mysql.user WHERE user = '{SERVICE_USER}'")
    assert rows == [(plugins[running.server.flavour],)]
