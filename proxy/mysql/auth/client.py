"""Authentication towards a server, packet by packet, without a socket.

`ClientAuthentication` makes the first proof and then answers each packet of the server until it says OK.
MySQL switches the plugin at most once, MariaDB once for each alternative of an account (`IDENTIFIED VIA a OR
b`); a server that asks on and on is refused.
"""

from dataclasses import dataclass, field
from typing import Final

from proxy.mysql.auth.rsa import encrypt_password
from proxy.mysql.auth.scramble import (
    CACHING_SHA2,
    CLEARTEXT,
    NATIVE,
    NONCE_SIZE,
    native_scramble,
    sha256_scramble,
)
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.errors import AuthenticationFailed, MalformedPacket, ProtocolViolation, ServerError
from proxy.mysql.packets.handshake import AuthMoreData, AuthSwitchRequest
from proxy.mysql.packets.replies import ErrPacket, OkPacket

_MAX_SWITCHES: Final = 4
_FAST_AUTH_SUCCESS: Final = b"\x03"
_PERFORM_FULL_AUTHENTICATION: Final = b"\x04"
_REQUEST_PUBLIC_KEY: Final = b"\x02"


@dataclass(frozen=True, slots=True)
class BackendAccount:
    """The account that a backend connection logs in with.

    `public_key`: the server's RSA key as PEM, pinned. Without it, and without TLS, the key is asked of the
    server if `allow_public_key_retrieval`: someone in the middle could then hand out his own key and read the
    password. `allow_cleartext`: answer mysql_clear_password, inside TLS only.
    """

    user: str
    password: bytes = field(default=b"", repr=False)
    public_key: bytes | None = None
    allow_public_key_retrieval: bool = True
    allow_cleartext: bool = False


class ClientAuthentication:
    """One login. `secure`: nobody between us and the server can read (TLS, AF_UNIX); `tls`: it is TLS."""

    def __init__(self, account: BackendAccount, *, secure: bool, tls: bool) -> None:
        self._account = account
        self._secure = secure
        self._tls = tls
        self._plugin = ""
        self._nonce = b""
        self._switches = 0
        self._awaits_key = False

    def first_proof(self, plugin: str, nonce: bytes) -> tuple[str, bytes]:
        """(plugin, proof) for HandshakeResponse41, from what the greeting named.

        For a plugin not spoken here the native one is offered; the server then switches or refuses.
        """
        self._plugin = plugin if plugin in (NATIVE, CACHING_SHA2) else NATIVE
        self._nonce = nonce
        return self._plugin, self._proof()

    def receive(self, payload: bytes, capabilities: Capability) -> bytes | OkPacket | None:
        """Answer a packet of the server: bytes to send, the final OK, or None (wait for its next packet).

        Raises ServerError (ERR), AuthenticationFailed (we refuse), MalformedPacket, ProtocolViolation.
        """
        if not payload:
            raise MalformedPacket("empty packet during authentication")
        match payload[0]:
            case 0x00:  # OK
                return OkPacket.parse(payload, capabilities)
            case 0x01:  # AuthMoreData
                return self._more_data(AuthMoreData.parse(payload).data)
            case 0xFE:  # AuthSwitchRequest
                return self._switch(AuthSwitchRequest.parse(payload))
            case 0xFF:  # ERR
                error = ErrPacket.parse(payload)
                raise ServerError(error.errno, error.sqlstate, error.message)
        raise ProtocolViolation(f"packet 0x{payload[0]:02x} during authentication")

    def _switch(self, request: AuthSwitchRequest) -> bytes:
        self._switches += 1
        if self._switches > _MAX_SWITCHES:
            raise ProtocolViolation("the server switches the authentication plugin again and again")
        self._plugin, self._nonce = request.plugin, request.data
        if self._plugin == CLEARTEXT and not (self._tls and self._account.allow_cleartext):
            raise AuthenticationFailed(
                f"the server asks for the cleartext password by {CLEARTEXT}; it is sent only inside TLS and "
                "when the account allows it"
            )
        return self._proof()

    def _proof(self) -> bytes:
        password = self._account.password
        if self._plugin in (NATIVE, CACHING_SHA2) and len(self._nonce) != NONCE_SIZE:
            raise MalformedPacket(f"a nonce of {len(self._nonce)} bytes, {NONCE_SIZE} are due")
        if self._plugin == NATIVE:
            return native_scramble(password, self._nonce)
        if self._plugin == CACHING_SHA2:
            # An empty password is one NUL, as MySQL's own client sends it.
            return sha256_scramble(password, self._nonce) or b"\0"
        if self._plugin == CLEARTEXT:
            return password + b"\0"
        raise AuthenticationFailed(
            f"the server asks for plugin {self._plugin!r}; spoken are {CACHING_SHA2} and {NATIVE} "
            "(for an account that does not exist MySQL names any plugin)"
        )

    def _more_data(self, data: bytes) -> bytes | None:
        if self._plugin != CACHING_SHA2:
            raise ProtocolViolation(f"{self._plugin} has no further steps")
        if self._awaits_key:
            self._awaits_key = False
            return encrypt_password(self._account.password, self._nonce, data)
        if data == _FAST_AUTH_SUCCESS:
            return None
        if data == _PERFORM_FULL_AUTHENTICATION:
            return self._full_exchange()
        raise ProtocolViolation("unknown step of caching_sha2_password")

    def _full_exchange(self) -> bytes:
        account = self._account
        if self._secure:
            return account.password + b"\0"
        if account.public_key is not None:
            return encrypt_password(account.password, self._nonce, account.public_key)
        if not account.allow_public_key_retrieval:
            raise AuthenticationFailed(
                "the server wants the full caching_sha2_password exchange on a connection without TLS, no "
                "public key is pinned, and asking the server for it is not allowed"
            )
        self._awaits_key = True
        return _REQUEST_PUBLIC_KEY
