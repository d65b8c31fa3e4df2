"""A server that says exactly what a test wants: to see whether the load's client notices."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from loadtest.bench.packets import encode_length, native_scramble, packet

CHALLENGE = b"12345678abcdefghijkl"
OK = b"\x00\x00\x00\x02\x00\x00\x00"
EOF_PACKET = b"\xfe\x00\x00\x02\x00"
PASSWORD = "secret"


def text(content: bytes | None) -> bytes:
    return b"\xfb" if content is None else encode_length(len(content)) + content


def column(name: bytes, kind: int = 253) -> bytes:
    """ColumnDefinition41."""
    names = text(b"def") + text(b"") * 3 + text(name) + text(name)
    return names + b"\x0c" + b"\x2d\x00" + b"\x00\x04\x00\x00" + bytes((kind,)) + b"\x00\x00\x00\x00\x00"


def result_set(names: list[bytes], rows: list[list[bytes | None]]) -> bytes:
    """A whole text result set, sequence numbers from 1."""
    payloads = [bytes((len(names),)), *map(column, names), EOF_PACKET]
    payloads += [b"".join(map(text, row)) for row in rows] + [EOF_PACKET]
    return b"".join(packet(payload, number) for number, payload in enumerate(payloads, 1))


def error(errno: int, sqlstate: bytes, message: bytes) -> bytes:
    return packet(b"\xff" + errno.to_bytes(2, "little") + b"#" + sqlstate + message, 1)


Answer = Callable[[bytes], bytes | None]


@dataclass
class FakeMysql:
    """Answers each command payload with `answer(payload)`; None closes the connection.

    `chunk` > 0 sends answers so many bytes at a time. `plugin` is what the greeting names.
    """

    answer: Answer
    chunk: int = 0
    plugin: bytes = b"mysql_native_password"
    switch_to: bytes = b""
    commands: list[bytes] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    reset: bool = False

    async def serve(self, use: Callable[[int], Awaitable[None]]) -> None:
        """Runs `use(port)` while listening."""
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        async with server:
            await use(server.sockets[0].getsockname()[1])

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._login(reader, writer)
            while True:
                command = await read_packet(reader)
                self.commands.append(command)
                answer = self.answer(command)
                if answer is None:
                    return
                await self._send(writer, answer)
        except asyncio.IncompleteReadError:
            pass
        except ConnectionResetError:
            self.reset = True
        finally:
            writer.close()
            self.closed.set()

    async def _login(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._send(writer, packet(greeting(self.plugin), 0))
        login = await read_packet(reader)
        if self.switch_to:
            await self._send(writer, packet(b"\xfe" + self.switch_to + b"\0" + CHALLENGE + b"\0", 2))
            login = await read_packet(reader)
        good = native_scramble(PASSWORD.encode(), CHALLENGE) in login
        refusal = b"\xff\x15\x04#28000Access denied"
        await self._send(writer, packet(OK if good else refusal, 4 if self.switch_to else 2))

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        step = self.chunk or len(data) or 1
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
            await writer.drain()
            if self.chunk:
                await asyncio.sleep(0)


async def read_packet(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return await reader.readexactly(int.from_bytes(head[:3], "little"))


def greeting(plugin: bytes) -> bytes:
    """HandshakeV10 as MariaDB 10.11 lays it out."""
    return (
        b"\x0a5.5.5-10.11.6-MariaDB\0"
        + (77).to_bytes(4, "little")
        + CHALLENGE[:8]
        + b"\0\xfe\xf7\x2d\x02\x00\xff\x81\x15"
        + bytes(6)
        + b"\x1d\0\0\0"
        + CHALLENGE[8:]
        + b"\0"
        + plugin
        + b"\0"
    )
