"""What is known of one Redis client beyond what the relay keeps."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from router.policy.model import Subject
from router.redis.table import Level

if TYPE_CHECKING:
    from proxy.redis.pubsub import Subscriptions
    from proxy.redis.transactions import Transaction, Watch


@dataclass(slots=True)
class RedisClient:
    """`subject`: who it is, where there is a policy. `task`: what is under way for it while it is parked.
    `interruptible`: that ends when the client goes."""

    handle: int
    number: int
    peer: str
    listener: str
    tls: bool
    certificate: str | None = None
    user: str | None = None
    subject: Subject | None = None
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
    def collects(self) -> bool:
        """Does everything it sends come to Python?"""
        if self.transaction is not None:
            return True
        return self.subscriptions is not None and self.protocol == 2
