"""Parameters for tests that must hold on every supported server."""

import pytest

BOTH_SERVERS = pytest.mark.parametrize(
    "flavour", ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql97)]
)
"""Runs a test that uses the `world` fixture on MariaDB and on MySQL 9.7."""
