"""The console's port: who comes in, how many, and what their statements are answered with."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from config.addresses import is_loopback
from config.admin import AdminSettings
from config.settings import AdminListener
from proxy.console import functions as own
from proxy.console.database import Bounds, Column, Database, Rows
from proxy.console.guard import accounts_of, is_admin
from proxy.console.language import QUERIES, Accepted, Diagnostics, Meant, Select, Use, meant
from proxy.console.session import ConsoleSession
from proxy.console.sources import Session, Sources
from proxy.console.statements import Query, Token, query_of
from proxy.console.tables import ALL
from proxy.console.tables.configuration import VERSION, variables
from proxy.console.tables.schema import DATABASE
from proxy.console.verbs import Verb, Verbs, verb_of
from proxy.console.workers import Workers
from proxy.mysql.auth.accounts import Accounts
from proxy.mysql.auth.backoff import Backoff
from proxy.mysql.auth.rsa import RsaKeyPair
from proxy.mysql.certificates import ServerFiles, TlsContexts, TlsFilesError
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import AuthenticationFailed, HandshakeRefused, WireError
from proxy.mysql.server_handshake import ClientIdentity, ServerHandshakeConfig, serve_handshake
from proxy.pauses import paused
from router.errors import refusal

if TYPE_CHECKING:
    from proxy.supervision.admin import Admin

log = logging.getLogger(__name__)

T = TypeVar("T")

LOGGING_IN = 16
"""Connections that may be logging in at once; further ones wait in the kernel's backlog."""
THREADS = 2
"""Queries that run at once; further ones wait."""


