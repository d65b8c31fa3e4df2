"""What other programs print: sysbench, callgrind, strace, /proc."""

from pathlib import Path

import pytest

from loadtest.bench import callgrind, machine, strace, sysbench
from loadtest.bench.metrics import Metrics, NoSuchMetric
from loadtest.bench.progress import duration
from loadtest.bench.stats import histogram_quantile

CASES = Path(__file__).parents[2] / "cases" / "bench"


def case(name: str) -> str:
    return (CASES / name).read_text()


# --- sysbench -----------------------------------------------------------------------------------------------


def test_report_of_a_run_with_all_kinds_of_queries() -> None:
    report = sysbench.parse_report(case("sysbench_read_write.txt"))
    assert (report.queries, report.transactions, report.ignored_errors, report.reconnects) == (
        9732,
        485,
        2,
        0,
    )
    assert (report.seconds, report.latency_avg, report.latency_p95, report.latency_max) == (
        1.0189,
        33.33,
        49.21,
        117.79,
    )
    assert report.qps == pytest.approx(9732 / 1.0189)
    assert report.histogram == ()


def test_queries_are_counted_and_not_events() -> None:
    report = sysbench.parse_report(case("sysbench_read_write.txt"))
    assert report.queries > report.transactions * 18


def test_histogram_holds_every_query() -> None:
    report = sysbench.parse_report(case("sysbench_histogram.txt"))
    assert sum(count for _, count in report.histogram) == report.queries
    assert report.histogram[0] == (0.163, 1)
    assert histogram_quantile(report.histogram, 0.95) == pytest.approx(report.latency_p95, rel=0.03)


def test_a_failed_run_has_no_report() -> None:
    with pytest.raises(sysbench.SysbenchError, match=r"(?s)queries.*doesn't exist") as caught:
        sysbench.parse_report(case("sysbench_no_table.txt"))
    assert "1146" in str(caught.value)


def test_the_start_line_is_where_it_is_expected() -> None:
    """CPU is read at this line; were it renamed, connecting would be counted as querying."""
    assert sum(line.startswith(sysbench.STARTED) for line in case("sysbench_point_select.txt").splitlines()) == 1


@pytest.mark.parametrize(
    ("prepared", "mode"),
    [(False, "--db-ps-mode=disable"), (True, "--db-ps-mode=auto")],
    ids=["text", "prepared"],
)
def test_command_line(prepared: bool, mode: str) -> None:
    to = sysbench.Endpoint("127.0.0.1", 7306, "u", "p", "d")
    argv = sysbench.command(sysbench.Load("oltp_point_select", 16, prepared, events=500, seed=4), to)
    assert argv[:2] == ["sysbench", "oltp_point_select"] and argv[-1] == "run"
    assert {mode, "--threads=16", "--events=500", "--time=0", "--rand-seed=4", "--auto_inc=off"} <= set(argv)


# --- callgrind ----------------------------------------------------------------------------------------------


def test_totals_of_a_dump() -> None:
    assert callgrind.parse_totals(case("callgrind_dump.txt")) == {"Ir": 17414}


def test_parts_of_one_file_are_added_up() -> None:
    assert callgrind.parse_totals(case("callgrind_two_parts.txt")) == {"Ir": 350, "Bc": 30, "Bcm": 1}


def test_costs_of_functions_are_their_own_and_names_are_given_once() -> None:
    costs = callgrind.self_costs(case("callgrind_functions.txt"))
    assert costs == {("relay.so", "relay_round"): 35, ("libc.so.6", "send"): 56, ("relay.so", "scan"): 7}


def test_a_cut_off_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "callgrind.out.77.1"
    path.write_text(case("callgrind_cut_off.txt"))
    with pytest.raises(callgrind.CallgrindError, match=r"callgrind\.out\.77\.1"):
        callgrind.read_instructions(path)


def test_newest_dump_is_the_highest_number_of_this_process(tmp_path: Path) -> None:
    for name in ("callgrind.out.77", "callgrind.out.77.2", "callgrind.out.77.10", "callgrind.out.777.99"):
        (tmp_path / name).touch()
    assert callgrind.newest_dump(tmp_path, 77) == (10, tmp_path / "callgrind.out.77.10")
    assert callgrind.newest_dump(tmp_path, 78) == (0, None)


def test_children_are_traced_into_files_of_their_own(tmp_path: Path) -> None:
    argv = callgrind.command(tmp_path, ["fairlead", "serve"])
    assert argv[-3:] == ["--", "fairlead", "serve"]
    assert {
        "--tool=callgrind",
        "--trace-children=yes",
        f"--callgrind-out-file={tmp_path}/callgrind.out.%p",
    } <= {*argv}


# --- strace -------------------------------------------------------------------------------------------------


def test_calls_of_a_summary_with_and_without_errors() -> None:
    calls = strace.parse_summary(case("strace_haproxy.txt"))
    assert (calls["sendto"], calls["recvfrom"], calls["epoll_wait"], calls["connect"]) == (
        6064,
        6096,
        456,
        16,
    )
    assert "total" not in calls and "syscall" not in calls


def test_what_happens_once_cancels_out() -> None:
    short = {"sendto": 2016, "recvfrom": 2032, "connect": 16}
    long = {"sendto": 4016, "recvfrom": 4032, "connect": 16, "epoll_wait": 500}
    found = strace.by_family(strace.per_query(short, long, 1000))
    assert found == {"receives": 2.0, "sends": 2.0, "polls": 0.5, "others": 0.0}


def test_an_empty_summary_counts_nothing() -> None:
    assert strace.parse_summary("") == {}


# --- others -------------------------------------------------------------------------------------------------


def test_cpu_model_and_memory() -> None:
    assert (
        machine.cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nmodel name\t: other\n") == "Some CPU @ 3 GHz"
    )
    assert machine.cpu_model("nothing") == machine.UNKNOWN
    assert machine.memory("MemTotal:       24641536 kB\n") == "23.5 GiB"


def test_a_missing_program_has_no_version() -> None:
    assert machine.first_line(["/nonexistent/program", "--version"]) == machine.UNKNOWN


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0s"), (59.4, "59s"), (59.6, "1m00s"), (605, "10m05s")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


PAGE = """\
# HELP fairlead_shard_connections Connections.
# TYPE fairlead_shard_connections gauge
fairlead_shard_connections{shard="s0",state="in_use"} 3
fairlead_shard_connections{shard="s1",state="in_use"} 4
fairlead_shard_connections{shard="s0",state="idle"} 10
# TYPE fairlead_queries_total counter
fairlead_queries_total 12
"""


def test_metrics_are_summed_by_label() -> None:
    page = Metrics.parse(PAGE)
    assert page.sum("fairlead_shard_connections", state="in_use") == 7
    assert page.sum("fairlead_shard_connections") == 17
    assert page.sum("fairlead_queries_total") == 12


def test_a_metric_that_is_not_there_is_no_zero() -> None:
    with pytest.raises(NoSuchMetric):
        Metrics.parse(PAGE).sum("fairlead_nothing")
