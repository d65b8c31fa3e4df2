"""The RSA key pair with which a client without TLS hides its password in a full exchange.

RSA-OAEP with SHA-1 and MGF1-SHA-1 is the protocol's choice (MySQL "Caching_sha2_password", RSA exchange).
"""

import asyncio
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from proxy.mysql.auth.scramble import mask_with_nonce
from proxy.mysql.errors import AuthenticationFailed

KEY_BITS: Final = 2048
_SMALLEST_KEY_BITS: Final = 2048  # what a pinned or fetched key must have; MySQL generates this size
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


class RsaKeyPair:
    """Read from a PEM file, or generated at first use; key work runs in a thread, off the event loop."""

    def __init__(self, path: Path | None = None) -> None:
        """A file is read at once: ValueError or OSError when it is unusable."""
        self._key: rsa.RSAPrivateKey | None = None if path is None else _load_private_key(path)
        self._making: asyncio.Task[rsa.RSAPrivateKey] | None = None

    async def public_pem(self) -> bytes:
        """The public key as PEM (SubjectPublicKeyInfo), as a client expects it."""
        key = await self._ready()
        return key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    async def decrypt(self, ciphertext: bytes) -> bytes:
        """The clear bytes; empty when it is no ciphertext of this key, which then proves nothing."""
        key = await self._ready()
        if len(ciphertext) != key.key_size // 8:
            return b""
        return await asyncio.to_thread(_decrypt, key, ciphertext)

    async def _ready(self) -> rsa.RSAPrivateKey:
        if self._key is None:
            if self._making is None:
                self._making = asyncio.create_task(asyncio.to_thread(_generate))
            # One client's cancelled handshake must not take the key away from the others.
            self._key = await asyncio.shield(self._making)
        return self._key


def encrypt_password(password: bytes, nonce: bytes, public_key_pem: bytes) -> bytes:
    """The password with its NUL, masked and encrypted for the server's key.

    Raises AuthenticationFailed when the key is not RSA, too small, or the password too long for it.
    """
    try:
        key = serialization.load_pem_public_key(public_key_pem)
    except ValueError as error:
        raise AuthenticationFailed(f"the server's public key cannot be read: {error}") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _SMALLEST_KEY_BITS:
        raise AuthenticationFailed(f"the server's public key is not RSA of {_SMALLEST_KEY_BITS} bits or more")
    try:
        return key.encrypt(mask_with_nonce(password + b"\0", nonce), _OAEP)
    except ValueError as error:
        raise AuthenticationFailed("the password is too long for the server's public key") from error


def _generate() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def _decrypt(key: rsa.RSAPrivateKey, ciphertext: bytes) -> bytes:
    try:
        return key.decrypt(ciphertext, _OAEP)
    except ValueError:
        return b""


def _load_private_key(path: Path) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{path} does not hold an RSA key")
    return key
