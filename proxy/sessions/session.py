"""What the uvloop side keeps of a client session, and the small integers that stand for it in the relay.

The relay's struct is the truth for everything that a statement's answer changes (transaction, pins, insert
id). Here is what only SET, USE and the handshake change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.collations import Collation
from proxy.pool.varstate import COMPLETIONS, SessionState
from proxy.sessions.tracking import EVERYTHING, UNTOLD, Tracking
from router.context import Completion
from router.policy.model import Subject
from router.variables import UNSAFE_CHARSETS

if TYPE_CHECKING:
    from proxy.mysql.server_handshake import ClientIdentity
    from proxy.sessions.attested import Attested
    from proxy.xa.sessions import Spread

ANSI_QUOTES, NO_BACKSLASH_ESCAPES, UNSAFE_CHARSET, MARIADB, ASCII_KEYS = 1, 2, 4, 8, 256
"""Mode bits of the lexer and of canonical keys (`_speedups/literals.pxd`)."""

FRESH = SessionState()
UTF8_CHARSETS = frozenset({"utf8mb4", "utf8mb3", "utf8"})

PEER_LOGIN = "fairlead"
USER_ATTRIBUTE, SHARD_ATTRIBUTE = "fairlead_user", "fairlead_shard"
LISTENER_ATTRIBUTE, CERTIFICATE_ATTRIBUTE = "fairlead_listener", "fairlead_certificate"
REDIS_ATTRIBUTE = "fairlead_redis"
"""A peer logs in with a certificate as PEER_LOGIN and names the user whose statements it carries, and their shard; and
how it authenticated the user, by which the policy here knows the subject. With the last one, 2 or 3, the connection
speaks Redis's protocol in that version behind the login."""


class Identity(NamedTuple):
    """How a session was authenticated, for the policy: `listener` and `certificate` of the Fairlead that the client
    is connected to, `region`: where that stands (None: here)."""

    listener: str = ""
    certificate: str | None = None
    region: str | None = None


NOBODY = Identity()


class Reading(NamedTuple):
    """By what, besides the mode, a server reads a text: literals by `charset` and `collation`, operators by the `words`
    of sql_mode."""

    charset: str = "utf8mb4"
    collation: str = ""
    words: frozenset[str] = frozenset()


class Origin(NamedTuple):
    """What a statement keeps of the session in which it was prepared."""

    database: str | None
    mode: int
    reading: Reading


class ContextKey(NamedTuple):
    """Everything but the text and the configuration that a plan depends on."""

    user: str
    database: str | None
    mode: int
    hop: bool
    subject: int = 0
    canary: bool = False
    spread: bool = False
    completion: Completion = "NO_CHAIN"
    reading: Reading = Reading()


class ContextTable:
    """ContextKey <-> the number by which the relay's plans are keyed. Grows with users x databases x modes x collations
    x subjects x completion types only."""

    def __init__(self) -> None:
        self._numbers: dict[ContextKey, int] = {}
        self._keys: list[ContextKey] = []

    def number(self, key: ContextKey) -> int:
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self._keys)
            self._keys.append(key)
        return found

    def key(self, number: int) -> ContextKey:
        return self._keys[number]


