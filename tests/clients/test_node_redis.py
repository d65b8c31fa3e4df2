"""ioredis and node-redis through a Redis listener: every call gives what one server gives."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from loadtest.world.world import World
from tests.servers import absent

pytestmark = pytest.mark.world(redis=True)
SOURCES = Path(__file__).parent / "node"
INSTALL_TIMEOUT = 180


@pytest.fixture(scope="session")
def program() -> Path:
    """The script beside its libraries, which are fetched once; where that cannot be, the test is skipped, loudly."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        absent("node", "node and npm are not on this machine; wanted: nodejs npm")
    sources = sorted(SOURCES.iterdir())
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in sources)).hexdigest()[:12]
    cache = Path(os.environ.get("FAIRLEAD_CACHE", "~/.cache/fairlead")).expanduser()
    place = cache / f"node-{digest}"
    if not (place / "ready").exists():
        place.mkdir(parents=True, exist_ok=True)
        for one in sources:
            shutil.copy(one, place)
        _install(place)
        (place / "ready").touch()
    return place / "redis.mjs"


def _install(place: Path) -> None:
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=INSTALL_TIMEOUT)
    except subprocess.TimeoutExpired:
        absent("node", "npm could not fetch ioredis and redis in time")
    if done.returncode:
        absent("node", f"npm could not fetch ioredis and redis: {done.stderr[-300:]}")


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
