"""What Redis Sentinel says of a primary, and whose word counts.

https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SWITCHED = b"+switch-master"
"""The channel on which sentinels tell of a failover that is done."""
_GONE = frozenset({"s_down", "o_down", "disconnected"})

Host = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Word:
    """One sentinel's. `epoch` rises with every failover, so of two words the one of the higher is newer."""

    epoch: int
    primary: Host
    replicas: tuple[Host, ...] = ()

    @classmethod
    def of(cls, primary: Sequence[bytes], replicas: Sequence[Sequence[bytes]]) -> Word:
        """From the answers to SENTINEL MASTER and SENTINEL REPLICAS. Raises KeyError, ValueError for other ones."""
        found = _pairs(primary)
        others = [_pairs(one) for one in replicas]
        alive = [one for one in others if _GONE.isdisjoint(one["flags"].split(","))]
        return cls(int(found["config-epoch"]), _host(found), tuple(sorted(map(_host, alive))))


def believed(words: Iterable[Word | None], epoch: int) -> Word | None:
    """The newest word (None: no answer); none when all are older than what was believed last, of `epoch`."""
    found = [one for one in words if one is not None and one.epoch >= epoch]
    return max(found, key=lambda one: one.epoch, default=None)


def _pairs(flat: Any) -> dict[str, str]:
    if not isinstance(flat, list):
        raise ValueError(flat)
    words = [one.decode() for one in flat]
    return dict(zip(words[::2], words[1::2], strict=True))


def _host(fields: dict[str, str]) -> Host:
    return fields["ip"], int(fields["port"])
