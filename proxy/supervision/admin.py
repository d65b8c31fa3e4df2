"""The admin process: HTTP and the admin console in one loop, until SIGTERM. No statement waits for it.

It reads the shared page and asks workers what only they know; what is to be changed it asks the supervisor for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from config.errors import ConfigError
from config.load import load
from config.settings import AdminListener, HttpListener, Settings
from ops import http
from ops.ledger import LedgerError, Reading, readings_of
from proxy import logs
from proxy.console.server import Console
from proxy.supervision import control
from proxy.supervision.admins import AdminStart
from proxy.supervision.candidate import address_of
from proxy.supervision.control import digest_of

log = logging.getLogger(__name__)

ASK_TIME = 30.0
"""Seconds for the supervisor to answer; it reads and checks a whole configuration meanwhile."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The configuration in force, as this process knows it."""

    settings: Settings
    number: int
    config: Path
    base: Path | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The supervisor's: how it went, which configuration is in force now, and what it says of it."""

    ok: bool
    number: int
    lines: tuple[str, ...]


class Supervisor:
    """The supervisor as the admin process sees it. Raises TimeoutError, ConnectionError."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._next = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}

    async def ask(self, what: str) -> Answer:
        """`reload` or `drain`."""
        self._next += 1
        number, future = self._next, asyncio.get_running_loop().create_future()
        if not control.send(self._socket, {"verb": "ask", "ask": number, "what": what}):
            raise ConnectionError("the supervisor does not listen")
        self._waiting[number] = future
        try:
            async with asyncio.timeout(ASK_TIME):
                answer: Answer = await future
                return answer
        finally:
            del self._waiting[number]

    def on_answer(self, message: control.Message) -> None:
        waiting = self._waiting.get(message["ask"])
        if waiting is not None and not waiting.done():
            waiting.set_result(Answer(bool(message["ok"]), int(message["number"]), tuple(message["lines"])))


class Admin:
    """One admin process. `run` is the whole of its life."""

    def __init__(self, start: AdminStart) -> None:
        self.start = start
        self.in_force = InForce(start.settings, start.number, start.config, start.base)
        self.supervisor = Supervisor(start.control)
        self.console: Console | None = None
        self._http: http.Embedded | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        loop.add_reader(self.start.control.fileno(), self._on_control)
        running = [asyncio.ensure_future(work) for work in self._servers()]
        stopping = asyncio.ensure_future(self._stopping.wait())
        ended, _ = await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
        if self._http is not None:
            self._http.should_exit = True
        if self.console is not None:
            await self.console.close()
        await asyncio.gather(*running, return_exceptions=True)
        for one in ended - {stopping}:
            one.result()

    def _servers(self) -> list[Awaitable[None]]:
        settings, listeners = self.start.settings, self.start.listeners
        web = [listeners[address_of(one)] for one in settings.listeners_of(HttpListener).values()]
        consoles = settings.listeners_of(AdminListener)
        servers: list[Awaitable[None]] = []
        if web:
            self._http = http.embedded(http.Admin(self.start.page, meters=self._meters))
            servers.append(self._http.serve(sockets=web))
        for one in consoles.values():
            self.console = Console(self, listeners[address_of(one)])
            servers.append(self.console.serve())
        return servers

    def _meters(self) -> Sequence[Reading]:
        try:
            return readings_of(self.in_force.settings)
        except LedgerError as error:
            log.error("the exposure meters cannot be read: %s", error)
            return ()

    def _on_control(self) -> None:
        messages = control.receive(self.start.control)
        if messages is None:
            os._exit(1)  # the supervisor is gone
        for message in messages:
            if message["verb"] == "answer":
                self.supervisor.on_answer(message)
            elif message["verb"] == "reload":
                self._reload(message)

    def _reload(self, message: control.Message) -> None:
        """Another configuration is in force. The supervisor and the workers have accepted it."""
        config, base = Path(message["config"]), message["base"] and Path(message["base"])
        try:
            settings = load(config, region=self.start.region, base=base)
            if digest_of(settings.files) != message["digest"]:
                raise ValueError("the files changed again meanwhile")
        except (ConfigError, ValueError, OSError) as error:
            log.error("configuration %d cannot be shown: %s", message["number"], error)
            return
        self.in_force = InForce(settings, int(message["number"]), config, base)
        logs.configure(settings.telemetry, "admin")
        if self.console is not None:
            self.console.configure()


def run_admin(start: AdminStart) -> None:
    """Until SIGTERM. Ctrl-C at a terminal does not end it before the workers have."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})

    async def main() -> None:
        await Admin(start).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
