"""Statements that no plan cache has seen: the same seed gives the same ones, another seed entirely others."""

import random
from collections.abc import Iterator

COLUMNS = ("id", "k", "c", "pad")
FUNCTIONS = ("{}", "length({})", "upper({})", "concat({}, 'x')", "coalesce({}, 0)", "{} IS NULL")
OPERATORS = ("=", "<>", "<", ">", "<=", ">=")


def distinct(seed: int, count: int, rows: int) -> Iterator[str]:
    """`count` SELECTs on sbtest1, each pinned to one row's shard by its id, no two of one normalised text.

    Shapes differ in select lists, aliases and predicates, from some 60 bytes to some 600: what a fleet of
    applications with generated SQL sends after a restart of the proxy. The number in the first alias makes
    each one unique.
    """
    draw = random.Random(seed)
    for number in range(count):
        columns = ", ".join(
            _expression(draw, f"x{seed}_{number}_{at}") for at in range(draw.choice((1, 2, 4, 12)))
        )
        predicates = [
            f"id = {draw.randint(1, rows)}",
            *(_predicate(draw) for _ in range(draw.choice((0, 1, 3)))),
        ]
        yield f"SELECT {columns} FROM sbtest1 WHERE {' AND '.join(predicates)}"


def with_list(seed: int, count: int, items: int) -> Iterator[str]:
    """`count` distinct shapes whose only list holds `items` numbers."""
    numbers = ", ".join(str(number) for number in range(items))
    for number in range(count):
        yield f"SELECT c AS y{seed}_{number} FROM sbtest1 WHERE id = {number + 1} AND k IN ({numbers})"


def _expression(draw: random.Random, alias: str) -> str:
    return f"{draw.choice(FUNCTIONS).format(draw.choice(COLUMNS))} AS {alias}"


def _predicate(draw: random.Random) -> str:
    return f"{draw.choice(COLUMNS)} {draw.choice(OPERATORS)} {draw.randint(0, 10**6)}"
