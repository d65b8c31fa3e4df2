"""One connection to the console, from its login to its end: packets in, commands, answers out."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from proxy.console.database import BLOB, DATETIME, DOUBLE, INTEGER, Column, Rows
from proxy.console.language import Accepted, Diagnostics, Use, known_database
from proxy.console.statements import Token, tokens_of
from proxy.console.tables import ALL
from proxy.console.tables.configuration import MAX_PACKET
from proxy.console.tables.schema import DATABASE
from proxy.mysql.constants.collations import BINARY
from proxy.mysql.constants.commands import Command
from proxy.mysql.constants.error_codes import ErrorCode
from proxy.mysql.constants.field_types import ColumnFlag, FieldType
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import MalformedPacket
from proxy.mysql.packets.prepared import prepare_response
from proxy.mysql.packets.replies import EofPacket, ErrPacket, OkPacket
from proxy.mysql.packets.resultset import ColumnDefinition41, binary_resultset, text_resultset
from proxy.mysql.server_handshake import ClientIdentity
from proxy.mysql.wire import MAX_FRAME, Reader, frame, frame_all
from proxy.sessions.params import decode_params
from router.errors import Refusal, refusal

if TYPE_CHECKING:
    from proxy.console.server import Console

log = logging.getLogger(__name__)

STATUS = Status.AUTOCOMMIT
SEND_TIME = 30.0
"""Seconds that a client may take to read an answer."""
STATEMENTS = 64
"""Prepared statements of one session."""


class Quit(Exception):
    """The client has said goodbye, or is gone."""


class Prepared:
    """A prepared statement; `types`: of its parameters, as the client sent them last."""

    def __init__(self, tokens: Sequence[Token], text: str) -> None:
        self.tokens = tokens
        self.text = text
        self.parameters = sum(token.kind == "param" for token in tokens)
        self.types = b""


class ConsoleSession:
    """`run` is the whole of its life. `since`: Unix time of its login."""

    def __init__(self, console: Console, identity: ClientIdentity, number: int) -> None:
        self.id = number
        self.user = identity.user
        self.peer = identity.peer
        self.since = time.time()
        self.database: str | None = DATABASE
        self.warnings: list[str] = []
        self._console = console
        self._capabilities = identity.capabilities
        self._socket = identity.sock
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._prepared: dict[int, Prepared] = {}
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=1 << 16)
        try:
            while True:
                command = await self._read()
                if command is None:
                    return
                await self._send(await self._answer(command))
        except (Quit, OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._writer.wait_closed()

    async def _read(self) -> bytes | None:
        """The next command; None when the client has been silent for too long, or breaks the protocol."""
        try:
            async with asyncio.timeout(self._console.settings.idle_time):
                header = await self._reader.readexactly(4)
                size = int.from_bytes(header[:3], "little")
                if size == 0 or size > MAX_PACKET or size == MAX_FRAME:
                    error = (
                        refusal("PACKET_TOO_LARGE", str(MAX_PACKET))
                        if size
                        else refusal("MALFORMED_PACKET", "empty")
                    )
                    await self._send(self._error(error))
                    return None
                return await self._reader.readexactly(size)
        except TimeoutError:
            error = refusal("IDLE_TIMEOUT", f"{self._console.settings.idle_time:g}s")
            with contextlib.suppress(OSError):
                await self._send(frame(_packet(error), 0))
            return None

    async def _send(self, packets: bytes) -> None:
        if packets:
            self._writer.write(packets)
            async with asyncio.timeout(SEND_TIME):
                await self._writer.drain()

    # --- commands -------------------------------------------------------------------------------------------

    async def _answer(self, command: bytes) -> bytes:
        """Never raises for what a client may send, but Quit."""
        try:
            return await self._command(command[0], command[1:], command)
        except Refusal as error:
            return self._error(error)
        except MalformedPacket as error:
            return self._error(refusal("MALFORMED_PACKET", str(error)))
        except UnicodeDecodeError:
            return self._error(refusal("CONSOLE_SYNTAX", "it is not UTF-8"))
        except (Quit, asyncio.CancelledError, OSError):
            raise
        except Exception as error:
            # The class alone: texts of exceptions may quote the statement.
            log.error(
                "a console command failed: %s", type(error).__name__, exc_info=log.isEnabledFor(logging.DEBUG)
            )
            return self._error(refusal("INTERNAL", "the console could not answer"))

    async def _command(self, number: int, rest: bytes, whole: bytes) -> bytes:
        match number:
            case Command.QUERY:
                return await self._query(rest.decode())
            case Command.PING | Command.SET_OPTION | Command.STMT_RESET:
                return self._ok() if number != Command.SET_OPTION else frame(EofPacket(0, STATUS).build(), 1)
            case Command.QUIT:
                raise Quit
            case Command.INIT_DB:
                self.database = known_database(rest.decode())
                return self._ok()
            case Command.FIELD_LIST:
                return self._field_list(rest)
            case Command.STMT_PREPARE:
                return await self._prepare(rest.decode())
            case Command.STMT_EXECUTE:
                return await self._execute(rest, whole)
            case Command.STMT_CLOSE:
                self._prepared.pop(Reader(rest).uint(4), None)
                return b""
            case Command.RESET_CONNECTION:
                self._prepared.clear()
                self.warnings = []
                return self._ok()
            case Command.STATISTICS:
                return frame(b"Fairlead admin console", 1)
            case Command.PROCESS_KILL:
                return await self._query(f"KILL {Reader(rest).uint(4)}")
        raise refusal("COMMAND", _name_of(number), "Use COM_QUERY")

    async def _query(self, text: str, parameters: Sequence[Any] = (), binary: bool = False) -> bytes:
        return await self._run(tokens_of(text), text, parameters, binary)

    async def _run(
        self, tokens: Sequence[Token], text: str, parameters: Sequence[Any], binary: bool
    ) -> bytes:
        if not tokens:
            return self._ok()
        meant = self._console.meaning(self, tokens, text)
        match meant:
            case Accepted():
                return self._ok()
            case Use(name):
                self.database = name
                return self._ok()
            case Diagnostics(count):
                return self._rows(self._diagnostics(count), binary, keep=True)
            case _:
                rows, self.warnings = await self._console.answer(self, meant, parameters)
                return self._rows(rows, binary)

    def _diagnostics(self, count: bool) -> Rows:
        if count:
            return Rows((Column("@@session.warning_count", INTEGER),), [(len(self.warnings),)])
        columns = (Column("Level", "TEXT"), Column("Code", INTEGER), Column("Message", "TEXT"))
        return Rows(columns, [("Warning", int(ErrorCode.UNKNOWN_ERROR), text) for text in self.warnings])

    def _field_list(self, rest: bytes) -> bytes:
        """COM_FIELD_LIST: what command-line clients complete names with."""
        table = Reader(rest).nul_bytes().decode().lower()
        found = ALL.get((self.database or DATABASE, table))
        if found is None:
            raise refusal("CONSOLE_NO_TABLE", table)
        columns = [definition(Column(one.name, one.type), table).build() + b"\xfb" for one in found.columns]
        return frame_all([*columns, EofPacket(0, STATUS).build()], 1)

    # --- prepared statements --------------------------------------------------------------------------------

    async def _prepare(self, text: str) -> bytes:
        if len(self._prepared) >= STATEMENTS:
            raise refusal("STATEMENTS_LIMIT", str(STATEMENTS))
        statement = Prepared(tokens_of(text), text)
        columns: Sequence[Column] = ()
        if statement.tokens:
            meant = self._console.meaning(self, statement.tokens, text)
            columns = await self._console.columns(self, meant)
        number = next(self._numbers)
        self._prepared[number] = statement
        parameters = [ColumnDefinition41.string("?")] * statement.parameters
        return prepare_response(
            number, parameters, [definition(one) for one in columns], self._capabilities, STATUS
        )

    async def _execute(self, rest: bytes, whole: bytes) -> bytes:
        statement = self._prepared.get(Reader(rest).uint(4))
        if statement is None:
            raise refusal("UNKNOWN_PREPARED", "of this connection")
        values = decode_params(whole, statement.parameters, statement.types, "utf8mb4")
        at = 10 + (statement.parameters + 7) // 8
        if statement.parameters and whole[at] == 1:
            statement.types = whole[at + 1 : at + 1 + 2 * statement.parameters]
        return await self._run(statement.tokens, statement.text, values, True)

    # --- answers --------------------------------------------------------------------------------------------

    def _rows(self, found: Rows, binary: bool, keep: bool = False) -> bytes:
        columns = [definition(column) for column in found.columns]
        if not columns:
            return self._ok()
        warnings = 0 if keep else min(len(self.warnings), 0xFFFF)
        if binary:
            return binary_resultset(
                columns,
                map(_native(found.columns), found.rows),
                self._capabilities,
                STATUS,
                warnings=warnings,
            )
        return text_resultset(columns, found.rows, self._capabilities, STATUS, warnings=warnings)

    def _ok(self) -> bytes:
        self.warnings = []
        return frame(OkPacket(status=STATUS).build(self._capabilities), 1)

    def _error(self, error: Refusal) -> bytes:
        return frame(_packet(error), 1)


def _packet(error: Refusal) -> bytes:
    return ErrPacket(error.errno, error.sqlstate, error.message).build()


def _name_of(number: int) -> str:
    try:
        return f"COM_{Command(number).name}"
    except ValueError:
        return f"0x{number:02x}"


def definition(column: Column, table: str = "") -> ColumnDefinition41:
    """As MySQL describes it."""
    if column.type == INTEGER:
        return ColumnDefinition41(
            column.name, FieldType.LONGLONG, BINARY, 20, ColumnFlag.BINARY | ColumnFlag.NUM
        )
    if column.type == DOUBLE:
        return ColumnDefinition41.double(column.name)
    if column.type == DATETIME:
        return ColumnDefinition41(column.name, FieldType.DATETIME, BINARY, 23, ColumnFlag.BINARY, decimals=3)
    if column.type == BLOB:
        return ColumnDefinition41(
            column.name, FieldType.BLOB, BINARY, 1 << 24, ColumnFlag.BLOB | ColumnFlag.BINARY
        )
    return ColumnDefinition41(column.name, FieldType.VAR_STRING, length=16 * 1024 * 4, table=table)


def _native(columns: Sequence[Column]) -> Any:
    """Rows for the binary protocol, which wants dates as such."""
    dates = [index for index, column in enumerate(columns) if column.type == DATETIME]

    def convert(row: tuple[Any, ...]) -> Sequence[Any]:
        if not dates:
            return row
        cells = list(row)
        for index in dates:
            if cells[index] is not None:
                cells[index] = datetime.datetime.fromisoformat(cells[index])
        return cells

    return convert
