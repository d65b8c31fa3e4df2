"""What /ready promises to a balancer."""

from __future__ import annotations

import contextlib

from loadtest.world.world import World


def test_ready_means_that_clients_are_accepted(world: World) -> None:
    for _ in range(5):
        fairlead = world.fleet({"telemetry": {"slow_query": "1s"}}).launch("eu")
        while fairlead.http_status("/ready") != 200:
            assert fairlead.alive, fairlead.log_tail()
        with contextlib.closing(fairlead.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        world.stop_custom_fleets()
