"""Text tables: aligned, and harmless on a terminal."""

import pytest

from ops.table import duration, printable, render


def test_columns_line_up() -> None:
    assert render(["n", "name"], [[1, "a"], [200, "bc"]], frozenset({"name"})) == (
        "  n  name\n  1  a\n200  bc\n")


def test_control_characters_are_shown_not_sent() -> None:
    assert printable("a\x1b[31m\nb\u202e") == "a\\x1b[31m\\x0ab\\x202e"
    assert "\x1b" not in render(["x"], [["\x1b]0;title\x07"]])


@pytest.mark.parametrize("us, text", [
    (0, "0us"), (870.4, "870us"), (1_000, "1ms"), (12_440, "12.4ms"), (3_500_000, "3.5s"), (2e9, "2000s"),
])
def test_durations_have_three_figures(us: float, text: str) -> None:
    assert duration(us) == text
