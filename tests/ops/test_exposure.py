"""Exposure meters: how near the estimate is, that merging loses nothing, windows, thresholds, restarts."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime

import pytest

from config.policy import BudgetSettings
from ops.exposure import (
    CALENDAR_YEAR,
    TWELVE_MONTHS,
    Charged,
    Flow,
    Level,
    MeterFull,
    Meters,
    Step,
    Threshold,
    Window,
    thresholds_of,
)
from ops.sketch import REGISTERS, SPARSE_MOST, STANDARD_ERROR, Sketch

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
    assert len(data) <= REGISTERS + 1


@pytest.mark.parametrize(
    "data", [b"", b"x", b"s1", b"d123", b"s\xff\xff\x01", b"s\x00\x00\xff", b"d" + b"\xff" * 16384]
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
    found = {threshold.flow.budget: threshold for threshold in thresholds_of(budgets)}
    assert [found[name].window for name in budgets] == [TWELVE_MONTHS, CALENDAR_YEAR, Window(1)]
    meters = Meters(KEY, found.values())
    flow, now = Flow("personal", "eea", "us", budget="bulk"), at(2026, 5)
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


def charged(meters: Meters, persons: list[bytes], now: float, *, together: bool = False) -> Charged:
    steps: list[Step] = [[(MAIL, one)] for one in persons]
    return meters.charge([[pair for step in steps for pair in step]] if together else steps, now)


def test_a_charge_stops_at_the_step_that_is_too_much() -> None:
    meters, now = Meters(KEY, [Threshold(flow=MAIL, warn=80, refuse=101)]), at(2026, 5)
    for _ in range(2):
        assert charged(meters, subjects(0, 60), now) == (60, None, ())
    assert charged(meters, subjects(0, 90), now, together=True) == (1, None, (MAIL,))
    whole = meters.count(MAIL, TWELVE_MONTHS, now)
    assert charged(meters, subjects(50, 100), now, together=True) == (0, MAIL, (MAIL,))
    assert meters.count(MAIL, TWELVE_MONTHS, now) == whole
    count, stopped, _ = charged(meters, subjects(0, 150), now)
    assert 92 <= count <= 100 and stopped == MAIL
    assert meters.count(MAIL, TWELVE_MONTHS, now).high in (99, 100)
    assert charged(meters, subjects(0, 1), now) == (0, MAIL, (MAIL,))


def test_nobody_passes_a_full_meter_by_resembling_who_was_counted() -> None:
    """The true count stays below the limit, though a large sketch takes most people for somebody whom it knows."""
    limit, now = 20_000, at(2026, 5)
    meters = Meters(KEY, [Threshold(flow=MAIL, refuse=limit + 1)])
    shown = charged(meters, subjects(0, 18_000), now).counted
    for size in (200, 20, 1):
        for number in range(80):
            group = subjects(1_000_000 * size + number * size, size)
            shown += charged(meters, group, now, together=True).counted * size
    assert 18_000 < shown <= limit
    assert charged(meters, subjects(0, 1), now).stopped == MAIL


def test_a_charge_beyond_the_flows_that_are_kept_fails() -> None:
    meters = Meters(KEY, flows=1)
    meters.charge([[(MAIL, b"x")]], 0.0)
    with pytest.raises(MeterFull):
        meters.charge([[(MAIL._replace(to="cn"), b"x")]], 0.0)
