"""How big a TPC-C database is, and its random numbers (TPC-C 5.11, clauses 1.2, 2.1.6 and 4.3)."""

from __future__ import annotations

import random
from dataclasses import dataclass

SYLLABLES = ("BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING")
ORIGINAL = 0.1
"""The part of items and stock whose data say so."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The specification's sizes, but for `warehouses`, would be 10, 3,000 and 100,000; these load within seconds."""

    warehouses: int = 4
    districts: int = 10
    customers: int = 60
    items: int = 1000

    @property
    def names(self) -> int:
        """How many last names there are: three customers of a district share one on the average."""
        return max(1, min(1000, self.customers // 3))

    @property
    def waiting(self) -> int:
        """The first order of a fresh district that is not delivered yet: 30 % are not."""
        return self.customers * 7 // 10 + 1


class Dice(random.Random):
    """Random numbers as the specification draws them."""

    def non_uniform(self, a: int, low: int, high: int) -> int:
        """NURand (clause 2.1.6), with C = 0."""
        return ((self.randint(0, a) | self.randint(low, high)) % (high - low + 1)) + low

    def customer(self, scale: Scale) -> int:
        return self.non_uniform(1023, 1, scale.customers)

    def item(self, scale: Scale) -> int:
        return self.non_uniform(8191, 1, scale.items)

    def name(self, scale: Scale) -> str:
        return last_name(self.non_uniform(255, 0, scale.names - 1))

    def letters(self, low: int, high: int) -> str:
        return "".join(self.choices("abcdefghijklmnopqrstuvwxyz", k=self.randint(low, high)))

    def data(self) -> str:
        made = self.letters(26, 40)
        return made[:8] + "ORIGINAL" + made[16:] if self.random() < ORIGINAL else made

    def zip(self) -> str:
        return f"{self.randrange(10_000):04}11111"


def last_name(number: int) -> str:
    return "".join(SYLLABLES[number // power % 10] for power in (100, 10, 1))
