"""Exposure meters: how near the estimate is, that merging loses nothing, windows, thresholds, restarts."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.policy import BudgetSettings
from ops.exposure import (
    CALENDAR_YEAR,
    SPARSE_MOST,
    STANDARD_ERROR,
    TWELVE_MONTHS,
    Flow,
    Level,
    MeterFull,
    Meters,
    Sketch,
    Threshold,
    Window,
    budget_flow,
    thresholds_of,
)

KEY = b"a key of the domain"
MAIL = Flow("personal", "eea", "us", "acme")
SIZES = (0, 1, 2, 10, 100, 1_000, SPARSE_MOST, 5_000, 20_000, 40_000, 100_000, 300_000)


def at(year: int, month: int, day: int = 15) -> float:
    return datetime(year, month, day, tzinfo=UTC).timestamp()


def numbers(seed: int, count: int) -> list[int]:
    dice = random.Random(seed)
    return [dice.getrandbits(64) for _ in range(count)]


def sketch_of(hashes: list[int]) -> Sketch:
    sketch = Sketch()
    for one in hashes:
        sketch.add(one)
    return sketch


def subjects(first: int, count: int) -> list[bytes]:
    return [b"subject %d" % one for one in range(first, first + count)]


@pytest.mark.parametrize("size", SIZES)
def test_the_estimate_is_near_the_count(size: int) -> None:
    for seed in range(5):
        estimate = sketch_of(numbers(seed, size)).count()
        assert abs(estimate - size) <= max(0.5, 4 * STANDARD_ERROR * size)
        if size <= 10:
            assert round(estimate) == size


def test_a_hundred_thousand_within_two_percent() -> None:
    meters = Meters(KEY)
    for part in range(10):
        meters.expose(MAIL, subjects(part * 10_000, 10_000), at(2026, 1 + part))
        meters.expose(MAIL, subjects(part * 10_000, 5_000), at(2026, 1 + part))
    low, estimate, high = meters.count(MAIL, CALENDAR_YEAR, at(2026, 11))
    assert abs(estimate - 100_000) <= 2_000
    assert low <= 100_000 <= high <= 100_000 * 1.06


def test_the_upper_bound_is_never_under_the_count() -> None:
    """200 sketches of up to 20,000: with 4 standard errors none of them may fail."""
    for seed in range(200):
        size = 100 * (seed + 1)
        estimate = sketch_of(numbers(1000 + seed, size)).count()
        assert estimate * (1 + 4 * STANDARD_ERROR) >= size


@pytest.mark.parametrize("size", [0, 50, SPARSE_MOST - 5, SPARSE_MOST + 50, 30_000])
def test_a_sketch_reads_back_what_it_wrote(size: int) -> None:
    sketch = sketch_of(numbers(3, size))
    data = sketch.encode()
    assert Sketch.decode(data).encode() == data and Sketch.decode(data).count() == sketch.count()
    assert len(data) <= 12 * 1024 + 1


@pytest.mark.parametrize(
    "data", [b"", b"x", b"s1", b"d123", b"s\xff\xff\x01", b"s\x00\x00\xff", b"d" + b"\xff" * 12288]
)
def test_what_is_no_sketch_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no sketch"):
        Sketch.decode(data)


def test_merging_in_any_order_is_exact() -> None:
    parts = [numbers(seed, count) for seed, count in enumerate((10, 900, 3_000, 20_000))]
    parts[1] += parts[3][:500]
    whole = sketch_of([one for part in parts for one in part]).encode()
    for order in itertools.permutations(parts):
        merged = Sketch()
        for part in order:
            merged.merge(sketch_of(part))
        assert merged.encode() == whole


def test_windows_and_what_leaves_them() -> None:
    meters = Meters(KEY)
    meters.expose(MAIL, subjects(0, 100), at(2025, 1))
    meters.expose(MAIL, subjects(50, 100), at(2025, 12))
    meters.expose(MAIL, subjects(500, 10), at(2026, 1))
    assert meters.count(MAIL, TWELVE_MONTHS, at(2026, 1)).estimate == 160
    assert meters.count(MAIL, TWELVE_MONTHS, at(2026, 2)).estimate == 110
    assert meters.count(MAIL, CALENDAR_YEAR, at(2026, 1)).estimate == 10
    assert meters.count(MAIL, CALENDAR_YEAR, at(2025, 12)).estimate == 150
    assert meters.count(Flow("other", "eea", "us"), CALENDAR_YEAR, at(2025, 12)) == (0, 0, 0)


def test_a_count_follows_what_is_exposed_meanwhile() -> None:
    """Asked after every step, it says what a meter says that is asked only once."""
    dice, asked = random.Random(5), Meters(KEY)
    for step in range(60):
        month, first = dice.randrange(1, 13), dice.randrange(4000)
        asked.expose(MAIL, subjects(first, 100), at(2025 + step % 2, month))
        fresh = Meters(KEY)
        fresh.absorb(asked.encode())
        for window in (TWELVE_MONTHS, CALENDAR_YEAR):
            when = at(2026, dice.choice((month, 12)))
            assert asked.count(MAIL, window, when) == fresh.count(MAIL, window, when)


def test_old_months_are_forgotten() -> None:
    meters = Meters(KEY)
    for month in range(40):
        meters.expose(MAIL, [b"x"], at(2020 + month // 12, 1 + month % 12))
    assert len(meters.flows()[MAIL]) == 25


def test_thresholds_warn_and_refuse_on_the_upper_bound() -> None:
    any_class = Threshold(flow=Flow("*", "eea", "us", "*"), warn=100, refuse=200)
    meters = Meters(KEY, [any_class])
    now = at(2026, 5)
    assert meters.level(MAIL, now) == (Level.UNDER, None)
    meters.expose(MAIL, subjects(0, 97), now)
    assert abs(meters.count(MAIL, TWELVE_MONTHS, now).estimate - 97) <= 1
    assert meters.level(MAIL, now) == (Level.WARN, any_class)
    meters.expose(MAIL, subjects(100, 97), now)
    assert meters.level(MAIL, now) == (Level.REFUSE, any_class)
    assert meters.level(Flow("personal", "us", "eea", "acme"), now) == (Level.UNDER, None)


def test_budgets_of_the_policy() -> None:
    budgets = {
        "bulk": BudgetSettings(persons=100, warn=50),
        "year": BudgetSettings(persons=10, calendar_year=True),
        "short": BudgetSettings(persons=10, window=86_400.0),
    }
    found = {threshold.flow.data_class: threshold for threshold in thresholds_of(budgets)}
    assert [found[f"budget {name}"].window for name in budgets] == [TWELVE_MONTHS, CALENDAR_YEAR, Window(1)]
    meters = Meters(KEY, found.values())
    flow, now = budget_flow("bulk", "eea", "us", None), at(2026, 5)
    meters.expose(flow, subjects(0, 55), now)
    assert meters.level(flow, now)[0] is Level.WARN
    meters.expose(flow, subjects(55, 55), now)
    assert meters.level(flow, now)[0] is Level.REFUSE
    with pytest.raises(ValueError, match="24 months"):
        thresholds_of({"long": BudgetSettings(persons=1, window=3 * 366 * 86_400.0)})


def test_flows_are_bounded() -> None:
    meters = Meters(KEY, flows=2)
    for name in ("a", "b"):
        meters.expose(Flow(name, "eea", "us"), [b"x"], 0.0)
    with pytest.raises(MeterFull):
        meters.expose(Flow("c", "eea", "us"), [b"x"], 0.0)


def test_restarts_and_workers_add_up(tmp_path: Path) -> None:
    """Four workers count overlapping subjects, each is saved and read back, in every order."""
    workers = []
    for number in range(4):
        one = Meters(KEY)
        one.expose(MAIL, subjects(number * 1_000, 3_000), at(2026, 3 + number % 2))
        one.save(tmp_path / str(number))
        workers.append(one)
    results = set()
    for order in itertools.permutations(range(4)):
        whole = Meters(KEY)
        for number in order:
            whole.load(tmp_path / str(number))
        results.add(whole.encode())
    by_hand = Meters(KEY)
    for one in workers:
        by_hand.merge(one)
        by_hand.merge(one)
    assert results == {by_hand.encode()}
    assert abs(by_hand.count(MAIL, TWELVE_MONTHS, at(2026, 6)).estimate - 6_000) <= 6_000 * 0.0325


def test_damaged_files_and_other_keys_are_refused(tmp_path: Path) -> None:
    meters = Meters(KEY)
    meters.expose(MAIL, subjects(0, 50), 0.0)
    data = meters.encode()
    for position in range(len(data)):
        with pytest.raises(ValueError, match="no file of exposure"):
            Meters(KEY).absorb(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    with pytest.raises(ValueError, match="another key"):
        Meters(b"other").absorb(data)
    with pytest.raises(ValueError, match="different keys"):
        meters.merge(Meters(b"other"))
