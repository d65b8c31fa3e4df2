"""What is measured, in which order, and what is concluded from it."""

import io
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace

import pytest

from loadtest.bench import cells, picture, summary, tables
from loadtest.bench.cells import DIRECT, HAPROXY, POINT_SELECT, PROXYSQL, SHARDED, UNSHARDED, Promise
from loadtest.bench.progress import Progress
from loadtest.bench.rounds import Plan, Remaining, Run, schedule


def made(number: int, target: str, proxy: float | None, cell: str = "oltp_point_select text 16") -> Run:
    return Run(number, False, cell, target, 1000, 1.0, 1000.0, 1.5, 1.0, proxy, 50.0, proxy, 0, 0)


# --- cells --------------------------------------------------------------------------------------------------


def test_short_cells_are_those_that_something_is_promised_of() -> None:
    assert {cell.name for cell in cells.short_cells()} == {promise.cell for promise in cells.promises()}
    assert all({HAPROXY, PROXYSQL, SHARDED} <= set(cell.targets) for cell in cells.short_cells())


def test_full_cells_are_every_script_protocol_and_number_of_threads() -> None:
    assert len(cells.full_cells()) == 18 == len({cell.name for cell in cells.full_cells()})
    assert all({DIRECT, HAPROXY, PROXYSQL, UNSHARDED} <= set(cell.targets) for cell in cells.full_cells())
    assert {cell.script for cell in cells.full_cells() if SHARDED in cell.targets} == {POINT_SELECT}


def test_promises_are_the_published_ones() -> None:
    limits = {(p.against, p.cell.removeprefix("oltp_point_select ")): p.at_most for p in cells.promises()}
    assert limits == {
        (HAPROXY, "text 16"): 1.00,
        (HAPROXY, "text 64"): 1.00,
        (HAPROXY, "prepared 16"): 1.05,
        (HAPROXY, "prepared 64"): 1.05,
        (PROXYSQL, "text 16"): 0.60,
        (PROXYSQL, "text 64"): 0.60,
        (PROXYSQL, "prepared 16"): 0.60,
        (PROXYSQL, "prepared 64"): 0.60,
    }


# --- rounds -------------------------------------------------------------------------------------------------


def plan(rounds: int = 3) -> Plan[cells.Cell]:
    return Plan(cells.short_cells(), rounds, 4, 1)


NAMES = [DIRECT, HAPROXY, SHARDED]


def test_every_cell_runs_on_every_target_in_every_round_after_a_warm_up() -> None:
    steps = schedule(plan(), NAMES)
    assert len(set(steps)) == len(steps)
    assert all(step.warm for step in steps[:12]) and not any(step.warm for step in steps[12:])
    assert Counter(step.round for step in steps[12:]) == dict.fromkeys((1, 2, 3), 12)


def test_fresh_processes_warm_up_in_every_round() -> None:
    steps = schedule(replace(plan(), fresh=True), NAMES)
    assert Counter((step.round, step.warm) for step in steps) == {
        (number, warm): 12 for number in (1, 2, 3) for warm in (True, False)
    }


def test_targets_of_a_cell_run_back_to_back() -> None:
    steps = schedule(plan(), NAMES)
    for start in range(0, len(steps), 3):
        assert len({(step.round, step.warm, step.cell.name) for step in steps[start : start + 3]}) == 1


def test_their_order_changes_and_is_the_same_every_time() -> None:
    steps = schedule(plan(9), NAMES)
    assert steps == schedule(plan(9), NAMES)
    assert len({tuple(step.target for step in steps[at : at + 3]) for at in range(0, len(steps), 3)}) == 6


def test_a_target_that_is_not_there_is_left_out() -> None:
    assert {step.target for step in schedule(plan(), [HAPROXY])} == {HAPROXY}


def test_time_left_learns_what_a_run_costs_beside_its_seconds() -> None:
    steps = schedule(plan(1), [HAPROXY])
    remaining = Remaining(steps, plan(1))
    for _ in range(200):
        remaining.spent(steps[-1], 5.0)
    assert remaining.left(len(steps) - 1) == pytest.approx(5.0, abs=0.05)
    assert remaining.left(len(steps)) == 0


# --- figures ------------------------------------------------------------------------------------------------


