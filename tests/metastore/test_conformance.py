"""What every adapter of the metastore does alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metastore.election import campaign, leader, lock, resign
from metastore.lease import Lease
from metastore.memory import MemoryStore
from metastore.registry import discover, register
from metastore.sqlite import SqliteStore
from metastore.store import (
    MAX_KEY,
    MAX_LISTED,
    MAX_OPERATIONS,
    MAX_VALUE,
    Changes,
    Committed,
    Compare,
    Delete,
    Event,
    LeaseLost,
    Put,
    Store,
    Unavailable,
)

PATIENCE = 20.0


class Clock:
    """The stores' time, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


Open = Callable[..., Store]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """Every call opens one more handle on the same store."""
    opened: list[Store] = []

    def sqlite(**options: int) -> Store:
        opened.append(SqliteStore(tmp_path / "store.db", create=True, poll=0.005, now=clock, **options))
        return opened[-1]

    def memory(**options: int) -> Store:
        opened.append(opened[0] if opened else MemoryStore(now=clock, **options))
        return opened[-1]

    yield sqlite if request.param == "sqlite" else memory
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Open) -> Store:
    return open_store()


# --- keys and transactions ----------------------------------------------------------------------------------


def test_put_get_delete(store: Store) -> None:
    assert store.get("a") is None
    first = store.put("a", b"1")
    second = store.put("a", b"\x00\xff")
    found = store.get("a")
    assert found is not None and second == first + 1
    assert (found.value, found.created, found.modified, found.lease) == (b"\x00\xff", first, second, 0)
    third = store.delete("a")
    assert store.get("a") is None and third == second + 1
    assert store.delete("a") == third, "nothing changes, and so does the revision"


def test_a_key_made_again_is_another_one(store: Store) -> None:
    first = store.put("a", b"1")
    store.delete("a")
    store.put("a", b"1")
    found = store.get("a")
    assert found is not None and found.created > first


def test_listing_goes_by_prefix_in_order_and_in_pages(store: Store) -> None:
    for key in ("b/2", "a", "b/1", "b", "c", "b/é", "b0"):
        store.put(key, key.encode())
    everything = store.list("")
    assert [one.key for one in everything.items] == ["a", "b", "b/1", "b/2", "b/é", "b0", "c"]
    page = store.list("b/", limit=2)
    assert [one.key for one in page.items] == ["b/1", "b/2"] and page.more
    rest = store.list("b/", after="b/2", limit=2)
    assert [one.key for one in rest.items] == ["b/é"] and not rest.more
    assert rest.revision == everything.revision == 7


def test_a_transaction_is_all_or_nothing_at_one_revision(store: Store) -> None:
    store.put("old", b"1")
    done = store.txn([Compare("old", 1), Compare("new", 0)], [Put("new", b"2"), Put("more", b"3"), Delete("old")])
    assert done == Committed(True, 2)
    assert {one.key: one.modified for one in store.list("").items} == {"new": 2, "more": 2}
    assert store.txn([Compare("new", 2), Compare("old", 1)], [Delete("new")]) == Committed(False, 2)
    assert store.get("new") is not None


def test_replace_takes_what_it_expects(store: Store) -> None:
    assert store.replace("a", b"1", 0) and not store.replace("a", b"2", 0)
    assert store.replace("a", b"2", 1) and not store.replace("a", b"3", 1)


