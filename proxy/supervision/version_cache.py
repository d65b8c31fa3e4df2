"""Versions of the metastore as files of this host, so that workers read them and starts need no metastore.

    <folder>/<digest>/…                 the files of a content
    <folder>/in-force.<region>.json     the version that this region's Fairlead last had in force everywhere
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from metastore.versions import Bundle

KEPT = 10
"""Contents that stay on the disk, the latest used."""
MARK = "in-force"


@dataclass(frozen=True, slots=True)
class Cached:
    """A version that can be read: its number, its content, and what to give to `config.load`."""

    number: int
    digest: str
    path: Path


class VersionCache:
    """Raises OSError."""

    def __init__(self, folder: Path, region: str) -> None:
        self._folder = folder
        self._mark = folder / f"{MARK}.{region}.json"

    def keep(self, number: int, bundle: Bundle) -> Cached:
        """Writes a content, if it is not there yet: whole or not at all."""
        digest = bundle.digest
        home = self._folder / digest
        if home.exists():
            os.utime(home)
        else:
            self._write(home, bundle)
            self._forget_old()
        return Cached(number, digest, bundle.at(home))

    def _write(self, home: Path, bundle: Bundle) -> None:
        fresh = self._folder / f".{home.name}.{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(0o700, parents=True)
        bundle.write(fresh)
        try:
            fresh.rename(home)
        except OSError:
            # Another Fairlead of this host was faster.
            shutil.rmtree(fresh, ignore_errors=True)
            if not home.exists():
                raise

    def _forget_old(self) -> None:
        """All but the latest used, and never what some region has in force."""
        marked = {found.digest for mark in self._folder.glob(f"{MARK}.*.json") if (found := self._read(mark))}
        homes = [one for one in self._folder.iterdir() if one.is_dir() and len(one.name) == 64]
        for home in sorted(homes, key=lambda one: -one.stat().st_mtime)[KEPT:]:
            if home.name not in marked:
                shutil.rmtree(home, ignore_errors=True)

    def mark(self, version: Cached) -> None:
        """This one is in force."""
        plain = {"number": version.number, "digest": version.digest, "path": str(version.path)}
        fresh = self._mark.with_suffix(".new")
        fresh.write_text(json.dumps(plain))
        fresh.rename(self._mark)

    def marked(self) -> Cached | None:
        """The version last marked, if its files are still there."""
        return self._read(self._mark)

    def _read(self, mark: Path) -> Cached | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            plain = json.loads(mark.read_text())
            found = Cached(int(plain["number"]), str(plain["digest"]), Path(plain["path"]))
            return found if found.path.exists() else None
        return None
