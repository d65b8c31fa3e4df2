"""Clients that move to the process which has taken over, and those that come from the one before.

Only what can be carried over exactly moves: a client without TLS or compressed packets, between two transactions, that
holds nothing on a server and has nothing prepared. Its descriptor goes along with what is known of it, as one JSON
object, by the worker of its connection id. Everybody else stays until the process before drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from typing import TYPE_CHECKING, Any

from proxy.accept import place_of
from proxy.compile import error_payload
from proxy.mysql.constants.capabilities import COMPRESSION
from proxy.mysql.wire import frame
from proxy.sessions.session import Session
from proxy.supervision import control
from router.errors import Refusal, refusal

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

PAUSE, PATIENCE = 0.02, 10.0
"""Seconds between two attempts to hand a client over, and of all attempts."""
LONGEST_ATTRIBUTES = 16 << 10
"""Bytes of connection attributes; who has sent more stays."""


class Moves:
    """One worker's part. `estate`: where clients come from the process before; None when there was none."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._heirs: list[socket.socket] = []
        self._estate = worker.start.estate

    # --- to the next process ------------------------------------------------------------------------------------

    def leave_to(self, heirs: list[socket.socket]) -> None:
        """Whoever can moves as soon as it can. `heirs`: the ways to the workers there."""
        self._heirs = heirs
        for session in list(self._worker.sessions.values()):
            self.on_entered(session)

    def on_entered(self, session: Session) -> None:
        """It has just logged in, perhaps while everybody leaves."""
        if self._heirs and _can_move(session):
            self._worker.relay.leave(session.handle)

    def on_leaves(self, handle: int) -> None:
        """The relay has stopped reading the client."""
        session = self._worker.sessions.get(handle)
        found = self._worker.relay.part(handle)
        if session is None or session.login is None or found is None:
            return
        descriptor, outcome, positions = found
        with socket.socket(fileno=descriptor) as sock:
            told = self._told(session, outcome, positions)
            heir = self._heirs[place_of(session.connection_id, len(self._heirs))]
            if control.send(heir, told, [sock]):
                self._worker.loop_block.add("sessions_given")
                return
            self._worker.background(self._send(heir, told, sock.dup()))

    async def _send(self, heir: socket.socket, told: dict[str, Any], sock: socket.socket) -> None:
        """The other side has much to do, or has gone: then the client stays here."""
        with sock:
            deadline = asyncio.get_running_loop().time() + PATIENCE
            while asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(PAUSE)
                if control.send(heir, told, [sock]):
                    self._worker.loop_block.add("sessions_given")
                    return
            self._heirs = []
            self._come_in(told, sock)

    def _told(self, session: Session, outcome: Any, positions: list[int]) -> dict[str, Any]:
        login, shards = session.login, self._worker.shard_numbers()
        assert login is not None
        return {
            "verb": "client", "id": session.connection_id, "user": session.user, "peer": session.peer,
            "capabilities": int(session.capabilities), "collation": session.collation.id, "listener": session.listener,
            "mariadb": session.mariadb, "state": session.state.tell(), "initial": session.initial.tell(),
            "login": {
                "capabilities": int(login.capabilities), "attributes": dict(login.attributes),
                "max_packet": login.max_packet, "plugin": login.plugin, "local": login.local,
                "nonce": login.nonce.hex(),
            },
            "outcome": [*outcome[:-1], outcome[-1].hex()],
            "positions": {name: positions[number] for name, number in shards.items() if positions[number]},
        }  # fmt: skip

    # --- from the process before --------------------------------------------------------------------------------

    def open(self) -> None:
        if self._estate is not None:
            asyncio.get_running_loop().add_reader(self._estate.fileno(), self._on_estate)

    def _on_estate(self) -> None:
        assert self._estate is not None
        messages = control.receive(self._estate, sockets=True)
        for message in messages or ():
            for sock in message["sockets"]:
                with sock:
                    self._come_in(message, sock)
        if messages is None:
            asyncio.get_running_loop().remove_reader(self._estate.fileno())

    def _come_in(self, told: dict[str, Any], sock: socket.socket) -> None:
        try:
            self._worker.logins.take(told, sock)
            self._worker.loop_block.add("sessions_taken")
        except Exception as error:
            # Its configuration may be another one: the client is told, as by a server that ends.
            log.warning("a client of the process before cannot go on here: %s", error)
            reason = error if isinstance(error, Refusal) else refusal("DRAINING")
            with contextlib.suppress(OSError):
                sock.send(frame(error_payload(reason), 0))


def _can_move(session: Session) -> bool:
    login = session.login
    return (
        login is not None
        and not session.hop
        and login.tls is None
        and not login.capabilities & COMPRESSION
        and len(json.dumps(dict(login.attributes))) <= LONGEST_ATTRIBUTES
    )
