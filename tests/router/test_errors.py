"""The catalogue: ids, texts, and the manual page that is made from it."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from string import Formatter

import pytest

from router.catalogue import ENTRIES, Entry
from router.errors import CATALOGUE, page, refusal

ROOT = Path(__file__).parent.parent.parent


def fields(text: str) -> set[int]:
    return {int(name) for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_names_and_ids_are_unique() -> None:
    assert len(CATALOGUE) == len(ENTRIES)
    assert len({entry.id for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_is_well_formed(entry: Entry) -> None:
    assert re.fullmatch(r"FL[1-6]\d{3}", entry.id)
    assert 1000 < entry.errno < 5000
    assert re.fullmatch(r"[0-9A-Z]{5}", entry.sqlstate)
    assert entry.why.endswith(".")
    assert entry.remedy.endswith((".", "}"))
    assert not entry.text.endswith(".")
    used = fields(entry.text) | fields(entry.remedy)
    assert used == set(range(len(used)))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_can_be_filled(entry: Entry) -> None:
    args = tuple(f"<{index}>" for index in range(len(fields(entry.text) | fields(entry.remedy))))
    found = refusal(entry.name, *args)
    assert found.message.startswith(f"{entry.id}: ")
    assert all(arg in found.message for arg in args)
    assert (found.errno, found.sqlstate, found.id) == (entry.errno, entry.sqlstate, entry.id)
    assert str(pickle.loads(pickle.dumps(found))) == str(found)


def test_braces_in_a_name_are_only_text() -> None:
    assert "{1}" in refusal("UNKNOWN_DATABASE", "{1}").message


def test_the_manual_page_is_current() -> None:
    assert (ROOT / "docs" / "errors.md").read_text() == page(), "run: python -m router.errors > docs/errors.md"


def test_the_page_has_every_entry() -> None:
    text = page()
    assert all(f"### {entry.id} {entry.name}\n" in text for entry in ENTRIES)
