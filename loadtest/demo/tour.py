"""The tour: statements, where each must go, and what it must answer.

Every stop knows the right answer, from the generated data and not from Fairlead, so that the demo can say
whether it was right.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from loadtest.world.layout import Shape, region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.shop import ALL_COUNTRIES, SETTINGS, Row, Shop

PURCHASE = Decimal("25.00")


@dataclass(frozen=True)
class Stop:
    """One thing to see: `statements`, one after the other on one connection; the last one's rows are shown.

    `shards`: which shards the last statement must be said to go to. `expected`: its rows, in any order when
    several shards answer. `refused`: the last statement must fail with one of Fairlead's own errors.
    `proof`: what must be seen elsewhere, within `patience` seconds of repeating the last statement.
    `prepared`: it is prepared, executed with `arguments`, by the binary protocol.
    """

    title: str
    statements: tuple[str, ...]
    why: str
    shards: tuple[str, ...] = ()
    expected: tuple[Row, ...] = ()
    refused: bool = False
    prepared: bool = False
    arguments: tuple[Any, ...] = ()
    explained: str = ""
    proof: Callable[["Proof"], bool] | None = field(default=None, compare=False)
    patience: float = 0.0

    @property
    def last(self) -> str:
        return self.statements[-1]


@dataclass(frozen=True)
class Proof:
    """What a stop may look at beside the answer: any shard's primary, directly, and the metrics."""

    value_on: Callable[[str, str], Any]
    """`value_on(shard, statement)`: the first value of the first row."""
    metric: Callable[[str], float]
    """`metric('name{label="value"}')` from Fairlead's /metrics; 0 when there is no such series."""


