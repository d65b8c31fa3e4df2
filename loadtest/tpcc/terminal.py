"""One terminal: the five transactions of TPC-C (clause 2) over a connection of its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pymysql
from pymysql.connections import Connection

from loadtest.tpcc.scale import Dice, Scale

AGAIN = frozenset({1205, 1213})
"""Deadlocks and lock waits that took too long: the transaction is sent anew, as its specification allows."""
WRONG_ITEM, BY_NAME, REMOTE_PAYMENT, REMOTE_LINE = 0.01, 0.60, 0.15, 0.01
MIX = {"new_order": 45, "payment": 43, "order_status": 4, "delivery": 4, "stock_level": 4}


class RolledBack(Exception):
    """An item that does not exist: 1 % of new orders end so on purpose."""


@dataclass
class Ledger:
    """What one terminal did. Seconds of every transaction that ended well, by its name; what was tried again; what
    else went wrong, by its text."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MIX})
    retries: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    rolled_back: int = 0
    remote: int = 0


class Terminal:
    """`home`: its warehouse. `remote`: how often, against the specification's shares, others take part."""

    def __init__(
        self, connect: Callable[[], Connection[Any]], scale: Scale, home: int, seed: object, remote: float = 1.0
    ) -> None:
        self._connect, self._scale, self._home, self._remote = connect, scale, home, remote
        self._dice = Dice(repr(seed))
        self.ledger = Ledger()
        self._connection: Connection[Any] | None = None

    def run(self, until: float) -> None:
        """Transactions without pause up to that moment of time.monotonic()."""
        while time.monotonic() < until:
            (name,) = self._dice.choices(list(MIX), list(MIX.values()))
            self.once(name)
        if self._connection is not None:
            self._connection.close()

    def once(self, name: str) -> None:
        """One transaction, tried again while it only was in the way of another."""
        began = time.monotonic()
        chosen = getattr(self, f"_choose_{name}")()
        while True:
            try:
                self._carried_out(name, chosen)
            except RolledBack:
                self.ledger.rolled_back += 1
            except pymysql.err.MySQLError as error:
                if self._failed(error):
                    continue
                return
            self.ledger.seconds[name].append(time.monotonic() - began)
            return

    def _carried_out(self, name: str, chosen: tuple[Any, ...]) -> None:
        connection = self._live()
        connection.begin()
        try:
            getattr(self, f"_{name}")(*chosen)
        except RolledBack:
            connection.rollback()
            raise
        connection.commit()

    def _failed(self, error: pymysql.err.MySQLError) -> bool:
        """Whether to try again."""
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        with suppress(pymysql.err.MySQLError, OSError):
            self._live().rollback()
        if number in AGAIN:
            self.ledger.retries[number] += 1
            return True
        self.ledger.errors[str(error)[:200]] += 1
        if self._connection is not None and not self._connection.open:
            self._connection = None
        return False

    def _live(self) -> Connection[Any]:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._live().cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def _other(self) -> int:
        """Another warehouse, if there is one."""
        others = [w for w in range(1, self._scale.warehouses + 1) if w != self._home]
        return self._dice.choice(others) if others else self._home

    def _district(self) -> int:
        return self._dice.randint(1, self._scale.districts)

    # --- new order (2.4) ------------------------------------------------------------------------------------

    def _choose_new_order(self) -> tuple[Any, ...]:
        dice = self._dice
        lines = [
            (dice.item(self._scale), self._supplier(), dice.randint(1, 10)) for _ in range(dice.randint(5, 15))
        ]
        if dice.random() < WRONG_ITEM:
            lines[-1] = (0, *lines[-1][1:])
        # In one order everywhere, so that two orders of the same items do not stop each other.
        return self._district(), dice.customer(self._scale), sorted(lines, key=lambda line: (line[1], line[0]))

    def _supplier(self) -> int:
        return self._other() if self._dice.random() < REMOTE_LINE * self._remote else self._home

    def _new_order(self, d: int, c: int, lines: list[tuple[int, int, int]]) -> None:
        w = self._home
        self._ask("SELECT w_tax FROM warehouse WHERE w_id = %s", w)
        ((number,),) = self._ask(
            "SELECT d_next_o_id FROM district WHERE d_w_id = %s AND d_id = %s FOR UPDATE", w, d
        )
        self._ask("UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = %s AND d_id = %s", w, d)
        self._ask(
            "SELECT c_discount, c_last, c_credit FROM customer WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s", w, d, c
        )
        local = all(supply == w for _, supply, _ in lines)
        self._ask(
            "INSERT INTO orders VALUES (%s, %s, %s, %s, NOW(), NULL, %s, %s)", number, d, w, c, len(lines), int(local)
        )
        self._ask("INSERT INTO new_order VALUES (%s, %s, %s)", number, d, w)
        self.ledger.remote += not local
        for place, (item, supply, quantity) in enumerate(lines, 1):
            self._line(number, d, place, item, supply, quantity)

    def _line(self, order: int, d: int, place: int, item: int, supply: int, quantity: int) -> None:
        found = self._ask("SELECT i_price, i_name, i_data FROM item WHERE i_id = %s", item)
        if not found:
            raise RolledBack
        ((left, info),) = self._ask(
            "SELECT s_quantity, s_dist FROM stock WHERE s_w_id = %s AND s_i_id = %s FOR UPDATE", supply, item
        )
        left = left - quantity if left >= quantity + 10 else left - quantity + 91
        self._ask(
            "UPDATE stock SET s_quantity = %s, s_ytd = s_ytd + %s, s_order_cnt = s_order_cnt + 1, "
            "s_remote_cnt = s_remote_cnt + %s WHERE s_w_id = %s AND s_i_id = %s",
            left, quantity, int(supply != self._home), supply, item,
        )  # fmt: skip
        self._ask(
            "INSERT INTO order_line VALUES (%s, %s, %s, %s, %s, %s, NULL, %s, %s, %s)",
            order, d, self._home, place, item, supply, quantity, quantity * found[0][0], info,
        )  # fmt: skip

    # --- payment (2.5) --------------------------------------------------------------------------------------

    def _choose_payment(self) -> tuple[Any, ...]:
        dice = self._dice
        w = self._other() if dice.random() < REMOTE_PAYMENT * self._remote else self._home
        return self._district(), w, self._district(), self._whom(), Decimal(dice.randint(100, 500_000)) / 100

    def _whom(self) -> int | str:
        """A customer's number or last name."""
        by_name = self._dice.random() < BY_NAME
        return self._dice.name(self._scale) if by_name else self._dice.customer(self._scale)

    def _payment(self, d: int, c_w: int, c_d: int, whom: int | str, amount: Decimal) -> None:
        w = self._home
        self.ledger.remote += c_w != w
        self._ask("UPDATE warehouse SET w_ytd = w_ytd + %s WHERE w_id = %s", amount, w)
        ((w_name,),) = self._ask("SELECT w_name FROM warehouse WHERE w_id = %s", w)
        self._ask("UPDATE district SET d_ytd = d_ytd + %s WHERE d_w_id = %s AND d_id = %s", amount, w, d)
        ((d_name,),) = self._ask("SELECT d_name FROM district WHERE d_w_id = %s AND d_id = %s", w, d)
        c = self._customer(c_w, c_d, whom)
        if c is None:
            raise RolledBack
        self._ask(
            "UPDATE customer SET c_balance = c_balance - %s, c_ytd_payment = c_ytd_payment + %s, "
            "c_payment_cnt = c_payment_cnt + 1, "
            "c_data = IF(c_credit = 'BC', LEFT(CONCAT_WS(' ', c_id, c_d_id, c_w_id, %s, %s, %s, c_data), 500), c_data) "
            "WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s",
            amount, amount, d, w, amount, c_w, c_d, c,
        )  # fmt: skip
        self._ask(
            "INSERT INTO history VALUES (%s, %s, %s, %s, %s, NOW(), %s, %s)",
            c, c_d, c_w, d, w, amount, f"{w_name}    {d_name}",
        )  # fmt: skip

    def _customer(self, w: int, d: int, whom: int | str) -> int | None:
        """The one of that number; of those with that name the middle one by first name."""
        if isinstance(whom, int):
            return whom
        found = self._ask(
            "SELECT c_id FROM customer WHERE c_w_id = %s AND c_d_id = %s AND c_last = %s ORDER BY c_first, c_id",
            w, d, whom,
        )  # fmt: skip
        return int(found[len(found) // 2][0]) if found else None

    # --- order status (2.6) ---------------------------------------------------------------------------------

    def _choose_order_status(self) -> tuple[Any, ...]:
        return self._district(), self._whom()

    def _order_status(self, d: int, whom: int | str) -> None:
        w = self._home
        c = self._customer(w, d, whom)
        found = self._ask(
            "SELECT o_id, o_carrier_id, o_entry_d FROM orders WHERE o_w_id = %s AND o_d_id = %s AND o_c_id = %s "
            "ORDER BY o_id DESC LIMIT 1", w, d, c,
        )  # fmt: skip
        if found:
            self._ask(
                "SELECT ol_i_id, ol_supply_w_id, ol_quantity, ol_amount, ol_delivery_d FROM order_line "
                "WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s", w, d, found[0][0],
            )  # fmt: skip

    # --- delivery (2.7) -------------------------------------------------------------------------------------

    def _choose_delivery(self) -> tuple[Any, ...]:
        return (self._dice.randint(1, 10),)

    def _delivery(self, carrier: int) -> None:
        for d in range(1, self._scale.districts + 1):
            found = self._ask(
                "SELECT no_o_id FROM new_order WHERE no_w_id = %s AND no_d_id = %s ORDER BY no_o_id LIMIT 1 FOR UPDATE",
                self._home, d,
            )  # fmt: skip
            if found:
                self._deliver(d, found[0][0], carrier)

    def _deliver(self, d: int, order: int, carrier: int) -> None:
        at = (self._home, d, order)
        self._ask("DELETE FROM new_order WHERE no_w_id = %s AND no_d_id = %s AND no_o_id = %s", *at)
        # Locked, so that it is seen even if it is younger than the snapshot, which an earlier district has begun.
        order_row = "SELECT o_c_id FROM orders WHERE o_w_id = %s AND o_d_id = %s AND o_id = %s FOR UPDATE"
        ((c,),) = self._ask(order_row, *at)
        self._ask("UPDATE orders SET o_carrier_id = %s WHERE o_w_id = %s AND o_d_id = %s AND o_id = %s", carrier, *at)
        self._ask(
            "UPDATE order_line SET ol_delivery_d = NOW() WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s", *at
        )
        ((amount,),) = self._ask(
            "SELECT SUM(ol_amount) FROM order_line WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s", *at
        )
        self._ask(
            "UPDATE customer SET c_balance = c_balance + %s, c_delivery_cnt = c_delivery_cnt + 1 "
            "WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s", amount, self._home, d, c,
        )  # fmt: skip

    # --- stock level (2.8) ----------------------------------------------------------------------------------

    def _choose_stock_level(self) -> tuple[Any, ...]:
        return self._district(), self._dice.randint(10, 20)

    def _stock_level(self, d: int, low: int) -> None:
        w = self._home
        ((following,),) = self._ask("SELECT d_next_o_id FROM district WHERE d_w_id = %s AND d_id = %s", w, d)
        self._ask(
            "SELECT COUNT(DISTINCT s_i_id) FROM order_line JOIN stock ON s_w_id = ol_w_id AND s_i_id = ol_i_id "
            "WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id >= %s AND ol_o_id < %s AND s_quantity < %s",
            w, d, following - 20, following, low,
        )  # fmt: skip
