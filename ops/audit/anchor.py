"""Anchors: signed statements of how far a log had got and what it held until there.

A log alone proves its order; whoever holds its files may still cut its end off, or write all of it anew. An anchor
outside of their reach (the metastore, another domain's Fairlead) shows both. Each anchor holds the hash of the one
before it.

    <canonical JSON> <Ed25519 signature, base64>\\n
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ops.audit.record import canonical

SUFFIX = ".anchors"
MAX_LINE = 64 * 1024
MAX_KEY = 64 * 1024
FIRST = sha256(b"").hexdigest()
"""What stands for the anchor before the first one."""


class AnchorError(ValueError):
    """An anchor that is not what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The first `count` entries of a segment: hash of the last one, Merkle root of all, signed.

    Hashes and the public `key` in hex; `prev` is the `id` of the stream's anchor before.
    """

    domain: str
    stream: str
    segment: int
    count: int
    hash: str
    root: str
    ts: int
    prev: str
    key: str
    signature: bytes = b""

    def signed(self) -> bytes:
        """The bytes under the signature."""
        return canonical({name: getattr(self, name) for name in _SIGNED})

    @property
    def id(self) -> str:
        return sha256(self.signed()).hexdigest()

    def line(self) -> bytes:
        return self.signed() + b" " + base64.b64encode(self.signature) + b"\n"

    def check(self) -> None:
        """Is it signed with the key that it names? Raises AnchorError."""
        check_signature(self.key, self.signature, self.signed())


_SIGNED = tuple(field.name for field in fields(Anchor) if field.name != "signature")
_NUMBERS = frozenset({"segment", "count", "ts"})


def key_id(key: Ed25519PrivateKey) -> str:
    """The public key, in hex."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def sign(key: Ed25519PrivateKey, **given: Any) -> Anchor:
    """An anchor of all fields but `key` and `signature`."""
    bare = Anchor(key=key_id(key), **given)
    return Anchor(key=bare.key, **given, signature=key.sign(bare.signed()))


def check_signature(key: str, signature: bytes, data: bytes) -> None:
    """Raises AnchorError."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, data)
    except (InvalidSignature, ValueError):
        raise AnchorError("its signature is wrong") from None


def parse(line: bytes) -> Anchor:
    """An anchor from its line; its signature is not looked at. Raises AnchorError."""
    text, _, signature = line.rstrip(b"\n").rpartition(b" ")
    try:
        plain = json.loads(text)
        anchor = Anchor(**plain, signature=base64.b64decode(signature, validate=True))
        right = all(type(getattr(anchor, name)) is (int if name in _NUMBERS else str) for name in _SIGNED)
        if right and anchor.line() == line:
            return anchor
    except (ValueError, TypeError, RecursionError, binascii.Error):
        pass
    raise AnchorError("it is no anchor of this format")


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(offset, line), of which the last may have no end."""
    with path.open("rb") as stream:
        while line := stream.readline(MAX_LINE):
            yield stream.tell() - len(line), line


def last_in(paths: Iterable[Path]) -> Anchor | None:
    """The last whole anchor of the newest file that holds one; what cannot be read is `verify`'s to tell."""
    for path in sorted(paths, reverse=True):
        for _, line in reversed(list(lines(path))):
            try:
                return parse(line)
            except AnchorError:
                continue
    return None


# --- keys ---------------------------------------------------------------------------------------------------


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """From PEM (`openssl genpkey -algorithm ed25519`). Raises OSError, AnchorError."""
    try:
        key = load_pem_private_key(_key_bytes(path), None)
    except (ValueError, TypeError) as error:
        raise AnchorError(f"{path} holds no private key in PEM without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise AnchorError(f"{path} holds a key that is not Ed25519")
    return key


def load_public_key(path: Path) -> str:
    """In hex, from PEM (`openssl pkey -pubout`). Raises OSError, AnchorError."""
    try:
        key = load_pem_public_key(_key_bytes(path))
    except ValueError as error:
        raise AnchorError(f"{path} holds no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise AnchorError(f"{path} holds a key that is not Ed25519")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _key_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_KEY)
