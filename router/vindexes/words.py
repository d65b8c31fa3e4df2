"""Values listed in the configuration, made canonical for the column that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from router.keys import KeyRefused, KeyType, canonical
from router.vindexes.vindex import VindexMismatch

Words = tuple[tuple[str, int], ...]
"""(value as written, what it stands for), in the order of the file."""


@lru_cache(maxsize=256)
def canonical_words(words: Words, key_type: KeyType) -> Mapping[bytes, int]:
    """Canonical bytes -> what the word stands for.

    Raises VindexMismatch when a word is no value of such a column, or when the column finds two words equal
    that stand for different things.
    """
    found: dict[bytes, int] = {}
    for word, meaning in words:
        try:
            data = canonical(word, key_type)
        except KeyRefused as reason:
            raise VindexMismatch(f"the value {word!r} cannot be a key of this column: {reason}") from None
        if found.setdefault(data, meaning) != meaning:
            raise VindexMismatch(f"the value {word!r} equals another one in this column")
    return MappingProxyType(found)
