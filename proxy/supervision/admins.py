"""The admin process as the supervisor sees it: its child, its sockets, and what the two say to each other.

Messages as in `proxy.supervision.control`:

    supervisor -> admin   {"verb": "reload", "number": N, "digest": "…", "config": "…", "base": null}
                          {"verb": "answer", "ask": K, "ok": true, "number": N, "lines": ["…"]}
    admin -> supervisor   {"verb": "ask", "ask": K, "what": "reload"}   {"verb": "ask", "ask": K, "what": "drain"}
"""

from __future__ import annotations

import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from _speedups.stats import StatsPage
from config.settings import MetastoreSettings, Settings
from proxy import logs
from proxy.supervision import control
from proxy.supervision.candidate import Bind
from proxy.supervision.children import Child, ending

log = logging.getLogger(__name__)

ADMIN_GRACE = 4.0
"""Seconds that the admin process may take to finish its requests."""
MAX_LINES = 100
"""Lines of an answer; what a reload changes may be more."""


@dataclass(frozen=True)
class AdminStart:
    """What the admin process is given at its fork.

    `listeners`: its bound sockets. `control`: its end of the supervisor's pair; `workers`: a way to ask each worker
    (`proxy.inquiries`), the same in all processes that follow. `metastore`: where configuration versions are.
    """

    page: StatsPage
    settings: Settings
    number: int
    config: Path
    base: Path | None
    region: str | None
    digest: str
    listeners: dict[Bind, socket.socket]
    control: socket.socket
    workers: tuple[socket.socket, ...]
    metastore: MetastoreSettings | None
    secret: bytes = field(repr=False)


Begin = Callable[[dict[Bind, socket.socket], socket.socket], AdminStart]
"""(listeners, its end of the control pair) -> what it is given now."""


class Admins:
    """The admin process in force, and old ones that end their requests."""

    def __init__(
        self,
        listeners: dict[Bind, socket.socket],
        program: Callable[[AdminStart], None],
        begin: Begin,
        close_others: Callable[[], None],
        selector: selectors.BaseSelector,
    ) -> None:
        self.listeners = listeners
        self.child = Child("admin")
        self._program = program
        self._begin = begin
        self._close_others = close_others
        self._selector = selector
        self._control: socket.socket | None = None
        self._old: list[Child] = []

    @property
    def children(self) -> list[Child]:
        return [self.child, *self._old]

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Without a listener there is nothing for it to do."""
        if not self.listeners:
            return
        try:
            ours, theirs = control.pair()
            with theirs:
                self._hang_up()
                self._control = ours
                self._selector.register(ours, selectors.EVENT_READ, self)
                start = self._begin(self.listeners, theirs)
                log.info("admin started, pid %d", self.child.start(lambda: self._run(start)))
        except OSError as error:
            self._hang_up()
            log.error("admin cannot be started: %s; next attempt in %g s", error, self.child.start_later())

    def _run(self, start: AdminStart) -> None:
        """In the child."""
        if self._control is not None:
            self._control.close()
        self._close_others()
        logs.configure(start.settings.telemetry, self.child.name)
        self._program(start)

    def close(self) -> None:
        """In another child: neither the sockets nor the supervisor's end are its business."""
        for sock in self.listeners.values():
            sock.close()
        if self._control is not None:
            self._control.close()

    def _hang_up(self) -> None:
        if self._control is not None:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None

    def reap(self, stopping: bool) -> None:
        if self.child.alive and (status := self.child.reap()) is not None:
            self._hang_up()
            if not stopping:
                log.error("admin %s, starts again in %g s", ending(status), self.child.start_later())
        self._old = [old for old in self._old if old.reap() is None]

    def do_what_is_due(self, now: float) -> None:
        if self.child.restart_at is not None and now >= self.child.restart_at:
            self.start()

    def move(self, listeners: dict[Bind, socket.socket]) -> None:
        """A new process when the listeners have changed; the old one ends its requests."""
        if listeners.keys() == self.listeners.keys():
            return
        for at, sock in self.listeners.items():
            if at not in listeners:
                sock.close()
        self.listeners = listeners
        self._hang_up()
        if self.child.alive:
            self.child.signal(signal.SIGTERM)
            self._old.append(self.child)
        self.child = Child("admin")
        self.start()

    def retire(self) -> None:
        """Another process has the sockets: this one ends its requests."""
        self.child.restart_at = None
        for sock in self.listeners.values():
            sock.close()
        self.listeners = {}
        self.child.signal(signal.SIGTERM)

    def stop(self, wait: Callable[[float], bool]) -> None:
        """Tells it to end its requests. `wait(seconds)` returns True when there is no more patience."""
        self.child.restart_at = None
        if not self.child.alive:
            return
        self.child.signal(signal.SIGTERM)
        deadline = time.monotonic() + ADMIN_GRACE
        while self.child.alive and self.child.reap() is None and (left := deadline - time.monotonic()) > 0:
            if wait(left):
                return

    # --- words ----------------------------------------------------------------------------------------------

    def tell_reload(self, number: int, digest: str, config: Path, base: Path | None) -> None:
        """Another configuration is in force."""
        self._say(
            {
                "verb": "reload",
                "number": number,
                "digest": digest,
                "config": str(config),
                "base": base and str(base),
            }
        )

    def answer(self, ask: int, ok: bool, number: int, lines: list[str]) -> None:
        shown = [line[:1000] for line in lines[:MAX_LINES]]
        more = [f"and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
        self._say({"verb": "answer", "ask": ask, "ok": ok, "number": number, "lines": shown + more})

    def _say(self, message: control.Message) -> None:
        if self._control is not None and not control.send(self._control, message):
            log.warning("admin cannot be told: %s", message["verb"])

    def asked(self) -> list[tuple[int, str]]:
        """(number, what) of everything it asks for now."""
        if self._control is None:
            return []
        messages = control.receive(self._control)
        if messages is None:
            self._hang_up()
        return [
            (one["ask"], str(one.get("what")))
            for one in messages or ()
            if one["verb"] == "ask" and isinstance(one.get("ask"), int)
        ]
