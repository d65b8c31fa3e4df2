"""Who may log in, and what is stored of a password.

What a stored form can do:

| stored                             | caching_sha2_password                  | mysql_native_password |
|------------------------------------|----------------------------------------|-----------------------|
| cleartext (hashed, then forgotten) | fast path always                       | yes                   |
| sha256: SHA256(SHA256(password))   | fast path always                       | no                    |
| native: SHA1(SHA1(password))       | full exchange (TLS or RSA) until one   | yes                   |
|                                    | login has proved the password, then    |                       |
|                                    | fast                                   |                       |

An unknown user meets a decoy: an account that looks like one of the configured ones (always the same for the
same name) and whose password nobody has. The exchange, its packets and its work are those of a wrong
password, so names cannot be found out.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from proxy.mysql.auth.scramble import (
    CACHING_SHA2,
    NATIVE,
    NATIVE_SIZE,
    SHA2_SIZE,
    native_digest,
    sha256_digest,
)

PLUGINS: Final = (CACHING_SHA2, NATIVE)


@dataclass(frozen=True, slots=True)
class Verifier:
    """What is stored of one password; at least one of the two digests, never the password."""

    sha256: bytes | None = field(default=None, repr=False)
    native: bytes | None = field(default=None, repr=False)
    empty: bool = False

    def __post_init__(self) -> None:
        if self.sha256 is None and self.native is None:
            raise ValueError("a verifier needs at least one digest")
        if self.sha256 is not None and len(self.sha256) != SHA2_SIZE:
            raise ValueError(f"a sha256 digest has {SHA2_SIZE} bytes")
        if self.native is not None and len(self.native) != NATIVE_SIZE:
            raise ValueError(f"a native digest has {NATIVE_SIZE} bytes")

    @classmethod
    def of_password(cls, password: str | bytes) -> Self:
        """From the password itself, which is not kept. Text is taken as UTF-8."""
        raw = password.encode() if isinstance(password, str) else password
        return cls(sha256_digest(raw), native_digest(raw), empty=not raw)

    @classmethod
    def of_digests(cls, sha256: bytes | None, native: bytes | None) -> Self:
        """From one or both of SHA256(SHA256(password)) and SHA1(SHA1(password)); ValueError on a wrong size."""
        return cls(sha256, native, empty=sha256 == sha256_digest(b"") or native == native_digest(b""))

    @classmethod
    def of_sha256(cls, hexadecimal: str) -> Self:
        """From 64 hexadecimal digits of SHA256(SHA256(password)); ValueError when they are not that."""
        return cls.of_digests(bytes.fromhex(hexadecimal), None)

    @classmethod
    def of_native(cls, stored: str) -> Self:
        """From `*` and 40 hexadecimal digits, as PASSWORD() and mysql.user show it; ValueError otherwise."""
        if not stored.startswith("*"):
            raise ValueError("a native password hash starts with '*'")
        return cls.of_digests(None, bytes.fromhex(stored[1:]))

    def matches(self, password: bytes) -> bool:
        """Whether this is the password, in constant time."""
        if self.sha256 is not None:
            return hmac.compare_digest(self.sha256, sha256_digest(password))
        return hmac.compare_digest(self.native or b"", native_digest(password))

    def supports(self, plugin: str) -> bool:
        """Whether this plugin can be answered from what is stored."""
        return plugin == CACHING_SHA2 or (plugin == NATIVE and self.native is not None)


@dataclass(frozen=True, slots=True)
class Account:
    """One user. `plugins`: allowed ones, preferred first; those that the verifier cannot serve are left out.

    `certificate_names`: the client's certificate must carry one of these as common name or subject
    alternative name; with an empty password the certificate alone is the proof (peers).
    """

    user: str
    verifier: Verifier
    plugins: tuple[str, ...] = PLUGINS
    require_tls: bool = False
    certificate_names: frozenset[str] | None = None
    known: bool = True

    def __post_init__(self) -> None:
        unknown = [plugin for plugin in self.plugins if plugin not in PLUGINS]
        if unknown:
            raise ValueError(f"user {self.user}: unknown plugin {unknown[0]}; known are {', '.join(PLUGINS)}")
        usable = tuple(plugin for plugin in self.plugins if self.verifier.supports(plugin))
        if not usable:
            raise ValueError(
                f"user {self.user}: a sha256 hash cannot serve {NATIVE}; "
                f"allow {CACHING_SHA2}, or store the password or its native hash"
            )
        object.__setattr__(self, "plugins", usable)


class ProvenPasswords:
    """Double SHA-256 digests of passwords that were proved by a full exchange; least recently used go first.

    An entry counts only while the user's native digest is the one it was proved against.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._entries: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, account: Account) -> bytes | None:
        """The proved digest, or None."""
        key = (account.user, account.verifier.native or b"")
        digest = self._entries.get(key)
        if digest is not None:
            self._entries.move_to_end(key)
        return digest

    def add(self, account: Account, password: bytes) -> None:
        """Remember a password that `account.verifier` has just matched."""
        key = (account.user, account.verifier.native or b"")
        self._entries[key] = sha256_digest(password)
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)


class Accounts:
    """All users of a listener; immutable, replaced as a whole on reload (hand `proven` and `secret` on).

    `secret` keys the choice of decoys: the workers of one process tree must share it, or a name could be
    tested by asking several of them.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        *,
        secret: bytes | None = None,
        proven: ProvenPasswords | None = None,
    ) -> None:
        self._accounts: Mapping[str, Account] = {account.user: account for account in accounts}
        self._patterns = tuple(self._accounts.values())
        self.secret = secret or secrets.token_bytes(32)
        self.proven = proven if proven is not None else ProvenPasswords()

    def __len__(self) -> int:
        return len(self._accounts)

    def all(self) -> tuple[Account, ...]:
        return self._patterns

    def find(self, user: str) -> Account:
        """The account of this name (names are case-sensitive), or its decoy with `known` False."""
        decoy = self._decoy(user)  # made for known users too, so that both take the same time
        return self._accounts.get(user, decoy)

    def _decoy(self, user: str) -> Account:
        name = user.encode("utf-8", "surrogateescape")
        noise = hmac.digest(self.secret, name, hashlib.sha512)
        sha256, native = noise[:SHA2_SIZE], noise[-NATIVE_SIZE:]
        if not self._patterns:
            return Account(user, Verifier(sha256, native), known=False)
        pattern = self._patterns[int.from_bytes(noise[:8], "little") % len(self._patterns)]
        stored = pattern.verifier
        if stored.empty:  # never takes the full exchange
            return Account(user, Verifier(sha256, native), pattern.plugins, known=False)
        verifier = Verifier(
            sha256 if stored.sha256 is not None else None, native if stored.native is not None else None
        )
        return Account(user, verifier, pattern.plugins, known=False)
