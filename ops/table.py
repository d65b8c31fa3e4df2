"""Plain aligned text tables, safe to print on a terminal."""

from collections.abc import Iterable, Sequence


def printable(text: str) -> str:
    """Text with what is not printable (escape sequences, line ends) shown by its code."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def render(heads: Sequence[str], rows: Iterable[Sequence[object]], left: frozenset[str] = frozenset()) -> str:
    """Rows under heads, numbers to the right; columns named in `left` to the left. Ends with a line end."""
    cells = [list(heads), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = []
    for row in cells:
        parts = [cell.ljust(w) if head in left else cell.rjust(w)
                 for cell, w, head in zip(row, widths, heads, strict=True)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines) + "\n"


def duration(us: float) -> str:
    """Microseconds in three figures with a unit: 870us, 12.4ms, 3.50s."""
    if us < 1_000:
        return f"{us:.0f}us"
    if us < 1_000_000:
        return f"{us / 1_000:.3g}ms"
    return f"{us / 1_000_000:.3g}s" if us < 1_000_000_000 else f"{us / 1_000_000:.0f}s"
