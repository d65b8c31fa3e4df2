"""The follower: a process that watches the metastore for configuration versions, so that nobody else has to.

It brings the version in force to the disk and names it to the supervisor, tells the metastore what became of it, and
goes back from a version that nobody confirmed in time: in the metastore, or, while that is away, here alone. What
serves clients never asks the metastore, and goes on without it.

    follower -> supervisor   {"verb": "version", "number": N, "path": "…", "trial": null}
                             {…, "trial": {"number": N, "path": "…", "kind": "shadow", "share": 0.0}}
    supervisor -> follower   {"verb": "in force", "number": N}   {"verb": "on trial", "number": N}
                             {"verb": "refused", "number": N, "error": "…"}
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from config.settings import MetastoreSettings
from metastore.lease import Lease
from metastore.open import open_store
from metastore.registry import register
from metastore.store import MetastoreError, Store
from metastore.versions import ACTIVE, Active, Conflict, Trial, VersionError, Versions
from proxy.supervision import control
from proxy.supervision.version_cache import Cached, VersionCache

log = logging.getLogger(__name__)

KIND = "fairlead"
"""Where followers register: live/fairlead/<region>/<host>/<pid>."""
TTL = 10.0
TURN = 0.2
"""Seconds between two looks at the supervisor's words and the timer."""
AWAY_TURN = 1.0
"""Seconds between two attempts to reach the metastore."""


class Ended(BaseException):
    """The supervisor wants no follower any more."""


@dataclass(frozen=True)
class FollowerStart:
    """What the process is given at its fork. `number`: the version that the supervisor started with, 0 for none."""

    settings: MetastoreSettings
    region: str
    control: socket.socket
    number: int

    @property
    def name(self) -> str:
        return f"{self.region}/{socket.gethostname()}/{os.getppid()}"


@dataclass(frozen=True)
class Wanted:
    """What is to be in force: a version, and beside it perhaps one on trial (0: none)."""

    number: int
    tried: int = 0
    trial: Trial | None = None

    @classmethod
    def of(cls, active: Active) -> Wanted:
        return cls(active.enforced, active.number if active.trial else 0, active.trial)


@dataclass
class Report:
    """What the metastore is told of this Fairlead."""

    version: int
    state: str = "starting"
    error: str = ""

    def encode(self) -> bytes:
        return json.dumps({"version": self.version, "state": self.state, "error": self.error[:2000]}).encode()


