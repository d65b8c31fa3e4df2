"""What SET does, by variable."""

from __future__ import annotations

import pytest

from router.variables import VARIABLES, Handling, check, variable


@pytest.mark.parametrize(
    ("name", "handling"),
    [
        ("sql_mode", Handling.TRACKED),
        ("SQL_MODE", Handling.TRACKED),
        ("tx_isolation", Handling.TRACKED),
        ("names", Handling.TRACKED),
        ("wait_timeout", Handling.NOOP),
        ("sql_log_bin", Handling.REFUSED),
        ("session_track_gtids", Handling.TOLD),
        ("sql_select_limit", Handling.PIN),
        ("timestamp", Handling.PIN),
        ("a_variable_of_tomorrow", Handling.PIN),
    ],
)
def test_handling(name: str, handling: Handling) -> None:
    assert variable(name).handling is handling


def test_old_names_are_folded() -> None:
    assert variable("TX_Read_Only").name == "transaction_read_only"
    assert variable("storage_engine").name == "default_storage_engine"


@pytest.mark.parametrize(
    ("name", "value", "entry"),
    [
        ("sql_mode", "ANSI", None),
        ("completion_type", "CHAIN", None),
        ("sql_auto_is_null", 0, None),
        ("sql_auto_is_null", 1, "VARIABLE_REFUSED"),
        ("sql_log_bin", 1, "VARIABLE_REFUSED"),
        ("names", "utf8mb4", None),
        ("names", "GBK", "UNSAFE_CHARSET"),
        ("character_set_client", "utf16", "UNSAFE_CHARSET"),
        ("character_set_results", None, None),
        ("character_set_results", "gbk", None),
    ],
)
def test_values(name: str, value: str | int | None, entry: str | None) -> None:
    found = check(name, value)
    assert (found.entry.name if found else None) == entry


def test_every_refused_variable_says_why() -> None:
    for one in VARIABLES.values():
        assert one.why or (one.handling is not Handling.REFUSED and one.allowed is None)
