"""A Redis server for the tests of the command table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loadtest.world import ports, rundir
from loadtest.world.redis import Redis
from loadtest.world.sqlserver import ServerMissing
from tests.servers import absent


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    directory = rundir.create()
    (port,) = ports.reserve(1)
    server = Redis("redis", directory, port=port)
    try:
        server.launch()
        server.wait_ready()
    except ServerMissing as missing:
        absent("redis", missing)
    yield server
    server.kill()
    ports.release([port])
    rundir.remove(directory)
