"""What a Redis Cluster says of itself: which node has which slots, and whose word counts.

https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from router.redis.where import SLOTS

Host = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Map:
    """By one node's word. `epoch` rises when slots change hands; `whole`: the node holds the cluster for usable.
    `nodes` in the order of their ids; `ranges`: (first slot, last slot, place in `nodes`), rising."""

    epoch: int
    whole: bool
    nodes: tuple[Host, ...]
    ranges: tuple[tuple[int, int, int], ...]
    mark: int

    @classmethod
    def of(cls, info: str, slots: Sequence[Any], asked: Host) -> Map:
        """From the answers to CLUSTER INFO and CLUSTER SLOTS. Raises KeyError, ValueError, TypeError, IndexError."""
        state = dict(line.split(":", 1) for line in info.split("\r\n") if ":" in line)
        found = sorted((int(first), int(last), _id(node), _host(node, asked)) for first, last, node, *_ in slots)
        ids = {node: host for _, _, node, host in found}
        order = sorted(ids)
        ranges = tuple((first, last, order.index(node)) for first, last, node, _ in found)
        if any(not 0 <= first <= last < SLOTS for first, last, _ in ranges):
            raise ValueError("slots")
        mark = zlib.crc32(repr((order, ranges)).encode())
        nodes = tuple(ids[node] for node in order)
        return cls(int(state["cluster_current_epoch"]), state["cluster_state"] == "ok", nodes, ranges, mark)

    def table(self, places: Mapping[Host, int]) -> bytes:
        """By slot the place of its node, as the relay takes it."""
        found = array("H", bytes(2 * SLOTS))
        for first, last, node in self.ranges:
            found[first : last + 1] = array("H", [places[self.nodes[node]]]) * (last + 1 - first)
        return found.tobytes()


def believed(words: Iterable[Map | None], current: Map | None) -> Map | None:
    """The newest of the words (None: no answer) of nodes that hold the cluster for usable, but none that is older
    than the current one. At first anybody's is better than none."""
    found = [one for one in words if one is not None and one.nodes]
    usable = [one for one in found if one.whole and (current is None or one.epoch >= current.epoch)]
    if not usable and current is None:
        usable = found
    return max(usable, key=lambda one: one.epoch, default=None)


class Turn(StrEnum):
    """What a node's error asks for."""

    MOVED = "MOVED"
    ASK = "ASK"
    LATER = "LATER"


def turn_of(reply: bytes) -> tuple[Turn, Host | None] | None:
    """-> (what to do, where); None for every other reply."""
    if reply.startswith((b"-TRYAGAIN", b"-CLUSTERDOWN")):
        return Turn.LATER, None
    words = reply.rstrip(b"\r\n").decode("latin-1").split(" ")
    if len(words) != 3 or words[0] not in ("-MOVED", "-ASK"):
        return None
    host, _, port = words[2].rpartition(":")
    return Turn(words[0][1:]), (host, int(port)) if port.isdigit() else None


def _id(node: Sequence[Any]) -> str:
    return str(node[2].decode())


def _host(node: Sequence[Any], asked: Host) -> Host:
    """A node that does not know its own address is where it was asked."""
    name = node[0].decode() if node[0] is not None else ""
    return (name if name not in ("", "?") else asked[0]), int(node[1])