@pytest.mark.parametrize("key", ["", "x" * (MAX_KEY + 1), "a\nb", "a\0", "é" * MAX_KEY])
def test_keys_are_bounded(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        store.put(key, b"")
    with pytest.raises(ValueError, match="key"):
        store.get(key)


def test_values_transactions_and_listings_are_bounded(store: Store) -> None:
    store.put("a", bytes(MAX_VALUE))
    with pytest.raises(ValueError, match="larger"):
        store.put("a", bytes(MAX_VALUE + 1))
    with pytest.raises(ValueError, match="at most"):
        store.txn([], [Put(str(one), b"") for one in range(MAX_OPERATIONS + 1)])
    with pytest.raises(ValueError, match="only once"):
        store.txn([], [Put("a", b""), Delete("a")])
    with pytest.raises(ValueError, match="listing"):
        store.list("", limit=MAX_LISTED + 1)
    with pytest.raises(ValueError, match="lease"):
        store.grant(0.0)


def test_handles_share_one_store_and_counters_add_up(open_store: Open) -> None:
    """Eight threads count by compare and set, each on a handle of its own."""
    handles = [open_store() for _ in range(8)]

    def count(mine: Store) -> None:
        for _ in range(25):
            while True:
                found = mine.get("n")
                number = int(found.value) if found else 0
                if mine.replace("n", b"%d" % (number + 1), found.modified if found else 0):
                    break

    threads = [threading.Thread(target=count, args=(one,)) for one in handles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    found = handles[0].get("n")
    assert found is not None and (found.value, found.modified) == (b"200", 200)


def test_a_closed_store_is_unavailable(open_store: Open) -> None:
    store = open_store()
    watch = store.watch("", 0)
    store.close()
    for call in (lambda: store.get("a"), lambda: store.put("a", b""), lambda: watch.next(1.0)):
        with pytest.raises(Unavailable):
            call()


# --- watches ------------------------------------------------------------------------------------------------


def test_a_watch_sees_each_change_once_in_order(open_store: Open) -> None:
    mine, other = open_store(), open_store()
    mine.put("x/a", b"1")
    watch = mine.watch("x/", mine.list("x/").revision)
    assert watch.next(0) is None
    other.txn([], [Put("x/b", b"2"), Delete("x/a"), Put("y", b"3")])
    mine.put("y", b"4")
    mine.put("x/c", b"5")
    found = watch.next(PATIENCE)
    assert found == Changes(4, (Event("x/b", b"2", 2), Event("x/a", None, 2), Event("x/c", b"5", 4)))
    other.put("y", b"6")
    assert watch.next(0) is None and watch.next(0) is None
    watch.close()


def test_a_watch_begins_where_it_is_told(store: Store) -> None:
    for number in range(5):
        store.put("a", b"%d" % number)
    watch = store.watch("", 2)
    found = watch.next(PATIENCE)
    assert found is not None and [one.revision for one in found.events] == [3, 4, 5] and not found.resync


def test_a_watch_waits_and_is_woken(open_store: Open) -> None:
    mine, other = open_store(), open_store()
    watch = mine.watch("a", 0)
    thread = threading.Timer(0.1, lambda: other.put("a", b"1"))
    thread.start()
    found = watch.next(PATIENCE)
    assert found is not None and found.events == (Event("a", b"1", 1),)
    thread.join()


def test_a_watch_that_missed_too_much_gets_all_there_is(open_store: Open) -> None:
    store = open_store(log_kept=10)
    watch = store.watch("x/", 0)
    store.put("x/old", b"1")
    assert watch.next(PATIENCE) is not None
    store.delete("x/old")
    for number in range(30):
        store.put(f"x/{number % 3}", b"%d" % number)
    found = watch.next(PATIENCE)
    assert found is not None and found.resync and found.revision == 32
    assert {one.key: one.value for one in found.events} == {"x/0": b"27", "x/1": b"28", "x/2": b"29"}
    store.put("x/new", b"1")
    assert watch.next(PATIENCE) == Changes(33, (Event("x/new", b"1", 33),))


def test_a_backlog_comes_whole_and_in_order(open_store: Open) -> None:
    """10,000 events in transactions of 4: whatever the batches, no revision is cut in two."""
    store = open_store()
    watch = store.watch("k/", 0)
    seen: list[Event] = []
    for number in range(0, 10_000, 100):
        store.txn([], [Put(f"k/{number + part}", b"") for part in range(100)])
    while (found := watch.next(0)) is not None:
        assert not found.resync
        assert all(one.revision > (seen[-1].revision if seen else 0) for one in found.events[:1])
        seen += found.events
    assert [one.key for one in seen] == [f"k/{number}" for number in range(10_000)]
    assert [one.revision for one in seen] == [1 + number // 100 for number in range(10_000)]


def test_two_watches_during_writes_agree(open_store: Open) -> None:
    store, other = open_store(), open_store()
    watches = [store.watch("", 0), other.watch("", 0)]
    writers = [threading.Thread(target=write, args=(one, name)) for one, name in ((store, "a"), (other, "b"))]
    for writer in writers:
        writer.start()
    seen: list[list[int]] = [[], []]
    deadline = time.monotonic() + PATIENCE
    while any(len(one) < 100 for one in seen) and time.monotonic() < deadline:
        for watch, revisions in zip(watches, seen, strict=True):
            found = watch.next(0.02)
            revisions += [one.revision for one in found.events] if found else []
    assert seen == [list(range(1, 101))] * 2
    for writer in writers:
        writer.join()


def write(store: Store, name: str) -> None:
    for number in range(50):
        store.put(f"{name}/{number}", b"")


# --- leases -------------------------------------------------------------------------------------------------


def test_what_is_under_a_lease_goes_with_it(open_store: Open, clock: Clock) -> None:
    mine, other = open_store(), open_store()
    watch = other.watch("", 0)
    lease = mine.grant(10.0)
    mine.put("a", b"1", lease)
    mine.put("b", b"1")
    clock.now += 9.0
    mine.keep_alive(lease)
    clock.now += 9.0
    assert other.get("a") is not None
    clock.now += 2.0
    assert other.get("a") is None and [one.key for one in mine.list("").items] == ["b"]
    events = watch.next(PATIENCE)
    assert events is not None and events.events[-1] == Event("a", None, 3)
    with pytest.raises(LeaseLost):
        mine.keep_alive(lease)
    with pytest.raises(LeaseLost):
        mine.put("a", b"1", lease)


def test_a_watch_alone_sees_a_lease_run_out(store: Store, clock: Clock) -> None:
    store.put("a", b"1", store.grant(5.0))
    watch = store.watch("", 1)
    assert watch.next(0) is None
    clock.now += 6.0
    found = watch.next(PATIENCE)
    assert found is not None and found.events == (Event("a", None, 2),)


def test_a_lease_of_many_keys_ends_at_one_revision(store: Store) -> None:
    lease = store.grant(10.0)
    for begin in range(0, 1200, 100):
        store.txn([], [Put(f"k{begin + one}", b"", lease) for one in range(100)])
    watch = store.watch("", 12)
    store.revoke(lease)
    store.revoke(lease)
    found = watch.next(PATIENCE)
    assert found is not None and len(found.events) == 1200 and {one.revision for one in found.events} == {13}
    assert store.list("").items == ()


def test_a_key_put_again_without_a_lease_stays(store: Store) -> None:
    lease = store.grant(10.0)
    store.put("a", b"1", lease)
    store.put("a", b"2")
    store.revoke(lease)
    assert store.get("a") is not None


def test_a_holder_counts_its_lease_as_gone_before_the_store_does(store: Store, clock: Clock) -> None:
    lease = Lease(store, 10.0, clock)
    clock.now += 7.9
    assert lease.alive
    lease.renew_if_due()
    clock.now += 8.1
    assert not lease.alive
    lease.renew()
    assert lease.alive
    clock.now += 11
    with pytest.raises(LeaseLost):
        lease.renew()


# --- election, lock, registry -------------------------------------------------------------------------------


def test_one_leads_and_the_next_follows_with_a_greater_epoch(open_store: Open, clock: Clock) -> None:
    one, two = open_store(), open_store()
    first = campaign(one, "eu-0", b"one", Lease(one, 10.0, clock), 1.0)
    assert first is not None and first.still and leader(two, "eu-0") == (b"one", first.epoch)
    waiting = Lease(two, 10.0, clock)
    assert campaign(two, "eu-0", b"two", waiting, 0.0) is None
    resign(one, first)
    second = campaign(two, "eu-0", b"two", waiting, 1.0)
    assert second is not None and second.epoch > first.epoch
    resign(one, first)
    assert leader(one, "eu-0") == (b"two", second.epoch), "who leads no more cannot end another's leadership"


def test_a_paused_holder_is_fenced_off(open_store: Open, clock: Clock) -> None:
    """The resource takes no smaller epoch than it has seen, so two holders never both act."""
    one, two = open_store(), open_store()
    paused = lock(one, "unit", b"one", Lease(one, 10.0, clock), 0.0)
    assert paused is not None
    clock.now += 11
    assert not paused.still
    fresh = lock(two, "unit", b"two", Lease(two, 10.0, clock), 0.0)
    assert fresh is not None and fresh.epoch > paused.epoch


def test_a_lock_goes_round_without_two_holders(open_store: Open) -> None:
    handles = [open_store() for _ in range(4)]
    inside: list[int] = []
    epochs: list[int] = []

    def work(store: Store) -> None:
        for _ in range(5):
            with Lease(store, 30.0) as lease:
                held = lock(store, "one", b"", lease, PATIENCE)
                assert held is not None
                inside.append(1)
                assert len(inside) == 1
                epochs.append(held.epoch)
                inside.pop()
                resign(store, held)

    threads = [threading.Thread(target=work, args=(one,)) for one in handles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(epochs) == 20 and epochs == sorted(set(epochs))


def test_who_is_there(open_store: Open, clock: Clock) -> None:
    store = open_store()
    with Lease(store, 10.0, clock) as lease:
        register(store, "fairlead", "eu/1", b"7", lease)
        register(store, "fairlead", "eu/1", b"8", lease)
        assert discover(store, "fairlead") == {"eu/1": b"8"} and discover(store, "other") == {}
    assert discover(store, "fairlead") == {}
