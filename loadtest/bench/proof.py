"""Before anything is timed: every target answers with the right rows.

sysbench does not look at results, so a proxy that answered nothing, or from the wrong shard, would look fast.
"""

import asyncio
import random
import time
from collections.abc import Iterable

from loadtest.bench import rows
from loadtest.bench.errors import CannotMeasure
from loadtest.bench.packets import Cell, ConnectionLost, ServerError, WireError
from loadtest.bench.targets import Target
from loadtest.bench.wire import Connection

SAMPLE = 200
PATIENCE = 10.0


class WrongAnswer(CannotMeasure):
    """A target answered, but not with the row that was loaded."""


async def check(target: Target, sample: int = SAMPLE) -> None:
    """Reads `sample` rows and one that is not there, text and prepared. Raises WrongAnswer.

    A proxy that has only just started may still be finding its servers: errors, unlike wrong rows, are given a
    few seconds to go away.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await _compare(target, sample)
        except (ServerError, ConnectionLost, WireError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise WrongAnswer(f"{target.name} does not answer as it should: {error!r}") from error
            await asyncio.sleep(0.1)


async def _compare(target: Target, sample: int) -> None:
    to = target.endpoint
    connection = await Connection.open(to.host, to.port, to.user, to.password, to.database)
    try:
        statement = await connection.prepare("SELECT c FROM sbtest1 WHERE id=?")
        for number, expected in _expected(target.rows, sample):
            text = await connection.query(f"SELECT c FROM sbtest1 WHERE id={number}")
            prepared = await connection.execute(statement, [number])
            for protocol, found in (("text", text.rows), ("prepared", prepared.rows)):
                if found != expected:
                    raise WrongAnswer(f"{target.name}, {protocol}: row {number} is {found!r}, not {expected!r}")
    finally:
        connection.quit()


def check_all(targets: Iterable[Target]) -> None:
    for target in targets:
        asyncio.run(check(target))


def _expected(count: int, sample: int) -> list[tuple[int, list[tuple[Cell, ...]]]]:
    content = rows.rows(count)
    picked = random.Random(2).sample(content, min(sample, count))
    there: list[tuple[int, list[tuple[Cell, ...]]]] = [(number, [(c.encode(),)]) for number, _, c, _ in picked]
    return [(count + 1, []), *there]
