"""The statistics page: buckets, lanes, digests, the slow ring, limits, positions; in and across processes."""

import os
import signal
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups import stats
from _speedups.stats import LayoutError, StatsPage
from tests.oracle import stats as oracle

RELAY, LOOP = 0, 1
DURATIONS = st.one_of(st.integers(0, 10_000), st.integers(0, 2**40), st.integers(2**63, 2**64 - 1))


def small(**sizes: int) -> StatsPage:
    return StatsPage.create(
        **{"workers": 2, "shards": 3, "backends": 4, "digests": 8, "slow": 8, "users": 4} | sizes
    )


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process; its exit is 0 only when `work` returned."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def joined(*pids: int) -> bool:
    return all(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in pids)


def other(page: StatsPage) -> stats.Digest:
    return page.digests()[0]


def header(page: StatsPage) -> dict[str, int]:
    names = [
        "magic", "version", "header_size", "total_size", "workers", "shards", "backends", "users",
        "keyspaces", "regions", "digests", "slow", "size_worker", "size_shard", "size_digest", "size_slow",
        "size_health", "size_slot", "off_slot", "off_worker", "off_shard", "off_digest", "off_slow",
    ]
    return dict(zip(names, struct.unpack_from("<QIIQ" + "I" * 14 + "Q" * 5, page.memory), strict=True))


# ---------------------------------------------------------------- the module and the layout
def test_the_compiled_module_is_loaded() -> None:
    assert stats.__file__ is not None and stats.__file__.endswith(".so")


def test_a_page_is_seen_by_who_attaches_to_it() -> None:
    page = small()
    page.worker(1).add("auth_failures", 3)
    again = StatsPage.attach(page.memory)
    assert again.shape == page.shape
    assert again.counters(1)["auth_failures"] == 3


@pytest.mark.parametrize("where, value", [(0, 1), (8, 99), (16, 4096), (24, 7)])
def test_a_foreign_or_damaged_header_is_refused(where: int, value: int) -> None:
    page = small()
    struct.pack_into("<I", page.memory, where, value)
    with pytest.raises(LayoutError):
        StatsPage.attach(page.memory)


