"""One generated read, and the protocol that it is sent by."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Read:
    """`params` None: text protocol. `ordered`: rows must come in the same order. `mixed`: servers put together what is
    in a cell in an order of their own."""

    sql: str
    params: tuple[Any, ...] | None = None
    ordered: bool = False
    mixed: bool = False


def protocol(dice: random.Random, sql: str, params: tuple[Any, ...] = (), *, ordered: bool = False) -> Read:
    """Prepared where there are parameters, and else every other time."""
    if params or dice.random() < 0.5:
        return Read(sql, params, ordered)
    return Read(sql, None, ordered)
