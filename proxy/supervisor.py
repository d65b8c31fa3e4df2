"""The supervisor: reads the configuration, forks workers and the admin process, and looks after them.

One loop over control sockets and signals, no threads and no asyncio, so that it can fork at any time.
SIGHUP reloads the configuration, SIGTERM and SIGINT drain and stop, a second one stops at once. It is not in
the data path: what it knows is in the page and in its workers.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from _speedups.stats import StatsPage
from config.diff import diff
from config.errors import ConfigError
from config.settings import Settings
from proxy import banner, candidate, control, logs, systemd
from proxy.candidate import Bind, Candidate, Signature
from proxy.children import Child, Wakeup, ending
from proxy.control import WorkerStart

log = logging.getLogger(__name__)

OK, FAILED, MISCONFIGURED = 0, 1, 2
"""Exit codes."""

DRAIN_GRACE = 2.0
"""Seconds that a worker may take beyond `limits.drain` before it is killed."""
ADMIN_GRACE = 4.0
"""Seconds that the admin process may take to finish its requests."""
ANSWER_TIME = 15.0
"""Seconds in which workers should have put a new configuration in force."""
WATCH_INTERVAL = 2.0
FIRST_DEATHS = 5
"""So many deaths of a worker before any worker was ever ready end the start."""


@dataclass(slots=True)
class Worker(Child):
    """A worker's place. `number`: its configuration; `asked`: the one it has been told to load."""

    index: int = 0
    control: socket.socket | None = None
    ready: bool = False
    number: int = 0
    asked: int = 0
    answer_by: float | None = None

    def hang_up(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where the configuration is read from, now and at every reload."""

    config: Path
    region: str | None


@dataclass(frozen=True)
class Programs:
    """What the children run; tests put others in their place."""

    worker: Callable[[WorkerStart], None]
    admin: Callable[[StatsPage, list[socket.socket]], None]


def run(
    config: Path,
    region: str | None,
    workers: int,
    *,
    watch: bool = False,
    programs: Programs | None = None,
) -> int:
    """Serves until told to stop. -> 0, 1 when it could not run, 2 when the configuration is wrong."""
    source = Source(config.absolute(), region)
    wakeup = Wakeup()
    code = MISCONFIGURED
    try:
        seen = candidate.signature(source.config)
        first = candidate.read(source.config, region, 1)
        page = candidate.page_for(first, workers)
        candidate.check_room(page, first)
        code = FAILED
        candidate.check_ports(first.settings, ())
        listeners = candidate.bind_http(first.settings, {})
    except ConfigError as error:
        print(error, file=sys.stderr)
        return code
    logs.configure(first.settings.telemetry, "supervisor")
    candidate.declare(page, first)
    programs = programs or real_programs()
    gc.collect()
    gc.freeze()
    places = [Worker(f"worker {index}", index=index) for index in range(workers)]
    return Supervisor(source, first, seen, page, listeners, places, programs, wakeup, watch=watch).run()


def real_programs() -> Programs:
    """The worker and the admin process, with all they import loaded, so that children share the memory."""
    import sqlglot

    from proxy.worker import run_worker

    sqlglot.parse_one("SELECT 1", read="mysql")
    return Programs(run_worker, run_admin)


def run_admin(page: StatsPage, listeners: list[socket.socket]) -> None:
    """The admin process: HTTP until SIGTERM. Ctrl-C at a terminal does not end it before the workers have."""
    from ops import http

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    http.server(http.Admin(page), log_config=None).run(sockets=listeners)


class Supervisor:
    """The running processes and the configuration in force. `run` is the whole of its life."""

    def __init__(
        self,
        source: Source,
        first: Candidate,
        seen: Signature,
        page: StatsPage,
        listeners: dict[Bind, socket.socket],
        workers: list[Worker],
        programs: Programs,
        wakeup: Wakeup,
        *,
        watch: bool = False,
    ) -> None:
        self.source = source
        self.page = page
        self.programs = programs
        self.number = 1
        self.current = first
        self.workers = workers
        self.admin = Child("admin")
        self.listeners = listeners
        self.secret = secrets.token_bytes(32)
        self.stop_by: float | None = None
        self.started = False
        self.served = False
        self.exit_code = OK
        self._old_admins: list[Child] = []
        self._watch_at: float | None = time.monotonic() + WATCH_INTERVAL if watch else None
        self._seen = self._tried = seen
        self._wakeup = wakeup
        self._selector = selectors.PollSelector()
        self._selector.register(wakeup, selectors.EVENT_READ)

    @property
    def settings(self) -> Settings:
        return self.current.settings

    @property
    def stopping(self) -> bool:
        return self.stop_by is not None

    # --- life -----------------------------------------------------------------------------------------------

    def run(self) -> int:
        _allow_descriptors(self.settings)
        self.page.started(os.getpid())
        self.page.config_loaded(self.number)
        banner.show(self.settings, self.source.config, len(self.workers))
        try:
            self._start_admin()
            for worker in self.workers:
                self._start_worker(worker)
            while not self._finished():
                self._turn()
            self._stop_admin()
        finally:
            self._kill_all()
        log.info("stopped")
        return self.exit_code

    def _finished(self) -> bool:
        return self.stopping and not any(worker.alive for worker in self.workers)

    def _turn(self) -> None:
        """One round: what has come, who has died, what is due."""
        for key, _ in self._selector.select(self._patience()):
            if key.data is None:
                self._on_wakeup()
            else:
                self._on_message(key.data)
        self._reap()
        self._do_what_is_due()

    def _patience(self) -> float | None:
        """Seconds until something is due."""
        due = [self.stop_by, self._watch_at, self.admin.restart_at]
        due += [time_due for worker in self.workers for time_due in (worker.restart_at, worker.answer_by)]
        times = [one for one in due if one is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        for worker in self.workers:
            if worker.restart_at is not None and now >= worker.restart_at:
                self._start_worker(worker)
            if worker.answer_by is not None and now >= worker.answer_by:
                self._on_silence(worker)
        if self.admin.restart_at is not None and now >= self.admin.restart_at:
            self._start_admin()
        if self._watch_at is not None and now >= self._watch_at:
            self._look_at_files(now)
        if self.stop_by is not None and now >= self.stop_by:
            self._insist()

    def _on_wakeup(self) -> None:
        for number in self._wakeup.take():
            if number is signal.SIGHUP:
                self.reload()
            elif number is not signal.SIGCHLD:
                self.stop(number.name)

    # --- processes ------------------------------------------------------------------------------------------

    def _start_worker(self, worker: Worker) -> None:
        ours, theirs = control.pair()
        worker.control, worker.ready, worker.number, worker.asked = ours, False, self.number, self.number
        start = WorkerStart(
            index=worker.index,
            workers=len(self.workers),
            page=self.page,
            settings=self.settings,
            number=self.number,
            config=self.source.config,
            region=self.source.region,
            digest=self.current.digest,
            control=theirs,
            secret=self.secret,
        )

        def main() -> None:
            self._forget_descriptors()
            for sock in self.listeners.values():
                sock.close()
            self.page.worker_started(start.index, os.getpid())
            logs.configure(start.settings.telemetry, worker.name)
            self.programs.worker(start)

        pid = worker.start(main)
        theirs.close()
        worker.answer_by = time.monotonic() + ANSWER_TIME
        self._selector.register(ours, selectors.EVENT_READ, worker)
        log.info("%s started, pid %d, configuration %d", worker.name, pid, self.number)

    def _start_admin(self) -> None:
        if not self.listeners:
            return
        listeners = list(self.listeners.values())

        def main() -> None:
            self._forget_descriptors()
            logs.configure(self.settings.telemetry, self.admin.name)
            self.programs.admin(self.page, listeners)

        log.info("admin started, pid %d", self.admin.start(main))

    def _forget_descriptors(self) -> None:
        """In a child: the supervisor's own descriptors are not its business."""
        for worker in self.workers:
            worker.hang_up()
        self._wakeup.close()

    def _reap(self) -> None:
        for worker in self.workers:
            if worker.alive and (status := worker.reap()) is not None:
                self._on_worker_end(worker, status)
        if self.admin.alive and (status := self.admin.reap()) is not None and not self.stopping:
            log.error("admin %s, starts again in %g s", ending(status), self.admin.start_later())
        self._old_admins = [old for old in self._old_admins if old.reap() is None]

    def _on_worker_end(self, worker: Worker, status: int) -> None:
        if worker.control is not None:
            self._read_messages(worker)
            self._drop_control(worker)
        worker.answer_by = None
        self.page.worker_exited(worker.index, status)
        if self.stopping:
            (log.warning if status else log.info)("%s %s", worker.name, ending(status))
            return
        pause = worker.start_later()
        log.error("%s %s, starts again in %g s", worker.name, ending(status), pause)
        if not self.started and worker.backoff.deaths >= FIRST_DEATHS:
            log.critical("%s cannot start: %d attempts failed", worker.name, worker.backoff.deaths)
            self.exit_code = FAILED
            self.stop("the failed start")

    def _drop_control(self, worker: Worker) -> None:
        if worker.control is not None:
            self._selector.unregister(worker.control)
            worker.hang_up()

    # --- what workers say -----------------------------------------------------------------------------------

    def _on_message(self, worker: Worker) -> None:
        if worker.control is not None and not self._read_messages(worker):
            self._drop_control(worker)

    def _read_messages(self, worker: Worker) -> bool:
        """False when nothing more will come."""
        assert worker.control is not None
        try:
            messages = control.receive(worker.control)
        except ValueError:
            log.error("%s sent what is no control message", worker.name)
            return True
        for message in messages or ():
            self._on_verb(worker, message)
        return messages is not None

    def _on_verb(self, worker: Worker, message: control.Message) -> None:
        verb, number = message["verb"], message.get("number")
        if verb == "ready":
            worker.ready = self.started = True
            if worker.asked == worker.number:
                worker.answer_by = None
            self._on_ready()
        elif verb == "reloaded" and isinstance(number, int):
            worker.number = number
            self._on_answer(worker, number)
        elif verb == "refused" and isinstance(number, int):
            kept, reason = worker.number, message.get("error")
            log.error("%s refuses configuration %d and keeps %d: %s", worker.name, number, kept, reason)
            self._on_answer(worker, number)
            self._reload_if_changed()
        else:
            log.error("%s sent an unknown message", worker.name)

    def _on_ready(self) -> None:
        if self.served or not all(worker.ready for worker in self.workers):
            return
        self.served = True
        log.info("ready: %d workers accept clients", len(self.workers))
        systemd.ready(self._status())

    def _on_answer(self, worker: Worker, number: int) -> None:
        if number != worker.asked:
            return
        worker.answer_by = None
        if all(one.answer_by is None for one in self.workers) and not self._behind():
            log.info("configuration %d is in force in all workers", self.number)

    def _on_silence(self, worker: Worker) -> None:
        worker.answer_by = None
        if worker.ready:
            what = f"has not put configuration {worker.asked} in force"
        else:
            what = "has not become ready"
        log.error("%s %s in %g s", worker.name, what, ANSWER_TIME)

    def _behind(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.alive and worker.number != self.number]

    def _status(self) -> str:
        return f"configuration {self.number}, {len(self.workers)} workers"

    # --- reload ---------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Reads the configuration again. A wrong one changes nothing and is told."""
        if self.stopping:
            log.warning("not reloading: stopping")
            return
        if self.served:
            systemd.reloading()
        self._seen = self._tried = candidate.signature(self.source.config)
        try:
            fresh, listeners = self._acceptable()
        except ConfigError as error:
            self.page.config_refused()
            for mistake in error.mistakes:
                log.error("configuration refused: %s", mistake)
            log.error("configuration %d stays in force", self.number)
        else:
            self._put_in_force(fresh, listeners)
        if self.served:
            systemd.ready(self._status())

    def _acceptable(self) -> tuple[Candidate, dict[Bind, socket.socket]]:
        """The new configuration and its HTTP sockets, all checked, nothing changed. Raises ConfigError."""
        fresh = candidate.read(self.source.config, self.source.region, self.number + 1)
        if mistake := candidate.restart_only(self.settings, fresh.settings):
            raise ConfigError([mistake])
        candidate.check_room(self.page, fresh)
        held = {candidate.address_of(listener) for listener in self.settings.listeners.values()}
        candidate.check_ports(fresh.settings, held)
        return fresh, candidate.bind_http(fresh.settings, self.listeners)

    def _put_in_force(self, fresh: Candidate, listeners: dict[Bind, socket.socket]) -> None:
        changes = diff(self.settings, fresh.settings)
        if not changes and not self._behind():
            log.info("configuration read again: nothing changes")
            self.current = fresh
            return
        self._tell_changes(changes, fresh.settings)
        self.number += 1
        self.current = fresh
        candidate.declare(self.page, fresh)
        self.page.config_loaded(self.number)
        logs.configure(fresh.settings.telemetry, "supervisor")
        self._tell_workers()
        self._move_admin(listeners)

    def _tell_changes(self, changes: list[str], settings: Settings) -> None:
        for change in changes:
            log.info("configuration %d: %s", self.number + 1, change)
        for name in candidate.waits_for_restart(self.settings, settings):
            log.warning("configuration %d: %s counts from the next start on", self.number + 1, name)

    def _tell_workers(self) -> None:
        message = {"verb": "reload", "number": self.number, "digest": self.current.digest}
        for worker in self.workers:
            if not worker.alive:
                continue
            if worker.control is None or not control.send(worker.control, message):
                log.warning("%s cannot be told of configuration %d", worker.name, self.number)
                continue
            worker.asked = self.number
            worker.answer_by = time.monotonic() + ANSWER_TIME

    def _move_admin(self, listeners: dict[Bind, socket.socket]) -> None:
        """A new admin process when the HTTP listeners have changed; the old one ends its requests."""
        if listeners.keys() == self.listeners.keys():
            return
        gone = [sock for at, sock in self.listeners.items() if at not in listeners]
        self.listeners = listeners
        if self.admin.alive:
            self.admin.signal(signal.SIGTERM)
            self._old_admins.append(self.admin)
        self.admin = Child("admin")
        self._start_admin()
        for sock in gone:
            sock.close()

    def _reload_if_changed(self) -> None:
        """A worker that found other bytes than the supervisor is right when the files have changed since."""
        if candidate.signature(self.source.config) != self._tried:
            self.reload()

    def _look_at_files(self, now: float) -> None:
        """Reloads once a change has stood still from one look to the next: nobody is still writing."""
        self._watch_at = now + WATCH_INTERVAL
        found = candidate.signature(self.source.config)
        settled, self._seen = found == self._seen, found
        if not settled or found == self._tried or self.stopping:
            return
        self._tried = found
        if not candidate.same_bytes(self.source.config, self.current):
            log.info("the configuration has changed on disk")
            self.reload()

    # --- the end --------------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Drains; called again, kills."""
        if self.stopping:
            log.warning("%s: stopping at once", reason)
            self.stop_by = time.monotonic()
            return
        seconds = self.settings.limits.drain
        self.stop_by = time.monotonic() + seconds + DRAIN_GRACE
        self.page.drain()
        systemd.stopping()
        log.info("%s: draining for up to %g s", reason, seconds)
        for worker in self.workers:
            worker.restart_at = worker.answer_by = None
            if worker.control is not None:
                control.send(worker.control, {"verb": "drain", "seconds": seconds})

    def _insist(self) -> None:
        for worker in self.workers:
            if worker.alive:
                log.warning("%s has not ended in time, killed", worker.name)
                worker.signal(signal.SIGKILL)
        self.stop_by = time.monotonic() + DRAIN_GRACE

    def _stop_admin(self) -> None:
        """The admin process goes last: it says `draining` until there is nothing left to drain."""
        self.admin.restart_at = None
        if not self.admin.alive:
            return
        self.admin.signal(signal.SIGTERM)
        deadline = time.monotonic() + ADMIN_GRACE
        while self.admin.alive and self.admin.reap() is None and time.monotonic() < deadline:
            self._selector.select(deadline - time.monotonic())
            if {signal.SIGTERM, signal.SIGINT} & set(self._wakeup.take()):
                return

    def _kill_all(self) -> None:
        for child in (*self.workers, self.admin, *self._old_admins):
            child.signal(signal.SIGKILL)
        for child in (*self.workers, self.admin, *self._old_admins):
            child.wait()


def _allow_descriptors(settings: Settings) -> None:
    """As many descriptors as the system lets us have; told when they may not suffice for one worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    servers = [(shard.limits.connections, 1 + len(shard.replicas)) for shard in settings.shards.values()]
    needed = settings.limits.clients + sum(limit * count for limit, count in servers)
    if hard != resource.RLIM_INFINITY and hard < needed:
        log.warning("%d file descriptors allowed, %d clients and connections configured", hard, needed)
