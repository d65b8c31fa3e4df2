"""Asks the workers what only they know (`proxy.inquiries`): in parts, within a deadline, one question at a time."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from _speedups.stats import StatsPage
from proxy.supervision import control

DEADLINE = 3.0
"""Seconds for all of a worker's answer."""
MOST_ROWS = 50_000
"""Rows of one worker's answer."""


class NoAnswer(Exception):
    """The worker cannot tell; the text says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One worker's answer. `note`: why there is none, or why it is not whole."""

    worker: int
    rows: list[list[Any]]
    note: str | None = None


class Workers:
    """The workers as the console sees them."""

    def __init__(self, sockets: Sequence[socket.socket], page: StatsPage) -> None:
        self._sockets = sockets
        self._page = page
        self._locks = [asyncio.Lock() for _ in sockets]
        self._waiting: dict[int, asyncio.Future[control.Message]] = {}
        # Not a number that an admin process before this one has asked with: late answers to that are passed over.
        self._next = secrets.randbits(48)

    def open(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.add_reader(sock.fileno(), self._on_readable, sock)

    def close(self) -> None:
        """Another admin process may follow, and the answers are for that one."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock.fileno())

    def _on_readable(self, sock: socket.socket) -> None:
        for message in control.receive(sock) or ():
            waiting = self._waiting.get(message.get("id", -1))
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    async def all(self, what: str) -> list[Reply]:
        """Every worker's answer, or why there is none."""
        return list(
            await asyncio.gather(*(self._listed(worker, what) for worker in range(len(self._sockets))))
        )

    async def _listed(self, worker: int, what: str) -> Reply:
        rows: list[list[Any]] = []
        after: int | None = 0
        try:
            async with asyncio.timeout(DEADLINE), self._locks[worker]:
                while after is not None:
                    answer = await self._ask(worker, {"what": what, "after": after})
                    rows += answer["rows"]
                    after = answer["next"]
                    if after is not None and len(rows) >= MOST_ROWS:
                        return Reply(worker, rows, f"worker {worker} has more than these")
        except TimeoutError:
            return Reply(worker, rows, f"worker {worker} does not answer in {DEADLINE:g} s")
        except NoAnswer as reason:
            return Reply(worker, rows, str(reason))
        return Reply(worker, rows)

    async def one(self, worker: int, what: str, **more: Any) -> list[list[Any]]:
        """A question that has one answer. Raises NoAnswer, TimeoutError."""
        async with asyncio.timeout(DEADLINE), self._locks[worker]:
            answer = await self._ask(worker, {"what": what, **more})
            return list(answer["rows"])

    async def any(self, what: str, **more: Any) -> list[list[Any]]:
        """The same of the first worker that answers. Raises NoAnswer when none does."""
        reason = "there is no worker"
        for worker in range(len(self._sockets)):
            try:
                return await self.one(worker, what, **more)
            except TimeoutError:
                reason = f"worker {worker} does not answer"
            except NoAnswer as error:
                reason = str(error)
        raise NoAnswer(reason)

    async def _ask(self, worker: int, question: dict[str, Any]) -> control.Message:
        if not self._page.slot(worker).pid:
            raise NoAnswer(f"worker {worker} does not run")
        self._next += 1
        number = self._next
        future: asyncio.Future[control.Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            if not control.send(self._sockets[worker], {"verb": "ask", "id": number, **question}):
                raise NoAnswer(f"worker {worker} does not take questions")
            answer = await future
        finally:
            del self._waiting[number]
        if "error" in answer:
            raise NoAnswer(str(answer["error"]))
        return answer
