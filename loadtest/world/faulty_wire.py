"""A TCP relay that misbehaves on command, to be put between any two programs of a test.

with FaultyWire(target_port) as wire:
    …connect to wire.port…
    wire.split()        every byte in a segment of its own
    wire.stall()        nothing moves, connections stay open
    wire.reset()        RST on every connection
    wire.behave()       back to relaying
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

from loadtest.world import ports

CHUNK = 1 << 16
START_TIMEOUT = 10.0
SPLIT_LIMIT = 4096
"""Bytes of one chunk that are sent one by one; a long result would otherwise take minutes."""


class FaultyWire:
    """Relays `port` to `target` on loopback; all methods may be called from any thread."""

    def __init__(self, target: int) -> None:
        self.target = target
        (self.port,) = ports.reserve(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="faulty-wire", daemon=True)
        self._listening = threading.Event()
        self._ends: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._splits = False
        self._cut_after: int | None = None
        self._refuses = False
        self.carried = 0
        """Bytes in both directions, of all connections."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> FaultyWire:
        self._thread.start()
        if not self._listening.wait(START_TIMEOUT):
            raise RuntimeError("the wire did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        ports.release([self.port])

    # --- commands -------------------------------------------------------------------------------------------

    def behave(self) -> None:
        """Relays again, what was held back first."""
        self._do(self._behave)

    def split(self) -> None:
        """Sends every byte by itself (the first 4 KiB of each chunk)."""
        self._do(lambda: setattr(self, "_splits", True))

    def stall(self) -> None:
        """Holds everything back; connections stay open and new ones are accepted."""
        self._do(self._flows.clear)

    def cut(self, after: int = 0) -> None:
        """Closes a connection once `after` more bytes have come from the target over it, in mid-packet."""
        self._do(lambda: setattr(self, "_cut_after", after))

    def reset(self) -> None:
        """Ends every connection with RST, as a crashed host's successor does."""
        self._do(self._reset_all)

    def refuse(self) -> None:
        """Resets every connection, and each new one at once, until `behave`."""
        self._do(lambda: setattr(self, "_refuses", True))
        self.reset()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._ends) // 2

    # --- the relay, on its own thread -----------------------------------------------------------------------

    def _do(self, action: Callable[[], object]) -> None:
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait(START_TIMEOUT)

    def _behave(self) -> None:
        self._splits = self._refuses = False
        self._cut_after = None
        self._flows.set()

    def _reset_all(self) -> None:
        for end in tuple(self._ends):
            _reset(end)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        self._flows.set()
        self._listening.set()
        self._loop.run_forever()
        server.close()
        self._reset_all()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        ends = {writer, far_writer}
        self._ends |= ends
        for end in ends:
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        towards = asyncio.ensure_future(self._carry(reader, far_writer, from_target=False))
        back = asyncio.ensure_future(self._carry(far_reader, writer, from_target=True))
        # Cancelled only when the wire ends; asyncio.streams cannot bear a handler that ends cancelled.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({towards, back}, return_when=asyncio.FIRST_COMPLETED)
        self._ends -= ends
        for flow in (towards, back):
            flow.cancel()
        for end in ends:
            end.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_target: bool
    ) -> None:
        carried_since_cut = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flows.wait()
                if from_target and self._cut_after is not None:
                    data = data[: max(0, self._cut_after - carried_since_cut)]
                    carried_since_cut += len(data)
                    await self._send(writer, data)
                    if carried_since_cut >= self._cut_after:
                        return
                    continue
                await self._send(writer, data)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        self.carried += len(data)
        if self._splits:
            for byte in data[:SPLIT_LIMIT]:
                writer.write(bytes((byte,)))
                await writer.drain()
            data = data[SPLIT_LIMIT:]
        if data:
            writer.write(data)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN: linger on, for zero seconds (socket(7), SO_LINGER)."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
