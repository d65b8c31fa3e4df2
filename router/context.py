"""What a statement is planned against: one immutable value per session state and configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from router.policy.model import Policy, Subject
from router.privileges import Grants
from router.schema import SchemaSnapshot
from router.topology import Keyspace, Shard, Topology

Completion: TypeAlias = Literal["NO_CHAIN", "CHAIN", "RELEASE"]
"""The values of completion_type."""

ALL_HINTS = frozenset({"shard", "consistency", "scatter", "max_lag"})


@dataclass(frozen=True, slots=True)
class Context:
    """`database`: the session's keyspace. `mode`: the lexer's mode bits. `hints`: those the user may give.

    `schemas`: the live schema per keyspace. `offline`: there are no servers to ask (`fairlead explain`), so
    declared types stand in for a missing schema; otherwise a sharded keyspace without one is refused.
    `policy` in force, if any, and who asks (`subject`). `bound`: the statement is one shard's part of a larger one,
    and somebody else puts the answers together. `numbered`: the ids of its rows have been written into it, in `fresh`
    ones all of them just now. `timed`: one time is set on all shards, whose statement it is a part of.
    `completion`: what COMMIT and ROLLBACK do that say nothing of it.
    """

    topology: Topology
    grants: Grants
    database: str | None = None
    mode: int = 0
    schemas: Mapping[str, SchemaSnapshot] = field(default_factory=lambda: MappingProxyType({}))
    offline: bool = False
    hints: frozenset[str] = ALL_HINTS
    policy: Policy | None = None
    subject: Subject | None = None
    bound: bool = False
    numbered: Literal["fresh", "given"] | None = None
    timed: bool = False
    completion: Completion = "NO_CHAIN"

    @property
    def keyspace(self) -> Keyspace | None:
        """The session's keyspace, when it is still configured."""
        return self.topology.keyspace(self.database) if self.database is not None else None


def shard_names(shards: tuple[Shard, ...]) -> tuple[str, ...]:
    return tuple(shard.name for shard in shards)
