"""What OK packets say of the session's changes: as one server says it to the client that asked for it, and nothing to
others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from loadtest.world.world import World
from tests.differential.test_session_machine import Arena, Both
from tests.differential.wire import CLIENT_DEPRECATE_EOF, STATUS_STATE_CHANGED
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

PROCEDURES = (
    "DROP PROCEDURE IF EXISTS zones",
    "CREATE PROCEDURE zones() BEGIN SELECT 1; SET time_zone = '+03:00'; SELECT 2; END",
    "DROP PROCEDURE IF EXISTS begins",
    "CREATE PROCEDURE begins() BEGIN START TRANSACTION; SELECT 1; COMMIT; SET autocommit = 1; SELECT 2; END",
)


@pytest.fixture
def arena(world: World) -> Arena:
    made = Arena(world)
    for server in (made.server, made.plain):
        server.run(*PROCEDURES, database="plain")
    return made


@pytest.fixture(params=[0, CLIENT_DEPRECATE_EOF], ids=["classic", "deprecate_eof"])
def untold(arena: Arena, request: pytest.FixtureRequest) -> Iterator[Both]:
    """Clients without CLIENT_SESSION_TRACK."""
    with closing(Both(arena, 0, request.param)) as both:
        yield both


@pytest.mark.parametrize("procedure", ["zones", "begins"])
def test_who_does_not_ask_is_told_nothing_between_two_results(untold: Both, procedure: str, arena: Arena) -> None:
    mine, theirs = (side.results(f"CALL {procedure}()") for side in (untold.mine, untold.theirs))
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        untold.same(procedure, one, other)
        assert (one.status ^ other.status) & STATUS_STATE_CHANGED == 0
    # What changed there is the session's, and nobody else's.
    zone = "SELECT @@time_zone, @@autocommit"
    untold.same(zone, untold.mine.query(zone), untold.theirs.query(zone))
    with closing(arena.mine()) as other:
        assert other.query("SELECT @@time_zone").value == b"+00:00"
