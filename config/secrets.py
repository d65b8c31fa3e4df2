"""Secrets by reference: where a password comes from, and its value once it was read.

A `Secret` never shows its value in `repr`, and two settings compare equal only when the values do, so that a
rotated password counts as a change without being printed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum


class SecretSource(StrEnum):
    """Where a secret is kept."""

    VALUE = "value"
    ENV = "env"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Secret:
    """A reference to a secret; `value` is None until it was read (checking a file elsewhere needs none)."""

    source: SecretSource
    reference: str = field(repr=False)
    value: str | None = field(default=None, repr=False)

    def reveal(self) -> str:
        """The secret itself. Raises ValueError when the settings were loaded without secrets."""
        if self.value is None:
            raise ValueError(f"the secret from {self} was not read")
        return self.value

    def __str__(self) -> str:
        return "the file itself" if self.source is SecretSource.VALUE else f"{self.source} {self.reference}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """A user's password at Fairlead: the text itself, or what a server would store of it.

    `clear` serves both plugins. `sha256` (64 hex digits: SHA256(SHA256(password))) serves
    caching_sha2_password, `native` (`*` and 40 hex digits: SHA1(SHA1(password)), MySQL's PASSWORD()) serves
    mysql_native_password.
    """

    clear: Secret | None = None
    sha256: Secret | None = None
    native: Secret | None = None

    def sha256_digest(self) -> bytes | None:
        """SHA256(SHA256(password)), 32 bytes; None when only the native form is known."""
        if self.clear is not None:
            return _twice("sha256", self.clear.reveal())
        return bytes.fromhex(self.sha256.reveal()) if self.sha256 is not None else None

    def native_digest(self) -> bytes | None:
        """SHA1(SHA1(password)), 20 bytes; None when only the sha256 form is known."""
        if self.clear is not None:
            return _twice("sha1", self.clear.reveal())
        return bytes.fromhex(self.native.reveal().removeprefix("*")) if self.native is not None else None


def _twice(name: str, text: str) -> bytes:
    inner = hashlib.new(name, text.encode(), usedforsecurity=True).digest()
    return hashlib.new(name, inner, usedforsecurity=True).digest()
