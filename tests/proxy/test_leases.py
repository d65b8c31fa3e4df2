"""Leases on a scripted relay: what comes when a backend goes, and how much is held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.packets.replies import ErrPacket, OkPacket
from proxy.mysql.wire import frame
from proxy.scatter.leases import (
    CLOSED,
    DATA,
    DONE,
    LOST,
    Lease,
    LeaseBusy,
    Leases,
    ResponseTooLarge,
    cut_short,
    is_error,
)

OK = frame(OkPacket(affected_rows=2).build(Capability(0)), 1)
ERR = frame(ErrPacket(1213, "40001", "Deadlock").build(), 1)


class FakeRelay:
    """Gives what the test puts in; remembers what was asked."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.submitted: list[tuple[int, bytes, int]] = []
        self.closed: list[int] = []
        self.gone = False

    def lease_open(self, **what: Any) -> int:
        return 7

    def lease_submit(self, handle: int, shard: int, payload: bytes, *, flags: int = 0, **what: Any) -> bool:
        if not self.gone:
            self.submitted.append((shard, payload, flags))
        return not self.gone

    def lease_take(self, handle: int) -> bytes:
        return self.data.pop(0) if self.data else b""

    def close(self, handle: int) -> bool:
        self.closed.append(handle)
        return True


def run(work: Callable[[FakeRelay, Leases, Lease], Awaitable[None]]) -> FakeRelay:
    relay = FakeRelay()

    async def inside() -> None:
        leases = Leases(cast(Any, relay))
        async with leases.open(Capability(0), ctx=0, state=0, user=0, hop=False) as lease:
            await work(relay, leases, lease)
        assert not leases.by_handle and relay.closed == [7]

    asyncio.run(inside())
    return relay


def test_a_response_in_pieces_is_collected() -> None:
    async def work(relay: FakeRelay, leases: Leases, lease: Lease) -> None:
        lease.submit(3, b"\x03SELECT 1")
        answer = asyncio.ensure_future(lease.collect())
        await asyncio.sleep(0)
        relay.data = [OK[:5]]
        leases.on_event(7, DATA)
        await asyncio.sleep(0)
        relay.data = [OK[5:]]
        leases.on_event(7, DONE)
        assert await answer == OK and not lease.lost

    assert run(work).submitted == [(3, b"\x03SELECT 1", 0)]


def test_one_command_at_a_time() -> None:
    async def work(relay: FakeRelay, leases: Leases, lease: Lease) -> None:
        lease.submit(3, b"\x0e")
        with pytest.raises(LeaseBusy):
            lease.submit(3, b"\x0e")

    run(work)


@pytest.mark.parametrize("came", [b"", OK[:6], OK])
def test_a_command_whose_backend_went_is_an_error(came: bytes) -> None:
    """Also where something like a whole answer came before: PREPARE's head without its definitions."""

    async def work(relay: FakeRelay, leases: Leases, lease: Lease) -> None:
        lease.submit(3, b"\x16SELECT 1")
        relay.data = [came] if came else []
        leases.on_event(7, DONE | LOST)
        assert is_error(await lease.collect()) and lease.lost

    run(work)


def test_the_relays_own_error_behind_half_an_answer_is_the_answer() -> None:
    async def work(relay: FakeRelay, leases: Leases, lease: Lease) -> None:
        lease.submit(3, b"\x16SELECT 1")
        relay.data = [OK + frame(ERR[4:], 2)]
        leases.on_event(7, DONE | LOST)
        assert await lease.collect() == ERR

    run(work)


def test_a_lease_that_is_closed_under_a_command_does_not_wait_for_ever() -> None:
    async def work(relay: FakeRelay, leases: Leases, lease: Lease) -> None:
        lease.submit(3, b"\x03COMMIT")
        answer = asyncio.ensure_future(lease.collect())
        await asyncio.sleep(0)
        leases.on_event(7, CLOSED)
        assert is_error(await asyncio.wait_for(answer, 5)) and lease.lost

    run(work)


def test_after_its_backend_went_nothing_is_sent_and_nothing_is_unknown() -> None:
    async def work(relay: FakeRelay, leases: Leases, lease: Lease) -> None:
        relay.gone = True
        leases.on_event(7, CLOSED)
        lease.submit(3, b"\x03COMMIT")
        assert is_error(await lease.collect()) and not lease.lost

    assert run(work).submitted == []


def test_an_error_of_the_server_is_no_loss() -> None:
    async def work(relay: FakeRelay, leases: Leases, lease: Lease) -> None:
        relay.data = [ERR]
        lease.submit(3, b"\x03UPDATE t SET a = 1")
        leases.on_event(7, DONE)
        assert await lease.collect() == ERR and not lease.lost

    run(work)


def test_what_is_too_large_to_be_collected() -> None:
    async def work(relay: FakeRelay, leases: Leases, lease: Lease) -> None:
        relay.data = [bytes(100), bytes(100)]
        lease.submit(3, b"\x03SELECT 1")
        with pytest.raises(ResponseTooLarge):
            await lease.collect(limit=150)

    run(work)


def test_what_is_cut_anywhere_becomes_an_error() -> None:
    for size in range(len(OK) + 1):
        assert is_error(cut_short(OK[:size]))
    assert cut_short(OK + frame(ERR[4:], 9)) == ERR
