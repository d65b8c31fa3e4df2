"""A MySQL client connection for load generators: asyncio, one object per connection, one command at a time.

Speaks what a load needs: login by mysql_native_password or the fast path of caching_sha2_password, COM_QUERY,
COM_STMT_PREPARE and COM_STMT_EXECUTE, within TLS or compressed packets where it is given a layer for that; and it can
end a connection in every rude way there is.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Self, cast

from loadtest.bench.layers import Layer
from loadtest.bench.packets import (
    CLIENT_SSL,
    COM_QUERY,
    COM_QUIT,
    COM_STMT_PREPARE,
    MAX_PAYLOAD,
    Cell,
    ConnectionLost,
    Greeting,
    Result,
    ServerError,
    Statement,
    WireError,
    execute_payload,
    length_encoded_int,
    login_packet,
    packet,
    parse_binary_row,
    parse_column,
    parse_error,
    parse_greeting,
    parse_ok,
    parse_text_row,
    scramble,
    tls_request,
)

Handler = Callable[[bytes, int], None]


class _Phase(Enum):
    """What the next packet of the answer is."""

    FIRST = "first"
    COLUMNS = "columns"
    COLUMNS_END = "columns end"
    ROWS = "rows"
    PARAMETERS = "parameters"
    PARAMETERS_END = "parameters end"


class Connection(asyncio.Protocol):
    """One client connection; at most one command is under way.

    Every command raises ServerError (the connection lives on), ConnectionLost, WireError or TimeoutError.
    After a TimeoutError the connection is aborted, because a late answer would be taken for the next one's.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[object] | None = None
        self._lost: Exception | None = None
        self._ended = False
        self._handler: Handler = self._on_greeting
        self._phase = _Phase.FIRST
        self._columns: list[tuple[str, int, bool]] = []
        self._types: list[tuple[int, bool]] = []
        self._expected = 0
        self._rows: list[tuple[Cell, ...]] = []
        self._binary = False
        self._statement = Statement(0, 0, 0)
        self._login = ("", "", "")
        self._asked: Layer | None = None
        self._layer: Layer | None = None
        self.greeting: Greeting | None = None
        self.sent_ns = 0
        self.answered_ns = 0

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        user: str,
        password: str,
        database: str,
        timeout: float = 10.0,
        layer: Layer | None = None,
    ) -> Self:
        """Connects and logs in. WireError also when the server does not offer the layer."""
        loop = asyncio.get_running_loop()
        connection = cls()
        connection._login, connection._asked = (user, password, database), layer
        connection._waiter = loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await loop.create_connection(lambda: connection, host, port)
                await connection._waiter
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        except BaseException:
            connection.abort()
            raise
        finally:
            connection._waiter = None
        return connection

    async def query(self, sql: str | bytes, timeout: float = 30.0) -> Result:
        """COM_QUERY in the text protocol."""
        self._binary = False
        text = sql.encode() if isinstance(sql, str) else sql
        return cast(Result, await self._command(bytes((COM_QUERY,)) + text, self._on_result, timeout))

    async def prepare(self, sql: str, timeout: float = 30.0) -> Statement:
        payload = bytes((COM_STMT_PREPARE,)) + sql.encode()
        return cast(Statement, await self._command(payload, self._on_prepared, timeout))

    async def execute(
        self,
        statement: Statement,
        values: Sequence[int | str | bytes | None] = (),
        timeout: float = 30.0,
        types: bool = True,
    ) -> Result:
        """COM_STMT_EXECUTE; see `execute_payload` for `types`."""
        self._binary = True
        payload = execute_payload(statement, values, types)
        return cast(Result, await self._command(payload, self._on_result, timeout))

    def quit(self) -> None:
        """COM_QUIT and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._send(packet(bytes((COM_QUIT,))))
            self._transport.close()

    def close(self) -> None:
        """Ends the connection by FIN, without COM_QUIT."""
        if self._transport is not None:
            self._transport.close()

    def half_close(self) -> None:
        """FIN in our direction only: the server may still answer."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
            self._ended = True

    def abort(self) -> None:
        """Ends the connection by RST (SO_LINGER of zero seconds)."""
        if self._transport is None or self._transport.is_closing():
            return
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    @property
    def alive(self) -> bool:
        return self._lost is None and self._transport is not None and not self._transport.is_closing()

    async def _command(self, payload: bytes, handler: Handler, timeout: float) -> object:
        if self._waiter is not None:
            raise RuntimeError("a command is already under way on this connection")
        self._handler, self._phase = handler, _Phase.FIRST
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        try:
            self.sent_ns = time.perf_counter_ns()
            self._write(packet(payload))
            async with asyncio.timeout(timeout):
                return await waiter
        except (TimeoutError, asyncio.CancelledError):
            self.abort()
            raise
        finally:
            self._waiter = None

    def _write(self, data: bytes) -> None:
        if self._ended or self._lost is not None or self._transport is None or self._transport.is_closing():
            raise ConnectionLost(str(self._lost or "closed"))
        self._send(data)

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data if self._layer is None else self._layer.seal(data))

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or ConnectionResetError("closed by the other side")
        self._fail(ConnectionLost(str(self._lost)))

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        if self._layer is None:
            self._take(data)
            return
        try:
            plain, answer = self._layer.open(data)
        except WireError as error:
            self._fail(error)
            self.abort()
            return
        if answer and self._transport is not None:
            self._transport.write(answer)
        self._take(plain)

    def _take(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at, end = 0, len(buffer)
        try:
            while end - at >= 4:
                size = buffer[at] | buffer[at + 1] << 8 | buffer[at + 2] << 16
                if end - at < 4 + size:
                    break
                if size == MAX_PAYLOAD:
                    raise WireError("an answer of 16 MiB: this load client does not join packets")
                self._handler(bytes(buffer[at + 4 : at + 4 + size]), buffer[at + 3])
                at += 4 + size
        except (ServerError, WireError) as error:
            at += 4 + size
            self._fail(error)
        except (IndexError, KeyError, ValueError, struct.error) as error:
            self._fail(WireError(f"a packet that cannot be read: {error!r}"))
            self.abort()
        del buffer[:at]

    def _finish(self, value: object) -> None:
        self.answered_ns = time.perf_counter_ns()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(value)

    def _fail(self, error: Exception) -> None:
        self.answered_ns = time.perf_counter_ns()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # --- packet handlers ---

    def _on_greeting(self, payload: bytes, sequence: int) -> None:
        self.greeting = parse_greeting(payload)
        self._handler = self._on_login
        more = 0 if self._asked is None else self._asked.capability
        if more & ~self.greeting.capabilities:
            raise WireError(f"the server does not offer capability {more:#x}")
        if more & CLIENT_SSL:
            self._write(tls_request())
            self._layer = self._asked
        self._write(login_packet(*self._login, self.greeting, more))

    def _on_login(self, payload: bytes, sequence: int) -> None:
        head = payload[0]
        if head == 0x00:
            self._layer = self._asked
            self._finish(parse_ok(payload))
        elif head == 0xFF:
            raise parse_error(payload)
        elif head == 0xFE:
            plugin, _, challenge = payload[1:].partition(b"\0")
            answer = scramble(plugin.decode(), self._login[1].encode(), challenge.rstrip(b"\0"))
            self._write(packet(answer, sequence + 1))
        elif payload == b"\x01\x04":
            raise WireError("the server wants full authentication: give the user mysql_native_password")
        elif payload != b"\x01\x03":
            raise WireError(f"unexpected packet during login: {payload[:16]!r}")

    def _on_result(self, payload: bytes, sequence: int) -> None:
        phase = self._phase
        if phase is _Phase.ROWS:
            self._on_row(payload)
        elif phase is _Phase.FIRST:
            self._on_first(payload)
        elif phase is _Phase.COLUMNS:
            self._columns.append(parse_column(payload))
            if len(self._columns) == self._expected:
                self._phase = _Phase.COLUMNS_END
        else:
            self._types = [(kind, unsigned) for _, kind, unsigned in self._columns]
            self._rows, self._phase = [], _Phase.ROWS

    def _on_first(self, payload: bytes) -> None:
        if payload[0] == 0x00:
            self._finish(parse_ok(payload))
        elif payload[0] == 0xFF:
            raise parse_error(payload)
        elif payload[0] == 0xFB:
            raise WireError("LOCAL INFILE was asked for")
        else:
            self._expected = length_encoded_int(payload, 0)[0] or 0
            self._columns, self._phase = [], _Phase.COLUMNS

    def _on_row(self, payload: bytes) -> None:
        if payload[0] == 0xFE and len(payload) < 9:
            status = int.from_bytes(payload[3:5], "little")
            names = tuple(name for name, _, _ in self._columns)
            self._finish(Result(names, self._rows, 0, 0, status))
        elif payload[0] == 0xFF:
            raise parse_error(payload)
        elif self._binary:
            self._rows.append(parse_binary_row(payload, self._types))
        else:
            self._rows.append(parse_text_row(payload, len(self._columns)))

    def _on_prepared(self, payload: bytes, sequence: int) -> None:
        if self._phase is _Phase.FIRST:
            self._on_prepare_ok(payload)
            return
        if self._phase in (_Phase.PARAMETERS, _Phase.COLUMNS):
            self._expected -= 1
            if self._expected == 0:
                self._phase = _Phase.PARAMETERS_END if self._phase is _Phase.PARAMETERS else _Phase.COLUMNS_END
        elif self._phase is _Phase.PARAMETERS_END and self._statement.columns:
            self._phase, self._expected = _Phase.COLUMNS, self._statement.columns
        else:
            self._finish(self._statement)

    def _on_prepare_ok(self, payload: bytes) -> None:
        if payload[0] == 0xFF:
            raise parse_error(payload)
        number, columns, parameters = struct.unpack_from("<IHH", payload, 1)
        self._statement = Statement(number, parameters, columns)
        if parameters:
            self._phase, self._expected = _Phase.PARAMETERS, parameters
        elif columns:
            self._phase, self._expected = _Phase.COLUMNS, columns
        else:
            self._finish(self._statement)
