"""What is known of one Redis client beyond what the relay keeps."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from _speedups.redis_relay import NO_WAYS
from proxy.sessions.attested import Attested
from proxy.sessions.session import NOBODY, Identity
from router.policy.model import Subject
from router.redis.table import Level

if TYPE_CHECKING:
    from proxy.redis.pubsub import Subscriptions
    from proxy.redis.transactions import Transaction, Watch


@dataclass(slots=True)
class RedisClient:
    """`identity`: by what the policy knows it, and `subject`: as whom; `attested`: as whom it reaches other regions.
    `hop`: another region's Fairlead brings it; nothing is passed on again. `task`: what is under way for it while it
    is parked. `interruptible`: that ends when the client goes."""

    handle: int
    number: int
    peer: str
    listener: str
    tls: bool
    identity: Identity = NOBODY
    hop: bool = False
    user: str | None = None
    subject: Subject | None = None
    attested: Attested | None = None
    level: Level = Level.NONE
    protocol: int = 2
    name: bytes = b""
    library: bytes = b""
    version: bytes = b""
    since: float = field(default_factory=time.monotonic)
    transaction: Transaction | None = None
    watch: Watch | None = None
    subscriptions: Subscriptions | None = None
    task: asyncio.Task[None] | None = None
    interruptible: bool = False

    @property
    def subject_id(self) -> int:
        """Who it is to the policy, for the relay."""
        return self.subject.id if self.subject is not None else 0

    @property
    def who(self) -> int:
        """Whose ways into other regions it has, for the relay."""
        return self.attested.number if self.attested is not None else NO_WAYS

    @property
    def collects(self) -> bool:
        """Does everything it sends come to Python?"""
        if self.transaction is not None:
            return True
        return self.subscriptions is not None and self.protocol == 2
