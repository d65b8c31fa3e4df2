"""Certificates shared by the tests of the MySQL wire."""

import pytest

from tests.proxy.mysql.helpers import Certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))
