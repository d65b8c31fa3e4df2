"""The supervisor as a process, over stub workers: what it does when they die, refuse, hang or obey."""

from __future__ import annotations

import copy
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.world import ports
from proxy.supervision.control import digest_of

PATIENCE = 20.0
REPOSITORY = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("supervised.py")


class Supervised:
    """One running `supervised.py`, its configuration and what it has said."""

    def __init__(self, directory: Path, configuration: dict[str, Any]) -> None:
        self.file = directory / "fairlead.yaml"
        self.configuration = copy.deepcopy(configuration)
        self.write()
        self.text = ""
        self._at = 0
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, **sections: Any) -> None:
        """Replaces the file in one step."""
        self.configuration.update(sections)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(self.configuration, sort_keys=False))
        fresh.rename(self.file)

    def start(self, stub: str = "obey", *options: str, workers: int = 2, **environment: str) -> Supervised:
        times = environment.pop("times", "{}")
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        more = {"STUB": stub, "SUPERVISOR_TIMES": times, "PYTHONPATH": path, **environment}
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.file), str(workers), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **more},
        )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def ready(self) -> Supervised:
        self.wait_for("ready: ")
        return self

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in what is said after the last one."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.text[self._at :])):
            if not self._read(deadline - time.monotonic()):
                before, after = self.text[: self._at], self.text[self._at :]
                pytest.fail(f"no {pattern!r} after\n{after}\n--- before\n{before}")
        self._at += found.end()
        return found

    def _read(self, seconds: float) -> bool:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, seconds))
        data = os.read(self.process.stdout.fileno(), 65536) if readable else b""
        self.text += data.decode()
        return bool(data)

    def pid_of(self, child: str) -> int:
        """The last pid that a child was started with."""
        return int(re.findall(rf"{child} started, pid (\d+)", self.text)[-1])

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def reload(self, **sections: Any) -> None:
        self.write(**sections)
        self.signal(signal.SIGHUP)

    def exit_code(self) -> int:
        """Waits for the end, taking what is said until then."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            assert self._process.stdout is not None
            self._process.stdout.close()

    def http(self, path: str, port: int | None = None) -> str:
        port = port or self.configuration["listeners"]["http"]["port"]
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as response:
                    return str(response.read().decode())
            except urllib.error.HTTPError as error:
                return str(error.read().decode())
            except OSError:
                # A connection that the dying admin process had accepted.
                if time.monotonic() > deadline:
                    raise

    def metric(self, line: str) -> float:
        """The value of a series, `fairlead_config_epoch`."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", self.http("/metrics"), re.MULTILINE)
        assert found, self.http("/metrics")
        return float(found[1])


@pytest.fixture
def free_ports() -> Iterator[list[int]]:
    reserved = ports.reserve(4)
    yield reserved
    ports.release(reserved)


@pytest.fixture
def configuration(free_ports: list[int]) -> dict[str, Any]:
    mysql, http, *_ = free_ports
    return {
        "region": "eu",
        "regions": {"eu": {}, "us": {}},
        "shards": {
            "eu-0": {
                "region": "eu",
                "flavour": "mariadb",
                "primary": "127.0.0.1:1",
                "account": {"user": "fairlead", "password": {"value": "secret"}},
            }
        },
        "keyspaces": {"shop": {"shards": ["eu-0"]}},
        "users": {"demo": {"password": {"value": "demo"}, "grants": [{"on": "shop.*", "verbs": ["all"]}]}},
        "listeners": {"mysql": {"port": mysql}, "http": {"port": http}},
        "limits": {"drain": "20s"},
    }


@pytest.fixture
def supervised(tmp_path: Path, configuration: dict[str, Any]) -> Iterator[Supervised]:
    running = Supervised(tmp_path, configuration)
    yield running
    running.kill()


