"""docs/protocol.md: every row of the table names tests that are there, and the list of differences stays short."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text()
MOST_DIFFERENCES = 20


def test_every_row_names_its_tests() -> None:
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 21))
    for _, row in rows:
        named = re.findall(r"tests/[\w/.]+", row.rpartition("|")[2])
        assert named
        assert all((ROOT / one).exists() for one in named), named


def test_the_differences_are_few() -> None:
    numbers = [int(one) for one in re.findall(r"^(\d+)\. ", PAGE.partition("## What differs")[2], re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) <= MOST_DIFFERENCES
