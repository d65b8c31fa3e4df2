"""What is made of INFO replication."""

from __future__ import annotations

import pytest

from router.redis.replication import KEPT, Positions, Role, primary_of

PRIMARY = "# Replication\r\nrole:master\r\nmaster_replid:aa\r\nmaster_repl_offset:100\r\nsecond_repl_offset:-1\r\n"
REPLICA = (
    "role:slave\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:90\r\n"
    "master_replid:aa\r\nmaster_repl_offset:90\r\nsecond_repl_offset:-1\r\n"
)


def test_roles():
    assert Role.of(PRIMARY) == Role(True, "aa", 100)
    assert Role.of(REPLICA) == Role(False, "aa", 90, linked=True)
    assert not Role.of(REPLICA.replace("status:up", "status:down")).linked
    assert not Role.of(REPLICA.replace("progress:0", "progress:1")).linked
    assert Role.of(PRIMARY.replace("second_repl_offset:-1", "second_repl_offset:55")).promoted
    for broken in ("", "role:master", REPLICA.replace("slave_repl_offset:90", "slave_repl_offset:x")):
        with pytest.raises((KeyError, ValueError)):
            Role.of(broken)


def test_freshness_is_the_last_look_that_the_replica_has_caught_up_with():
    positions = Positions()
    for time, offset in ((1.0, 10), (2.0, 20), (3.0, 20), (4.0, 30)):
        positions.add(time, Role(True, "aa", offset))
    fresh = {offset: positions.fresh(Role(False, "aa", offset, linked=True)) for offset in (9, 10, 19, 20, 29, 30, 99)}
    assert fresh == {9: 0.0, 10: 1.0, 19: 1.0, 20: 3.0, 29: 3.0, 30: 4.0, 99: 4.0}
    assert positions.fresh(Role(False, "bb", 30, linked=True)) == 0.0
    assert positions.fresh(Role(False, "aa", 30)) == 0.0
    assert positions.fresh(Role(True, "aa", 30, linked=True)) == 0.0
    positions.add(5.0, Role(True, "cc", 5))  # another history: nothing before it counts
    assert positions.fresh(Role(False, "aa", 30, linked=True)) == 0.0


def test_what_is_remembered_is_bounded():
    positions = Positions()
    for number in range(10 * KEPT):
        positions.add(float(number), Role(True, "aa", number))
    assert len(positions.times) == len(positions.offsets) <= KEPT
    assert positions.fresh(Role(False, "aa", 10 * KEPT, linked=True)) == 10 * KEPT - 1


UP, DOWN = Role(True, "aa", 1), None
REPLICATES, PROMOTED, STRANGER = Role(False, "aa", 1), Role(True, "bb", 1, promoted=True), Role(True, "cc", 1)


@pytest.mark.parametrize(
    ("a", "b", "c", "primary"),
    [
        (UP, REPLICATES, REPLICATES, "a"),
        (UP, PROMOTED, REPLICATES, "a"),  # it still says so itself
        (DOWN, REPLICATES, REPLICATES, "a"),
        (DOWN, PROMOTED, REPLICATES, "b"),
        (REPLICATES, PROMOTED, REPLICATES, "b"),
        (DOWN, STRANGER, REPLICATES, "a"),  # it has never been a replica
        (DOWN, PROMOTED, PROMOTED, "a"),
        (DOWN, DOWN, DOWN, "a"),
    ],
)
def test_who_is_the_primary(a: Role | None, b: Role | None, c: Role | None, primary: str):
    assert primary_of("a", {"a": a, "b": b, "c": c}, ("a", "b", "c")) == primary