@dataclass(slots=True)
class Session:
    """One client. `state`: its database and what SET changed, as it is carried from backend to backend.

    `hop`: it is a peer; nothing is forwarded again. `bound`: the shard that the peer means, when a statement could
    go to several. `savepoints`: of the transaction, as far as the relay says that it has some. `spread`: the
    transaction, when it is on several shards. `identity`: by what the policy knows it, and
    `subject`: as whom, when there is a policy. `attested`: as whom it reaches peers. `canary`:
    a version on trial decides about it. `login`: what it said of itself. `note`: an ERR packet's payload, what the
    running statement is to be warned of. `carried_in`: the origin of the statements that came with it from
    the process before, if anything did. `tracking`: of which changes it is told.
    """

    handle: int
    connection_id: int
    user: str
    peer: str
    capabilities: Capability
    collation: Collation
    listener: str
    hop: bool = False
    bound: str | None = None
    mariadb: bool = True
    state: SessionState = FRESH
    initial: SessionState = FRESH
    prepared: dict[int, object] = field(default_factory=dict)
    savepoints: tuple[str, ...] = ()
    spread: Spread | None = None
    attested: Attested | None = None
    identity: Identity = NOBODY
    subject: Subject | None = None
    canary: bool = False
    login: ClientIdentity | None = None
    note: bytes | None = None
    carried_in: frozenset[Origin] = frozenset()
    tracking: Tracking = UNTOLD

    @property
    def database(self) -> str | None:
        return self.state.database

    @property
    def is_told(self) -> bool:
        """Does it want to know of changes of its state?"""
        return self.login is not None and bool(self.login.capabilities & Capability.SESSION_TRACK)

    def told(self) -> tuple[int, bytes]:
        """Of which changes, as the relay has it."""
        if not self.is_told:
            return 0, b""
        return (EVERYTHING if self.hop else self.tracking.kinds(self.mariadb)), self.tracking.packed()

    @property
    def charset(self) -> str:
        """The client's character set: how its statements' bytes are to be read."""
        literal = self.state.literal("character_set_client")
        return literal.strip("'").lower() if literal and literal != "DEFAULT" else "utf8mb4"

    @property
    def mode(self) -> int:
        """How its statements are to be lexed and its keys read: sql_mode, character set, flavour."""
        bits = mode_bits((self.state.literal("sql_mode") or "").strip("'")) | (MARIADB if self.mariadb else 0)
        if self.charset not in UTF8_CHARSETS:
            bits |= ASCII_KEYS
        return bits | UNSAFE_CHARSET if self.charset in UNSAFE_CHARSETS else bits

    @property
    def completion(self) -> Completion:
        """What its COMMITs do that say nothing of it."""
        wanted = (self.state.literal("completion_type") or "").strip("'")
        return next((one for one in COMPLETIONS if one == wanted), "NO_CHAIN")

    @property
    def reading(self) -> Reading:
        words = {word.strip().upper() for word in (self.state.literal("sql_mode") or "").strip("'").split(",")}
        return Reading(self.charset, self.state.literal("collation_connection") or "", frozenset(words & _READING))

    @property
    def origin(self) -> Origin:
        return Origin(self.database, self.mode, self.reading)

    def context(self) -> ContextKey:
        subject = self.subject.id if self.subject is not None else 0
        return ContextKey(
            self.user, self.database, self.mode, self.hop, subject, self.canary,
            completion=self.completion, reading=self.reading,
        )  # fmt: skip

    def relay_context(self) -> ContextKey:
        """The same for the relay, which knows no plan for a transaction that is on several shards."""
        return self.context()._replace(spread=self.spread is not None)


def mode_bits(sql_mode: str) -> int:
    """The bits of sql_mode that change how text is read. ANSI and its kin contain ANSI_QUOTES."""
    words = {word.strip().upper() for word in sql_mode.split(",")}
    bits = ANSI_QUOTES if words & _QUOTING else 0
    return bits | NO_BACKSLASH_ESCAPES if "NO_BACKSLASH_ESCAPES" in words else bits


_READING = {"PIPES_AS_CONCAT", "HIGH_NOT_PRECEDENCE", "IGNORE_SPACE", "REAL_AS_FLOAT"}
_QUOTING = {"ANSI_QUOTES", "ANSI", "DB2", "MAXDB", "MSSQL", "ORACLE", "POSTGRESQL"}


def keeps_zero(session: Session) -> bool:
    """Is 0 a value for an AUTO_INCREMENT column, rather than the wish for one?"""
    return "NO_AUTO_VALUE_ON_ZERO" in (session.state.literal("sql_mode") or "").upper()