def test_a_buffer_too_short_is_refused() -> None:
    with pytest.raises(LayoutError):
        StatsPage.attach(bytearray(16))
    page = small()
    with pytest.raises((LayoutError, BufferError)):
        StatsPage.attach(page.memory[: page.size // 2])


@pytest.mark.parametrize("sizes", [{"workers": 0}, {"workers": 5000}, {"shards": 70_000}, {"digests": 1}])
def test_absurd_sizes_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(LayoutError):
        small(**sizes)


def test_indexes_are_checked() -> None:
    page = small()
    for call in (page.worker, page.counters, page.shard_sum, page.health, page.limit_cells, page.slot):
        for index in (-1, 99):
            with pytest.raises(IndexError):
                call(index)
    with pytest.raises(IndexError):
        page.worker(0).digest_add(8, 0, 1)
    with pytest.raises(IndexError):
        page.position(4, 0)


def test_blocks_of_workers_begin_on_cache_lines() -> None:
    head = header(small())
    assert all(head[name] % 64 == 0 for name in head if name.startswith("off_"))
    assert all(head[f"size_{name}"] % 64 == 0 for name in ("worker", "shard", "digest", "health", "slot"))


# ---------------------------------------------------------------- buckets
@given(DURATIONS)
def test_bucket_is_the_one_a_search_finds(us: int) -> None:
    assert stats.bucket(us) == oracle.bucket(us)


def test_buckets_cover_all_durations_once() -> None:
    bounds = [stats.bucket_bounds(i) for i in range(stats.BUCKETS)]
    assert [floor for floor, _ in bounds] == oracle.FLOORS
    assert [ceiling for _, ceiling in bounds] == [*oracle.FLOORS[1:], None]
    assert all(ceiling <= floor * 1.25 + 1 for floor, ceiling in bounds if ceiling)


def test_digest_buckets_are_pairs_of_buckets() -> None:
    for i in range(stats.DIGEST_HIST):
        assert stats.digest_bounds(i) == (stats.bucket_bounds(2 * i)[0], stats.bucket_bounds(2 * i + 1)[1])
    with pytest.raises(IndexError):
        stats.digest_bounds(stats.DIGEST_HIST)
    with pytest.raises(IndexError):
        stats.bucket_bounds(-1)


@given(st.lists(st.tuples(DURATIONS.filter(lambda us: us < 2**40), st.integers(0, 1)), max_size=40))
@settings(max_examples=50)
def test_a_histogram_counts_what_both_lanes_saw(seen: list[tuple[int, int]]) -> None:
    page = small()
    lanes = page.worker(0, RELAY), page.worker(0, LOOP)
    for us, lane in seen:
        lanes[lane].shard_time(1, us, us // 2)
    time = page.histogram(1)
    assert time.samples == len(seen)
    assert time.sum_us == sum(us for us, _ in seen)
    assert time.max_us == max((us for us, _ in seen), default=0)
    for i in range(stats.BUCKETS):
        assert time.buckets[i] == sum(oracle.bucket(us) == i for us, _ in seen)
    assert page.histogram(1, "backend").sum_us == sum(us // 2 for us, _ in seen)
    assert page.histogram(0).samples == 0


# ---------------------------------------------------------------- counters
def test_every_counter_has_a_place_of_its_own() -> None:
    page = small()
    block = page.worker(0)
    names = stats.COUNTERS + stats.GAUGES
    for i, name in enumerate(names, 1):
        block.add(name, i)
    read = page.counters(0)
    assert [read[name] for name in names] == list(range(1, len(names) + 1))
    assert page.counters(1)["queries"] == 0


def test_reasons_and_classes_have_places_of_their_own() -> None:
    page = small()
    block = page.worker(0)
    for i, reason in enumerate(stats.PARK_REASONS):
        for _ in range(i):
            block.park(reason)
    for i, name in enumerate(stats.ERROR_CLASSES):
        for _ in range(i):
            block.error(name)
    for i, reason in enumerate(stats.PIN_REASONS):
        block.pin(reason, i + 1)
        block.pin(reason, -1)
    read = page.counters(0)
    assert read["parks_by_reason"] == list(range(len(stats.PARK_REASONS)))
    assert read["parks"] == sum(read["parks_by_reason"])
    assert read["errors_by_class"] == list(range(len(stats.ERROR_CLASSES)))
    assert read["pins_by_reason"] == list(range(len(stats.PIN_REASONS)))
    assert read["pins_total_by_reason"] == [i + 1 for i in range(len(stats.PIN_REASONS))]


def test_one_lane_may_raise_what_the_other_lowers() -> None:
    page = small()
    page.worker(0, LOOP).add("clients_connected", 5)
    page.worker(0, RELAY).add("clients_connected", -4)
    assert page.counters(0)["clients_connected"] == 1
    page.worker(0, RELAY).add("clients_connected", -2)
    assert page.counters(0)["clients_connected"] == 0, "a moment's skew is not 2**64"


def test_sums_over_workers() -> None:
    page = small()
    page.worker(0).add("queries", 2)
    page.worker(1, RELAY).add("queries", 3)
    page.worker(1).pin("hint", 2)
    assert page.sum()["queries"] == 5
    assert page.sum()["pins_by_reason"][stats.PIN_REASONS.index("hint")] == 2


def test_unknown_names_are_errors() -> None:
    block = small().worker(0)
    for call in (lambda: block.add("nonsense"), lambda: block.shard_add(0, "nonsense")):
        with pytest.raises(KeyError):
            call()
    for call in (lambda: block.park("nonsense"), lambda: block.error(""), lambda: block.pin("x")):
        with pytest.raises(ValueError):
            call()


def test_shard_fields_have_places_of_their_own() -> None:
    page = small()
    block = page.worker(0)
    names = stats.SHARD_COUNTERS + stats.SHARD_GAUGES
    for i, name in enumerate(names, 1):
        block.shard_add(2, name, i)
        page.worker(1).shard_add(2, name, 100)
    assert [page.shard(0, 2)[name] for name in names] == list(range(1, len(names) + 1))
    assert [page.shard_sum(2)[name] for name in names] == [100 + i for i in range(1, len(names) + 1)]


# ---------------------------------------------------------------- restarts
def test_counters_outlive_a_killed_worker_and_gauges_do_not() -> None:
    page = small()
    ready, told = os.pipe()

    def work() -> None:
        block = page.worker(0)
        block.started(os.getpid(), 7)
        block.add("queries", 10)
        block.add("clients_connected", 4)
        block.pin("transaction")
        block.shard_add(1, "in_use", 2)
        page.limit_take(3, 0, 10)
        page.limit_want(3, 0, 5)
        os.write(told, b".")
        signal.pause()

    page.worker_started(0, 1)
    pid = in_child(work)
    os.read(ready, 1)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    page.worker_exited(0, status)

    after = page.counters(0)
    assert (after["queries"], after["pins_total_by_reason"][0]) == (10, 1)
    assert (after["clients_connected"], after["pins_by_reason"][0], after["config_epoch"]) == (0, 0, 0)
    assert page.shard(0, 1)["in_use"] == 0
    assert page.limit_cells(3)[0] == (0, 0)
    assert page.slot(0).last_exit == status and page.slot(0).pid == 0
    page.worker_started(0, 42)
    page.worker(0).add("queries", 1)
    assert page.counters(0)["queries"] == 11
    assert (page.slot(0).restarts, page.slot(0).pid) == (1, 42)
    os.close(ready)
    os.close(told)


def test_the_supervisors_state() -> None:
    page = small()
    page.started(99)
    page.config_loaded(3)
    page.config_loaded(4)
    page.config_refused()
    state = page.state()
    assert (state["supervisor_pid"], state["config_epoch"], state["config_reloads"]) == (99, 4, 1)
    assert (state["config_reload_failures"], state["draining"]) == (1, 0)
    page.drain()
    assert page.state()["draining"] == 1


# ---------------------------------------------------------------- digests
def test_a_digest_keeps_its_slot() -> None:
    page = small()
    block = page.worker(0)
    index, generation = block.claim(11, b"select ? from t", user=1, keyspace=2)
    assert index > 0
    assert block.claim(11, b"select ? from t", user=1, keyspace=2) == (index, generation)
    assert block.claim(11, b"select ? from t", user=3, keyspace=2)[0] != index
    block.digest_add(index, generation, 70, error=True, shard=2, bytes_out=9, warnings=3)
    mine = next(d for d in page.digests() if d.user == 1)
    assert (mine.fingerprint, mine.keyspace, mine.text, mine.truncated) == (11, 2, "select ? from t", False)
    assert (mine.time.samples, mine.time.sum_us, mine.time.max_us) == (1, 70, 70)
    assert (mine.errors, mine.warnings, mine.bytes_out, mine.shard_mask) == (1, 3, 9, 4)
    assert mine.time.buckets[oracle.bucket(70) // 2] == 1
    assert mine.first_seen_ns <= mine.last_seen_ns


def test_a_long_text_is_cut_and_says_so() -> None:
    page = small()
    page.worker(0).claim(1, "é".encode() * 400)
    digest = page.digests()[1]
    assert digest.truncated and len(digest.text) == stats.TEXT_KEPT // 2


def test_shards_beyond_the_mask_share_its_last_bit() -> None:
    page = small()
    block = page.worker(0)
    for shard in (0, 62, 63, 64, 5000):
        block.digest_add(0, 0, 1, shard=shard)
    assert other(page).shard_mask == 1 | 1 << 62 | 1 << 63


def test_digests_merge_over_workers() -> None:
    page = small()
    for worker in (0, 1):
        for lane in (RELAY, LOOP):
            block = page.worker(worker, lane)
            index, generation = block.claim(5, b"select ?")
            block.digest_add(index, generation, 10 + worker)
    (digest,) = page.digests()[1:]
    assert (digest.time.samples, digest.time.sum_us, digest.time.max_us) == (4, 42, 11)


def test_a_full_table_sends_the_rest_to_other() -> None:
    page = small()
    block = page.worker(0)
    for fingerprint in range(1, 1000):
        index, generation = block.claim(fingerprint, b"x")
        block.digest_add(index, generation, 1)
    digests = page.digests()
    assert len(digests) == 8
    assert digests[0].text == "" and digests[0].time.samples == 999 - 7
    assert page.digest_use() == (7, 992)


def test_the_least_recently_used_digest_goes_when_it_is_idle() -> None:
    page = small()
    block = page.worker(0)
    held = {f: block.claim(f, b"%d" % f) for f in range(1, 8)}
    for fingerprint in (1, 2, 3, 5, 6, 7):
        block.digest_add(*held[fingerprint], 100)
    index, generation = block.claim(8, b"8", idle_ns=0)
    assert index == held[4][0], "4 was claimed and never used since"
    assert generation != held[4][1]
    block.digest_add(*held[4], 50)
    assert other(page).time.sum_us == 50, "a plan that holds the old pair counts as other"
    index, _ = block.claim(9, b"9", idle_ns=0)
    assert index == held[1][0]
    assert other(page).time.sum_us == 150, "what the victim had counted goes to other"
    fresh = next(d for d in page.digests() if d.fingerprint == 9)
    assert (fresh.time.samples, fresh.time.max_us, fresh.shard_mask, fresh.errors) == (0, 0, 0, 0)


def test_a_digest_in_use_is_not_evicted() -> None:
    page = small()
    block = page.worker(0)
    for fingerprint in range(1, 8):
        block.claim(fingerprint, b"x")
    assert block.claim(99, b"x") == (0, 0)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 500), st.booleans()), max_size=120))
@settings(max_examples=40, deadline=None)
def test_evictions_lose_no_execution(steps: list[tuple[int, int, bool]]) -> None:
    page = small(digests=4)
    block, relay = page.worker(0), page.worker(0, RELAY)
    expected = oracle.Digests()
    pairs: dict[int, tuple[int, int]] = {}
    for fingerprint, us, stale in steps:
        if not (stale and fingerprint in pairs):
            pairs[fingerprint] = block.claim(fingerprint, b"%d" % fingerprint, idle_ns=0)
        relay.digest_add(*pairs[fingerprint], us)
        expected.add(fingerprint, us)
    digests = page.digests()
    assert len(digests) <= 4
    assert sum(d.time.samples for d in digests) == expected.executions.total()
    assert sum(d.time.sum_us for d in digests) == expected.time_us.total()
    for digest in digests[1:]:
        assert digest.text == str(digest.fingerprint)
        assert digest.time.samples <= expected.executions[digest.fingerprint]


def test_evictions_beside_a_running_relay_lose_no_execution() -> None:
    page = small(digests=4)
    rounds = 20_000

    def relay() -> None:
        block = page.worker(0, RELAY)
        for i in range(rounds):
            block.digest_add(1 + i % 3, 1 + i % 40, 5)

    pid = in_child(relay)
    block = page.worker(0)
    for i in range(4_000):
        block.claim(i + 1, b"shape", idle_ns=0)
    assert joined(pid)
    digests = page.digests()
    assert sum(d.time.samples for d in digests) == rounds
    assert sum(d.time.sum_us for d in digests) == rounds * 5


def test_a_restarted_worker_takes_its_digests_over() -> None:
    page = small()
    before = page.worker(0)
    pair = before.claim(1, b"one")
    before.claim(2, b"two")
    after = page.worker(0)
    assert after.claim(1, b"one") == pair
    assert after.claim(3, b"three")[0] == 3


def test_a_half_written_digest_is_freed_at_the_restart() -> None:
    page = small()
    block = page.worker(0)
    index, generation = block.claim(1, b"one")
    block.digest_add(index, generation, 30)
    head = header(page)
    seq_at = head["off_digest"] + index * head["size_digest"]
    (seq,) = struct.unpack_from("<Q", page.memory, seq_at)
    struct.pack_into("<Q", page.memory, seq_at, seq + 1)
    assert len(page.digests()) == 1, "readers leave out what is being rewritten"
    page.worker(0)
    assert [(d.text, d.time.sum_us) for d in page.digests()] == [("", 30)]


# ---------------------------------------------------------------- the slow log
def test_slow_entries_come_back_whole() -> None:
    page = small()
    page.worker(1, RELAY).slow_add(7, 900, 800, 50, shard=2, user=3, keyspace=1, error=1205,
                                   flags=stats.SLOW_FLAGS["scatter"], bytes_out=12, session=77)
    (entry,) = page.slow()
    assert entry == stats.Slow(1, 1, entry.ts_ns, 7, 3, 1, 2, 900, 800, 50, 12, 77, 1205, 4)


def test_the_ring_keeps_the_newest() -> None:
    page = small(slow=8)
    block = page.worker(0)
    for i in range(1, 101):
        block.slow_add(i, i, 0, 0)
    assert [e.fingerprint for e in page.slow()] == list(range(93, 101))
    assert [e.seq for e in page.slow(after_seq=97)] == [98, 99, 100]
    assert [e.seq for e in page.slow(limit=2)] == [99, 100]
    assert page.slow(limit=0) == []
    assert page.state()["slow_seq"] == 100


def test_rings_of_all_lanes_make_one_log() -> None:
    page = small()
    blocks = [page.worker(w, lane) for w in (0, 1) for lane in (RELAY, LOOP)]
    for i in range(12):
        blocks[i % 4].slow_add(i, i, 0, 0)
    assert [e.fingerprint for e in page.slow()] == list(range(12))


def test_ring_capacity_is_a_power_of_two() -> None:
    assert small(slow=1000).shape.slow == 1024
    assert small(slow=1).shape.slow == 1


def test_readers_never_see_a_torn_entry() -> None:
    page = small(slow=2)
    rounds = 300_000

    def write() -> None:
        block = page.worker(0, RELAY)
        for i in range(rounds):
            block.slow_add(i, i + 1, i + 2, i + 3, session=i + 4, bytes_out=i + 5)

    pid = in_child(write)
    seen = 0
    while page.state()["slow_seq"] < rounds:
        for e in page.slow():
            i = e.fingerprint
            assert (e.total_us, e.backend_us, e.wait_us, e.session, e.bytes_out) == tuple(
                i + n for n in range(1, 6))
            seen += 1
    assert joined(pid)
    assert len(page.slow()) == 2 and seen > 0


# ---------------------------------------------------------------- limits
def test_workers_share_a_limit_and_never_pass_it() -> None:
    page = small(workers=4)
    tries, limit = 3_000, 50

    def taker(worker: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(tries):
                if page.limit_take(0, worker, limit):
                    held = sum(cell[0] for cell in page.limit_cells(0))
                    assert held <= limit + 3, "three more may be trying at this moment"
                    page.limit_give(0, worker)
            for _ in range(tries):
                page.limit_take(0, worker, limit)
        return work

    assert joined(*[in_child(taker(w)) for w in range(4)])
    assert sum(cell[0] for cell in page.limit_cells(0)) <= limit
    while page.limit_take(0, 0, limit):
        pass
    assert sum(cell[0] for cell in page.limit_cells(0)) == limit


def test_giving_back_never_goes_below_zero() -> None:
    page = small()
    page.limit_take(1, 0, 5)
    page.clear_worker(0)
    page.limit_give(1, 0)
    assert page.limit_cells(1) == [(0, 0), (0, 0)]


def test_who_holds_more_than_an_even_share_yields_to_who_waits() -> None:
    page = small()
    for _ in range(4):
        assert page.limit_take(0, 0, 4)
    assert not page.limit_yields(0, 0, 4), "nobody waits"
    page.limit_want(0, 1, 1)
    assert page.limit_yields(0, 0, 4)
    page.limit_give(0, 0)
    assert not page.limit_yields(0, 0, 4), "there is room: the other may simply take it"
    assert page.limit_take(0, 1, 4)
    page.limit_give(0, 0)
    assert page.limit_take(0, 1, 4)
    assert not page.limit_yields(0, 0, 4) and not page.limit_yields(0, 1, 4), "even shares stay"


# ---------------------------------------------------------------- positions and health
POSITIONS = st.builds(stats.pack_position, st.integers(0, 3), st.integers(0, 2**48 - 1))


@given(st.lists(POSITIONS, max_size=20), POSITIONS)
def test_positions_follow_the_reference(values: list[int], wanted: int) -> None:
    page = small()
    known = 0
    for value in values:
        page.raise_position(1, 2, value)
        known = oracle.position_after(known, value)
        assert page.position(1, 2) == known
    assert stats.reached(known, wanted) == oracle.position_reached(known, wanted)
    assert page.position(2, 1) == 0


def test_a_position_out_of_range_is_refused() -> None:
    for source, sequence in ((65_536, 1), (1, 2**48), (-1, 0), (0, -1)):
        with pytest.raises(ValueError):
            stats.pack_position(source, sequence)


def test_positions_raised_by_many_processes_end_at_the_highest() -> None:
    page = small(workers=4)

    def raiser(worker: int) -> Callable[[], None]:
        def work() -> None:
            for i in range(5_000):
                page.raise_position(0, 0, stats.pack_position(1, 4 * i + worker))
        return work

    assert joined(*[in_child(raiser(w)) for w in range(4)])
    assert page.position(0, 0) == stats.pack_position(1, 4 * 4_999 + 3)


def test_health_is_published_whole() -> None:
    page = small()
    assert page.health(2).state == "unknown" and page.health(2).lag_ms is None
    page.publish_health(2, "up", "replica", "mariadb", 101119, 5, 1500, stats.pack_position(5, 10))
    up = page.health(2)
    assert (up.state, up.role, up.flavour, up.server_version, up.server_id) == (
        "up", "replica", "mariadb", 101119, 5)
    assert (up.lag_ms, up.position, up.failures) == (1500, stats.pack_position(5, 10), 0)
    page.publish_health(2, "down", "replica")
    down = page.health(2)
    assert (down.state, down.lag_ms, down.failures) == ("down", None, 1)
    assert down.last_ok_ns == up.last_ok_ns and down.checked_ns > up.checked_ns
    assert down.changed_ns > up.changed_ns and down.server_version == 101119
    with pytest.raises(ValueError):
        page.publish_health(2, "fine", "replica")


# ---------------------------------------------------------------- names
def test_names_keep_their_index_over_reloads() -> None:
    page = small()
    assert page.declare("shard", [("eu-0", 0, True), ("us-0", 1, False)]) == [0, 1]
    assert page.declare("shard", [("us-0", 1, False), ("eu-1", 0, True)]) == [1, 2]
    assert [(n.text, n.active, n.local) for n in page.names("shard")] == [
        ("eu-0", False, False), ("us-0", True, False), ("eu-1", True, True)]
    assert page.index_of("shard", "eu-1") == 2
    with pytest.raises(KeyError):
        page.index_of("shard", "eu-2")


@pytest.mark.parametrize("extra", ["x" * 113, "", "fourth"])
def test_names_that_do_not_fit_change_nothing(extra: str) -> None:
    page = small()
    page.declare("shard", [("a", 0, True), ("b", 0, True), ("c", 0, True)])
    with pytest.raises(LayoutError):
        page.declare("shard", iter([("a", 5, False), (extra, 0, True)]))
    assert page.names("shard") == [stats.Name(t, 0, True, True, 0) for t in "abc"]


def test_a_backends_limit_is_published_with_its_name() -> None:
    page = small()
    (index,) = page.declare("backend", [("127.0.0.1:7401", 0, True)])
    page.set_limit(index, 64)
    assert page.names("backend")[0].limit == 64
