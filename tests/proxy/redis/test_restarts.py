"""SIGUSR2: new clients come to the next process, those who are there finish on theirs."""

from __future__ import annotations

import contextlib

import pytest

from loadtest.world.layout import region_id
from loadtest.world.world import World
from tests.proxy.dynasty import dynasty_of
from tests.proxy.redis.raw import Raw, raw

pytestmark = [pytest.mark.slow, pytest.mark.world(regions=2, redis=True)]

KEY = f"customer:{region_id('eu', 7)}:visits"
BRIEF = {"limits": {"take_over": "4s", "drain": "1s"}}


def test_whoever_is_connected_stays_until_the_time_is_up(world: World) -> None:
    with dynasty_of(world, BRIEF, 1) as dynasty, contextlib.ExitStack() as held:

        def connected() -> Raw:
            return held.enter_context(contextlib.closing(raw(dynasty.member)))

        before, collecting = connected(), connected()
        before.ask("CLIENT", "SETNAME", "before")
        assert before.ask("SET", KEY, 1).text == "OK"
        assert [one.text for one in collecting.many(("MULTI",), ("INCR", KEY))] == ["OK", "QUEUED"]
        dynasty.succeed()
        behind = connected()
        assert behind.ask("INCR", KEY) == 2
        assert collecting.ask("EXEC") == [3]
        assert before.ask("INCR", KEY) == 4
        assert before.ask("CLIENT", "GETNAME") == b"before"
        assert dynasty.alive(dynasty.pids[0])
        for one in (before, collecting):
            with pytest.raises(EOFError):
                one.read()
        dynasty.ended()
        assert "clients have stayed until the time is up: 2 by Redis" in dynasty.log()
        assert behind.ask("INCR", KEY) == 5
