"""A small Redis Cluster: primaries that share the slots, and replicas behind the first of them."""

import binascii
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from loadtest.world.redis import Redis
from loadtest.world.sentinel import until

SLOTS = 16384
NODE_TIMEOUT_MS = 1500


class RedisCluster:
    """`ports`: two for each node, the second for the nodes among themselves."""

    def __init__(self, directory: Path, ports: Sequence[int], *, replicas: int = 0, durable: bool = False):
        self.nodes = [
            _node(directory, port, bus, durable) for port, bus in zip(ports[::2], ports[1::2], strict=True)
        ]
        self.primaries = self.nodes[: len(self.nodes) - replicas]
        self.replicas = self.nodes[len(self.primaries) :]

    def start(self) -> None:
        """Every node knows all, and the cluster takes requests, when it returns."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_ready()
        for number, node in enumerate(self.primaries):
            first, behind = (SLOTS * one // len(self.primaries) for one in (number, number + 1))
            _right(node, "CLUSTER", "ADDSLOTSRANGE", str(first), str(behind - 1))
            _right(node, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node, bus in ((one, one.bus) for one in self.nodes[1:]):
            _right(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", str(node.port), str(bus))
        until(lambda: all(_known(node) == len(self.nodes) for node in self.nodes))
        for node in self.replicas:
            until(partial(_follows, node, id_of(self.primaries[0])))
        until(self.is_whole)

    def is_whole(self) -> bool:
        """Do all living nodes take requests?"""
        return all(b"cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in self.nodes if node.alive)

    def owner(self, slot: int) -> Redis:
        """The slot's node, as the first living one knows it."""
        asked = next(node for node in self.nodes if node.alive)
        for line in asked.ask("CLUSTER", "NODES").decode().splitlines():
            words = line.split(" ")
            if len(words) > 8 and any(_holds(one, slot) for one in words[8:]):
                port = int(words[1].partition("@")[0].rpartition(":")[2])
                return next(node for node in self.nodes if node.port == port)
        raise LookupError(slot)

    def begin_move(self, slot: int, target: Redis) -> Redis:
        """The slot's keys may leave its node, which is returned."""
        source = self.owner(slot)
        _right(target, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", id_of(source))
        _right(source, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", id_of(target))
        return source

    def move_keys(self, source: Redis, slot: int, target: Redis, most: int = 1_000_000) -> int:
        """How many have left."""
        moved = 0
        while moved < most:
            keys = source.ask("CLUSTER", "GETKEYSINSLOT", str(slot), str(min(10, most - moved))).split(b"\r\n")[2::2]
            if not keys:
                break
            names = [one.decode() for one in keys]
            _right(source, "MIGRATE", "127.0.0.1", str(target.port), '""', "0", "5000", "KEYS", *names)
            moved += len(names)
        return moved

    def end_move(self, source: Redis, slot: int, target: Redis) -> None:
        for node in (target, source):
            _right(node, "CLUSTER", "SETSLOT", str(slot), "NODE", id_of(target))

    def move(self, slot: int, target: Redis) -> None:
        """The whole of it, live, as redis-cli --cluster reshard does."""
        source = self.begin_move(slot, target)
        self.move_keys(source, slot, target)
        self.end_move(source, slot, target)

    def empty(self) -> None:
        """Replicas refuse it, and follow."""
        for node in self.nodes:
            if node.alive:
                node.empty()

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


class Node(Redis):
    """`bus`: its port for other nodes."""

    bus = 0


def slot_of(key: str) -> int:
    """Of a key without a hash tag, or of a tag."""
    return binascii.crc_hqx(key.encode(), 0) % SLOTS


def id_of(node: Redis) -> str:
    return node.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode()


def _node(directory: Path, port: int, bus: int, durable: bool) -> Node:
    options: Iterable[str] = (
        "--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{port}.conf", "--cluster-port", str(bus),
        "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--repl-diskless-sync-delay", "0",
        "--cluster-replica-validity-factor", "0",
    )  # fmt: skip
    node = Node(f"node-{port}", directory, port=port, durable=durable, extra=tuple(options))
    node.bus = bus
    return node


def _follows(node: Redis, primary: str) -> bool:
    """Once it has heard of the primary."""
    return node.ask("CLUSTER", "REPLICATE", primary).startswith(b"+OK")


def _known(node: Redis) -> int:
    lines = node.ask("CLUSTER", "NODES").decode().splitlines()
    return sum("handshake" not in line and "@" in line for line in lines)


def _holds(word: str, slot: int) -> bool:
    if word.startswith("["):
        return False
    first, _, last = word.partition("-")
    return int(first) <= slot <= int(last or first)


def _right(node: Redis, *words: str) -> None:
    """Raises RuntimeError for an error."""
    reply = node.ask(*words)
    if reply[:1] != b"+":
        raise RuntimeError(f"{words}: {reply.decode()}")
