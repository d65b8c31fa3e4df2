"""Verdicts on instructions, system calls, memory, latency, cold plans; the statements behind them."""

import json
from pathlib import Path

import pytest

from loadtest.bench import cells, coldplans, encoded, idle, instructions, latency, rows, shapes
from loadtest.bench.coldplans import Delay, ListCost
from loadtest.bench.idle import Memory
from loadtest.bench.instructions import Count, Counts
from loadtest.bench.latency import Plan, Sample
from loadtest.bench.placement import bucket_of, shard_of
from loadtest.bench.procfs import CpuReading

CALLS = {"receives": 2.0, "sends": 2.0, "polls": 0.4, "others": 0.0}


def counted(text: int = 1500, prepared: int = 900, calls: dict[str, float] = CALLS) -> Counts:
    return Counts(Count(text, calls), Count(prepared, calls), 900.0, {})


# --- instructions -------------------------------------------------------------------------------------------


def test_the_last_two_lines_have_a_fixed_form() -> None:
    lines = instructions.lines(counted(text=2600), {"text": 1500, "prepared": 900})
    assert lines[-2:] == ["2600 user instructions per text query", "900 user instructions per prepared query"]
    assert sum("over:" in line for line in lines) == 2


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        (counted(), []),
        (counted(text=1575), []),
        (counted(text=1576), ["text: 1576 instructions, +5.1% over 1500"]),
        (counted(prepared=946), ["prepared: 946 instructions, +5.1% over 900"]),
        (counted(text=1000), []),
        (counted(calls=CALLS | {"receives": 2.02}), []),
        (
            counted(calls=CALLS | {"polls": 0.7}),
            ["text: 0.70 polls, at most 0.6", "prepared: 0.70 polls, at most 0.6"],
        ),
    ],
)
def test_growth_and_limits(counts: Counts, found: list[str]) -> None:
    assert instructions.findings(counts, {"text": 1500, "prepared": 900}) == found


def test_limits_hold_without_a_reference() -> None:
    assert instructions.findings(counted(text=2501, prepared=1501), None) == [
        "text: 2501 instructions, at most 2500",
        "prepared: 1501 instructions, at most 1500",
    ]


def test_reference_goes_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "instructions.json"
    assert instructions.read_reference(path) is None
    instructions.write_reference(counted(), path)
    assert instructions.read_reference(path) == {"text": 1500, "prepared": 900}


def test_the_worker_is_who_used_most_cpu() -> None:
    before = CpuReading({(1, 1): 900, (2, 2): 10, (3, 3): 0, (3, 4): 0})
    after = CpuReading({(1, 1): 950, (2, 2): 60, (3, 3): 40, (3, 4): 30})
    assert instructions.busiest(before, after) == 3


def test_encoded_connections_stand_beside_plaintext() -> None:
    counts = {
        "plaintext": {"text": 2000, "prepared": 1000},
        "TLS": {"text": 50_000, "prepared": 30_000},
        "zstd": {"text": 1990, "prepared": 1000},
    }
    assert encoded.lines(counts)[1:] == [
        "text: plaintext    2000, 1.00",
        "text: TLS         50000, 25.00",
        "text: zstd         1990, 0.99",
        "prepared: plaintext    1000, 1.00",
        "prepared: TLS         30000, 30.00",
        "prepared: zstd         1000, 1.00",
    ]


# --- memory, latency ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logged_in", "used", "kept"),
    [(108_000, 108_000, True), (108_000, 181_000, False), (181_000, 100_000, False)],
)
def test_memory_per_client(logged_in: int, used: int, kept: bool) -> None:
    memory = Memory("fairlead-sharded", 10_000, 100_000, logged_in, used, 100_000)
    assert idle.kept(memory) is kept
    assert memory.per_client_logged_in == pytest.approx((logged_in - 100_000) / 10_000)


