"""The bench itself, on real servers: short runs whose figures mean nothing but must be there."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loadtest.bench.__main__ import main
from loadtest.bench.redis import nutcracker
from loadtest.world.mariadb import program
from loadtest.world.sqlserver import ServerMissing
from tests.servers import absent

pytestmark = pytest.mark.servers


@pytest.fixture(autouse=True)
def servers_are_there() -> None:
    try:
        program()
    except ServerMissing as missing:
        absent("mariadb", missing)


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_ratio_of_haproxy_alone(tmp_path: Path) -> None:
    only = ["--target", "direct", "--target", "haproxy", "--cell", "point_select text 16"]
    allowed = os.sched_getaffinity(0)
    found = bench("ratio", *only, "--rounds", "1", "--seconds", "1", "--out", str(tmp_path), "--format", "json")
    assert found.exit_code == 0, found.output
    assert os.sched_getaffinity(0) == allowed
    content = json.loads(found.stdout)
    figures = {figure["target"]: figure for figure in content["figures"]}
    assert figures["haproxy"]["proxy_us"]["median"] > 1
    assert figures["direct"]["proxy_us"] is None
    assert all(figure["qps"] > 100 and figure["server_us"] > 1 for figure in figures.values())
    assert {"cpu", "kernel", "mariadb", "haproxy", "sysbench", "python", "fairlead"} <= set(content["machine"])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".svg"]


def test_ratio_of_fairlead_sharded_and_not(tmp_path: Path) -> None:
    only = ["--target", "haproxy", "--target", "fairlead", "--target", "fairlead-sharded"]
    cell = ["--full", "--cell", "point_select prepared 16", "--rounds", "1", "--seconds", "1"]
    found = bench("ratio", *only, *cell, "--out", str(tmp_path), "--format", "json")
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    ratios = {figure["target"]: figure["ratio"] for figure in content["figures"]}
    assert ratios["fairlead"]["n"] == ratios["fairlead-sharded"]["n"] == 1
    judged = [verdict for verdict in content["verdicts"] if verdict["kept"] is not None]
    assert [verdict["promise"]["cell"] for verdict in judged] == ["oltp_point_select prepared 16"]


@pytest.mark.skipif(nutcracker.program() is None, reason=f"{nutcracker.WANTED} is not on this machine")
def test_redis_against_twemproxy(tmp_path: Path) -> None:
    only = ["--target", "direct", "--target", "twemproxy", "--cell", "GET P16"]
    found = bench("redis", *only, "--rounds", "1", "--out", str(tmp_path), "--format", "json")
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    figures = {figure["target"]: figure for figure in content["figures"]}
    assert figures["direct"]["proxy_us"] is None
    assert figures["twemproxy"]["proxy_us"]["median"] > 0.05
    assert {"redis-server", "redis-benchmark", "twemproxy"} <= set(content["machine"])


def test_a_cell_that_does_not_exist_is_a_usage_error() -> None:
    found = bench("ratio", "--cell", "nonsense")
    assert found.exit_code == 2
    assert "oltp_point_select text 16" in found.output


def test_idle_clients_of_haproxy_cost_something() -> None:
    found = bench("idle", "--target", "haproxy", "--clients", "100", "--format", "json")
    [memory] = json.loads(found.stdout)
    assert memory["clients"] == 100 and memory["before"] > 1000
