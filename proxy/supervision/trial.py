"""A version on trial beside the one in force: which may be, and which worker follows which of the two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from config.errors import ConfigError
from config.settings import Settings
from metastore.versions import SESSIONS, WORKERS, Trial
from proxy.generation import Generation
from proxy.sessions.session import Session
from proxy.supervision import candidate
from proxy.supervision.candidate import Candidate
from proxy.supervision.following import Named, Source


@dataclass(frozen=True, slots=True)
class Beside:
    """A configuration that a worker has beside the one in force: to shadow it, or for some of its sessions."""

    settings: Settings
    version: int
    trial: Trial


@dataclass(frozen=True, slots=True)
class Canary:
    """What a worker has for a part of its sessions. `share`: in percent; `version`: in the metastore."""

    generation: Generation
    share: float
    version: int

    def takes(self, session: Session) -> bool:
        """The same ones all the time. What a peer brings is decided as for everybody: the peer's session is of many
        clients."""
        return not session.hop and crc32(session.connection_id.to_bytes(8, "little")) % 10_000 < self.share * 100


@dataclass(frozen=True, slots=True)
class Tried:
    """A version on trial, read and checked."""

    named: Named
    source: Source
    candidate: Candidate
    trial: Trial

    def is_of(self, index: int) -> bool:
        """Does this worker follow it wholly?"""
        return self.trial.kind == WORKERS and index < self.trial.share

    @property
    def beside(self) -> Beside | None:
        """What workers have beside what is in force."""
        if self.trial.kind == WORKERS:
            return None
        return Beside(self.candidate.settings, self.source.version, self.trial)

    def told(self) -> dict[str, Any] | None:
        """The same as a message."""
        if self.trial.kind == WORKERS:
            return None
        how = {"version": self.source.version, "kind": self.trial.kind, "share": self.trial.share}
        return {**where(self.source), "digest": self.candidate.digest, **how}


def where(source: Source) -> dict[str, Any]:
    """A source in a message."""
    return {"config": str(source.config), "base": source.base and str(source.base)}


def read(named: Named, source: Source, number: int, current: Settings, workers: int) -> Tried:
    """Reads a version for its trial beside `current`. Raises ConfigError when it cannot be tried so."""
    assert named.trial is not None
    source = source.of_version(named.number, named.path)
    fresh = candidate.read(source.config, source.region, number, source.base)
    if why := _unfit(named.trial, current, fresh.settings, workers):
        raise candidate.refusal(source.config, f"{named.trial}: {why}")
    if mistake := candidate.restart_only(current, fresh.settings):
        raise ConfigError([mistake])
    return Tried(named, source, fresh, named.trial)


def _unfit(trial: Trial, current: Settings, fresh: Settings, workers: int) -> str | None:
    """Why a configuration cannot be tried in this way; None when it can."""
    if trial.kind == WORKERS and trial.share >= workers:
        return f"there are {workers} workers, which would be all"
    if trial.kind == WORKERS and fresh.listeners != current.listeners:
        return "listeners are of all workers, and change"
    if trial.kind == SESSIONS and _without_decisions(fresh) != _without_decisions(current):
        return "more changes than the policy and the grants of users. Try it in workers"
    return None


def _without_decisions(settings: Settings) -> tuple[Any, ...]:
    """What a worker has only once: everything but the policy and the grants."""
    bare = replace(settings, policy=None, users={}, files=(), places={})
    users = {name: replace(user, grants=()) for name, user in settings.users.items()}
    return bare, users
