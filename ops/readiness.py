"""May this Fairlead be sent clients, and does it live? Judged from the statistics page alone."""

import os
from dataclasses import dataclass, field

from _speedups.stats import Health, Name, StatsPage, now_ns

SECOND = 1_000_000_000
Check = tuple[bool, str]


@dataclass(frozen=True, slots=True)
class Patience:
    """How old a sign of life may be, in seconds."""

    heartbeat: float = 5.0
    start: float = 15.0         # for a worker's first heartbeat
    health: float = 30.0        # a backend's last check
    wedged: float = 60.0        # every worker silent for so long: not live


@dataclass(frozen=True, slots=True)
class Verdict:
    """`checks` maps a check's name to (passed, what was found)."""

    ok: bool
    checks: dict[str, Check] = field(default_factory=dict)


def ready(page: StatsPage, patience: Patience = Patience()) -> Verdict:
    """Ready: configuration loaded, not draining, workers alive, a usable primary for each local shard."""
    now = now_ns()
    checks = {
        "config": config_check(page),
        "draining": draining_check(page),
        "workers": workers_check(page, patience, now),
        "primaries": primaries_check(page, patience, now),
    }
    return Verdict(all(passed for passed, _ in checks.values()), checks)


def live(page: StatsPage, patience: Patience = Patience()) -> Verdict:
    """Live: the supervisor runs, and not every worker has been silent for `patience.wedged` seconds."""
    now = now_ns()
    running = [w for w in range(page.shape.workers) if page.slot(w).pid]
    silent = [w for w in running if silence(page, w, now) > patience.wedged * SECOND]
    wedged = bool(running) and silent == running
    checks = {
        "supervisor": supervisor_check(page),
        "workers": (not wedged, f"{len(silent)} of {len(running)} silent for {patience.wedged:g} s"),
    }
    return Verdict(all(passed for passed, _ in checks.values()), checks)


def config_check(page: StatsPage) -> Check:
    state = page.state()
    if not state["config_loaded_ns"]:
        return False, "no configuration is loaded"
    return True, f"epoch {state['config_epoch']}"


def draining_check(page: StatsPage) -> Check:
    draining = bool(page.state()["draining"])
    return not draining, "draining" if draining else "accepting clients"


def supervisor_check(page: StatsPage) -> Check:
    pid = page.state()["supervisor_pid"]
    try:
        os.kill(pid, 0) if pid else None
    except ProcessLookupError:
        return False, f"supervisor {pid} is gone"
    except PermissionError:
        pass
    return True, f"supervisor {pid}"


def silence(page: StatsPage, worker: int, now: int) -> int:
    """Nanoseconds since the quieter of the worker's two threads last beat, or since the worker's start."""
    read = page.counters(worker)
    started = page.slot(worker).started_ns
    beats: list[int] = [read["heartbeat_relay_ns"], read["heartbeat_loop_ns"]]
    return now - min(max(beat, started) for beat in beats)


def worker_state(page: StatsPage, worker: int, patience: Patience, now: int) -> str:
    """`absent`, `starting`, `alive` or `stale`."""
    if not page.slot(worker).pid:
        return "absent"
    read = page.counters(worker)
    beating = read["heartbeat_relay_ns"] and read["heartbeat_loop_ns"]
    allowed = patience.heartbeat if beating else patience.start
    if silence(page, worker, now) > allowed * SECOND:
        return "stale"
    return "alive" if beating else "starting"


def workers_check(page: StatsPage, patience: Patience, now: int) -> Check:
    """One alive at least, and none that still takes connections without answering them."""
    states = [worker_state(page, worker, patience, now) for worker in range(page.shape.workers)]
    stale = [str(worker) for worker, state in enumerate(states) if state == "stale"]
    alive = states.count("alive")
    if stale:
        return False, f"no heartbeat from worker {', '.join(stale)}"
    return alive > 0, f"{alive} of {len(states)} alive"


def primaries_check(page: StatsPage, patience: Patience, now: int) -> Check:
    """Every active shard of this region has a primary that was seen up and writable lately."""
    shards = page.names("shard")
    backends = page.names("backend")
    usable = {
        backends[b].attr for b in range(len(backends))
        if backends[b].active and is_usable_primary(page.health(b), patience, now)
    }
    local = local_shards(shards)
    missing = [name for index, name in local if index not in usable]
    if missing:
        return False, f"no usable primary for {', '.join(missing)}"
    return True, f"{len(local)} local shards have one"


def local_shards(shards: list[Name]) -> list[tuple[int, str]]:
    """(index, name) of the active shards of this region."""
    return [(index, name.text) for index, name in enumerate(shards) if name.active and name.local]


def is_usable_primary(health: Health, patience: Patience, now: int) -> bool:
    fresh = now - health.checked_ns <= patience.health * SECOND
    return health.role == "primary" and health.state == "up" and fresh
