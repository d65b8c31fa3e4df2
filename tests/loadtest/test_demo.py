"""The parts of `make demo` that can be wrong without anybody noticing."""

import os
import socket

import pytest

from loadtest.demo import places, tour, traffic
from loadtest.world import ports
from loadtest.world.layout import FULL, RegionPorts
from loadtest.world.placement import shard_of_id
from loadtest.world.shop import Shop
from loadtest.world.world import World


def test_a_taken_port_is_named_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert places.holder(port) is not None
        assert f"(pid {os.getpid()})" in str(places.holder(port))
    assert places.holder(port) is None


def test_an_open_demo_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mysql, http = ports.reserve(2)
    ports.release([mysql, http])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        monkeypatch.setattr(places, "PORTS", {"eu": RegionPorts(mysql=mysql, peer=taken, http=http)})
        with pytest.raises(places.PortTaken, match=rf"port {taken} is taken by .*pid {os.getpid()}"):
            places.claim()


def test_the_tour_expects_what_was_generated() -> None:
    shop = Shop(customers=5000)
    stops = tour.stops(shop, FULL)
    assert len({stop.title for stop in stops}) == len(stops)
    for stop in stops:
        assert stop.refused or stop.expected, stop.title
        assert set(stop.shards) <= set(FULL.all_shards())
    visited = {shard for stop in stops for shard in stop.shards[:1]}
    assert {shard.partition("-")[0] for shard in visited} == {"eu", "us"}


def test_ids_fit_a_javascript_number_and_both_shards_have_customers() -> None:
    customers = Shop(customers=5000).all_customers(FULL)
    assert max(row[0] for row in customers) < 2**53
    per_shard = dict.fromkeys(FULL.all_shards(), 0)
    for row in customers:
        per_shard[shard_of_id(FULL, row[0])] += 1
    assert min(per_shard.values()) > 2000


def test_traffic_counts_queries_and_reports_each_second(world: World) -> None:
    primary = world.shards["eu-0"].primary
    primary.run("CREATE USER demo@'127.0.0.1' IDENTIFIED BY 'demo'", "GRANT ALL ON shop.* TO demo@'127.0.0.1'")
    seconds: list[traffic.Second] = []
    try:
        answered = traffic.run(primary.port, customers=100, seconds=2, threads=2, report=seconds.append)
    finally:
        primary.run("DROP USER demo@'127.0.0.1'")
    assert answered > 100
    assert seconds
    assert seconds[0].errors == 0


def test_traffic_that_cannot_connect_says_so() -> None:
    (closed,) = ports.reserve(1)
    with pytest.raises(traffic.TrafficFailed, match="Can't connect"):
        traffic.run(closed, customers=1, seconds=1, threads=1, report=lambda second: None)
