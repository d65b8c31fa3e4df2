"""The reference page is current and holds every setting."""

from __future__ import annotations

from config.manual import FILE, text


def test_the_page_is_current():
    assert FILE.read_text() == text(), "run: python -m config.manual"


def test_it_has_a_section_for_everything():
    page = text()
    for title in (
        "regions.NAME.peer",
        "shards.NAME.replicas[]",
        "users.NAME.grants[]",
        "limits",
        "keyspaces.NAME.vindexes.NAME (function: range).ranges[]",
        "listeners.NAME (kind: mysql).tls",
    ):
        assert f"\n## {title}\n" in page


def test_rows_show_defaults_bounds_and_choices():
    page = text()
    assert (
        "| `max_packet` | The largest statement or parameter taken from a client. 64KiB to 1GiB. | `64MiB` |"
        in page
    )
    assert "Choices: `mariadb`, `mysql`. | *needed* |" in page
    assert "| `required` | Refuse clients that do not ask for TLS. | `false` |" in page
