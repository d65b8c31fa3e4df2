"""The figures as lines for a terminal."""

from collections.abc import Iterable, Sequence

from loadtest.bench.cells import REFERENCE
from loadtest.bench.summary import Figure

HEADINGS = (
    "target",
    "proxy µs/query",
    "× {reference}",
    "95 % interval",
    "spread",
    "server µs",
    "login µs",
    "qps",
    "p95 ms",
)


def machine_lines(facts: dict[str, str]) -> list[str]:
    width = max(map(len, facts))
    return [f"{name:<{width}}  {text}" for name, text in facts.items()]


def figure_lines(figures: Sequence[Figure], reference: str = REFERENCE) -> list[str]:
    """One block per cell: its name, then a row per target."""
    lines: list[str] = []
    headings = tuple(heading.format(reference=reference) for heading in HEADINGS)
    for cell in dict.fromkeys(figure.cell for figure in figures):
        rows = [_row(figure) for figure in figures if figure.cell == cell]
        lines += ["", cell, *grid([headings, *rows])]
    return lines


def _row(figure: Figure) -> tuple[str, ...]:
    cpu, ratio = figure.proxy_us, figure.ratio
    return (
        figure.target,
        f"{cpu.median:.2f}" if cpu else "",
        f"{ratio.median:.3f}" if ratio else "",
        f"{ratio.low:.3f} – {ratio.high:.3f} ({ratio.coverage:.1%})" if ratio else "",
        f"±{figure.spread:.1%}" if figure.spread is not None else "",
        f"{figure.server_us:.2f}",
        f"{figure.login_us:.0f}" if figure.login_us is not None else "",
        f"{figure.qps:.0f}",
        f"{figure.p95_ms:.2f}",
    )


def warning_lines(figures: Iterable[Figure]) -> list[str]:
    """What a reader must know before believing the figures."""
    lines = []
    for figure in figures:
        where = f"{figure.target}, {figure.cell}"
        if figure.vanished_tasks:
            lines.append(f"{where}: {figure.vanished_tasks} threads ended while measured; their CPU is lost")
        if figure.spread is not None and figure.spread > 0.05:
            lines.append(f"{where}: the rounds disagree by ±{figure.spread:.0%}: was the machine busy?")
        if figure.ratio is not None and figure.ratio.coverage < 0.95:
            percent = f"{figure.ratio.coverage:.0%}"
            lines.append(f"{where}: {figure.ratio.n} rounds allow an interval of {percent} only")
    return lines


def grid(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        indent
        + "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
