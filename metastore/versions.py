"""Configuration versions: numbered, content-addressed, each with who, when and why; and which one is in force.

    config/content/<sha256>      the files, compressed
    config/versions/<number>     which content, who, when, why
    config/active                the number in force, and until when it must be confirmed

Numbers only grow: going back to an old content makes a new version of it, so that "later" always means a higher
number. What is here never holds a secret: whoever publishes checks that first (`config.secrets.inline`).
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from metastore.store import MAX_VALUE, Compare, Delete, MetastoreError, Operation, Put, Store

ACTIVE, VERSIONS, CONTENT = "config/active", "config/versions/", "config/content/"
SIMULATED = "config/simulated"
"""The contents that were simulated last, each with the version that it was compared with."""
KEPT = 200
SIMULATIONS = 50
"""Versions that can be gone back to."""
MAX_BUNDLE = 64 << 20
MAX_TEXT = 500
"""Characters of who and why."""


class VersionError(MetastoreError):
    """The request does not fit what is in force."""


class Conflict(VersionError):
    """Somebody else was faster: look again."""


# --- what a version holds -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of a configuration: name -> text. `folder`: it was a folder of files, not one file."""

    files: Mapping[str, str]
    folder: bool

    @classmethod
    def of(cls, path: Path, files: tuple[Path, ...]) -> Bundle:
        """From `Settings.files` of what was loaded from `path`. Raises OSError."""
        return cls({file.name: file.read_text("utf-8-sig") for file in files}, path.is_dir())

    def plain(self) -> bytes:
        """One text for one content."""
        return json.dumps({"files": dict(self.files), "folder": self.folder}, sort_keys=True).encode()

    @property
    def digest(self) -> str:
        return sha256(self.plain()).hexdigest()

    def encode(self) -> bytes:
        """Raises VersionError when it is too large for the metastore."""
        data = zlib.compress(self.plain(), 9)
        if len(data) > MAX_VALUE:
            raise VersionError(f"the configuration is {len(data)} bytes compressed; a version has {MAX_VALUE} at most")
        return data

    @classmethod
    def decode(cls, data: bytes, digest: str) -> Bundle:
        """Raises VersionError for what is not the content with this digest."""
        try:
            unpacker = zlib.decompressobj()
            plain = json.loads(unpacker.decompress(data, MAX_BUNDLE))
            bundle = cls({str(name): str(text) for name, text in plain["files"].items()}, plain["folder"] is True)
        except (ValueError, KeyError, AttributeError, TypeError, zlib.error):
            raise VersionError(f"the content {digest[:12]} cannot be read") from None
        if bundle.digest != digest or not all(_is_file_name(name) for name in bundle.files) or not bundle.files:
            raise VersionError(f"the content {digest[:12]} is not what was published")
        return bundle

    def write(self, folder: Path) -> Path:
        """Writes the files. -> what to give to `config.load`. Raises OSError."""
        for name, text in self.files.items():
            (folder / name).write_text(text, "utf-8")
        return self.at(folder)

    def at(self, folder: Path) -> Path:
        """Where `write` puts it."""
        return folder if self.folder else folder / next(iter(self.files))


def _is_file_name(name: str) -> bool:
    """A name of the publisher's choice must not lead out of the folder."""
    return Path(name).name == name and not name.startswith(".") and name.isprintable() and len(name) < 200


@dataclass(frozen=True, slots=True)
class Version:
    """`base`: the number in force before it; `of`: the version whose content it is again, 0 for none."""

    number: int
    content: str
    who: str
    when: float
    why: str
    base: int = 0
    of: int = 0


SHADOW, WORKERS, SESSIONS = "shadow", "workers", "sessions"


