"""Leases: the executor's own commands on backends, by the relay's one session loop.

A lease is like a client session without a client. It keeps its backend between commands only while that
backend is in a transaction, and gives it back, proven idle or closed, when the lease ends, however it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from _speedups.packet import split_packets
from _speedups.relay import Relay, StatementRef, VerdictRef
from _speedups.scanner import ResponseScanner
from proxy.compile import error_payload
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.wire import frame
from router.errors import refusal

CLOSED, DATA, DONE, LOST = 2, 8, 16, 32
"""The relay's event bits."""

NOBODY = (1 << 64) - 1
"""No session's handle."""

COLLECT_LIMIT = 16 << 20
"""Most bytes that `command` collects of one response."""

UPLOAD_HELD = 256 << 10
"""Bytes of a file that may wait for one server, before the client has to."""

ERR_HEAD, FILE_HEAD = 0xFF, 0xFB


class LeaseBusy(RuntimeError):
    """Our bug: two commands at once on one lease."""


class ResponseTooLarge(Exception):
    """A response that was to be collected whole exceeds its budget."""


class Lease:
    """One lease; use it in an `async with` block."""

    def __init__(
        self, leases: Leases, capabilities: Capability, *, ctx: int, state: int, user: int, hop: bool, credit: int,
        client: int,
    ) -> None:  # fmt: skip
        self._leases = leases
        self._wake = asyncio.Event()
        self._done = True
        self._statement: StatementRef | None = None
        self.lost = False
        """The running command's answer was cut short, or never came: its outcome is unknown."""
        self.capabilities = capabilities
        self.handle = leases.relay.lease_open(
            caps=int(capabilities), ctx=ctx, state=state, user=user, hop=hop, credit=credit, client=client
        )
        leases.by_handle[self.handle] = self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._leases.by_handle.pop(self.handle, None)
        self._leases.relay.close(self.handle)

    def on_event(self, bits: int) -> None:
        if bits & CLOSED:
            # Its backend went with the transaction that it had open.
            self._leases.by_handle.pop(self.handle, None)
            self.lost = self.lost or not self._done
        self.lost = self.lost or bool(bits & LOST)
        if bits & (DONE | CLOSED):
            self._done = True
        self._wake.set()

    def submit(
        self, shard: int, payload: bytes, flags: int = 0, statement: StatementRef | None = None,
        verdict: VerdictRef | None = None, pins: int = 0,
    ) -> None:  # fmt: skip
        """Start a command; `stream` or `collect` gives its response. `statement`: of a COM_STMT_EXECUTE. `pins`: why
        the backend stays with the lease from then on, until `unpin`.

        On a lease that has lost its backend nothing is sent, and the response is empty.
        """
        if not self._done:
            raise LeaseBusy
        self._wake.clear()
        self.lost = False
        self._statement = statement
        self._done = not self._leases.relay.lease_submit(
            self.handle, shard, payload, flags=flags, statement=statement, verdict=verdict, pins=pins
        )

    @property
    def is_done(self) -> bool:
        """No command is under way."""
        return self._done

    async def drain(self) -> None:
        """The rest of the running command's response, for nobody."""
        async for _ in self.stream():
            pass

    def unpin(self) -> None:
        """What it was pinned for is over: its backend goes back when no transaction is open there."""
        self._leases.relay.lease_unpin(self.handle)

    async def stream(self) -> AsyncIterator[bytes]:
        """The running command's response as it comes, framed packets cut anywhere. Not taking it stops the server."""
        while True:
            data = self._leases.relay.lease_take(self.handle)
            if data:
                yield data
                continue
            if self._done:
                data = self._leases.relay.lease_take(self.handle)
                if data:
                    yield data
                return
            await self._wake.wait()
            self._wake.clear()

    async def collect(self, limit: int = COLLECT_LIMIT) -> bytes:
        """The running command's whole response; an ERR packet when it was cut short or could not be asked for.

        Raises ResponseTooLarge; then the lease can only be closed.
        """
        pieces: list[bytes] = []
        size = 0
        async for piece in self.stream():
            size += len(piece)
            if size > limit:
                raise ResponseTooLarge(f"a response of more than {limit} bytes")
            pieces.append(piece)
        response = b"".join(pieces)
        return cut_short(response) if self.lost or not response else response

    async def asked(self) -> bytes:
        """What comes first of the running LOAD DATA's response: the server's request for a file (framed), else the
        whole of it."""
        response = b""
        async for piece in self.stream():
            response += piece
            if is_file_request(response):
                return response
        return cut_short(response) if self.lost or not response else response

    def upload(self, data: bytes, *, end: bool = False) -> bool:
        """More of the file that was asked for; `end`: all of it. False when the server takes no more."""
        return self._leases.relay.lease_upload(self.handle, data, end) >= 0

    async def takes(self) -> None:
        """Wait until the server, or nobody, takes more of the file."""
        while not self._done and self._leases.relay.lease_upload(self.handle, b"") > UPLOAD_HELD:
            self._wake.clear()
            if self._leases.relay.lease_upload(self.handle, b"") > UPLOAD_HELD:
                await self._wake.wait()

    async def command(
        self, shard: int, payload: bytes, flags: int = 0, limit: int = COLLECT_LIMIT, *, pins: int = 0
    ) -> bytes:
        """One command, its whole response (framed)."""
        self.submit(shard, payload, flags, pins=pins)
        return await self.collect(limit)

    def facts(self, response: bytes) -> dict[str, int | str]:
        """What a whole response to COM_QUERY says: outcome, status, affected, insert_id, warnings …"""
        scanner = ResponseScanner(
            0, bool(self.capabilities & Capability.DEPRECATE_EOF), bool(self.capabilities & Capability.SESSION_TRACK)
        )
        scanner.feed(response)
        return dict(scanner.facts)


def is_error(response: bytes) -> bool:
    """Is this framed response an ERR packet?"""
    return len(response) > 4 and response[4] == ERR_HEAD


def is_file_request(response: bytes) -> bool:
    """Is this framed response, as far as it has come, a whole LOCAL INFILE request?"""
    return response[4:5] == bytes((FILE_HEAD,)) and len(response) == 4 + int.from_bytes(response[:3], "little")


def cut_short(response: bytes) -> bytes:
    """The framed ERR packet that stands for a response which did not come whole: the relay's own, when it could
    still put one behind what had come."""
    try:
        packets = [payload for _, payload in split_packets(response)]
    except ValueError:
        packets = []
    if packets and packets[-1][:1] == bytes((ERR_HEAD,)):
        return frame(packets[-1], 1)
    return frame(error_payload(refusal("SHARD_FAILED", "of this statement", "its answer broke off")), 1)


class Leases:
    """All leases of a worker, so that the relay's events find theirs."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.by_handle: dict[int, Lease] = {}

    def open(
        self, capabilities: Capability, *, ctx: int, state: int, user: int, hop: bool, credit: int = 256 << 10,
        client: int = NOBODY,
    ) -> Lease:  # fmt: skip
        """`client`: the session for which it works, whose query attributes go with its commands."""
        return Lease(self, capabilities, ctx=ctx, state=state, user=user, hop=hop, credit=credit, client=client)

    def on_event(self, handle: int, bits: int) -> None:
        lease = self.by_handle.get(handle)
        if lease is not None:
            lease.on_event(bits)
