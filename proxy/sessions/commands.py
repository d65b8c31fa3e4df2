"""Commands besides statements that the relay parks: COM_INIT_DB, COM_CHANGE_USER, COM_RESET_CONNECTION and their kin.

Each answers its parked command once. Pages: "Utility Commands" of the MySQL client/server protocol manual.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from _speedups.stats import now_ns
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.commands import Command
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import EOF_HEAD, EofPacket, OkPacket
from proxy.mysql.wire import frame
from proxy.sessions.session import Session
from router.errors import refusal

if TYPE_CHECKING:
    from proxy.worker import Worker

MULTI_STATEMENTS_ON, MULTI_STATEMENTS_OFF = 0, 1
"""COM_SET_OPTION's options (enum_mysql_set_option)."""
_OPTION_SIZE = 3

Answer = Callable[["Worker", int, Session], None]


def init_db(worker: Worker, handle: int, session: Session) -> None:
    command = worker.relay.command(handle)
    if command is not None:
        worker.use(handle, session, command[1:].decode("utf-8", "replace"))


def reset_connection(worker: Worker, handle: int, session: Session) -> None:
    worker.reset(handle, session)
    worker.relay.reply_ok(handle)


def change_user(worker: Worker, handle: int, session: Session) -> None:
    """The session ends, and its connection goes back to where connections log in."""
    listener, login = worker.doors.listeners.get(session.listener), session.login
    if session.hop or listener is None or login is None:
        raise refusal("CHANGE_USER", f"there is no listener {session.listener} any more, or it is for peers")
    command = worker.relay.command(handle)
    descriptor = worker.relay.give_back(handle)
    if command is not None and descriptor >= 0:
        listener.change_user(socket.socket(fileno=descriptor), session.connection_id, login, command[1:])


def process_kill(worker: Worker, handle: int, session: Session) -> None:
    """Deprecated, and sent by drivers all the same."""
    command = worker.relay.command(handle)
    if command is not None:
        worker.kills.begin(handle, session, int.from_bytes(command[1:5], "little"), statement=False)


def set_option(worker: Worker, handle: int, session: Session) -> None:
    """Several statements in one text from now on, or no longer; the answer is an EOF packet."""
    command = worker.relay.command(handle)
    info = worker.relay.info(handle)
    if command is None or info is None:
        return
    option = int.from_bytes(command[1:], "little")
    if len(command) != _OPTION_SIZE or option not in (MULTI_STATEMENTS_ON, MULTI_STATEMENTS_OFF) or session.hop:
        raise refusal("COMMAND", "COM_SET_OPTION with this option", "It switches multiple statements on or off")
    allowed = option == MULTI_STATEMENTS_ON
    session.capabilities &= ~Capability.MULTI_STATEMENTS
    session.capabilities |= Capability.MULTI_STATEMENTS if allowed else Capability(0)
    worker.relay.take_several(handle, allowed)
    worker.relay.reply(handle, frame(_end(session, Status(info["status"])), 1), affected=0)


def _end(session: Session, status: Status) -> bytes:
    if session.capabilities & Capability.DEPRECATE_EOF:
        return bytes((EOF_HEAD,)) + OkPacket(status=status).build(session.capabilities)[1:]
    return EofPacket(status=status).build()


def statistics(worker: Worker, handle: int, session: Session) -> None:
    """One line of text, without a packet type before it: uptime, clients and statements of all workers."""
    page = worker.start.page
    state, total = page.state(), page.sum()
    uptime = max(1, (now_ns() - state["started_ns"]) // 1_000_000_000)
    line = (
        f"Uptime: {uptime}  Threads: {total['clients_connected']}  Questions: {total['queries']}  "
        f"Slow queries: {state['slow_seq']}  Opens: 0  Flush tables: 0  Open tables: 0  "
        f"Queries per second avg: {total['queries'] / uptime:.3f}"
    )
    worker.relay.reply(handle, frame(line.encode(), 1), affected=0)


ANSWERS: dict[int, Answer] = {
    Command.INIT_DB: init_db,
    Command.CHANGE_USER: change_user,
    Command.RESET_CONNECTION: reset_connection,
    Command.SET_OPTION: set_option,
    Command.STATISTICS: statistics,
    Command.PROCESS_KILL: process_kill,
}