@dataclass(frozen=True, slots=True)
class Trial:
    """How a version is tried before it is confirmed, while the one before it stays in force. `kind`: SHADOW, it only
    says what it would decide; WORKERS, `share` workers of each Fairlead follow it; SESSIONS, `share` percent of the
    sessions do."""

    kind: str
    share: float = 0.0

    def __str__(self) -> str:
        words = {WORKERS: f"canary in {self.share:g} workers", SESSIONS: f"canary for {self.share:g} % of the sessions"}
        return words.get(self.kind, self.kind)


@dataclass(frozen=True, slots=True)
class Active:
    """The version in force. `within`: it goes back to `previous` unless it is confirmed in so many seconds, which end
    at the Unix time `confirm_by`; both None when it stays. `trial`: it is only tried, and `previous` is in force."""

    number: int
    previous: int
    within: float | None = None
    confirm_by: float | None = None
    trial: Trial | None = None

    @property
    def confirmed(self) -> bool:
        return self.confirm_by is None

    @property
    def enforced(self) -> int:
        """The version by which everybody is served who does not take part in a trial."""
        return self.number if self.trial is None else self.previous

    def left(self, now: float) -> float:
        """Seconds to confirm it in, by a clock that may be set: never more than there were."""
        if self.confirm_by is None or self.within is None:
            return float("inf")
        return min(self.confirm_by - now, self.within)


# --- what can be done with them -----------------------------------------------------------------------------


