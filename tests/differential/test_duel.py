"""The comparison itself: whatever is planted, it must find."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.differential import bazaar
from tests.differential.duel import differences, table_differences
from tests.differential.placement import home_of
from tests.differential.wire import STATUS_IN_TRANSACTION, TYPE_LONG, TYPE_LONGLONG, TYPE_VAR_STRING, Answer, Column

ID = Column(b"bazaar", b"b", b"buyers", b"id", b"id", 63, 20, TYPE_LONGLONG, 0x4003, 0)
NAME = Column(b"bazaar", b"b", b"buyers", b"name", b"name", 45, 240, TYPE_VAR_STRING, 1, 0)
ROWS = Answer("rows", (ID, NAME), ((b"1", b"Ada"), (b"2", None), (b"2", None)), warnings=1, status=2)
OK = Answer("ok", affected=2, insert_id=7, warnings=1, status=2, info=b"Rows matched: 2  Changed: 2  Warnings: 1")
FILLED = [table for table, _ in bazaar.rows()]
ERROR = Answer("error", errno=1062, sqlstate="23000", message="Duplicate entry '1' for key 'PRIMARY'")


@pytest.mark.parametrize("answer", [ROWS, OK, ERROR], ids=lambda answer: answer.kind)
def test_equal_answers_do_not_differ(answer: Answer) -> None:
    assert differences(answer, replace(answer)) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"rows": ROWS.rows[:2]},
        {"rows": (*ROWS.rows, (b"3", b"x"))},
        {"rows": ((b"1", b"Ada"), (b"2", None), (b"2", b""))},
        {"rows": ((b"1", b"ada"), (b"2", None), (b"2", None))},
        {"rows": ((b"Ada", b"1"), (None, b"2"), (None, b"2"))},
        {"columns": (NAME, ID)},
        {"columns": (ID,)},
        {"columns": (replace(ID, type=TYPE_LONG), NAME)},
        {"columns": (replace(ID, flags=0x4023), NAME)},
        {"columns": (replace(ID, length=21), NAME)},
        {"columns": (ID, replace(NAME, name=b"Name"))},
        {"columns": (ID, replace(NAME, org_name=b""))},
        {"columns": (ID, replace(NAME, table=b"buyers"))},
        {"columns": (ID, replace(NAME, schema=b""))},
        {"columns": (ID, replace(NAME, charset=8))},
        {"columns": (ID, replace(NAME, decimals=31))},
        {"warnings": 4},
        {"status": 2 | STATUS_IN_TRANSACTION},
        {"kind": "ok"},
        {"kind": "lost"},
    ],
    ids=str,
)
def test_a_fault_in_rows_is_found(fault: dict[str, Any]) -> None:
    assert differences(replace(ROWS, **fault), ROWS)


@pytest.mark.parametrize(
    "fault", [{"affected": 1}, {"insert_id": 0}, {"warnings": 0}, {"info": b""}, {"status": 0}], ids=str
)
def test_a_fault_in_an_ok_is_found(fault: dict[str, Any]) -> None:
    assert differences(replace(OK, **fault), OK)


@pytest.mark.parametrize("fault", [{"errno": 1064}, {"sqlstate": "42000"}, {"message": "no"}, {"kind": "ok"}], ids=str)
def test_a_fault_in_an_error_is_found(fault: dict[str, Any]) -> None:
    assert differences(replace(ERROR, **fault), ERROR)


def test_order_counts_where_it_is_asked_for() -> None:
    turned = replace(ROWS, rows=ROWS.rows[::-1])
    assert differences(turned, ROWS) == []
    assert differences(turned, ROWS, ordered=True)


def test_an_allowance_hides_nothing_else() -> None:
    other = replace(ROWS, warnings=4, rows=((b"1", b"Bo"), *ROWS.rows[1:]))
    assert differences(other, ROWS, allowed=("warnings", "column name")) == []
    assert differences(other, ROWS, allowed=("warnings", "column id"))
    assert differences(other, ROWS, allowed=("column name",))
    assert differences(replace(other, rows=other.rows[1:]), ROWS, allowed=("warnings", "column name"))


# --- tables -------------------------------------------------------------------------------------------------


def _placed(table: str) -> tuple[dict[str, list[tuple[Any, ...]]], list[tuple[Any, ...]]]:
    """(the rows by shard, all rows)"""
    rows = dict(bazaar.rows())[table]
    shards: dict[str, list[tuple[Any, ...]]] = {name: [] for name in bazaar.SHARDS}
    for row in rows:
        home = home_of(table, row)
        for name in shards if table in bazaar.REFERENCE else [home or bazaar.SHARDS[0]]:
            shards[name].append(row)
    return shards, rows


@pytest.mark.parametrize("table", FILLED)
def test_tables_as_they_should_be(table: str) -> None:
    assert table_differences(table, *_placed(table)) == []


@pytest.mark.parametrize("table", FILLED)
def test_a_dropped_row_is_found(table: str) -> None:
    shards, rows = _placed(table)
    next(held for held in shards.values() if held).pop()
    assert table_differences(table, shards, rows)


@pytest.mark.parametrize("table", FILLED)
def test_a_doubled_row_is_found(table: str) -> None:
    shards, rows = _placed(table)
    held = next(held for held in shards.values() if held)
    held.append(held[0])
    assert table_differences(table, shards, rows)


@pytest.mark.parametrize("table", [table for table in FILLED if table not in bazaar.REFERENCE])
def test_a_wrong_shard_map_is_found(table: str) -> None:
    shards, rows = _placed(table)
    turned = dict(zip(shards, [*list(shards.values())[1:], next(iter(shards.values()))], strict=True))
    assert table_differences(table, turned, rows)


def test_the_rows_of_the_bazaar_use_every_shard() -> None:
    """A table on one shard only would prove nothing."""
    for table in ("buyers", "purchases", "items", "codes", "years", "visits"):
        shards, _ = _placed(table)
        assert all(shards.values()), table
