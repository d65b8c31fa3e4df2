"""Authentication of a client, as a generator of steps: bytes in, steps out, no socket.

Theory of operation. `authenticate` yields what it needs done and is resumed with the result:

| step           | the driver does                                    | resumes with             |
|----------------|----------------------------------------------------|--------------------------|
| Send           | sends the payload                                  | b""                      |
| Ask            | sends the payload, reads the client's next packet  | that packet's payload    |
| NeedPublicKey  | nothing on the wire                                | the PEM of our public key |
| NeedDecryption | nothing on the wire                                | the clear bytes, or b""  |

It returns the Proof, or raises: AuthenticationFailed (the driver tells the client 1045
and nothing more) or HandshakeRefused. The final OK is the driver's.

Switching. A client's first proof counts only if it was made for the plugin that the greeting named and this
user may use it; otherwise it is asked again by AuthSwitchRequest, with the client's own plugin if that is
allowed, else the user's preferred one. (Drivers send an empty proof when their plugin is not the greeting's.)
In COM_CHANGE_USER there is no greeting: it is always asked again, and by the nonce that the client knows from its
login, since C clients answer by no other.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final

from proxy.mysql.auth.accounts import Account, ProvenPasswords
from proxy.mysql.auth.scramble import (
    NATIVE,
    make_nonce,
    mask_with_nonce,
    native_proves,
    sha256_proves,
)
from proxy.mysql.constants.error_codes import ErrorCode
from proxy.mysql.errors import AuthenticationFailed, HandshakeRefused
from proxy.mysql.packets.handshake import AuthMoreData, AuthSwitchRequest

_FAST_AUTH_SUCCESS: Final = AuthMoreData(b"\x03").build()
_PERFORM_FULL_AUTHENTICATION: Final = AuthMoreData(b"\x04").build()
_REQUEST_PUBLIC_KEY: Final = b"\x02"


@dataclass(frozen=True, slots=True)
class Send:
    """Send a packet; nothing is due from the client."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a packet and resume with the client's answer."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class NeedPublicKey:
    """Resume with our public key as PEM."""


@dataclass(frozen=True, slots=True)
class NeedDecryption:
    """Resume with the clear bytes, or b"" when they cannot be had."""

    ciphertext: bytes


Step = Send | Ask | NeedPublicKey | NeedDecryption

@dataclass(frozen=True, slots=True)
class Proof:
    """The plugin that proved the user, and the nonce by which it did."""

    plugin: str
    nonce: bytes = field(repr=False)


Steps = Generator[Step, bytes, Proof]
_Proof = Generator[Step, bytes, bool]


@dataclass(frozen=True, slots=True)
class FirstProof:
    """What the client's HandshakeResponse41 said. `plugin` None: the client knows no plugins.

    `greeting_plugin` None: it was COM_CHANGE_USER, and `nonce` is the one of the login.
    """

    plugin: str | None
    response: bytes
    greeting_plugin: str | None
    nonce: bytes


def authenticate(account: Account, first: FirstProof, *, secure: bool, proven: ProvenPasswords) -> Steps:
    """Prove that the client has the account's password.

    `secure`: the channel hides cleartext (TLS, AF_UNIX).
    """
    plugin, response, nonce = _chosen_plugin(account, first), first.response, first.nonce
    if first.plugin is not None and not (plugin == first.plugin == first.greeting_plugin):
        if first.greeting_plugin is not None:
            nonce = make_nonce()
        response = yield Ask(AuthSwitchRequest(plugin, nonce).build())
    if plugin == NATIVE:
        proved = _native(account, response, nonce)
    else:
        proved = yield from _caching_sha2(account, response, nonce, secure=secure, proven=proven)
    if not (proved and account.known):
        raise AuthenticationFailed(f"{plugin}: wrong password or unknown user")
    return Proof(plugin, nonce)


def _chosen_plugin(account: Account, first: FirstProof) -> str:
    if first.plugin is None:
        if NATIVE not in account.plugins:
            raise without_plugins()
        return NATIVE
    return first.plugin if first.plugin in account.plugins else account.plugins[0]


def without_plugins() -> HandshakeRefused:
    """What a client is told that would have to switch and cannot."""
    return HandshakeRefused(
        ErrorCode.NOT_SUPPORTED_AUTH_MODE,
        "Client does not support authentication protocol requested by server; consider upgrading MySQL client",
    )


def _native(account: Account, response: bytes, nonce: bytes) -> bool:
    stored = account.verifier.native
    if account.verifier.empty:
        return not response
    return stored is not None and native_proves(response, nonce, stored)


def _caching_sha2(account: Account, response: bytes, nonce: bytes, *, secure: bool, proven: ProvenPasswords) -> _Proof:
    verifier = account.verifier
    no_password = response in (b"", b"\0")  # drivers differ
    if verifier.empty or no_password:
        return verifier.empty and no_password
    stored = verifier.sha256 or proven.find(account)
    if stored is not None and sha256_proves(response, nonce, stored):
        yield Send(_FAST_AUTH_SUCCESS)
        return True
    if verifier.sha256 is not None:
        return False  # the full exchange would compare with the same digest
    password = yield from _full_exchange(nonce, secure=secure)
    if password is None or not verifier.matches(password):
        return False
    proven.add(account, password)
    return True


def _full_exchange(nonce: bytes, *, secure: bool) -> Generator[Step, bytes, bytes | None]:
    """The client's cleartext password, or None when it did not send one properly."""
    answer = yield Ask(_PERFORM_FULL_AUTHENTICATION)
    if secure:
        clear = answer
    else:
        if answer == _REQUEST_PUBLIC_KEY:
            pem = yield NeedPublicKey()
            answer = yield Ask(AuthMoreData(pem).build())
        clear = mask_with_nonce((yield NeedDecryption(answer)), nonce)
    return clear[:-1] if clear.endswith(b"\0") else None
