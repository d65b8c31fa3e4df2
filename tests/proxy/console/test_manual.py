"""docs/console.md lists the tables and verbs that there are."""

from __future__ import annotations

from proxy.console.manual import FILE, whole
from proxy.console.tables import TABLES


def test_the_page_is_current() -> None:
    page = FILE.read_text(encoding="utf-8")
    assert page == whole(page), "run: python -m proxy.console.manual"


def test_every_table_and_column_has_a_meaning() -> None:
    assert all(table.meaning.endswith(".") for table in TABLES)
    assert [f"{table.name}.{column.name}" for table in TABLES for column in table.columns if not column.meaning] == []