class Versions:
    """Raises Unavailable, VersionError, Conflict."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    def active(self) -> Active | None:
        return self._active()[0]

    def version(self, number: int) -> Version:
        found = self._store.get(_version_key(number))
        if found is None:
            raise VersionError(f"there is no version {number}")
        return Version(**_decoded(found.value))

    def bundle(self, number: int) -> Bundle:
        content = self.version(number).content
        found = self._store.get(CONTENT + content)
        if found is None:
            raise VersionError(f"the content of version {number} is gone")
        return Bundle.decode(found.value, content)

    def history(self) -> list[Version]:
        """Those that are kept, the newest first."""
        return [Version(**_decoded(one.value)) for one in reversed(self._store.list(VERSIONS).items)]

    def publish(
        self,
        bundle: Bundle,
        who: str,
        why: str,
        *,
        within: float | None = None,
        on: int | None = None,
        trial: Trial | None = None,
    ) -> Version:
        """Puts a content in force, or on trial. `within`: seconds to confirm it in; `on`: the number that must still
        be in force.

        Raises VersionError while another version waits for its confirmation.
        """
        active, modified = self._active()
        if trial is not None and (active is None or within is None):
            raise VersionError("a trial needs a version that stays in force meanwhile, and a time to be confirmed in")
        if active is not None and not active.confirmed:
            raise VersionError(f"version {active.number} waits to be confirmed: confirm it or roll it back first")
        if on is not None and on != (active.number if active else 0):
            raise Conflict(f"version {active.number if active else 0} is in force meanwhile, not {on}")
        return self._put(bundle, bundle.digest, who, why, active, modified, within if active else None, 0, trial)

    def simulated(self, content: str, on: int) -> None:
        """What the content would change was seen, compared with version `on`."""
        known, modified = self._simulations()
        fresh = [[content, on], *(one for one in known if one != [content, on])][:SIMULATIONS]
        self._commit([Compare(SIMULATED, modified)], [Put(SIMULATED, json.dumps(fresh).encode())])

    def check_simulated(self, content: str, on: int) -> None:
        """Raises VersionError."""
        if [content, on] not in self._simulations()[0]:
            raise VersionError(
                f"version {on} wants what follows it to be simulated first (metastore.require_simulation): apply it "
                "with --corpus, or SIMULATE it at the console"
            )

    def _simulations(self) -> tuple[list[list[Any]], int]:
        found = self._store.get(SIMULATED)
        return ([], 0) if found is None else (json.loads(found.value), found.modified)

    def confirm(self) -> Active:
        """The version in force stays. Raises VersionError when there is nothing to confirm, or it is too late."""
        active, modified = self._active()
        if active is None or active.confirmed:
            raise VersionError("no version waits to be confirmed")
        if active.left(self._now()) <= 0:
            raise VersionError(f"version {active.number} was not confirmed in time and goes back to {active.previous}")
        stays = Active(active.number, active.previous)
        self._commit([Compare(ACTIVE, modified)], [Put(ACTIVE, _encoded(stays))])
        return stays

    def rollback(self, who: str, why: str, to: int | None = None) -> Version:
        """A new version with the content of version `to`, or of the one that was in force before this one."""
        active, modified = self._active()
        if active is None:
            raise VersionError("no version is in force")
        return self._repeat(active, modified, active.previous if to is None else to, who, why)

    def revert(self, expired: Active, who: str) -> Version:
        """What the timer does: goes back from a version that was not confirmed. Raises Conflict when it was."""
        active, modified = self._active()
        if active != expired:
            raise Conflict(f"version {expired.number} is confirmed, or no longer in force")
        why = f"version {active.number} was not confirmed within {active.within:g} s"
        return self._repeat(active, modified, active.previous, who, why)

    def _repeat(self, active: Active, modified: int, to: int, who: str, why: str) -> Version:
        if not to:
            raise VersionError(f"there is no version before {active.number}")
        if to == active.number:
            raise VersionError(f"version {to} is in force")
        return self._put(None, self.version(to).content, who, why, active, modified, None, to)

    # --- in the store ---------------------------------------------------------------------------------------

    def _active(self) -> tuple[Active | None, int]:
        found = self._store.get(ACTIVE)
        if found is None:
            return None, 0
        plain = _decoded(found.value)
        trial = plain.pop("trial", None)
        return Active(**plain, trial=Trial(**trial) if trial else None), found.modified

    def _put(
        self,
        bundle: Bundle | None,
        content: str,
        who: str,
        why: str,
        active: Active | None,
        modified: int,
        within: float | None,
        of: int,
        trial: Trial | None = None,
    ) -> Version:
        base = active.number if active else 0
        # What is gone back from is not what one would go back to.
        previous = self.version(of).base if of and active and not active.confirmed else base
        version = Version(self._newest() + 1, content, who[:MAX_TEXT], self._now(), why[:MAX_TEXT], base, of)
        fresh = Active(version.number, previous, within, version.when + within if within is not None else None, trial)
        compares = [Compare(ACTIVE, modified), Compare(_version_key(version.number), 0)]
        puts: list[Operation] = [Put(ACTIVE, _encoded(fresh)), Put(_version_key(version.number), _encoded(version))]
        known = self._store.get(CONTENT + content)
        if bundle is not None and known is None:
            puts.append(Put(CONTENT + content, bundle.encode()))
            compares.append(Compare(CONTENT + content, 0))
        elif known is not None:
            compares.append(Compare(CONTENT + content, known.modified))
        self._commit(compares, [*puts, *self._surplus(content)])
        return version

    def _commit(self, compares: list[Compare], operations: list[Operation]) -> None:
        if not self._store.txn(compares, operations).succeeded:
            raise Conflict("somebody else has changed the configuration just now: look again")

    def _newest(self) -> int:
        return max((version.number for version in self.history()), default=0)

    def _surplus(self, content: str) -> Iterator[Operation]:
        """The oldest version beyond those kept, and its content when nobody else has it."""
        history = self.history()
        if len(history) < KEPT:
            return
        oldest = history[-1]
        yield Delete(_version_key(oldest.number))
        if oldest.content not in {content, *(version.content for version in history[:-1])}:
            yield Delete(CONTENT + oldest.content)


def _version_key(number: int) -> str:
    return f"{VERSIONS}{number:010d}"


def _encoded(value: Version | Active) -> bytes:
    return json.dumps(asdict(value), sort_keys=True).encode()


def _decoded(data: bytes) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(data)
    return plain