def gone(pid: int) -> bool:
    """Waits until a process that is not our child has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)


# --- start and end ------------------------------------------------------------------------------------------


def test_starts_says_where_and_stops(supervised: Supervised) -> None:
    supervised.start().ready()
    for line in ("mysql +127.0.0.1:", "http +http://127", r"shards +eu-0 \(here", "workers +2\n"):
        assert re.search(line, supervised.text), line
    assert json.loads(supervised.http("/live"))["ok"]
    supervised.signal(signal.SIGTERM)
    assert supervised.exit_code() == 0
    assert supervised.text.count("exited with code 0") == 2
    assert supervised.text.rstrip().endswith("stopped")


def test_wrong_configuration_names_file_line_and_mistake(supervised: Supervised) -> None:
    supervised.write(bad=1)
    assert supervised.start().exit_code() == 2
    line = supervised.file.read_text().splitlines().index("bad: 1") + 1
    assert f"{supervised.file}:{line}: bad: unknown key" in supervised.text
    assert "Traceback" not in supervised.text


@pytest.mark.parametrize("listener", ["mysql", "http"])
@pytest.mark.parametrize("shared", [False, True])
def test_says_which_port_is_taken(supervised: Supervised, listener: str, shared: bool) -> None:
    port = supervised.configuration["listeners"][listener]["port"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        other.bind(("127.0.0.1", port))
        other.listen()
        assert supervised.start().exit_code() == 1
    assert re.search(rf"yaml:\d+: listeners.{listener}.port: 127.0.0.1:{port} is taken", supervised.text)


def test_drain_ends_at_its_deadline(supervised: Supervised) -> None:
    supervised.write(limits={"drain": "100ms"})
    supervised.start("stubborn", times='{"DRAIN_GRACE": 0.2}').ready()
    supervised.signal(signal.SIGTERM)
    assert supervised.exit_code() == 0
    assert supervised.text.count("has not ended in time, killed") == 2


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_kills_at_once(supervised: Supervised, second: signal.Signals) -> None:
    supervised.start("stubborn").ready()
    supervised.signal(signal.SIGTERM)
    supervised.wait_for("does not drain")
    begun = time.monotonic()
    supervised.signal(second)
    assert supervised.exit_code() == 0
    assert time.monotonic() - begun < 10
    assert f"{second.name}: stopping at once" in supervised.text


def test_tells_that_it_drains_until_the_last_worker_has_gone(supervised: Supervised) -> None:
    supervised.start("stubborn").ready()
    supervised.signal(signal.SIGTERM)
    supervised.wait_for("does not drain")
    assert json.loads(supervised.http("/ready"))["checks"]["draining"]["found"] == "draining"
    supervised.signal(signal.SIGHUP)
    supervised.wait_for("not reloading: stopping")


def test_ctrl_c_at_a_terminal_drains_in_order(supervised: Supervised) -> None:
    supervised.start("stubborn").ready()
    os.killpg(supervised.process.pid, signal.SIGINT)
    supervised.wait_for("SIGINT: draining")
    supervised.wait_for("does not drain")
    assert not json.loads(supervised.http("/ready"))["ok"]
    os.killpg(supervised.process.pid, signal.SIGINT)
    assert supervised.exit_code() == 0


def test_nothing_survives_the_supervisor(supervised: Supervised) -> None:
    supervised.start().ready()
    children = [supervised.pid_of(name) for name in ("worker 0", "worker 1", "admin")]
    supervised.process.kill()
    assert all(gone(pid) for pid in children)


def test_workers_hold_no_descriptor_of_the_supervisor(supervised: Supervised) -> None:
    supervised.start().ready()
    for name in ("worker 0", "worker 1"):
        descriptors = Path(f"/proc/{supervised.pid_of(name)}/fd").iterdir()
        sockets = [one for one in descriptors if os.readlink(one).startswith("socket:")]
        # Its end of the pair with the supervisor, of the one by which the admin process asks it, and its own port.
        assert len(sockets) == 3, name


# --- deaths -------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_started_again(supervised: Supervised) -> None:
    supervised.start().ready()
    first, other = supervised.pid_of("worker 0"), supervised.pid_of("worker 1")
    os.kill(first, signal.SIGKILL)
    supervised.wait_for("worker 0 was killed by SIGKILL, starts again in 0.1 s")
    supervised.wait_for("worker 0 started")
    assert supervised.pid_of("worker 0") != first
    assert supervised.pid_of("worker 1") == other
    assert supervised.metric('fairlead_worker_restarts_total{worker="0"}') == 1
    assert supervised.metric('fairlead_worker_restarts_total{worker="1"}') == 0


def test_deaths_in_a_row_are_answered_ever_later(supervised: Supervised) -> None:
    supervised.start("die", workers=1)
    for pause in ("0.1", "0.2", "0.4", "0.8"):
        supervised.wait_for(rf"worker 0 exited with code 0, starts again in {pause} s")
    supervised.signal(signal.SIGTERM)
    assert supervised.exit_code() == 0


@pytest.mark.parametrize("stub", ["crash", "raise"])
def test_gives_up_when_no_worker_can_start(supervised: Supervised, stub: str) -> None:
    assert supervised.start(stub, workers=1).exit_code() == 1
    assert supervised.text.count("starts again in") == 5
    assert "worker 0 cannot start: 5 attempts failed" in supervised.text


def test_a_worker_that_raises_is_told_without_values(supervised: Supervised) -> None:
    supervised.start("raise", workers=1).exit_code()
    assert "ends: ValueError at" in supervised.text
    assert "supervised.py" in supervised.text
    assert "a value of a row" not in supervised.text


def test_a_killed_admin_process_is_started_again(supervised: Supervised) -> None:
    supervised.start().ready()
    supervised.http("/live")
    os.kill(supervised.pid_of("admin"), signal.SIGKILL)
    supervised.wait_for("admin was killed by SIGKILL, starts again in 0.1 s")
    supervised.wait_for("admin started")
    assert json.loads(supervised.http("/live"))["ok"]


# --- reload -------------------------------------------------------------------------------------------------


def test_a_wrong_file_changes_nothing(supervised: Supervised) -> None:
    supervised.start().ready()
    workers = [supervised.pid_of("worker 0"), supervised.pid_of("worker 1")]
    supervised.reload(limits={"drain": "20s", "clients": "many"})
    line = supervised.file.read_text().splitlines().index("  clients: many") + 1
    found = supervised.wait_for("configuration refused: (.*)\n")
    assert found[1].startswith(f"{supervised.file}:{line}: limits.clients: ")
    supervised.wait_for("configuration 1 stays in force")
    assert supervised.metric("fairlead_config_reload_failures_total") == 1
    assert supervised.metric("fairlead_config_epoch") == 1
    assert workers == [supervised.pid_of("worker 0"), supervised.pid_of("worker 1")]
    assert "heard" not in supervised.text


def test_a_right_file_is_told_to_all_workers(supervised: Supervised) -> None:
    supervised.start().ready()
    users = {**supervised.configuration["users"], "more": {"password": {"value": "x"}}}
    supervised.reload(users=users)
    supervised.wait_for("configuration 2: user more is added")
    supervised.wait_for("configuration 2 is in force in all workers")
    told = [json.loads(text) for text in re.findall(r"stub \d heard (.*)", supervised.text)]
    port = supervised.configuration["listeners"]["mysql"]["port"]
    where = {"config": str(supervised.file), "base": None, "beside": None, "ports": [["127.0.0.1", port]]}
    assert told == [{"verb": "reload", "number": 2, "digest": digest_of([supervised.file]), **where}] * 2
    assert supervised.metric("fairlead_config_epoch") == 2
    assert supervised.metric("fairlead_config_reloads_total") == 1


def test_the_same_file_again_changes_nothing(supervised: Supervised) -> None:
    supervised.start().ready()
    supervised.reload()
    supervised.wait_for("nothing changes")
    assert supervised.metric("fairlead_config_epoch") == 1


def test_a_worker_that_refuses_is_told_of_and_follows_when_it_starts_again(supervised: Supervised) -> None:
    supervised.start("refuse").ready()
    supervised.reload(limits={"drain": "10s"})
    supervised.wait_for(r"worker \d refuses configuration 2 and keeps 1: not\\x0athis")
    supervised.wait_for(r"worker \d refuses configuration 2 and keeps 1")
    assert "in force in all" not in supervised.text
    os.kill(supervised.pid_of("worker 0"), signal.SIGKILL)
    supervised.wait_for(r"worker 0 started, pid \d+, configuration 2")


def test_a_refused_configuration_can_be_asked_for_again(supervised: Supervised) -> None:
    supervised.start("refuse", workers=1).ready()
    supervised.reload(limits={"drain": "10s"})
    supervised.wait_for("refuses configuration 2")
    supervised.reload()
    supervised.wait_for("refuses configuration 3")


def test_files_that_change_again_meanwhile_are_read_again(supervised: Supervised) -> None:
    supervised.start("rewrite", workers=1).ready()
    supervised.write(limits={"drain": "7s"})
    supervised.file.rename(supervised.file.with_suffix(".again"))
    supervised.reload(limits={"drain": "6s"})
    supervised.wait_for("worker 0 refuses configuration 2")
    supervised.wait_for("configuration 3: limits.drain changes from 6s to 7s")
    supervised.wait_for("configuration 3 is in force in all workers")


def test_a_worker_that_does_not_answer_is_told_of(supervised: Supervised) -> None:
    supervised.start("mute", times='{"ANSWER_TIME": 0.2}').ready()
    supervised.reload(limits={"drain": "10s"})
    supervised.wait_for(r"worker \d has not put configuration 2 in force in 0.2 s")
    supervised.signal(signal.SIGTERM)
    assert supervised.exit_code() == 0


def test_nonsense_from_a_worker_is_survived(supervised: Supervised) -> None:
    supervised.start("gibber", workers=1).ready()
    supervised.reload(limits={"drain": "10s"})
    for _ in range(5):
        supervised.wait_for("worker 0 sent a message that is none")
    supervised.wait_for("configuration 2 is in force")


def test_names_without_room_are_refused(supervised: Supervised) -> None:
    supervised.start().ready()
    users = {f"user{number}": {"password": {"value": "x"}} for number in range(100)}
    supervised.reload(users=users)
    supervised.wait_for("refused: .*no room for these names.*101 user names, room for 18.*Restart")
    assert supervised.metric("fairlead_config_epoch") == 1
    supervised.reload(users={"user1": {"password": {"value": "x"}}})
    supervised.wait_for("configuration 2 is in force")


def test_another_region_needs_a_restart(supervised: Supervised) -> None:
    supervised.start().ready()
    shard = {**supervised.configuration["shards"]["eu-0"], "region": "us"}
    supervised.reload(region="us", shards={"eu-0": shard})
    supervised.wait_for(r"yaml:1: region: changes from eu to us, which needs a restart")


def test_what_counts_from_the_next_start_on_is_said(supervised: Supervised) -> None:
    supervised.start().ready()
    supervised.reload(telemetry={"digests": 4096})
    supervised.wait_for("telemetry.digests counts from the next start on")
    supervised.wait_for("configuration 2 is in force")


def test_a_taken_port_is_refused_at_a_reload(supervised: Supervised, free_ports: list[int]) -> None:
    supervised.start().ready()
    before = supervised.configuration["listeners"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_ports[2]))
        other.listen()
        for name in ("mysql", "http"):
            supervised.reload(listeners={**before, name: {"port": free_ports[2]}})
            supervised.wait_for(rf"refused: .*listeners.{name}.port: .*:{free_ports[2]} is taken")
    supervised.configuration["listeners"] = before
    assert supervised.metric("fairlead_config_epoch") == 1


def test_http_moves_to_another_port(supervised: Supervised, free_ports: list[int]) -> None:
    supervised.start().ready()
    supervised.http("/live")
    first = supervised.pid_of("admin")
    mysql, old, new, _ = free_ports
    supervised.reload(listeners={"mysql": {"port": mysql}, "http": {"port": new}})
    supervised.wait_for("admin started")
    assert gone(first)
    assert json.loads(supervised.http("/live"))["ok"]
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", old)):
        pass
    supervised.reload(listeners={"mysql": {"port": mysql}})
    supervised.wait_for("listener http is removed")
    assert gone(supervised.pid_of("admin"))
    supervised.signal(signal.SIGTERM)
    assert supervised.exit_code() == 0


def test_watch_reloads_by_itself_when_the_bytes_change(supervised: Supervised) -> None:
    supervised.start("obey", "--watch", times='{"WATCH_INTERVAL": 0.05}').ready()
    supervised.write()
    supervised.write(limits={"drain": "11s"})
    supervised.wait_for("configuration has changed on disk")
    supervised.wait_for("configuration 2: limits.drain changes from 20s to 11s")
    supervised.wait_for("configuration 2 is in force in all workers")
    assert "nothing changes" not in supervised.text


# --- what others are told -----------------------------------------------------------------------------------


def test_log_lines_for_machines(supervised: Supervised) -> None:
    supervised.write(telemetry={"log_format": "json"})
    supervised.start().ready()
    supervised.signal(signal.SIGTERM)
    supervised.exit_code()
    lines = [json.loads(line) for line in supervised.text.splitlines()]
    assert {line["process"] for line in lines} == {"supervisor"}
    start = next(line for line in lines if line["message"].startswith("starting with"))
    assert (start["region"], start["workers"]) == ("eu", 2)
    assert [line["level"] for line in lines if line["message"] == "stopped"] == ["info"]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Callable[[], Mapping[str, str]]]:
    """A service manager's notification socket; each call takes one notification."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(PATIENCE)
        yield lambda: dict(line.split("=", 1) for line in sock.recv(4096).decode().splitlines())


def test_tells_the_service_manager(
    supervised: Supervised, manager: Callable[[], Mapping[str, str]], tmp_path: Path
) -> None:
    supervised.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
    assert manager() == {"READY": "1", "STATUS": "configuration 1, 2 workers"}
    supervised.reload(limits={"drain": "10s"})
    reloading = manager()
    assert reloading["RELOADING"] == "1" and int(reloading["MONOTONIC_USEC"]) > 0
    assert manager() == {"READY": "1", "STATUS": "configuration 2, 2 workers"}
    supervised.signal(signal.SIGTERM)
    assert manager()["STOPPING"] == "1"
