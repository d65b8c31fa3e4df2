"""A configuration that may be put in force: read in one piece, ports free, room in the page for its names."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from _speedups.stats import NAME_KINDS, LayoutError, StatsPage
from config.errors import ConfigError, Mistake, Place
from config.load import load
from config.settings import AdminListener, HttpListener, ListenerSettings, Settings
from config.source import SUFFIXES
from proxy.generation import Generation
from proxy.numbers import Numbers
from proxy.supervision.control import digest_of

READINGS = 4
"""How often files that change while they are read are read again."""
SPARE_FACTOR, SPARE = 2, 16
"""Room for names that later configurations add: so many times those of the first, and so many more."""
PAGE_MOST = 65536

OF_ADMIN = (HttpListener, AdminListener)
"""Listeners of the admin process; workers have the others."""

Bind = tuple[str, int]
"""(address, port), or (path, 0) for a Unix socket."""
Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Candidate:
    """Settings, the digest of exactly the bytes that they were read from, and what is built of them."""

    settings: Settings
    digest: str
    generation: Generation


def read(config: Path, region: str | None, number: int, base: Path | None = None) -> Candidate:
    """Reads and checks a configuration; `base` as for `config.load`. Raises ConfigError."""
    files: tuple[Path, ...] = () if config.is_dir() else (config,)
    for _ in range(READINGS):
        before = _digest(files)
        settings = load(config, region=region, base=base)
        files = settings.files
        if before and before == _digest(files):
            return Candidate(settings, before, _generation(config, number, settings))
    raise refusal(config, "the files change while they are read. Replace them in one step, by renaming")


def _digest(files: Iterable[Path]) -> str | None:
    """None when there is nothing to read yet, or not any more: `load` then says why."""
    files = tuple(files)
    with contextlib.suppress(OSError):
        return digest_of(files) if files else None
    return None


def _generation(config: Path, number: int, settings: Settings) -> Generation:
    try:
        return Generation.build(number, settings)
    except (OSError, ValueError) as error:
        raise refusal(config, str(error)) from error


def refusal(file: Path, message: str) -> ConfigError:
    """The error of a configuration that has no single wrong line."""
    return ConfigError([Mistake(file, None, "", message)])


# --- change on disk -----------------------------------------------------------------------------------------


def signature(config: Path) -> Signature:
    """Name, inode, size and time of every file; cheap, and different after any change worth reading."""
    found: list[tuple[str, int, int, int]] = []
    with contextlib.suppress(OSError):
        files = [one for one in config.iterdir() if one.suffix in SUFFIXES] if config.is_dir() else [config]
        for file in sorted(files):
            stat = os.stat(file)
            found.append((str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def same_bytes(config: Path, current: Candidate) -> bool:
    """Do the files hold what they held when `current` was read?"""
    names = tuple(Path(name) for name, *_ in signature(config))
    return names == current.settings.files and _digest(names) == current.digest


# --- the page -----------------------------------------------------------------------------------------------


def page_for(candidate: Candidate, workers: int) -> StatsPage:
    """A statistics page with room for this configuration and for growth. Raises ConfigError."""
    topology, telemetry = candidate.generation.topology, candidate.settings.telemetry
    try:
        return StatsPage.create(
            workers,
            _room(len(topology.shards)),
            _room(len(topology.servers) + len(topology.peers)),
            digests=max(2, telemetry.digests),
            slow=telemetry.slow_entries,
            users=_room(len(candidate.settings.users)),
            keyspaces=_room(len(topology.keyspaces)),
            regions=_room(len(topology.regions)),
        )
    except LayoutError as error:
        raise refusal(candidate.settings.files[0], f"the statistics page cannot be made: {error}") from error


def _room(names: int) -> int:
    return min(names * SPARE_FACTOR + SPARE, max(names, PAGE_MOST))


def check_room(page: StatsPage, *candidates: Candidate) -> None:
    """Will the page take all of the names? Tried on a page of the same room. Raises ConfigError."""
    shape = page.shape
    trial = StatsPage.create(
        1, shape.shards, shape.backends, digests=2, slow=1,
        users=shape.users, keyspaces=shape.keyspaces, regions=shape.regions,
    )  # fmt: skip
    for kind in NAME_KINDS:
        trial.declare(kind, [(name.text, name.attr, name.local) for name in page.names(kind)])
    try:
        for one in candidates:
            Numbers(trial, one.generation, declare=True)
    except LayoutError as error:
        raise refusal(
            candidates[-1].settings.files[0],
            f"no room for these names beside those seen since the start: {error}. Restart to make room",
        ) from error


def declare(page: StatsPage, candidate: Candidate) -> None:
    """Makes the names the page's, with the connection limits of servers and peers."""
    topology = candidate.generation.topology
    numbers = Numbers(page, candidate.generation, declare=True)
    for server, row in zip(topology.servers, numbers.servers, strict=True):
        page.set_limit(row, topology.shards[server.shard].settings.limits.connections)
    for region in topology.peers:
        if region.peer is not None:
            page.set_limit(numbers.peers[region.name], region.peer.connections)


# --- ports --------------------------------------------------------------------------------------------------


def address_of(listener: ListenerSettings) -> Bind:
    """Of one that has a port."""
    assert listener.port is not None
    return listener.address, listener.port


def bind_admin(settings: Settings, held: Mapping[Bind, socket.socket]) -> dict[Bind, socket.socket]:
    """The sockets of the admin process: those held already, new ones for the others. Raises ConfigError."""
    from ops import http

    bound: dict[Bind, socket.socket] = {}
    for name, listener in settings.listeners.items():
        if not isinstance(listener, OF_ADMIN):
            continue
        at = address_of(listener)
        try:
            bound[at] = held.get(at) or http.bind(*at)
        except OSError as error:
            for other, sock in bound.items():
                if other not in held:
                    sock.close()
            raise ConfigError([taken(settings, name, at, error)]) from error
    return bound


def taken(settings: Settings, name: str, bind: Bind, error: OSError) -> Mistake:
    """Why a listener cannot be bound, at its line."""
    path = ("listeners", name, "port" if bind[1] else "socket")
    place = settings.places.get(path) or settings.places.get(path[:2])
    address = f"{bind[0]}:{bind[1]}" if bind[1] else bind[0]
    if error.errno == errno.EADDRINUSE:
        what = "port" if bind[1] else "path"
        message, hint = f"{address} is taken", f"Stop what listens there, or choose another {what}"
    else:
        message, hint = f"{address} cannot be bound: {error.strerror or error}", None
    return _mistake(place, path, message, hint)


def _mistake(place: Place | None, path: tuple[str, ...], message: str, hint: str | None = None) -> Mistake:
    file, line = (place.file, place.line) if place else (None, None)
    return Mistake(file, line, ".".join(path), message, hint)


def restart_only(old: Settings, new: Settings) -> Mistake | None:
    """A change that no reload can make, at its line; None when there is none."""
    if old.region == new.region:
        return None
    text = f"changes from {old.region} to {new.region}, which needs a restart"
    return _mistake(new.places.get(("region",)), ("region",), text)


def waits_for_restart(old: Settings, new: Settings) -> list[str]:
    """Settings that are accepted and count from the next start on."""
    sized = {"telemetry.digests": "digests", "telemetry.slow_entries": "slow_entries"}
    return [
        name
        for name, field in sized.items()
        if getattr(old.telemetry, field) != getattr(new.telemetry, field)
    ]