class Console:
    """One console. `admin` knows the configuration in force and the supervisor."""

    def __init__(self, admin: Admin, listener: socket.socket) -> None:
        self.admin = admin
        self.workers = Workers(admin.start.workers, admin.start.page)
        self.verbs = Verbs(self)
        self._listener = listener
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="console")
        self._backoff = Backoff(told=paused)
        self._rsa = RsaKeyPair()
        self._sessions: dict[ConsoleSession, asyncio.Task[None]] = {}
        self._logins: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(LOGGING_IN)
        self._ids = iter(range(1, 2**31))
        self._accounts: Accounts
        self._contexts: TlsContexts | None = None
        self.configure()

    @property
    def settings(self) -> AdminSettings:
        return self.admin.in_force.settings.admin

    def configure(self) -> None:
        """By the configuration in force; sessions of accounts that are gone end."""
        self._accounts = accounts_of(self.settings.accounts, self.admin.start.secret)
        files = {}
        for name, one in self.admin.in_force.settings.listeners_of(AdminListener).items():
            if one.tls is not None:
                files[name] = ServerFiles(
                    one.tls.cert, one.tls.key, one.tls.ca, "required" if one.tls.ca else "none"
                )
        try:
            self._contexts = TlsContexts(files)
        except TlsFilesError as error:
            log.error("the console's certificate: %s", error)
        for session, task in self._sessions.items():
            if session.user not in self.settings.accounts:
                task.cancel()

    # --- life -----------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Until `close`."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        self._listener.listen(LOGGING_IN)
        self.workers.open()
        while True:
            await self._room.acquire()
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                self._room.release()
                log.error("the console cannot accept: %s", error)
                await asyncio.sleep(1.0)
                continue
            task = loop.create_task(self._log_in(sock))
            self._logins.add(task)
            task.add_done_callback(self._logged_in)

    def _logged_in(self, task: asyncio.Task[None]) -> None:
        self._logins.discard(task)
        self._room.release()

    async def close(self) -> None:
        self.workers.close()
        tasks = [*self._sessions.values(), *self._logins]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- logging in -----------------------------------------------------------------------------------------

    async def _log_in(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        number = next(self._ids)
        address = _address(sock)
        try:
            identity = await serve_handshake(sock, self._handshake(), connection_id=number)
        except AuthenticationFailed as error:
            log.warning("console: login refused: %s", error)
        except (WireError, OSError, TimeoutError) as error:
            log.info("console: no login from %s: %s", address, error)
        else:
            self._begin(identity, number)

    def _handshake(self) -> ServerHandshakeConfig:
        ((name, listener),) = self.admin.in_force.settings.listeners_of(AdminListener).items()
        context = (
            self._contexts.server(name) if self._contexts is not None and listener.tls is not None else None
        )
        return ServerHandshakeConfig(
            accounts=self._accounts,
            server_version=VERSION,
            tls=context,
            tls_required=context is not None
            and (listener.tls is None or listener.tls.required or not is_loopback(listener.address)),
            timeout=self.admin.in_force.settings.limits.handshake,
            rsa=self._rsa,
            admit=self._admit,
            backoff=self._backoff,
        )

    def _admit(self, identity: ClientIdentity) -> Status:
        if len(self._sessions) >= self.settings.sessions:
            error = refusal("TOO_MANY_CLIENTS")
            raise HandshakeRefused(error.errno, f"{error.id}: admin.sessions is reached", error.sqlstate)
        if identity.database is not None and identity.database.lower() not in (
            DATABASE,
            "information_schema",
        ):
            error = refusal("UNKNOWN_DATABASE", identity.database)
            raise HandshakeRefused(error.errno, error.message, error.sqlstate)
        return Status.AUTOCOMMIT

    def _begin(self, identity: ClientIdentity, number: int) -> None:
        session = ConsoleSession(self, identity, number)
        task = asyncio.ensure_future(session.run())
        self._sessions[session] = task
        log.info("console: %s from %s is connection %d", identity.user, identity.peer, number)

        def ended(task: asyncio.Task[None]) -> None:
            del self._sessions[session]
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("console: connection %d ended: %s", number, type(error).__name__)

        task.add_done_callback(ended)

    # --- statements -----------------------------------------------------------------------------------------

    def meaning(self, session: ConsoleSession, tokens: Sequence[Token], text: str) -> Query | Meant | Verb:
        """What a statement asks for. Raises Refusal."""
        if tokens[0].text.upper() in QUERIES:
            return query_of(tokens)
        verb = verb_of(tokens, text)
        return verb if verb is not None else meant(tokens, session.database)

    async def answer(
        self, session: ConsoleSession, what: Query | Meant | Verb, parameters: Sequence[Any]
    ) -> tuple[Rows, list[str]]:
        """The rows, and what could not be learned. Raises Refusal."""
        if isinstance(what, Verb):
            return await self.verbs.run(self.who(session), what), []
        assert not isinstance(what, Use | Accepted | Diagnostics)
        return await self.select(session, _query(what), parameters)

    async def columns(self, session: ConsoleSession, what: Query | Meant | Verb) -> tuple[Column, ...]:
        """What a prepared statement announces; nothing for what is no query."""
        if not isinstance(what, Query | Select):
            return ()
        query = _query(what)
        database = await self.in_thread(self._database, session, query)
        try:
            await self.in_thread(database.tables_of, query)
            return await self.in_thread(database.columns_of, query)
        finally:
            database.close()

    async def select(
        self, session: ConsoleSession, query: Query, parameters: Sequence[Any]
    ) -> tuple[Rows, list[str]]:
        database = await self.in_thread(self._database, session, query)
        running: asyncio.Future[Rows] | None = None
        try:
            used = await self.in_thread(database.tables_of, query)
            tables = [ALL[place] for place in used if place in ALL]
            questions = {table.asks for table in tables if table.asks is not None}
            sources = self.sources(session)
            sources.replies = {what: await self.workers.all(what) for what in questions}

            def make() -> Rows:
                for table in tables:
                    database.fill(table, table.rows(sources))
                database.start()
                return database.run(query, parameters)

            running = asyncio.ensure_future(self.in_thread(make))
            return await asyncio.shield(running), list(dict.fromkeys(sources.warnings))
        except asyncio.CancelledError:
            database.cancel()
            raise
        finally:
            if running is None or running.done():
                database.close()
            else:
                running.add_done_callback(lambda _: database.close())

    def _database(self, session: ConsoleSession, query: Query) -> Database:
        settings = self.settings
        facts = {
            "user": f"{session.user}@{session.peer}", "database": session.database, "connection_id": session.id,
            "now": time.time(),
        }  # fmt: skip
        found = own.functions(query, variables(self.admin.in_force.settings), facts)
        return Database(ALL.values(), Bounds(settings.query_time, settings.rows, settings.answer), found)

    def who(self, session: ConsoleSession) -> Session:
        return Session(session.id, session.user, session.peer, is_admin(self.settings.accounts, session.user))

    def sources(self, session: ConsoleSession) -> Sources:
        in_force = self.admin.in_force
        return Sources(
            page=self.admin.start.page,
            settings=in_force.settings,
            number=in_force.number,
            config=in_force.config,
            metastore=self.admin.start.metastore,
            session=self.who(session),
            console=[(self.who(one), one.since) for one in self._sessions],
        )

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _query(what: Query | Meant) -> Query:
    return Query(what.sql, what.sql, 0, {}) if isinstance(what, Select) else what  # type: ignore[return-value]


def _address(sock: socket.socket) -> str:
    with contextlib.suppress(OSError):
        return str(sock.getpeername()[0]).removeprefix("::ffff:")
    return "unknown"
