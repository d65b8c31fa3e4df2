"""The Redis bench: its cells, redis-benchmark's report, twemproxy's file, and the verdict on instructions."""

from pathlib import Path

import pytest

from loadtest.bench import summary
from loadtest.bench.cells import SHARDED
from loadtest.bench.redis import cells, instructions, load
from loadtest.bench.redis.nutcracker import Nutcracker
from loadtest.bench.redis.ratio import request
from loadtest.bench.rounds import Run

CASES = Path(__file__).parents[2] / "cases" / "bench"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("redis_benchmark_get.txt", load.Report(142857.14, 3.346, 9.071)),
        ("redis_benchmark_mget.txt", load.Report(100000.0, 6.565, 13.855)),
    ],
)
def test_report(name: str, found: load.Report) -> None:
    assert load.parse_report((CASES / name).read_text()) == found
    assert load.parse_report("WARNING: Could not fetch server CONFIG\n" + (CASES / name).read_text()) == found


def test_no_report_is_said() -> None:
    with pytest.raises(load.RedisBenchmarkError, match="no report"):
        load.parse_report("Could not connect to Redis")


def test_every_command_runs_at_every_depth_and_what_is_promised_is_measured() -> None:
    named = {cell.name: cell for cell in cells.cells()}
    assert len(named) == 9
    promised = {(promise.cell, promise.at_most) for promise in cells.promises()}
    limits = ((1, 1.0), (16, 0.35))
    assert promised == {(f"{what} P{depth}", at) for what in ("GET", "SET", "MGET") for depth, at in limits}
    assert all({promise.target, promise.against} <= set(named[promise.cell].targets) for promise in cells.promises())


def test_mget_asks_for_ten_random_keys() -> None:
    command = load.command(cells.RedisCell("MGET", 16), 7000, 100)
    assert command[-10:] == ["key:__rand_int__"] * 10
    assert command[command.index("-P") + 1] == "16"


def test_twemproxy_gets_every_server(tmp_path: Path) -> None:
    proxy = Nutcracker(tmp_path, port=1, stats_port=2, servers=[7001, 7002])
    proxy.prepare()
    text = (tmp_path / "nutcracker.yml").read_text()
    assert "127.0.0.1:7001:1 s0" in text and "127.0.0.1:7002:1 s1" in text


def test_ratio_is_to_twemproxy() -> None:
    def made(target: str, cpu: float) -> Run:
        return Run(1, False, "GET P16", target, 1000, 1.0, 1000.0, 1.5, 1.0, cpu, 1.0, None, 0, 0)

    figures = summary.summarise([made(cells.TWEMPROXY, 4.0), made(SHARDED, 1.0)], cells.REFERENCE)
    assert {figure.target: figure.ratio and figure.ratio.median for figure in figures} == {
        cells.TWEMPROXY: None,
        SHARDED: 0.25,
    }


def test_request_is_an_array_of_bulk_strings() -> None:
    assert request("GET", "key") == "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"


def test_growth_of_instructions(tmp_path: Path) -> None:
    path = tmp_path / "instructions.json"
    assert instructions.read_reference(path) is None
    instructions.write_reference({"GET P16": 1600}, path)
    reference = instructions.read_reference(path)
    assert instructions.findings({"GET P16": 1680}, reference) == []
    assert instructions.findings({"GET P16": 1681}, reference) == ["GET P16: 1681 instructions, +5.1% over 1600"]
    assert instructions.findings({"SET P16": 9}, reference) == []
