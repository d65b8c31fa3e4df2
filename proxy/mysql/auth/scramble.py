"""The arithmetic of the two password plugins (MySQL "Native Authentication", "Caching_sha2_password").

`nonce` is the 20 bytes of the greeting or of the switch request. Comparisons take constant time.
"""

import hashlib
import hmac
import secrets
from typing import Final

NATIVE: Final = "mysql_native_password"
CACHING_SHA2: Final = "caching_sha2_password"
CLEARTEXT: Final = "mysql_clear_password"

NONCE_SIZE: Final = 20
NATIVE_SIZE: Final = hashlib.sha1().digest_size
SHA2_SIZE: Final = hashlib.sha256().digest_size

# A nonce travels as a C string, and MySQL keeps '$' out of it because stored hashes use that as separator.
_NONCE_ALPHABET: Final = bytes(byte for byte in range(1, 128) if byte != ord("$"))
_NONCE_TABLE: Final = bytes(_NONCE_ALPHABET[byte % len(_NONCE_ALPHABET)] for byte in range(256))


def make_nonce() -> bytes:
    """20 random bytes, none of them NUL or '$'."""
    # Four letters come up three times where the others come up twice: 139 bits remain.
    return secrets.token_bytes(NONCE_SIZE).translate(_NONCE_TABLE)


def native_digest(password: bytes) -> bytes:
    """What mysql_native_password stores: SHA1(SHA1(password)), 20 bytes."""
    return _sha1(_sha1(password))


def native_scramble(password: bytes, nonce: bytes) -> bytes:
    """A client's proof: SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password))); empty for no password."""
    if not password:
        return b""
    return _xor(_sha1(password), _sha1(nonce + native_digest(password)))


def native_proves(scramble: bytes, nonce: bytes, stored: bytes) -> bool:
    """Whether the proof was made from the password whose native digest is `stored`."""
    if len(scramble) != NATIVE_SIZE:
        return False
    return hmac.compare_digest(_sha1(_xor(scramble, _sha1(nonce + stored))), stored)


def sha256_digest(password: bytes) -> bytes:
    """What the fast path needs: SHA256(SHA256(password)), 32 bytes."""
    return _sha256(_sha256(password))


def sha256_scramble(password: bytes, nonce: bytes) -> bytes:
    """A client's proof: SHA256(pw) XOR SHA256(SHA256(SHA256(pw)) + nonce); empty for no password."""
    if not password:
        return b""
    return _xor(_sha256(password), _sha256(sha256_digest(password) + nonce))


def sha256_proves(scramble: bytes, nonce: bytes, stored: bytes) -> bool:
    """Whether the proof was made from the password whose double SHA-256 is `stored`."""
    if len(scramble) != SHA2_SIZE:
        return False
    return hmac.compare_digest(_sha256(_xor(scramble, _sha256(stored + nonce))), stored)


def mask_with_nonce(data: bytes, nonce: bytes) -> bytes:
    """XOR with the nonce repeated: what is done to the password before and after RSA; its own inverse."""
    repeated = nonce * (len(data) // len(nonce) + 1)
    return _xor(data, repeated[: len(data)])


def _xor(left: bytes, right: bytes) -> bytes:
    size = len(left)
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(size, "big")


def _sha1(data: bytes) -> bytes:
    # The plugin's own hash; not our choice.
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
