"""The supervisor: reads the configuration, forks workers and the admin process, and looks after them.

One loop over control sockets and signals, no threads and no asyncio, so that it can fork at any time.
SIGHUP reloads the configuration, SIGTERM and SIGINT drain and stop, a second one stops at once, SIGUSR2 starts the
program anew and hands over to it. It is not in the data path: what it knows is in the page and in its workers.
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
from typing import Any

from _speedups.stats import StatsPage
from config.advice import advice
from config.diff import diff
from config.errors import SHOWN, ConfigError, Mistake
from config.settings import MetastoreSettings, Settings
from proxy import logs
from proxy.supervision import banner, candidate, control, systemd, trial
from proxy.supervision.admins import Admins, AdminStart
from proxy.supervision.candidate import Bind, Candidate, Signature
from proxy.supervision.children import Child, Wakeup
from proxy.supervision.control import WorkerStart
from proxy.supervision.crew import Crew
from proxy.supervision.following import Following, Named, Source, first_source
from proxy.supervision.ports import Ports, Shares
from proxy.supervision.succession import Heir, Heritage
from proxy.supervision.trial import Tried

log = logging.getLogger(__name__)

OK, FAILED, MISCONFIGURED = 0, 1, 2
"""Exit codes."""

DRAIN_GRACE = 2.0
"""Seconds that a worker may take beyond `limits.drain` before it is killed."""
WATCH_INTERVAL = 2.0
OTHER_FILES = 64
"""Descriptors of a worker beside those of clients and servers."""


@dataclass(frozen=True)
class Programs:
    """What the children run; tests put others in their place."""

    worker: Callable[[WorkerStart], None]
    admin: Callable[[AdminStart], None]


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
        source, metastore, remark = first_source(source)
        seen = candidate.signature(source.config)
        first = candidate.read(source.config, source.region, 1, source.base)
        page = candidate.page_for(first, workers)
        candidate.check_room(page, first)
        code = FAILED
        heritage = Heritage.take()
        ports = Ports(workers, heritage.ports)
        ports.move(ports.prepare(first.settings))
        listeners = candidate.bind_admin(first.settings, heritage.admin)
        heritage.close_admin_but(listeners)
    except (ConfigError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return code
    logs.configure(first.settings.telemetry, "supervisor")
    if remark:
        log.warning("%s", remark)
    candidate.declare(page, first)
    programs = programs or real_programs()
    gc.collect()
    gc.freeze()
    supervisor = Supervisor(source, first, seen, page, ports, listeners, heritage, programs, wakeup, watch=watch)
    if metastore is not None:
        supervisor.follow(metastore)
    return supervisor.run()


def real_programs() -> Programs:
    """The worker and the admin process, with all they import loaded, so that children share the memory."""
    import sqlglot

    from proxy.supervision.admin import run_admin
    from proxy.worker import run_worker

    sqlglot.parse_one("SELECT 1", read="mysql")
    return Programs(run_worker, run_admin)


@dataclass(frozen=True, slots=True)
class Bound:
    """The sockets of a configuration that is to be put in force: the workers', and the admin process's."""

    ports: Shares
    admin: dict[Bind, socket.socket]


@dataclass(frozen=True, slots=True)
class Told:
    """How a reload went: what changes, or why it is refused."""

    ok: bool
    lines: list[str]


class Supervisor:
    """The running processes and the configuration in force. `run` is the whole of its life."""

    def __init__(
        self,
        source: Source,
        first: Candidate,
        seen: Signature,
        page: StatsPage,
        ports: Ports,
        listeners: dict[Bind, socket.socket],
        heritage: Heritage,
        programs: Programs,
        wakeup: Wakeup,
        *,
        watch: bool = False,
    ) -> None:
        self.source = source
        self.page = page
        self.ports = ports
        self.heritage = heritage
        self.heir: Heir | None = None
        self._due = False
        """It is to be started as soon as our own workers serve."""
        self.leaving = False
        self.programs = programs
        self.number = 1
        self.current = first
        self.secret = secrets.token_bytes(32)
        self.stop_by: float | None = None
        self.served = False
        self.exit_code = OK
        self._watch_at: float | None = time.monotonic() + WATCH_INTERVAL if watch else None
        self._seen = self._tried = seen
        self._wakeup = wakeup
        self._selector = selectors.PollSelector()
        self._selector.register(wakeup, selectors.EVENT_READ)
        workers = ports.workers
        self.inquiries = [control.pair() for _ in range(workers)]
        """For each worker's place the pair by which the admin process asks it: (the admin's end, the worker's)."""
        self.estates = [control.pair() for _ in range(workers)] if heritage.succession else []
        """By worker: how clients of the process before come to it. (that process's end, the worker's)"""
        self.crew = Crew(workers, page, programs.worker, self._begin, self._close_own, self._selector)
        self.admins = Admins(listeners, programs.admin, self._begin_admin, self._close_for_admin, self._selector)
        self.following: Following | None = None
        self.tried: Tried | None = None
        self._to_tell = bool(source.version)

    @property
    def settings(self) -> Settings:
        return self.current.settings

    @property
    def stopping(self) -> bool:
        return self.stop_by is not None

    def follow(self, metastore: MetastoreSettings) -> None:
        """Before `run`: versions come from this metastore."""
        self.following = Following(metastore, self.settings.region, self._selector)

    # --- life -----------------------------------------------------------------------------------------------

    def run(self) -> int:
        banner.show(self.settings, self.source.config, len(self.crew.workers))
        _allow_descriptors(self.settings, len(self.crew.workers))
        _remark(advice(self.settings))
        self.page.started(os.getpid())
        self.page.config_loaded(self.number)
        try:
            self.admins.start()
            self.crew.start()
            self._start_follower()
            while not (self.stopping and not self.crew.any_alive):
                self._turn()
            self._stop_admin()
        finally:
            self.ports.close()
            self._kill_all()
        log.info("stopped")
        return self.exit_code

    def _turn(self) -> None:
        """One round: what has come, who has died, what is due."""
        for key, _ in self._selector.select(self._patience()):
            if key.data is None:
                self._on_signals()
            elif key.data is self.following:
                self._on_version()
            elif key.data is self.admins:
                self._on_admin()
            elif key.data is self.heir:
                self._on_heir()
            else:
                self.crew.on_readable(key.data)
        self._reap()
        self._do_what_is_due(time.monotonic())
        if self.crew.take_refusals():
            self._tell_following("refused", self.crew.refusal)
            self._reload_if_changed()
        if self._to_tell and self.crew.all_ready and not self.crew.behind(self.number):
            self._tell_in_force()
        if self.crew.all_ready and not self.served and not self.stopping:
            self._announce()
        if self.crew.hopeless and not self.stopping:
            self.exit_code = FAILED
            self.stop("the start failed")

    def _patience(self) -> float | None:
        """Seconds until something is due."""
        follower_at = self.following.child.restart_at if self.following else None
        own = (self.stop_by, self._watch_at, self.admins.child.restart_at, follower_at)
        times = [*self.crew.due(), *(one for one in own if one is not None)]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _do_what_is_due(self, now: float) -> None:
        self.crew.do_what_is_due(now)
        self.admins.do_what_is_due(now)
        if self.following is not None and self.following.is_due(now):
            self._start_follower()
        if self._watch_at is not None and now >= self._watch_at:
            self._look_at_files(now)
        if self.stop_by is not None and now >= self.stop_by:
            self.crew.kill()
            self.stop_by = now + DRAIN_GRACE

    def _on_signals(self) -> None:
        for number in self._wakeup.take():
            if number is signal.SIGHUP:
                self.reload()
            elif number is signal.SIGUSR2:
                self._hand_over()
            elif number is not signal.SIGCHLD:
                self.stop(number.name)

    def _announce(self) -> None:
        self.served = True
        log.info("ready: %d workers accept clients", len(self.crew.workers))
        self.heritage.taken([way for way, _ in self.estates])
        for way, _ in self.estates:
            way.close()
        systemd.ready(self._status())
        if self._due:
            self._hand_over()

    def _status(self) -> str:
        return f"configuration {self.number}, {len(self.crew.workers)} workers"

    # --- processes ------------------------------------------------------------------------------------------

    def _begin(self, index: int, theirs: socket.socket) -> WorkerStart:
        """What a worker that starts now is given."""
        source, followed = self._followed_by(index)
        return WorkerStart(
            index=index,
            workers=len(self.crew.workers),
            page=self.page,
            settings=followed.settings,
            number=self.number,
            config=source.config,
            region=source.region,
            digest=followed.digest,
            control=theirs,
            secret=self.secret,
            inquiries=self.inquiries[index][1],
            ports=self.ports.of(index),
            succession=self.heritage.succession,
            estate=self.estates[index][1] if self.estates else None,
            beside=self.tried.beside if self.tried is not None else None,
        )

    def _begin_admin(self, listeners: dict[Bind, socket.socket], theirs: socket.socket) -> AdminStart:
        return AdminStart(
            page=self.page,
            settings=self.settings,
            number=self.number,
            config=self.source.config,
            base=self.source.base,
            region=self.source.region,
            digest=self.current.digest,
            listeners=listeners,
            control=theirs,
            workers=tuple(asking for asking, _ in self.inquiries),
            metastore=self.following.settings if self.following is not None else None,
            secret=self.secret,
        )

    def _followed_by(self, index: int) -> tuple[Source, Candidate]:
        """The configuration of a worker: that in force, or the one on trial."""
        if self.tried is not None and self.tried.is_of(index):
            return self.tried.source, self.tried.candidate
        return self.source, self.current

    def _close_own(self, index: int) -> None:
        """In worker `index`: what belongs to the supervisor, to the admin process and to other workers."""
        self._close_kin(index)
        self.ports.close_in_child(index)
        self.admins.close()
        for place, (asking, answering) in enumerate(self.inquiries):
            asking.close()
            if place != index:
                answering.close()
        if self.following is not None:
            self.following.close()

    def _close_for_admin(self) -> None:
        """In the admin process."""
        self.crew.close_controls()
        self._close_kin()
        self.ports.close_in_child()
        for _, answering in self.inquiries:
            answering.close()
        if self.following is not None:
            self.following.close()

    def _close_kin(self, index: int | None = None) -> None:
        """In a child: signals, and the processes before and behind this one, but for worker `index`'s estate."""
        self._wakeup.close()
        self.heritage.close()
        for place, (way, estate) in enumerate(self.estates):
            way.close()
            if place != index:
                estate.close()
        if self.heir is not None:
            self.heir.close()

    def _reap(self) -> None:
        self.crew.reap(self.stopping)
        self.admins.reap(self.stopping)
        if self.following is not None:
            self.following.reap(self.stopping)

    def _on_admin(self) -> None:
        """The admin console asks for what a signal would do, and is told how it went."""
        for ask, what in self.admins.asked():
            if what == "reload":
                told = self.reload()
                self.admins.answer(ask, told.ok, self.number, told.lines)
            elif what == "drain":
                self.admins.answer(ask, not self.stopping, self.number, [])
                if not self.stopping:
                    self.stop("the admin console")

    # --- versions of the metastore --------------------------------------------------------------------------

    def _start_follower(self) -> None:
        if self.following is not None and not self.stopping:
            self.following.start(self.source.version, self._close_for_follower)

    def _close_for_follower(self) -> None:
        """In the follower."""
        self.crew.close_controls()
        self._close_kin()
        self.ports.close_in_child()
        self.admins.close()
        for pair in self.inquiries:
            for end in pair:
                end.close()
        logs.configure(self.settings.telemetry, "follower")

    def _on_version(self) -> None:
        """The follower names another version: it is put in force as a changed file would be."""
        assert self.following is not None
        named = self.following.on_readable()
        if named is None:
            return
        source = self.source.of_version(named.number, named.path)
        if source == self.source and named.tried == self._named_trial:
            self._to_tell = True
            return
        if named.tried is not None:
            log.info("version %d of the metastore is to be tried: %s", named.tried.number, named.tried.trial)
        else:
            log.info("version %d of the metastore is to be put in force", named.number)
        self.reload(source, named.tried)

    @property
    def _named_trial(self) -> Named | None:
        return self.tried.named if self.tried is not None else None

    def _tell_in_force(self) -> None:
        self._tell_following("in force", number=self.source.version)
        if self.tried is not None:
            self._tell_following("on trial", number=self.tried.source.version)

    def _tell_following(self, verb: str, error: str = "", number: int | None = None) -> None:
        """How it went with the newest version, or with version `number`."""
        self._to_tell = False
        newest = self.tried.source.version if self.tried is not None else self.source.version
        if self.following is not None and (number or newest):
            self.following.tell(verb, number or newest, error)

    # --- reload ---------------------------------------------------------------------------------------------

    def reload(self, source: Source | None = None, named: Named | None = None) -> Told:
        """Reads the configuration again, or from another source, and what is to be tried beside it. A wrong one changes
        nothing and is told."""
        if source is None:
            source, named = self.source, self._named_trial
        if self.stopping:
            log.warning("not reloading: stopping")
            return Told(False, ["not reloading: stopping"])
        version = named.number if named is not None else source.version
        if self.served:
            systemd.reloading()
        self._seen = self._tried = candidate.signature(source.config)
        try:
            fresh, changes = self._acceptable(source)
            tried = self._acceptable_trial(named, source, fresh)
            bound = self._bind(fresh.settings)
        except ConfigError as error:
            told = self._refuse([str(mistake) for mistake in error.mistakes[:SHOWN]], version)
        except Exception as error:
            # Our bug, and no reason to take all clients down: nothing has been changed yet.
            told = self._refuse([f"internal error: {logs.told(error)}"], version)
        else:
            changes += self._trial_changes(tried)
            self.source, self.tried = source, tried
            self._to_tell = bool(source.version)
            self._put_in_force(fresh, changes, bound)
            told = Told(True, changes)
        if self.served:
            systemd.ready(self._status())
        return told

    def _refuse(self, reasons: list[str], version: int) -> Told:
        self.page.config_refused()
        if version:
            self._tell_following("refused", "; ".join(reasons), version)
        for reason in reasons:
            log.error("configuration refused: %s", reason)
        log.error("configuration %d stays in force", self.number)
        return Told(False, reasons)

    def _acceptable(self, source: Source) -> tuple[Candidate, list[str]]:
        """The new configuration and what it changes: all checked, nothing changed yet. Raises ConfigError."""
        fresh = candidate.read(source.config, source.region, self.number + 1, source.base)
        if mistake := candidate.restart_only(self.settings, fresh.settings):
            raise ConfigError([mistake])
        candidate.check_room(self.page, fresh)
        return fresh, diff(self.settings, fresh.settings)

    def _bind(self, settings: Settings) -> Bound:
        """Raises ConfigError; then nothing new is bound."""
        ports = self.ports.prepare(settings)
        try:
            return Bound(ports, candidate.bind_admin(settings, self.admins.listeners))
        except ConfigError:
            self.ports.discard(ports)
            raise

    def _acceptable_trial(self, named: Named | None, source: Source, fresh: Candidate) -> Tried | None:
        """Raises ConfigError."""
        if named is None:
            return None
        tried = trial.read(named, source, self.number + 1, fresh.settings, len(self.crew.workers))
        candidate.check_room(self.page, fresh, tried.candidate)
        return tried

    def _trial_changes(self, tried: Tried | None) -> list[str]:
        before, after = self._named_trial, tried.named if tried is not None else None
        if before == after:
            return []
        ends = [f"the trial of version {before.number} ends"] if before is not None else []
        return ends + ([f"version {after.number} is on trial: {after.trial}"] if after is not None else [])

    def _put_in_force(self, fresh: Candidate, changes: list[str], bound: Bound) -> None:
        if not changes and not self.crew.behind(self.number):
            log.info("configuration read again: nothing changes")
            self.current = fresh
            return
        self._tell_changes(changes, fresh.settings)
        self.number += 1
        self.current = fresh
        if self.tried is not None:
            candidate.declare(self.page, self.tried.candidate)
        candidate.declare(self.page, fresh)
        self.page.config_loaded(self.number)
        logs.configure(fresh.settings.telemetry, "supervisor")
        self.ports.move(bound.ports)
        self.crew.tell_reload(self.number, self._told, self.ports.of)
        self.admins.tell_reload(self.number, fresh.digest, self.source.config, self.source.base)
        self.admins.move(bound.admin)

    def _told(self, index: int) -> dict[str, Any]:
        """What a worker is told of its configuration."""
        source, followed = self._followed_by(index)
        beside = self.tried.told() if self.tried is not None else None
        return {**trial.where(source), "digest": followed.digest, "beside": beside}

    def _tell_changes(self, changes: list[str], settings: Settings) -> None:
        for change in changes:
            log.info("configuration %d: %s", self.number + 1, change)
        for name in candidate.waits_for_restart(self.settings, settings):
            log.warning("configuration %d: %s counts from the next start on", self.number + 1, name)
        known = {remark.message for remark in advice(self.settings)}
        _remark([remark for remark in advice(settings) if remark.message not in known])

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

    def _hand_over(self) -> None:
        """The program is started anew, and has our sockets."""
        if self.stopping or self.heir is not None:
            log.warning("not handing over: %s", "stopping" if self.stopping else "a process is starting")
            return
        self._due = not self.served
        if self._due:
            log.info("handing over once the workers accept clients")
            return
        try:
            self.heir = Heir(self.ports.all(), self.admins.listeners, self.heritage.succession + 1)
        except OSError as error:
            log.error("the program cannot be started anew: %s", error)
            return
        log.info("handing over to process %d", self.heir.pid)
        self._selector.register(self.heir, selectors.EVENT_READ, self.heir)

    def _on_heir(self) -> None:
        """It has taken over, or has failed, and then all stays as it was."""
        assert self.heir is not None
        heir, message = self.heir, self.heir.heard()
        if message is not None and message["verb"] != "taken":
            return
        self._selector.unregister(heir)
        self.heir = None
        if message is None:
            log.error("process %d has not taken over; serving on", heir.pid)
        elif not self.stopping:
            self._leave(heir.pid, message["sockets"] if message.get("clients") == control.CLIENTS else [])
        heir.close()

    def _leave(self, pid: int, heirs: list[socket.socket]) -> None:
        """No new clients come here; those who are here move to the heirs, or may stay a while."""
        limits = self.settings.limits
        self.leaving = True
        self.stop_by = time.monotonic() + limits.take_over + limits.drain + DRAIN_GRACE
        self.page.drain()
        systemd.main_pid(pid)
        log.info("process %d has taken over: leaving within %g s", pid, limits.take_over + limits.drain)
        self.ports.close(keep_files=True)
        self.crew.tell_leave(limits.take_over, limits.drain, heirs)
        for heir in heirs:
            heir.close()
        self._end_others()

    def _end_others(self) -> None:
        """What the next process has, too."""
        self.admins.retire()
        if self.following is not None:
            self.following.child.signal(signal.SIGTERM)

    def stop(self, reason: str) -> None:
        """Drains; called again, kills."""
        if self.leaving:
            self.leaving = False
        elif self.stopping:
            log.warning("%s: stopping at once", reason)
            self.stop_by = time.monotonic()
            return
        seconds = self.settings.limits.drain
        self.stop_by = time.monotonic() + seconds + DRAIN_GRACE
        self.page.drain()
        systemd.stopping()
        log.info("%s: draining for up to %g s", reason, seconds)
        self.ports.close()
        self.crew.tell_drain(seconds)
        if self.following is not None:
            self.following.child.signal(signal.SIGTERM)

    def _stop_admin(self) -> None:
        """The admin process goes last: it says `draining` until there is nothing left to drain."""

        def wait(seconds: float) -> bool:
            self._selector.select(seconds)
            return bool({signal.SIGTERM, signal.SIGINT} & set(self._wakeup.take()))

        self.admins.stop(wait)

    def _kill_all(self) -> None:
        children: list[Child] = [*self.crew.workers, *self.admins.children]
        if self.following is not None:
            children.append(self.following.child)
        for child in children:
            child.signal(signal.SIGKILL)
        for child in children:
            child.wait()


def _remark(remarks: list[Mistake]) -> None:
    for remark in remarks[:SHOWN]:
        log.warning("%s", remark)


def _allow_descriptors(settings: Settings, workers: int) -> None:
    """As many descriptors as the system lets us have; told when a worker's share of clients may not fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    servers = sum(shard.limits.connections * (1 + len(shard.replicas)) for shard in settings.shards.values())
    wanted = (settings.limits.clients + servers) // workers + OTHER_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.warning(
            "limits.clients may not be reached: a worker may open %d files and would need %d (ulimit -n)",
            hard,
            wanted,
        )
