"""The settings of transactions over several shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from config.option import DURATION, Option


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionSettings:
    """How transactions over several shards are committed, and cleared up behind a crash (docs/transactions.md)."""

    decisions: Annotated[
        str,
        Option(
            "The schema of Fairlead's own table of decisions on each server, made when it is first needed; the shard's "
            "account has to be allowed to create, read, insert and delete there."
        ),
    ] = "fairlead"
    recovery: Annotated[
        float,
        Option("Time between two looks for parts that a crash has left prepared on the region's servers.", DURATION,
               low=0.1),
    ] = 2.0
    in_doubt: Annotated[
        float,
        Option("A part that has been seen prepared for so long is decided, unless its Fairlead is just doing so.",
               DURATION, low=0),
    ] = 5.0
    ask: Annotated[
        float,
        Option("How long COMMIT asks for its outcome when the connection to the deciding server was lost.", DURATION,
               low=0),
    ] = 10.0
