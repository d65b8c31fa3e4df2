"""Which servers tests run on, and what happens where one is absent.

`FAIRLEAD_SERVER=mysql` (or `mariadb`) runs everything on that one only. `FAIRLEAD_REQUIRE_SERVERS` names, with
commas, the software whose absence fails a test instead of skipping it; `1` means all.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

MISSING = "SERVER MISSING: "
ONLY = os.environ.get("FAIRLEAD_SERVER")
DEFAULT = ONLY or "mariadb"
ON_MYSQL = pytest.param("mysql", marks=pytest.mark.mysql97)
"""For a test that is about MySQL 9.7, whatever the others run on."""

BOTH = [one for name, one in (("mariadb", "mariadb"), ("mysql", ON_MYSQL)) if ONLY in (None, name)]
BOTH_SERVERS = pytest.mark.parametrize("flavour", BOTH)
"""Runs a test that uses the `world` fixture on MariaDB and on MySQL 9.7."""


def absent(software: str, why: object) -> NoReturn:
    """Fails the test where the software (`mariadb`, `mysql`) is required, else skips it so that the summary says so."""
    required = os.environ.get("FAIRLEAD_REQUIRE_SERVERS", "").split(",")
    if "1" in required or software in required:
        pytest.fail(f"{MISSING}{why}")
    pytest.skip(f"{MISSING}{why}")
