"""How a client dies: by which packet, and at which moment of its conversation."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from loadtest.bench.wire import Connection


class Means(Enum):
    """RST; FIN of both directions; FIN of ours only, as `shutdown(SHUT_WR)` sends it."""

    RST = "RST"
    FIN = "FIN"
    HALF_CLOSE = "half close"


class Moment(Enum):
    """Between statements or while an answer is awaited; outside or inside a transaction."""

    IDLE = "idle"
    MID_QUERY = "mid-query"
    IDLE_IN_TRANSACTION = "idle in transaction"
    MID_QUERY_IN_TRANSACTION = "mid-query in transaction"

    @property
    def in_transaction(self) -> bool:
        return self in (Moment.IDLE_IN_TRANSACTION, Moment.MID_QUERY_IN_TRANSACTION)

    @property
    def mid_query(self) -> bool:
        return self in (Moment.MID_QUERY, Moment.MID_QUERY_IN_TRANSACTION)


@dataclass(frozen=True)
class Doom:
    """One way to go. `delay` is the seconds after sending, for moments amid a query."""

    means: Means
    moment: Moment
    delay: float

    def __str__(self) -> str:
        return f"{self.means.value}, {self.moment.value}"

    def sooner(self) -> "Doom":
        """For the next try, when an answer came before the delay was over."""
        return replace(self, delay=self.delay / 2)

    def strike(self, connection: Connection) -> None:
        {
            Means.RST: connection.abort,
            Means.FIN: connection.close,
            Means.HALF_CLOSE: connection.half_close,
        }[self.means]()


def dooms(draw: random.Random) -> Iterator[Doom]:
    """Endless; every run of twelve holds each means at each moment once."""
    while True:
        every = list(itertools.product(Means, Moment))
        draw.shuffle(every)
        for means, moment in every:
            yield Doom(means, moment, draw.uniform(0.0, 0.02))
