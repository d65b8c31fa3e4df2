"""From runs to figures: medians per cell and target, paired ratios, promises kept or not. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from loadtest.bench.cells import REFERENCE, TARGETS, Promise
from loadtest.bench.rounds import Run
from loadtest.bench.stats import Interval, median_interval, paired_ratios, spread


@dataclass(frozen=True)
class Figure:
    """One cell on one target over all rounds. `ratio` is to the reference, None for the reference itself."""

    cell: str
    target: str
    rounds: int
    proxy_us: Interval | None
    ratio: Interval | None
    spread: float | None
    qps: float
    p95_ms: float
    server_us: float
    login_us: float | None
    ignored_errors: int
    vanished_tasks: int


@dataclass(frozen=True)
class Verdict:
    """A promise and the median ratio that was found, None when it was not measured."""

    promise: Promise
    ratio: Interval | None

    @property
    def kept(self) -> bool | None:
        return None if self.ratio is None else self.ratio.median <= self.promise.at_most

    @property
    def certain(self) -> bool:
        """Whether the whole interval lies on one side of the limit."""
        if self.ratio is None:
            return False
        return self.ratio.high <= self.promise.at_most or self.ratio.low > self.promise.at_most


def summarise(runs: Sequence[Run], reference: str = REFERENCE) -> list[Figure]:
    """One figure per cell and target, in the order of first appearance of the cell, then of `TARGETS`."""
    cells = list(dict.fromkeys(run.cell for run in runs))
    targets = sorted({run.target for run in runs}, key=_target_order)
    figures = [_figure(runs, cell, target, reference) for cell in cells for target in targets]
    return [figure for figure in figures if figure is not None]


def ratio(runs: Sequence[Run], cell: str, target: str, against: str) -> Interval | None:
    """The median of the per-round ratios of CPU per query; None when either side was not measured."""
    above, below = _by_round(runs, cell, target), _by_round(runs, cell, against)
    numbers = sorted(above.keys() & below.keys())
    ratios = paired_ratios([above[number] for number in numbers], [below[number] for number in numbers])
    return median_interval(ratios) if ratios else None


def judge(runs: Sequence[Run], promises: Sequence[Promise]) -> list[Verdict]:
    return [
        Verdict(promise, ratio(runs, promise.cell, promise.target, promise.against))
        for promise in promises
    ]


def verdict_line(verdict: Verdict) -> str:
    """`PASS  fairlead-sharded oltp_point_select text 16: 0.87 [0.86, 0.88] of haproxy's CPU …`."""
    promise, found = verdict.promise, verdict.ratio
    head = f"{promise.target} {promise.cell}"
    if found is None:
        return f"----  {head}: not measured against {promise.against} (at most {promise.at_most:.2f})"
    word = "PASS" if verdict.kept else "FAIL"
    doubt = "" if verdict.certain else "  (the interval holds the limit)"
    span = f"{found.median:.3f} [{found.low:.3f}, {found.high:.3f}]"
    return (
        f"{word}  {head}: {span} of {promise.against}'s CPU per query, at most {promise.at_most:.2f}{doubt}"
    )


def _figure(runs: Sequence[Run], cell: str, target: str, reference: str) -> Figure | None:
    mine = [run for run in runs if run.cell == cell and run.target == target]
    if not mine:
        return None
    proxy = [run.proxy_us for run in mine if run.proxy_us is not None]
    logins = [run.login_us for run in mine if run.login_us is not None]
    return Figure(
        cell=cell,
        target=target,
        rounds=len(mine),
        proxy_us=median_interval(proxy) if proxy else None,
        ratio=ratio(runs, cell, target, reference) if proxy and target != reference else None,
        spread=spread(proxy) if proxy else None,
        qps=median(run.qps for run in mine),
        p95_ms=median(run.p95_ms for run in mine),
        server_us=median(run.server_us for run in mine),
        login_us=median(logins) if logins else None,
        ignored_errors=sum(run.ignored_errors for run in mine),
        vanished_tasks=sum(run.vanished_tasks for run in mine),
    )


def _by_round(runs: Sequence[Run], cell: str, target: str) -> dict[int, float | None]:
    return {run.round: run.proxy_us for run in runs if run.cell == cell and run.target == target}


def _target_order(name: str) -> tuple[int, str]:
    return (TARGETS.index(name), name) if name in TARGETS else (len(TARGETS), name)