def test_ratio_is_the_median_of_ratios_and_not_the_ratio_of_medians() -> None:
    haproxy, ours = [10.0, 20.0, 40.0], [5.0, 30.0, 20.0]
    runs = [made(n, HAPROXY, cpu) for n, cpu in enumerate(haproxy, 1)]
    runs += [made(n, SHARDED, cpu) for n, cpu in enumerate(ours, 1)]
    found = summary.ratio(runs, "oltp_point_select text 16", SHARDED, HAPROXY)
    assert found is not None and (found.median, found.low, found.high) == (0.5, 0.5, 1.5)


def test_rounds_are_paired_by_number_and_not_by_place() -> None:
    runs = [made(2, HAPROXY, 10.0), made(1, HAPROXY, 100.0), made(2, SHARDED, 5.0), made(3, SHARDED, 1.0)]
    found = summary.ratio(runs, "oltp_point_select text 16", SHARDED, HAPROXY)
    assert found is not None and (found.median, found.n) == (0.5, 1)


def test_direct_has_no_proxy_and_so_no_ratio() -> None:
    figures = summary.summarise([made(1, DIRECT, None), made(1, HAPROXY, 8.0)])
    assert [(figure.target, figure.proxy_us is None, figure.ratio) for figure in figures] == [
        (DIRECT, True, None),
        (HAPROXY, False, None),
    ]


@pytest.mark.parametrize(
    ("ours", "kept", "certain"),
    [([9.0] * 9, True, True), ([11.0] * 9, False, True), ([9.0] * 5 + [11.0] * 4, True, False)],
    ids=["kept", "broken", "in doubt"],
)
def test_verdict(ours: list[float], kept: bool, certain: bool) -> None:
    runs = [made(n, HAPROXY, 10.0) for n in range(1, 10)] + [made(n, SHARDED, cpu) for n, cpu in enumerate(ours, 1)]
    [verdict] = summary.judge(runs, [Promise(SHARDED, HAPROXY, "oltp_point_select text 16", 1.00)])
    assert (verdict.kept, verdict.certain) == (kept, certain)
    assert summary.verdict_line(verdict).startswith("PASS" if kept else "FAIL")


def test_what_was_not_measured_is_neither_kept_nor_broken() -> None:
    [verdict] = summary.judge([made(1, SHARDED, 5.0)], [Promise(SHARDED, PROXYSQL, "oltp_point_select text 16", 0.6)])
    assert verdict.kept is None
    assert "not measured" in summary.verdict_line(verdict)


# --- how it is shown ----------------------------------------------------------------------------------------


def figures() -> list[summary.Figure]:
    runs = [made(n, DIRECT, None) for n in range(1, 10)]
    runs += [made(n, HAPROXY, 10.0 + n / 100) for n in range(1, 10)]
    runs += [made(n, SHARDED, 8.0 + n / 100) for n in range(1, 10)]
    return summary.summarise(runs)


def test_picture_is_well_formed_and_has_a_bar_per_proxy() -> None:
    root = ElementTree.fromstring(picture.svg(figures(), "CPU <per> query", "a & b"))
    bars = [node for node in root.iter("{http://www.w3.org/2000/svg}rect") if node.get("x")]
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert len(bars) == 2
    assert "CPU <per> query" in texts and "a & b" in texts
    assert any(text and "0.80 × haproxy" in text for text in texts)


def test_picture_of_nothing_is_well_formed() -> None:
    ElementTree.fromstring(picture.svg([], "", ""))


def test_table_has_a_row_per_target() -> None:
    lines = tables.figure_lines(figures())
    assert lines[1] == "oltp_point_select text 16"
    assert [line.split()[0] for line in lines[2:]] == ["target", DIRECT, HAPROXY, SHARDED]
    assert tables.warning_lines(figures()) == []


def test_a_reader_is_warned_of_noise_and_of_too_few_rounds() -> None:
    runs = [made(n, HAPROXY, cpu) for n, cpu in enumerate([8.0, 10.0, 12.0], 1)]
    runs += [made(n, SHARDED, 9.0) for n in range(1, 4)]
    warnings = "\n".join(tables.warning_lines(summary.summarise(runs)))
    assert "disagree by ±20%" in warnings and "an interval of 75% only" in warnings


def test_progress_off_a_terminal_is_plain_lines() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.say("starting")
    progress.step(1, 12, "first", 75.0)
    assert stream.getvalue() == "starting\n[ 1/12] first  1m15s left\n"