def stops(shop: Shop, shape: Shape) -> list[Stop]:
    """The tour through this world, starting from eu's Fairlead."""
    at_home, abroad = region_id("eu", 1), region_id("us", 1)
    elsewhere = _neighbour(shape, at_home)
    home_shard, us_shard = shard_of_id(shape, at_home), shard_of_id(shape, abroad)
    truth = _Truth(shop, shape)
    email = truth.customer(abroad)[2]
    return [
        Stop(
            title="A customer of this region",
            statements=(f"SELECT id, name, country FROM customers WHERE id = {at_home}",),
            why="The id's bits say eu, its hash says which of eu's shards.",
            shards=(home_shard,),
            expected=(truth.columns(at_home, 0, 1, 3),),
        ),
        Stop(
            title="A customer of the other region",
            statements=(f"SELECT id, name, country FROM customers WHERE id = {abroad}",),
            why="The id's bits say us: us's Fairlead is asked, never us's servers.",
            shards=(us_shard,),
            expected=(truth.columns(abroad, 0, 1, 3),),
        ),
        Stop(
            title="A transaction on one shard",
            statements=(
                "BEGIN",
                f"UPDATE customers SET balance = balance + {PURCHASE} WHERE id = {at_home}",
                "INSERT INTO orders (customer_id, id, item, amount, status, created_at) "
                f"VALUES ({at_home}, 1, 'sextant', {PURCHASE}, 'paid', '2026-11-21 12:00:00')",
                "COMMIT",
                f"SELECT balance FROM customers WHERE id = {at_home}",
            ),
            why="BEGIN waits for the first statement to say which shard; COMMIT goes to that one.",
            shards=(home_shard,),
            expected=((Decimal(truth.customer(at_home)[4]) + PURCHASE,),),
            proof=lambda proof: (
                proof.value_on(home_shard, f"SELECT item FROM orders WHERE customer_id = {at_home} AND id = 1")
                == "sextant"
            ),
        ),
        Stop(
            title="A prepared statement",
            statements=("SELECT name, email FROM customers WHERE id = ?",),
            arguments=(elsewhere,),
            prepared=True,
            explained=f"SELECT name, email FROM customers WHERE id = {elsewhere}",
            why="The parameter is routed as the same literal would be.",
            shards=(shard_of_id(shape, elsewhere),),
            expected=(truth.columns(elsewhere, 1, 2),),
        ),
        Stop(
            title="A join of co-located and reference tables",
            statements=(
                "SELECT c.name, o.id, o.item, k.name FROM customers c "
                "JOIN orders o ON o.customer_id = c.id JOIN countries k ON k.code = c.country "
                f"WHERE c.id = {abroad} ORDER BY o.id",
            ),
            why="Orders lie with their customer, countries are on every shard: one shard joins them all.",
            shards=(us_shard,),
            expected=truth.joined(abroad),
        ),
        Stop(
            title="A table that lives on one shard",
            statements=("SELECT value FROM settings WHERE name = 'motto'",),
            why="settings is pinned.",
            shards=(shop.pinned_to(shape),),
            expected=((dict(SETTINGS)["motto"],),),
        ),
        Stop(
            title="A search without the shard key",
            statements=(f"SELECT id, name FROM customers WHERE email = '{email}'",),
            why="Every shard is asked, us's through its Fairlead; rows are passed on as they come.",
            shards=tuple(shape.all_shards()),
            expected=truth.with_email(email),
        ),
        Stop(
            title="A read that a replica may answer",
            statements=(
                f"SELECT /* fairlead: consistency=eventual, max_lag=10s */ name FROM customers WHERE id = {at_home}",
            ),
            why="The hint allows data up to ten seconds old; the replica in this region is near.",
            shards=(home_shard,),
            expected=(truth.columns(at_home, 1),),
            proof=lambda proof: proof.metric(f'fairlead_shard_replica_reads_total{{shard="{home_shard}"}}') > 0,
            # A replica is read from once it has been seen to keep up; until then the primary answers.
            patience=10.0,
        ),
        Stop(
            title="A second shard in one transaction",
            statements=(
                "BEGIN",
                f"UPDATE customers SET balance = 0 WHERE id = {at_home}",
                f"UPDATE customers SET balance = 0 WHERE id = {abroad}",
            ),
            why="Two shards cannot commit as one yet; half a transaction would be worse than an error.",
            refused=True,
        ),
        Stop(
            title="A question that needs all shards' rows at once",
            statements=("SELECT country, COUNT(*) FROM customers GROUP BY country",),
            why="Each shard counts its own rows; a country's parts are added up.",
            shards=tuple(shape.all_shards()),
            expected=truth.by_country(),
        ),
        Stop(
            title="A question that only one server can answer",
            statements=(
                "SELECT k.name, COUNT(c.id) FROM countries k LEFT JOIN customers c ON c.country = k.code "
                "GROUP BY k.name",
            ),
            why="Every shard has all countries, and would count one without customers for itself. So what is needed of "
            "the customers goes into a temporary table on a shard of this region, which finishes it.",
            shards=tuple(shape.all_shards()),
            expected=truth.in_every_country(),
            proof=lambda proof: proof.metric('fairlead_scratch_statements_total{outcome="answered"}') > 0,
        ),
    ]


class _Truth:
    """The right answers."""

    def __init__(self, shop: Shop, shape: Shape) -> None:
        self._customers = {row[0]: row for row in shop.all_customers(shape)}
        self._orders = shop.all_orders(shape)
        self._countries = {code: name for code, name, _ in ALL_COUNTRIES}

    def customer(self, identifier: int) -> Row:
        return self._customers[identifier]

    def columns(self, identifier: int, *positions: int) -> Row:
        return tuple(self._customers[identifier][position] for position in positions)

    def with_email(self, email: str) -> tuple[Row, ...]:
        return tuple((row[0], row[1]) for row in self._customers.values() if row[2] == email)

    def by_country(self) -> tuple[Row, ...]:
        return tuple(Counter(row[3] for row in self._customers.values()).items())

    def in_every_country(self) -> tuple[Row, ...]:
        found: dict[str, int] = dict(self.by_country())
        return tuple((name, found.get(code, 0)) for code, name in self._countries.items())

    def joined(self, identifier: int) -> tuple[Row, ...]:
        customer = self._customers[identifier]
        country = self._countries[customer[3]]
        orders = sorted(row for row in self._orders if row[0] == identifier)
        return tuple((customer[1], order[1], order[2], country) for order in orders)


def _neighbour(shape: Shape, identifier: int) -> int:
    """The next id of the same region that lies on another shard."""
    other = identifier + 1
    while shard_of_id(shape, other) == shard_of_id(shape, identifier):
        other += 1
    return other