def test_added_latency_is_the_difference_within_the_round() -> None:
    samples = [Sample(1, cells.DIRECT, 2000, 0.10, 0.5), Sample(1, cells.HAPROXY, 2000, 0.15, 0.9)]
    samples += [Sample(2, cells.DIRECT, 2000, 0.50, 2.0), Sample(2, cells.HAPROXY, 2000, 0.57, 2.2)]
    lines = {(line.target, line.quantile): line for line in latency.summarise(samples)}
    added = lines[cells.HAPROXY, "p50"].added
    assert added is not None and added.median == pytest.approx(0.06)
    assert lines[cells.DIRECT, "p50"].added is None
    assert lines[cells.HAPROXY, "p99"].milliseconds == pytest.approx(1.55)


def test_a_rate_that_was_not_held_is_said() -> None:
    samples = [Sample(1, cells.DIRECT, 1700, 0.1, 0.5), Sample(2, cells.DIRECT, 1990, 0.1, 0.5)]
    assert latency.slow(Plan(2000, 2, 4), samples) == ["warning: direct, round 1: 1700 of 2000 queries a second"]


# --- cold plans ---------------------------------------------------------------------------------------------


def delay(target: str, cold: float) -> Delay:
    return Delay(target, 1.0, cold, 2.0, cold - 1.0, 30.0, 0.5, 1000)


def test_delay_and_lists_are_judged_together() -> None:
    good, bad = ListCost(cells.SHARDED, 400.0, 420.0), ListCost(cells.SHARDED, 400.0, 801.0)
    assert coldplans.kept([delay(cells.SHARDED, 21.0)], [good])
    assert not coldplans.kept([delay(cells.SHARDED, 21.1)], [good])
    assert not coldplans.kept([delay(cells.SHARDED, 2.0)], [bad])
    assert coldplans.kept([delay(cells.DIRECT, 500.0)], [])


def test_list_that_costs_nothing_to_plan_proves_nothing() -> None:
    assert not coldplans.kept([], [ListCost(cells.SHARDED, 0.0, 10.0)])


def test_shapes_are_distinct_and_repeatable() -> None:
    first = list(shapes.distinct(1, 2000, 10_000))
    assert first == list(shapes.distinct(1, 2000, 10_000))
    assert len({_without_numbers(statement) for statement in first}) == 2000
    other = {_without_numbers(statement) for statement in shapes.distinct(2, 2000, 10_000)}
    assert not other & {_without_numbers(statement) for statement in first}


def _without_numbers(statement: str) -> str:
    """As a lexer sees it: literals are gone, names are not."""
    return " ".join(word for word in statement.split() if not word.isdigit())


def test_shapes_are_sql_that_names_one_row() -> None:
    import sqlglot
    from sqlglot import exp

    for statement in shapes.distinct(3, 100, 10_000):
        tree = sqlglot.parse_one(statement, dialect="mysql")
        keys = [node for node in tree.find_all(exp.EQ) if node.this.name == "id" and node.expression.is_int]
        assert keys, statement


def test_lists_differ_in_nothing_but_their_length() -> None:
    [short], [long] = shapes.with_list(1, 1, 2), shapes.with_list(1, 1, 10_000)
    assert short.partition("(")[0] == long.partition("(")[0]
    assert (short.count(","), long.count(",")) == (1, 9_999)


# --- rows ---------------------------------------------------------------------------------------------------


def test_buckets_are_the_published_ones() -> None:
    vectors = json.loads((Path(__file__).parents[2] / "cases" / "vindex_vectors.json").read_text())
    numbers = [v for v in vectors if v["type"] == "INT_SIGNED" and isinstance(v["value"], int)]
    signed = {vector["value"]: vector["bucket"] for vector in numbers}
    assert len(signed) > 5
    assert {value: bucket_of(value) for value in signed} == signed


def test_every_row_is_placed_once_and_evenly() -> None:
    names = [f"s{number}" for number in range(4)]
    placed = rows.split(rows.rows(2000), names, shard_of(names))
    assert sorted(row[0] for part in placed.values() for row in part) == list(range(1, 2001))
    assert all(len(part) > 400 for part in placed.values())


def test_rows_are_sysbench_rows_and_repeatable() -> None:
    assert rows.rows(5) == rows.rows(5)
    for number, k, c, pad in rows.rows(5):
        assert 1 <= number <= 5 and 1 <= k <= 5
        assert (len(c), len(pad)) == (119, 59)
