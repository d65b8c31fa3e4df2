"""When an answer or its absence counts, what a server's positions mean, and whom we may connect to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config.words import Flavour, TlsVersion
from proxy.pool.gtid import parse_mariadb
from proxy.pool.probe import Channel, IoState, Vitals
from proxy.pool.server_health import Hysteresis, State, applied_position, endpoint_of, targets_of
from tests.proxy.pool.shards import topology_of

UP, DOWN, UNKNOWN = State.UP, State.DOWN, State.UNKNOWN


@pytest.mark.parametrize(
    ("looks", "states"),
    [
        # g good, f failed, a alive but busy; one look a second, each failing at once
        ("g", [UP]),
        ("f", [UNKNOWN]),
        ("fff", [UNKNOWN, UNKNOWN, DOWN]),
        ("gff", [UP, UP, UP]),
        ("gfff", [UP, UP, UP, DOWN]),
        ("gffgff", [UP] * 6),
        ("gffaff", [UP] * 6),
        ("fffg", [UNKNOWN, UNKNOWN, DOWN, DOWN]),
        ("fffgg", [UNKNOWN, UNKNOWN, DOWN, DOWN, UP]),
        ("fffgfg", [UNKNOWN, UNKNOWN, DOWN, DOWN, DOWN, DOWN]),
        ("aaa", [UNKNOWN] * 3),
    ],
)
def test_states_change_after_enough_looks_of_a_kind(looks: str, states: list[State]) -> None:
    hysteresis = Hysteresis(failures=3, recoveries=2, timeout=10)
    seen = []
    for second, look in enumerate(looks):
        match look:
            case "g":
                seen.append(hysteresis.good())
            case "f":
                seen.append(hysteresis.failed(second, second))
            case _:
                seen.append(hysteresis.alive())
    assert seen == states


def test_looks_that_cost_their_deadline_need_be_fewer() -> None:
    """Three failures allowed, one second each: two that took a second each are two seconds of silence."""
    hysteresis = Hysteresis(failures=3, recoveries=2, timeout=1.0)
    hysteresis.good()
    assert hysteresis.failed(began=0.0, now=1.0) is State.UP
    assert hysteresis.failed(began=1.2, now=2.2) is State.DOWN


def test_one_failure_suffices_where_the_settings_say_so() -> None:
    assert Hysteresis(failures=1, recoveries=1, timeout=1.0).failed(0.0, 0.0) is State.DOWN


def vitals(read_only: bool) -> Vitals:
    return Vitals(
        version="10.11.19-MariaDB",
        read_only=read_only,
        server_id=2,
        server_uuid="",
        max_connections=100,
        write_source="0-2",
        current=parse_mariadb("0-2-9"),
        applied=parse_mariadb("0-1-5"),
    )


CHANNEL = Channel("", "127.0.0.1", 7001, "1", IoState.STOPPED, False, None, None)


@pytest.mark.parametrize(
    ("read_only", "channels", "expected"),
    [
        (True, (CHANNEL,), "0-1-5"),
        (True, None, "0-1-5"),
        (True, (), "0-2-9"),
        (False, (CHANNEL,), "0-2-9"),
        (False, (), "0-2-9"),
        (False, None, "0-2-9"),
    ],
)
def test_a_replicas_own_writes_prove_nothing(
    read_only: bool, channels: tuple[Channel, ...] | None, expected: str
) -> None:
    assert str(applied_position(vitals(read_only), channels)) == expected


def test_targets_are_the_servers_of_the_own_region() -> None:
    topology = topology_of([7001, 7002])
    targets = targets_of(topology, TlsVersion.TLS_1_3)
    assert [target.name for target in targets] == ["s0 127.0.0.1:7001", "s0 127.0.0.1:7002"]
    endpoint = targets[0].endpoint
    assert (endpoint.flavour, endpoint.tls_minimum) == (Flavour.MARIADB, TlsVersion.TLS_1_3)
    assert "secret" not in repr(endpoint)


def test_servers_of_another_region_are_not_connected_to() -> None:
    shard = topology_of([7001]).shards[0]
    abroad = replace(shard, region=replace(shard.region, name="us", is_local=False))
    with pytest.raises(ValueError, match="only its Fairlead"):
        endpoint_of(abroad, abroad.servers[0])
    with pytest.raises(ValueError, match="no account"):
        endpoint_of(replace(shard, settings=replace(shard.settings, account=None)), shard.servers[0])