class Follower:
    """`run` is the whole of its life."""

    def __init__(
        self,
        start: FollowerStart,
        open_it: Callable[[], Store],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._start = start
        self._open = open_it
        self._monotonic = monotonic
        self._wall = wall
        self._cache = VersionCache(start.settings.cache_folder, start.region)
        self._report = Report(start.number)
        self._named = Wanted(start.number)
        self._known: dict[int, Cached] = {}
        self._waiting: Active | None = None
        self._revert_at = float("inf")
        self._away = False

    def run(self) -> None:
        """Until the supervisor hangs up, or says so: then raises Ended."""
        while True:
            try:
                with contextlib.closing(self._open()) as store:
                    self._follow(store)
            except (MetastoreError, OSError) as error:
                self._tell_away(error)
            self._listen(AWAY_TURN)
            if self._monotonic() >= self._revert_at:
                self._go_back_alone()

    def _tell_away(self, error: Exception) -> None:
        if not self._away:
            log.error("the metastore is away, version %d stays in force: %s", self._named.number, error)
        self._away = True

    def _follow(self, store: Store) -> None:
        versions = Versions(store, self._wall)
        with contextlib.closing(store.watch(ACTIVE, store.list(ACTIVE).revision)) as watch, Lease(store, TTL) as lease:
            self._look(versions)
            if self._away:
                log.info("the metastore is back")
                self._away = False
            self._register(store, lease)
            while True:
                if watch.next(TURN) is not None:
                    self._look(versions)
                if self._monotonic() >= self._revert_at:
                    self._revert(versions)
                lease.renew_if_due()
                if self._listen(0.0):
                    self._register(store, lease)

    def _register(self, store: Store, lease: Lease) -> None:
        register(store, KIND, self._start.name, self._report.encode(), lease)

    # --- versions -------------------------------------------------------------------------------------------

    def _look(self, versions: Versions) -> None:
        """What is in force in the metastore counts, unless its time to be confirmed is over."""
        active = versions.active()
        if active is None:
            return
        if active.left(self._wall()) <= 0:
            self._waiting = active
            self._revert(versions)
            active = versions.active() or active
        self._set_timer(active)
        wanted = Wanted.of(active)
        if wanted == self._named:
            return
        try:
            self._fetch(versions, active)
        except VersionError as error:
            log.error("version %d cannot be read: %s", active.number, error)
            return
        self._name(wanted)

    def _set_timer(self, active: Active) -> None:
        if active == self._waiting:
            return
        self._waiting = None if active.confirmed else active
        self._revert_at = float("inf")
        if self._waiting is not None:
            self._revert_at = self._monotonic() + active.left(self._wall())

    def _fetch(self, versions: Versions, active: Active) -> None:
        """The version, and the one to go back to, on the disk."""
        wanted = [active.number] if active.confirmed else [active.number, active.previous]
        self._known = {number: self._cache.keep(number, versions.bundle(number)) for number in wanted}

    def _name(self, wanted: Wanted) -> None:
        """Tells the supervisor."""
        self._named = wanted
        trial = None
        if wanted.trial is not None:
            path = str(self._known[wanted.tried].path)
            trial = {"number": wanted.tried, "path": path, "kind": wanted.trial.kind, "share": wanted.trial.share}
        path = str(self._known[wanted.number].path)
        self._say({"verb": "version", "number": wanted.number, "path": path, "trial": trial})

    def _revert(self, versions: Versions) -> None:
        waiting, self._waiting, self._revert_at = self._waiting, None, float("inf")
        if waiting is None:
            return
        with contextlib.suppress(Conflict):
            version = versions.revert(waiting, f"fairlead {self._start.name}")
            log.warning("version %d: %s", version.number, version.why)

    def _go_back_alone(self) -> None:
        """The metastore is away: perhaps because of this very version. When it is back, it says what counts."""
        waiting, self._waiting, self._revert_at = self._waiting, None, float("inf")
        if waiting is not None and waiting.previous in self._known:
            log.warning("version %d was not confirmed in time: back to %d", waiting.number, waiting.previous)
            self._name(Wanted(waiting.previous))

    # --- the supervisor -------------------------------------------------------------------------------------

    def _say(self, message: control.Message) -> None:
        control.send(self._start.control, message)

    def _listen(self, patience: float) -> bool:
        """Takes the supervisor's words, waiting so many seconds for the first. -> is there something to report?"""
        if not select.select([self._start.control], [], [], patience)[0]:
            return False
        messages = control.receive(self._start.control)
        if messages is None:
            raise Ended  # the supervisor is gone
        for message in messages:
            self._hear(message)
        return bool(messages)

    def _hear(self, message: control.Message) -> None:
        number = message.get("number")
        if not isinstance(number, int):
            return
        self._report = Report(number, str(message["verb"]), str(message.get("error", "")))
        found = self._known.get(number)
        if message["verb"] == "in force" and found is not None:
            try:
                self._cache.mark(found)
            except OSError as error:
                log.error("version %d cannot be remembered for the next start: %s", number, error)


def run_follower(start: FollowerStart) -> None:
    """For a process of its own."""

    def end(*_: object) -> None:
        raise Ended

    # At the end the registration goes at once, not with the lease.
    signal.signal(signal.SIGTERM, end)
    with contextlib.suppress(Ended):
        Follower(start, lambda: open_store(start.settings)).run()


def first_version(settings: MetastoreSettings, region: str) -> tuple[Cached | None, str | None]:
    """What a Fairlead starts with: (the version, None for none; why it is not the metastore's word, if it is not).

    Asks the metastore once; when that is away, the version that this Fairlead last had in force.
    """
    cache = VersionCache(settings.cache_folder, region)
    try:
        with contextlib.closing(open_store(settings)) as store:
            versions = Versions(store)
            active = versions.active()
            if active is None:
                return None, None
            number = active.enforced if active.left(time.time()) > 0 else active.previous
            return cache.keep(number, versions.bundle(number)), None
    except (MetastoreError, OSError) as error:
        return cache.marked(), str(error)
