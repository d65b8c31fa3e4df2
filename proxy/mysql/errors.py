"""What can go wrong on a MySQL connection, by whose fault it is.

Every failed phase raises one of these; none of them leaves the connection usable, except `ServerError`
after the handshake.
"""

from proxy.mysql.constants.error_codes import SQLSTATES, ErrorCode


class WireError(Exception):
    """Root of this package's errors."""


class MalformedPacket(WireError):
    """The other side's bytes do not follow the packet's layout."""


class ProtocolViolation(WireError):
    """A well-formed packet in the wrong place: sequence number, size, or a step that was not offered."""


class ConnectionClosed(WireError):
    """The other side closed the connection where a packet was due."""


class TlsRefused(WireError):
    """TLS is required and the other side cannot do it, or the TLS handshake failed."""


class AuthenticationFailed(WireError):
    """Towards a client: the proof was wrong. Towards a server: we will not or cannot give the proof."""


class HandshakeRefused(WireError):
    """A client is refused with an ERR packet: `errno`, `sqlstate` and `message` are what it is told."""

    def __init__(self, errno: ErrorCode | int, message: str, sqlstate: str | None = None) -> None:
        super().__init__(f"{int(errno)}: {message}")
        self.errno = int(errno)
        self.sqlstate = sqlstate or _sqlstate_of(errno)
        self.message = message


class ServerError(WireError):
    """An ERR packet of a server, passed on as it came."""

    def __init__(self, errno: int, sqlstate: str, message: str) -> None:
        super().__init__(f"{errno} ({sqlstate}): {message}")
        self.errno = errno
        self.sqlstate = sqlstate
        self.message = message


def _sqlstate_of(errno: ErrorCode | int) -> str:
    try:
        return SQLSTATES[ErrorCode(errno)]
    except ValueError:
        return "HY000"
