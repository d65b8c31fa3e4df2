"""The rules of `proxy.pool.roles` on sequences of looks, with a clock that only these cases move."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.pool.gtid import parse_mariadb, parse_mysql
from proxy.pool.probe import Channel, IoState
from proxy.pool.roles import PositionHistory, Roster, ShardRoles
from proxy.pool.server_health import Facts, Failure, ServerHealth, State, Target
from proxy.pool.service_connection import FailureKind
from router.topology import ServerRole, Topology
from tests.proxy.pool.shards import targets, topology_of

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases" / "roles.yaml").read_text())
PORTS = {"a": 7001, "b": 7002, "c": 7003}
IDS = {"a": 1, "b": 2, "c": 3}
ELSEWHERE = ("10.9.9.9", 3306, "77")
IO = {
    "": IoState.RUNNING,
    "connecting": IoState.CONNECTING,
    "broken": IoState.RUNNING,
    "stopped": IoState.STOPPED,
}


class Sequence:
    """Applies the steps of one case to a Roster."""

    def __init__(self) -> None:
        topology = topology_of(list(PORTS.values()))
        self.targets = dict(zip(PORTS, targets(topology), strict=True))
        self.roster = Roster(topology.shards[0])
        self.roles = self.roster.expect(self.targets.values())
        self.last: dict[str, ServerHealth] = {}

    def step(self, step: dict[str, Any]) -> ShardRoles:
        for name in PORTS:
            if name in step and step[name] != "-":
                health = self._health(name, str(step[name]).split(), float(step["at"]))
                self.last[name] = health
                self.roles = self.roster.observe(health)
        return self.roles

    def _health(self, name: str, words: list[str], now: float) -> ServerHealth:
        before = self.last.get(name) or ServerHealth(self.targets[name], State.UNKNOWN, now)
        failure = Failure(FailureKind.UNREACHABLE, "gone")
        if words == ["down"]:
            return replace(before, state=State.DOWN, checked_at=now, failure=failure)
        if words == ["silent"]:
            return replace(before, checked_at=now, failure=failure)
        return ServerHealth(
            self.targets[name],
            State.UP,
            checked_at=now,
            seen_at=now,
            incarnation=before.incarnation + ("restarted" in words),
            facts=_facts(name, words),
        )


def _facts(name: str, words: list[str]) -> Facts:
    options = dict(word.split("=", 1) for word in words if "=" in word)
    position = words[1]
    log = options.get("log", "" if position == "none" else position)
    return Facts(
        version="10.11.19-MariaDB",
        server_id=IDS[name],
        server_uuid="",
        read_only=words[0] == "ro",
        position=None if position == "none" else parse_mariadb(position, log),
        write_source=f"0-{IDS[name]}",
        channels=None if options.get("channels") == "denied" else _channels(options, position),
        connections=3,
        max_connections=100,
    )


def _channels(options: dict[str, str], position: str) -> tuple[Channel, ...]:
    if "from" not in options:
        return ()
    source, _, condition = options["from"].partition("/")
    known = ("127.0.0.1", PORTS[source], str(IDS[source])) if source in PORTS else ELSEWHERE
    received = options.get("received", "" if position == "none" else position)
    return (
        Channel(
            name="",
            source_host=known[0],
            source_port=known[1],
            source_id=known[2],
            io=IO[condition],
            sql_running=condition not in ("broken", "stopped"),
            seconds_behind=0,
            received=parse_mariadb(received),
        ),
    )


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_roles(case: dict[str, Any]) -> None:
    sequence = Sequence()
    for step in case["steps"]:
        roles = sequence.step(step)
        seen = _as_expected(roles, step["expect"], float(step["at"]), sequence.targets)
        assert seen == step["expect"], f"at {step['at']}"


def _as_expected(
    roles: ShardRoles, wanted: dict[str, Any], now: float, named: dict[str, Target]
) -> dict[str, Any]:
    letters = {target.name: letter for letter, target in named.items()}
    replicas = {letters[replica.target.name]: replica for replica in roles.replicas}
    found = {
        "primary": letters[roles.primary.name] if roles.primary else None,
        "standing": str(roles.standing),
        "epoch": roles.epoch,
        "warnings": sorted(roles.warnings),
        "lag": {name: replicas[name].lag(now) for name in wanted.get("lag", ())},
        "reached": {name: replicas[name].reached for name in wanted.get("reached", ())},
        "unreadable": {name: str(replicas[name].unreadable) for name in wanted.get("unreadable", ())},
    }
    return {key: found[key] for key in wanted}


def test_a_replica_that_may_not_be_the_primary_is_not_followed() -> None:
    sequence = Sequence()
    target = sequence.targets["b"]
    sequence.targets["b"] = replace(target, server=replace(target.server, promotable=False))
    sequence.roster.expect(sequence.targets.values())
    sequence.step({"at": 0, "a": "rw 0-1-5", "b": "ro 0-1-5 from=a", "c": "ro 0-1-5 from=a"})
    roles = sequence.step({"at": 1, "a": "down", "b": "rw 0-2-6", "c": "ro 0-2-6 from=b"})
    assert (roles.primary, str(roles.standing)) == (None, "unpromoted")
    roles = sequence.step({"at": 2, "b": "ro 0-2-6", "c": "rw 0-3-7"})
    assert roles.primary is not None and roles.primary.server.port == PORTS["c"]


def test_readable_replicas_are_those_within_the_lag_freshest_first() -> None:
    sequence = Sequence()
    sequence.step({"at": 0, "a": "rw 0-1-5", "b": "ro 0-1-5 from=a", "c": "ro 0-1-5 from=a"})
    sequence.step({"at": 2, "a": "rw 0-1-6"})
    roles = sequence.step({"at": 3, "a": "rw 0-1-6", "c": "ro 0-1-6 from=a"})
    names = [
        [replica.target.server.port for replica in roles.readable(lag, 4.0)] for lag in (0.5, 1, 4, math.inf)
    ]
    assert names == [[], [7003], [7003, 7002], [7003, 7002]]


def test_a_reload_keeps_what_is_known_of_the_servers_that_stay() -> None:
    sequence = Sequence()
    sequence.step({"at": 0, "a": "rw 0-1-5", "b": "ro 0-1-5 from=a", "c": "ro 0-1-5 from=a"})
    topology: Topology = topology_of([7003, 7001])
    roles = sequence.roster.expect(targets(topology), topology.shards[0])
    assert roles.epoch == 1
    assert roles.primary is not None and roles.primary.server.port == 7001
    assert roles.primary.server.role is ServerRole.REPLICA, "numbers and declarations are the new ones"
    assert [replica.target.server.port for replica in roles.replicas] == [7003]


def test_a_look_at_a_server_that_has_gone_changes_nothing() -> None:
    sequence = Sequence()
    sequence.step({"at": 0, "a": "rw 0-1-5", "b": "ro 0-1-5 from=a", "c": "down"})
    before = sequence.roster.expect([sequence.targets["a"]])
    assert sequence.step({"at": 1, "b": "rw 0-1-9"}) == before


# --- the history of positions -------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), min_size=1, max_size=300), st.integers(4, 32), st.data())
def test_a_thinned_history_is_bounded_and_never_too_fresh(
    growth: list[int], capacity: int, data: st.DataObject
) -> None:
    """Against the whole history: the bound may be older than the truth, never newer."""
    history, everything, seq = PositionHistory(capacity), [], 1
    for second, more in enumerate(growth):
        seq += more
        everything.append((float(second), seq))
        history.add(float(second), parse_mariadb(f"0-1-{seq}"))
        assert len(history) <= capacity
    reached = data.draw(st.integers(0, seq + 1))
    exact = max((second for second, had in everything if had <= reached), default=None)
    found = history.fresh_at(parse_mariadb(f"0-1-{reached}") if reached else None)
    assert found is None or (exact is not None and found <= exact)
    if reached >= seq:
        assert found == everything[-1][0], "the newest is exact"


def test_the_newer_half_of_a_full_history_is_exact() -> None:
    history = PositionHistory(64)
    for second in range(10_000):
        history.add(float(second), parse_mysql(f"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{second + 1}"))
    for behind in range(30):
        position = parse_mysql(f"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{10_000 - behind}")
        assert history.fresh_at(position) == 9999.0 - behind
