"""The follower as the supervisor sees it: a child, what it names, and what it is told."""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from config.errors import ConfigError
from config.load import load
from config.settings import MetastoreSettings
from metastore.versions import Trial
from proxy.supervision import control
from proxy.supervision.children import Child, ending
from proxy.supervision.follower import FollowerStart, first_version, run_follower

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the configuration is read from, now and at every reload.

    `version`: the metastore's number of it, 0 for the files given to `serve`. `base`: the folder that paths in a
    version are relative to, which is that of the files given to `serve`.
    """

    config: Path
    region: str | None
    version: int = 0
    base: Path | None = None

    def of_version(self, number: int, path: Path) -> Source:
        base = self.base or (self.config if self.config.is_dir() else self.config.parent)
        return Source(path, self.region, number, base)


@dataclass(frozen=True, slots=True)
class Named:
    """A version that the follower names. `trial`: how, when it is one on trial; `tried`: the one that is beside it."""

    number: int
    path: Path
    trial: Trial | None = None
    tried: Named | None = None

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Named:
        told = message.get("trial")
        tried = None
        if told is not None:
            trial = Trial(str(told["kind"]), float(told["share"]))
            tried = cls(int(told["number"]), Path(str(told["path"])), trial)
        return cls(int(message["number"]), Path(str(message["path"])), tried=tried)


class Following:
    """Starts the follower, and again when it dies. `file` is what was given to `serve`: its `metastore` counts."""

    def __init__(self, settings: MetastoreSettings, region: str, selector: selectors.BaseSelector) -> None:
        self.settings = settings
        self._region = region
        self._selector = selector
        self._control: socket.socket | None = None
        self.child = Child("follower")

    def start(self, number: int, close_others: Callable[[], None]) -> None:
        """`number`: the version in force."""
        try:
            ours, theirs = control.pair()
            with theirs:
                self._control = ours
                self._selector.register(ours, selectors.EVENT_READ, self)
                start = FollowerStart(self.settings, self._region, theirs, number)
                pid = self.child.start(lambda: self._run(start, close_others))
            log.info("follower started, pid %d", pid)
        except OSError as error:
            self._hang_up()
            log.error("follower cannot be started: %s; next attempt in %g s", error, self.child.start_later())

    def _run(self, start: FollowerStart, close_others: Callable[[], None]) -> None:
        """In the child."""
        self.close()
        close_others()
        run_follower(start)

    def close(self) -> None:
        """In a child: the supervisor's end of the pair is not its business."""
        if self._control is not None:
            self._control.close()

    def _hang_up(self) -> None:
        if self._control is not None:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None

    def on_readable(self) -> Named | None:
        """The version named last, if any was."""
        if self._control is None:
            return None
        messages = control.receive(self._control)
        if messages is None:
            self._hang_up()
        found = [one for one in messages or () if one["verb"] == "version" and isinstance(one.get("number"), int)]
        return Named.of(found[-1]) if found else None

    def tell(self, verb: str, number: int, error: str = "") -> None:
        """'in force', 'on trial' or 'refused'."""
        if self._control is not None:
            control.send(self._control, {"verb": verb, "number": number, "error": error})

    def reap(self, stopping: bool) -> None:
        if self.child.alive and (status := self.child.reap()) is not None:
            self._hang_up()
            if not stopping:
                log.error("follower %s, starts again in %g s", ending(status), self.child.start_later())

    def is_due(self, now: float | None = None) -> bool:
        at = self.child.restart_at
        return at is not None and (time.monotonic() if now is None else now) >= at


def first_source(source: Source) -> tuple[Source, MetastoreSettings | None, str | None]:
    """What to start with: the version in force, or else the files; the metastore that the files name, if any; and
    what there is to say about it. The region is that of the files, whatever a version says."""
    try:
        settings = load(source.config, region=source.region, secrets=False)
    except ConfigError:
        return source, None, None
    if settings.metastore is None:
        return source, None, None
    source = replace(source, region=settings.region)
    source, remark = _version_or_files(source, settings.metastore)
    return source, settings.metastore, remark


def _version_or_files(source: Source, settings: MetastoreSettings) -> tuple[Source, str | None]:
    version, trouble = first_version(settings, source.region or "")
    if version is None:
        return source, trouble and f"the metastore is away, the files given are in force: {trouble}"
    remark = trouble and f"the metastore is away, version {version.number} of the last run is in force: {trouble}"
    return source.of_version(version.number, version.path), remark
