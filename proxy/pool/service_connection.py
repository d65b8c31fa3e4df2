"""A connection of Fairlead itself to one of its servers, for reading the schema: aiomysql, bounded.

aiomysql trusts the server more than we may. `_Guarded` closes three doors before a password is sent: TLS
that the settings require but the server does not offer, a plugin that sends the password as text (a server
may ask for `mysql_clear_password` at any point of the handshake), and plugins nobody configured. Results
are read row by row up to a limit, every wait has a deadline, and a failure of whatever kind ends the
connection: after it the place in the protocol is unknown.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import aiomysql  # type: ignore[import-untyped]
from pymysql.constants import CLIENT, COMMAND

from config.settings import Account, Address, ServerTls, TlsSettings
from config.words import Flavour, TlsMode, TlsVersion
from proxy.mysql.certificates import ClientFiles, TlsFilesError, client_context
from proxy.mysql.certificates import TlsMode as CertificateMode
from proxy.mysql.proxy_protocol import header

Row: TypeAlias = tuple[Any, ...]
T = TypeVar("T")

CHARSET = "utf8mb4"
PROGRAM_NAME = "fairlead-monitor"
SAFE_PLUGINS = frozenset({"mysql_native_password", "caching_sha2_password"})
MAX_ERROR_TEXT = 256

# What a server says when it is alive and cannot take one more connection (mysqld_error.txt:
# ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED, ER_OUT_OF_RESOURCES).
BUSY_ERRNOS = frozenset({1040, 1203, 1226, 1041})
DENIED_ERRNOS = frozenset({1044, 1045, 1130, 1698, 3118, 3159, 4151})


class FailureKind(StrEnum):
    """Why a server could not be asked."""

    UNREACHABLE = "unreachable"  # no connection, or it broke
    TIMEOUT = "timeout"  # no answer within the deadline
    BUSY = "busy"  # it answers, and has no connection left
    DENIED = "denied"  # it answers, and does not let the account in
    INSECURE = "insecure"  # TLS or the authentication method is not what the settings demand
    WRONG_SERVER = "wrong-server"  # it is not the kind of server that the settings name
    PROTOCOL = "protocol"  # what it said was not MySQL, or more than the limit
    REFUSED = "refused"  # it refused a statement: privileges, a variable it does not have


class ServerUnavailable(Exception):
    """A server could not be asked. `text` is for operators; it may quote a server's message, never a row."""

    def __init__(self, kind: FailureKind, text: str, errno: int = 0) -> None:
        super().__init__(f"{kind}: {text[:MAX_ERROR_TEXT]}")
        self.kind = kind
        self.text = text[:MAX_ERROR_TEXT]
        self.errno = errno


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whom to connect to, and how."""

    host: str
    port: int
    flavour: Flavour
    account: Account
    tls: ServerTls
    tls_minimum: TlsVersion = TlsSettings().minimum
    proxied: str | None = None
    """What a PROXY protocol header says: `local` or an address; None sends none."""

    def __str__(self) -> str:
        return str(Address(self.host, self.port))


def tls_context(tls: ServerTls, minimum: TlsVersion) -> ssl.SSLContext | None:
    """The client side of TLS to a server; None when disabled. Reads the files anew, so renewed ones are used.

    Raises TlsFilesError.
    """
    context = client_context(ClientFiles(CertificateMode(tls.mode.value), tls.ca, tls.cert, tls.key))
    if context is not None and minimum is TlsVersion.TLS_1_3:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class _Guarded(aiomysql.Connection):  # type: ignore[misc]
    """aiomysql's connection, asked not to give the password away. Overrides three of its internal steps."""

    def __init__(self, *, tls_mode: TlsMode, tls_name: str | None, proxied: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._proxied = proxied
        self._host: str
        self._tls_mode = tls_mode
        self._address: str = options["host"]
        self._tls_name = tls_name

    async def _get_server_information(self) -> None:
        if self._proxied is not None:
            self._writer.write(header(self._proxied, self._writer.get_extra_info("socket")))
        await super()._get_server_information()

    async def _request_authentication(self) -> None:
        if not self.server_capabilities & CLIENT.SSL:
            if self._tls_mode in (TlsMode.REQUIRED, TlsMode.VERIFY):
                raise ServerUnavailable(FailureKind.INSECURE, "the server offers no TLS, which is required")
            self._ssl_context = None
            self.client_flag &= ~CLIENT.SSL
        if self._server_auth_plugin not in SAFE_PLUGINS:
            # Begin with one we would answer; the server then asks for the account's own.
            self._client_auth_plugin = "mysql_native_password"
        if self._tls_name:
            self._host = self._tls_name  # aiomysql checks the certificate against the host it holds
        try:
            await super()._request_authentication()
        except BaseException:
            self._writer.transport.abort()  # aiomysql would end TLS politely, and wait for it
            raise
        finally:
            self._host = self._address

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        name = plugin_name.decode("ascii", "replace")
        if name not in SAFE_PLUGINS:
            raise ServerUnavailable(
                FailureKind.INSECURE,
                f"the server asks for {name[:64]}; the account must use one of "
                f"{', '.join(sorted(SAFE_PLUGINS))}",
            )
        return await super()._process_auth(plugin_name, auth_packet)


class ServiceConnection:
    """One open connection. Made by `connect`; used by one task at a time."""

    def __init__(self, raw: _Guarded, flavour: Flavour) -> None:
        self._raw = raw
        # Kept apart: when a read is cancelled aiomysql begins a polite end, which may take long, and
        # forgets it.
        self._transport = raw._writer.transport
        self.flavour = flavour
        # MariaDB announces itself as 5.5.5-10.11…, for replicas of long ago.
        self.version: str = raw.get_server_info().removeprefix("5.5.5-")
        self.id: int = raw.thread_id()

    async def query(self, sql: str, timeout: float, max_rows: int = 1000) -> list[Row]:
        """All rows of one statement. Raises ServerUnavailable; then the connection is closed, unless the
        server merely refused the statement (kind REFUSED).
        """
        return (await self._bounded(self._rows(sql, max_rows), timeout))[1]

    async def query_named(self, sql: str, timeout: float, max_rows: int = 1000) -> list[dict[str, Any]]:
        """The same with each row as a mapping by column name, for SHOW, whose columns vary with the
        version.
        """
        names, rows = await self._bounded(self._rows(sql, max_rows), timeout)
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def ping(self, timeout: float) -> None:
        """COM_PING. Raises ServerUnavailable; then the connection is closed."""
        await self._bounded(self._raw.ping(reconnect=False), timeout)

    async def _bounded(self, work: Awaitable[T], timeout: float) -> T:
        try:
            async with asyncio.timeout(timeout):
                return await work
        except Exception as error:
            failure = _failure(error)
            if failure.kind is not FailureKind.REFUSED:
                self.close()
            raise failure from None
        except BaseException:
            self.close()
            raise

    async def _rows(self, sql: str, max_rows: int) -> tuple[list[str], list[Row]]:
        cursor: Any = await self._raw.cursor(aiomysql.SSCursor)
        await cursor.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        rows = list(await cursor.fetchmany(max_rows + 1)) if names else []
        if len(rows) > max_rows:
            raise ServerUnavailable(FailureKind.PROTOCOL, f"more than {max_rows} rows")
        await cursor.close()
        return names, [tuple(row) for row in rows]

    @property
    def closed(self) -> bool:
        return bool(self._raw.closed)

    def close(self) -> None:
        """At once, without COM_QUIT: a server that hangs must not hold us."""
        self._transport.abort()
        self._raw.close()

    async def __aenter__(self) -> Self:
        return self

    async def quit(self) -> None:
        """Politely, so that the server does not log an aborted connection."""
        with suppress(Exception):
            await self._raw._execute_command(COMMAND.COM_QUIT, "")
            await asyncio.sleep(0)  # uvloop sends at the end of its turn
        self.close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.quit()
        else:
            self.close()


async def connect(endpoint: Endpoint, timeout: float) -> ServiceConnection:
    """Connects, encrypts as the settings say, logs in, checks the flavour. Raises ServerUnavailable."""
    raw: _Guarded | None = None
    try:
        async with asyncio.timeout(timeout):
            raw = _connection(endpoint)
            await raw._connect()
            return ServiceConnection(raw, checked_flavour(endpoint, raw.get_server_info()))
    except BaseException as error:
        if raw is not None and raw._writer is not None:
            raw._writer.transport.abort()
            raw.close()
        if isinstance(error, Exception):
            raise _failure(error) from None
        raise


def _connection(endpoint: Endpoint) -> _Guarded:
    # aiomysql encodes passwords as latin-1; MySQL's own clients send the bytes they were given, here UTF-8.
    password = endpoint.account.password.reveal().encode().decode("latin-1")
    return _Guarded(
        tls_mode=endpoint.tls.mode,
        tls_name=endpoint.tls.name,
        proxied=endpoint.proxied,
        host=endpoint.host,
        unix_socket=endpoint.host if endpoint.host.startswith("/") else None,
        port=endpoint.port,
        user=endpoint.account.user,
        password=password,
        ssl=tls_context(endpoint.tls, endpoint.tls_minimum),
        charset=CHARSET,
        autocommit=True,
        program_name=PROGRAM_NAME,
    )


def checked_flavour(endpoint: Endpoint, version: str) -> Flavour:
    """What the greeting says. Raises ServerUnavailable when the settings say otherwise."""
    found = Flavour.MARIADB if "mariadb" in version.lower() else Flavour.MYSQL
    if found is not endpoint.flavour:
        raise ServerUnavailable(
            FailureKind.WRONG_SERVER, f"the settings say {endpoint.flavour}, the server says {version[:64]!r}"
        )
    return found


def _failure(error: Exception) -> ServerUnavailable:
    """Whatever aiomysql, asyncio, ssl or a server's nonsense raised, as one value."""
    if isinstance(error, ServerUnavailable):
        return error
    if isinstance(error, TimeoutError):
        return ServerUnavailable(FailureKind.TIMEOUT, "no answer in time")
    if isinstance(error, TlsFilesError):
        return ServerUnavailable(FailureKind.INSECURE, str(error))
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError) or isinstance(error, ssl.SSLError):
        return ServerUnavailable(FailureKind.INSECURE, f"TLS: {cause or error}")
    if isinstance(error, aiomysql.MySQLError):
        return _server_failure(error)
    if isinstance(error, OSError):
        return ServerUnavailable(FailureKind.UNREACHABLE, str(error))
    # A server that speaks nonsense makes the client library raise whatever it stumbles over.
    return ServerUnavailable(FailureKind.PROTOCOL, f"{type(error).__name__}: not understood")


def _server_failure(error: Exception) -> ServerUnavailable:
    errno = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    if errno in BUSY_ERRNOS:
        return ServerUnavailable(FailureKind.BUSY, text, errno)
    if errno in DENIED_ERRNOS:
        return ServerUnavailable(FailureKind.DENIED, text, errno)
    if isinstance(error, aiomysql.InternalError) and not errno:
        return ServerUnavailable(FailureKind.PROTOCOL, text)
    if errno == 0 or 2000 <= errno < 3000:  # CR_*: the client library's own, about the connection
        cause = error.__cause__
        return ServerUnavailable(FailureKind.UNREACHABLE, str(cause) if cause else text, errno)
    return ServerUnavailable(FailureKind.REFUSED, text, errno)
