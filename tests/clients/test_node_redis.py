"""ioredis and node-redis through a Redis listener: every call gives what one server gives."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from loadtest.world.world import World
from tests.clients.programs import node_program

pytestmark = pytest.mark.world(redis=True)


@pytest.fixture(scope="session")
def program() -> Path:
    return node_program("redis.mjs")


def run(program: Path, *arguments: str) -> dict[str, list[Any]]:
    """{client: [outcome of each call]}."""
    done = subprocess.run(["node", str(program), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


def test_node_clients_see_what_one_server_shows(world: World, program: Path) -> None:
    server = world.redis["eu-1"]
    expected = run(program, str(server.port))
    found = run(program, str(world.fairlead().redis_port), "demo", "demo")
    assert {name: len(outcomes) for name, outcomes in expected.items()} == {"ioredis": 31, "node-redis": 30}
    for name, outcomes in expected.items():
        pairs = enumerate(zip(outcomes, found[name], strict=True))
        differing = [(place, one, two) for place, (one, two) in pairs if one != two]
        assert not differing, name
