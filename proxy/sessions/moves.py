"""Clients that move to the process which has taken over, and those that come from the one before.

Only what can be carried over exactly moves: a client without TLS, between two transactions, that holds nothing on a
server. Its descriptor goes along with what is known of it, as one JSON object, by the worker of its connection id, and
with its prepared statements, which the relays tell each other (relay_moves.pxi): text, id, and the types of parameters.
They are planned there when they are next executed. Of a client with compressed packets the shuttle begins anew on the
same sockets, between two packets. Everybody else stays until the process before drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from _speedups.stats import PIN_REASONS
from proxy.accept import place_of
from proxy.compile import error_payload
from proxy.mysql.compression import CompressedCodec, compressor_of
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.shuttle import Shuttle
from proxy.mysql.wire import frame
from proxy.sessions.session import Session
from proxy.sessions.statements import Entry
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
        if session is None or session.login is None:
            return
        shuttle = session.login.shuttle
        if (shuttle is not None and not shuttle.at_rest) or self._prepared_elsewhere(session):
            self._worker.relay.stay(handle)
            return
        found = self._worker.relay.part(handle)
        if found is None:
            return
        descriptor, outcome, positions, statements = found
        sockets = [socket.socket(fileno=descriptor), *(shuttle.give_away() if shuttle is not None else ())]
        leaving = Leaving(self._told(session, outcome, positions), sockets, statements)
        heir = self._heirs[place_of(session.connection_id, len(self._heirs))]
        if not self._sent(heir, leaving):
            self._worker.background(self._send(heir, leaving))

    def _prepared_elsewhere(self, session: Session) -> bool:
        """Has it prepared anything in another database, character set or sql_mode than it has now? Statements go with
        these only."""
        known = {one.origin for one in session.prepared.values() if isinstance(one, Entry)}
        return bool((known | session.carried_in) - {session.origin})

    def _sent(self, heir: socket.socket, leaving: Leaving) -> bool:
        if not control.send(heir, leaving.told, leaving.sockets, leaving.statements):
            return False
        self._worker.loop_block.add("sessions_given")
        leaving.close()
        return True

    async def _send(self, heir: socket.socket, leaving: Leaving) -> None:
        """The other side has much to do, or has gone: then the client stays here."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while asyncio.get_running_loop().time() < deadline and not control.has_ended(heir):
            await asyncio.sleep(PAUSE)
            if self._sent(heir, leaving):
                return
        self._heirs = []
        self._come_in(leaving)

    def staying(self) -> str:
        """How many have not moved, by what keeps them; for the log."""
        found = Counter(self._reason(session) for session in self._worker.sessions.values())
        if self._worker.redis is not None and self._worker.redis.clients:
            found["Redis"] = len(self._worker.redis.clients)
        return ", ".join(f"{count} by {reason}" for reason, count in found.most_common())

    def _reason(self, session: Session) -> str:
        info = self._worker.relay.info(session.handle)
        if session.hop:
            return "being of another region"
        if session.login is None or session.login.tls is not None:
            return "TLS"
        if info is None or not info["pins"]:
            return "a transaction" if info is not None and info["trx"] else "what they have prepared or sent"
        return "+".join(name for place, name in enumerate(PIN_REASONS) if info["pins"] >> place & 1)

    def _told(self, session: Session, outcome: Any, positions: list[int]) -> dict[str, Any]:
        login, shards = session.login, self._worker.shard_numbers()
        assert login is not None
        return {
            "verb": "client", "id": session.connection_id, "user": session.user, "peer": session.peer,
            "capabilities": int(session.capabilities), "collation": session.collation.id, "listener": session.listener,
            "mariadb": session.mariadb, "state": session.state.tell(), "initial": session.initial.tell(),
            "tracking": session.tracking.tell(),
            "login": {
                "capabilities": int(login.capabilities), "attributes": dict(login.attributes),
                "max_packet": login.max_packet, "plugin": login.plugin, "local": login.local,
                "nonce": login.nonce.hex(),
            },
            "outcome": [*outcome[:-1], outcome[-1].hex()],
            "packed": _packed(login.shuttle),
            "positions": {name: positions[number] for name, number in shards.items() if positions[number]},
        }  # fmt: skip

    # --- from the process before --------------------------------------------------------------------------------

    def open(self) -> None:
        if self._estate is not None:
            asyncio.get_running_loop().add_reader(self._estate.fileno(), self._on_estate)

    @property
    def expects(self) -> bool:
        """Is the process before still there, from which clients may come?"""
        return self._estate is not None

    def _on_estate(self) -> None:
        assert self._estate is not None
        messages = control.receive(self._estate, sockets=True)
        for message in messages or ():
            self._come_in(Leaving(message, message["sockets"], message["memory"]))
        if messages is None:
            asyncio.get_running_loop().remove_reader(self._estate.fileno())
            self._estate.close()
            self._estate = None

    def _come_in(self, coming: Leaving) -> None:
        shuttle = None
        try:
            shuttle = coming.unpack()
            self._worker.logins.take(coming.told, coming.sockets[0], shuttle, coming.statements)
            self._worker.loop_block.add("sessions_taken")
        except Exception as error:
            # Its configuration may be another one: the client is told, as by a server that ends.
            log.warning("a client of the process before cannot go on here: %s", error)
            reason = error if isinstance(error, Refusal) else refusal("DRAINING")
            with contextlib.suppress(OSError, IndexError):
                coming.sockets[0].send(frame(error_payload(reason), 0))
        coming.close()


@dataclass(slots=True)
class Leaving:
    """A client between two processes. `sockets`: its own; of one with compressed packets the plain end, and the two
    that its shuttle stands between. `statements`: as a relay tells them."""

    told: dict[str, Any]
    sockets: list[socket.socket]
    statements: bytes

    def unpack(self) -> Shuttle | None:
        """The shuttle that goes on from what is told of the one there; the sockets are its own from then on."""
        packed = self.told["packed"]
        compressor = packed and compressor_of(Capability(self.told["login"]["capabilities"]), packed["level"])
        if not compressor:
            return None
        self.sockets, (remote, inner) = self.sockets[:1], self.sockets[1:]
        codec = CompressedCodec(compressor, packed["number"], receiving=packed["receiving"])
        shuttle = Shuttle(asyncio.get_running_loop(), remote, inner, codec)
        shuttle.start()
        return shuttle

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


def _packed(shuttle: Shuttle | None) -> dict[str, Any] | None:
    """How its compressed packets go on."""
    if shuttle is None:
        return None
    assert isinstance(shuttle.codec, CompressedCodec)
    codec = shuttle.codec
    return {"number": codec.number, "receiving": codec.receiving, "level": codec.compressor.level}


def _can_move(session: Session) -> bool:
    login = session.login
    return (
        login is not None
        and not session.hop
        and login.tls is None
        and len(json.dumps(dict(login.attributes))) <= LONGEST_ATTRIBUTES
    )
