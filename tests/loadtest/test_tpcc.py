"""TPC-C over shards: its transactions run, its conditions hold, and what breaks them is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loadtest.tpcc.conditions import CONDITIONS, TOTALS
from loadtest.tpcc.database import DATABASE, Tpcc
from loadtest.tpcc.run import Outcome, Plan, judge, work
from loadtest.tpcc.scale import Scale
from loadtest.tpcc.terminal import MIX
from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import Shape
from loadtest.world.world import World

pytestmark = [pytest.mark.servers]

SCALE = Scale(warehouses=4, districts=2, customers=30, items=100)
SECONDS, TERMINALS = 4.0, 4


@pytest.fixture(scope="module")
def tpcc() -> Iterator[World]:
    with World(Shape(regions=("eu",), shards=4, replicas=0), datasets=[Tpcc(SCALE)]) as world:
        yield world


@pytest.fixture(scope="module")
def fairlead(tpcc: World) -> Fairlead:
    return tpcc.fairlead()


def test_the_transactions_run_and_leave_consistent_rows(fairlead: Fairlead) -> None:
    plan = Plan(SCALE, terminals=TERMINALS, seconds=SECONDS, remote=3)
    ledgers = work(plan, lambda: fairlead.connect(database=DATABASE))
    outcome = Outcome(SECONDS, ledgers, *judge(lambda: fairlead.connect(database=DATABASE), SCALE))
    assert outcome.ok, (outcome.errors, outcome.broken, outcome.unasked)
    assert all(outcome.done[name] for name in MIX) and outcome.remote, outcome.done


@pytest.mark.parametrize(
    ("statement", "breaks"),
    [
        ("UPDATE warehouse SET w_ytd = w_ytd + 1 WHERE w_id = 2", {"1", "8"}),
        ("UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = 3 AND d_id = 1", {"2"}),
        ("DELETE FROM order_line WHERE ol_w_id = 1 AND ol_d_id = 1 AND ol_o_id = 2 AND ol_number = 1", {"4", "6"}),
        ("UPDATE customer SET c_balance = c_balance + 1 WHERE c_w_id = 4 AND c_d_id = 2 AND c_id = 3", {"12"}),
        ("UPDATE stock SET s_ytd = s_ytd + 1 WHERE s_w_id = 4 AND s_i_id = 3", {"stock has sent out what was ordered"}),
        ("UPDATE history SET h_amount = h_amount + 1 WHERE h_w_id = 1 AND h_c_id = 1", {"8", "9", "10"}),
    ],
)
def test_what_breaks_a_condition_is_found(
    tpcc: World, fairlead: Fairlead, statement: str, breaks: set[str]
) -> None:
    tpcc.reset()
    fairlead.query(statement, database=DATABASE)
    broken, unasked = judge(lambda: fairlead.connect(database=DATABASE), SCALE)
    assert not unasked
    assert {name.split(":")[0] for name in broken} == breaks
    assert set(broken) < {*CONDITIONS, *TOTALS}
