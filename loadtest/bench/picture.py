"""A bar chart of CPU per query as SVG, written by hand so that it needs no library."""

from collections.abc import Sequence
from html import escape

from loadtest.bench.cells import DIRECT, HAPROXY, PROXYSQL, REFERENCE, SHARDED, UNSHARDED
from loadtest.bench.summary import Figure

COLOURS = {
    DIRECT: "#9e9e9e",
    HAPROXY: "#8d99ae",
    PROXYSQL: "#c9ada7",
    UNSHARDED: "#5aa9a3",
    SHARDED: "#1b6f8a",
}
OTHER_COLOUR = "#777777"
WIDTH, LEFT, RIGHT, BAR, GAP, GROUP = 900, 150, 190, 16, 4, 12
HEADER, FOOTER = 64, 30
FONT = 'font-family="Helvetica, Arial, sans-serif"'


def svg(figures: Sequence[Figure], title: str, subtitle: str, reference: str = REFERENCE) -> str:
    """A group of bars per cell, a bar per proxy: the median, a whisker for its 95 % interval, the ratio."""
    shown = [figure for figure in figures if figure.proxy_us is not None]
    longest = max((figure.proxy_us.high for figure in shown if figure.proxy_us), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / longest
    body, y = [], HEADER
    for cell in dict.fromkeys(figure.cell for figure in shown):
        body.append(_text(16, y + BAR - 4, cell, bold=True))
        y += BAR + GAP
        for figure in (figure for figure in shown if figure.cell == cell):
            body.append(_bar(figure, y, scale, reference))
            y += BAR + GAP
        y += GROUP
    height = y + FOOTER
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 26, title, size=18, bold=True),
        _text(16, 46, subtitle, colour="#555555"),
    ]
    return "\n".join([*head, *body, _text(16, height - 12, _LEGEND, colour="#555555"), "</svg>", ""])


_LEGEND = "CPU microseconds of the proxy's processes per query: median and 95 % interval over the rounds"


def _bar(figure: Figure, y: int, scale: float, reference: str) -> str:
    assert figure.proxy_us is not None
    cpu, colour = figure.proxy_us, COLOURS.get(figure.target, OTHER_COLOUR)
    middle = y + BAR / 2
    label = f"{cpu.median:.2f} µs"
    if figure.ratio is not None:
        label += f"   {figure.ratio.median:.2f} × {reference}"
    low, high = LEFT + cpu.low * scale, LEFT + cpu.high * scale
    return "\n".join(
        [
            _text(LEFT - 8, y + BAR - 4, figure.target, anchor="end"),
            f'<rect x="{LEFT}" y="{y}" width="{cpu.median * scale:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" '
            f'stroke="#222222" fill="none"/>',
            _text(int(high) + 8, y + BAR - 4, label),
        ]
    )


def _text(
    x: int,
    y: int,
    content: str,
    *,
    size: int = 12,
    bold: bool = False,
    anchor: str = "start",
    colour: str = "#111111",
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x}" y="{y}" {FONT} font-size="{size}"{weight} text-anchor="{anchor}" fill="{colour}">'
        f"{escape(content)}</text>"
    )
