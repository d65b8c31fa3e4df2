"""Collects the mistakes of a configuration while it is read, with the lines that they are on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from config.errors import ConfigError, Mistake, Place

KeyPath = tuple[str, ...]
"""Where a value stands: ('shards', 'eu-0', 'replicas', '0')."""


class Findings:
    """Mistakes so far, and the line of every key seen. An absent key's mistake is on its parent's line."""

    def __init__(self) -> None:
        self.places: dict[KeyPath, Place] = {}
        self._names: dict[KeyPath, list[str]] = {}
        self._mistakes: dict[Mistake, None] = {}
        self._wrong: set[KeyPath] = set()

    def saw(self, path: KeyPath, place: Place) -> None:
        """Notes the line of a key; of one that was seen already, the first."""
        if path not in self.places:
            self.places[path] = place
            self._names.setdefault(path[:-1], []).extend(path[-1:])

    def place_of(self, path: KeyPath) -> Place | None:
        """The line of a key, or of its nearest parent."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places.get(path)

    def add(self, path: KeyPath, message: str, hint: str | None = None) -> None:
        place = self.place_of(path)
        self.add_at(place, path, message, hint)

    def add_at(self, place: Place | None, path: KeyPath, message: str, hint: str | None = None) -> None:
        file, line = (place.file, place.line) if place else (None, None)
        self._mistakes[Mistake(file, line, dotted(path), message, hint)] = None
        self._wrong.update(path[:depth] for depth in range(len(path) + 1))

    def declared(self, *path: str) -> list[str]:
        """The names written under a key, whether or not what they hold could be read."""
        return list(self._names.get(path, ()))

    def wrong(self, path: KeyPath) -> bool:
        """Has a mistake been found at this key or below it? Then what follows from it is not reported."""
        return path in self._wrong

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """In the order of the files and their lines."""
        return tuple(sorted(self._mistakes, key=lambda one: (str(one.file or ""), one.line or 0)))

    def raise_if_any(self) -> None:
        if self._mistakes:
            raise ConfigError(self.mistakes)


def dotted(path: KeyPath) -> str:
    """'keyspaces.shop.shards[2]': list positions in brackets, names with dots or spaces in quotes."""
    text = ""
    for part in path:
        if part.startswith("["):
            text += part
        elif text:
            text += "." + _quoted(part)
        else:
            text = _quoted(part)
    return text


def item(index: int) -> str:
    """The path element of a list position."""
    return f"[{index}]"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """'Did you mean …?' for a misspelt name, or None when nothing is near."""
    found = difflib.get_close_matches(name.lower(), {one.lower(): one for one in known}, 1, 0.6)
    if not found:
        return None
    return next(f"Did you mean {one}?" for one in known if one.lower() == found[0])


def near_or_known(name: str, known: Iterable[str], what: str) -> str:
    """The nearest name, or else the list of the known ones."""
    names = list(known)
    return nearest(name, names) or (f"{what}: {listed(names)}" if names else f"There are no {what.lower()}")


def listed(names: Iterable[str], most: int = 20) -> str:
    """'a, b, c', cut after `most`."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _quoted(part: str) -> str:
    if not part.isprintable():
        return repr(part)
    return f'"{part}"' if any(character in part for character in '. []"') or not part else part


def unreadable(file: Path, reason: str) -> ConfigError:
    """The error of a file that could not be read at all."""
    return ConfigError([Mistake(file, None, "", reason)])
