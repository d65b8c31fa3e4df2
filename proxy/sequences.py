"""Blocks of ids: each worker reserves some at a time in a table on a shard, and gives them out by itself.

The block is the worker's once the shard has committed it; what is not given out is a gap, as InnoDB leaves them. A
sequence is made when it is first asked for, behind the highest id that the shards hold then.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from _speedups.packet import split_packets
from proxy.mysql.packets.replies import ErrPacket, OkPacket
from proxy.mysql.packets.resultset import parse_text_row
from proxy.mysql.wire import HEADER_SIZE
from proxy.scatter.leases import Lease, is_error
from proxy.sessions.session import Session
from router.errors import Refusal, refusal
from router.ids import DEFINITION, TABLE, Sequence
from router.tokens import quoted
from router.topology import Table

if TYPE_CHECKING:
    from proxy.worker import Worker

NO_SUCH_TABLE = 1146
WRITES = 2
"""The relay's plan flag."""
ATTEMPTS = 3


@dataclass(slots=True)
class Block:
    """Counts [next, end) of a sequence are this worker's."""

    next: int = 0
    end: int = 0


class Sequences:
    """One worker's blocks, of the tables whose ids it gives."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._blocks: dict[tuple[str, Sequence], Block] = {}
        self._locks: dict[tuple[str, Sequence], asyncio.Lock] = {}

    def take_now(self, table: Table, count: int) -> int | None:
        """The first of `count` ids in a row; None when the block has not so many. Raises Refusal."""
        sequence = self._sequence(table)
        block = self._blocks.setdefault((str(table), sequence), Block())
        if block.end - block.next < count:
            return None
        first = block.next
        block.next += count
        self._worker.loop_block.add("ids_given", count)
        return sequence.base + first

    async def take(self, session: Session, table: Table, count: int) -> int:
        """The same, with a new block if need be. Raises Refusal."""
        key = (str(table), self._sequence(table))
        async with self._locks.setdefault(key, asyncio.Lock()):
            first = self.take_now(table, count)
            if first is None:
                self._add(key, await self._reserve(session, table, count))
                first = self.take_now(table, count)
        assert first is not None
        return first

    def _add(self, key: tuple[str, Sequence], fresh: Block) -> None:
        """What is left of the block before goes on into one that follows it, else it is a gap."""
        before = self._blocks[key]
        self._blocks[key] = Block(before.next, fresh.end) if before.end == fresh.next else fresh

    def _sequence(self, table: Table) -> Sequence:
        assert table.ids is not None
        region = self._worker.generation.topology.region.name
        sequence = table.ids.sequences.get(region)
        if sequence is None:
            raise refusal("AUTO_INCREMENT_ELSEWHERE", table.name, region, ", ".join(table.ids.sequences))
        return sequence

    async def _reserve(self, session: Session, table: Table, count: int) -> Block:
        sequence, ids = self._sequence(table), table.ids
        assert ids is not None
        size = max(ids.size, count)
        number = self._worker.compiler.shard(sequence.shard)
        async with self._worker.lease(session, number, state=session.initial) as lease:
            for _ in range(ATTEMPTS):
                first = await self._advance(lease, number, table, sequence, size)
                if first is not None:
                    self._worker.loop_block.add("id_blocks")
                    return Block(first, first + size)
                await self._create(session, lease, number, table, sequence)
        raise refusal("SEQUENCE_FAILED", table.name, sequence.shard, "it cannot be made")

    async def _advance(
        self, lease: Lease, number: int, table: Table, sequence: Sequence, size: int
    ) -> int | None:  # fmt: skip
        """The first count of a new block; None when there is no such sequence yet. Raises Refusal."""
        answer = await lease.command(
            number,
            _text(
                f"UPDATE {_place(table)} SET next_id = LAST_INSERT_ID(next_id) + {size} "
                f"WHERE name = {_name(table)} AND next_id <= {max(sequence.room - size, 0)}"
            ),
            WRITES,
        )
        if _errno(answer) == NO_SUCH_TABLE:
            return None
        ok = _ok(lease, answer, table, sequence.shard)
        if ok.affected_rows:
            return ok.last_insert_id
        answer = await lease.command(number, _text(f"SELECT next_id FROM {_place(table)} WHERE name = {_name(table)}"))
        found = _value(answer, table, sequence.shard)
        if found is not None and int(found) > max(sequence.room - size, 0):
            raise refusal("SEQUENCE_EXHAUSTED", table.name, sequence.shard)
        return None  # or another worker has made it since

    async def _create(
        self, session: Session, lease: Lease, number: int, table: Table, sequence: Sequence
    ) -> None:  # fmt: skip
        """Behind the highest id that there is. Raises Refusal."""
        database = quoted(table.keyspace)
        answer = await lease.command(number, _text(DEFINITION.replace(TABLE, f"IF NOT EXISTS {database}.{TABLE}")))
        if is_error(answer) and not await self._is_there(lease, number, table):
            raise refusal("SEQUENCE_TABLE", table.keyspace, sequence.shard, DEFINITION)
        first = max([1, *[await self._behind(session, name, table, sequence) for name in self._shards(table)]])
        answer = await lease.command(
            number, _text(f"INSERT IGNORE INTO {_place(table)} VALUES ({_name(table)}, {first})"), WRITES
        )
        _ok(lease, answer, table, sequence.shard)

    async def _is_there(self, lease: Lease, number: int, table: Table) -> bool:
        return not is_error(await lease.command(number, _text(f"SELECT 1 FROM {_place(table)} LIMIT 0")))

    def _shards(self, table: Table) -> list[str]:
        shards = self._worker.generation.topology.shards
        return [shards[index].name for index in table.shards]

    async def _behind(self, session: Session, shard: str, table: Table, sequence: Sequence) -> int:
        """The first count that no row of the shard has. Raises Refusal."""
        assert table.ids is not None
        column, number = quoted(table.ids.column), self._worker.compiler.shard(shard)
        last = sequence.base + sequence.room - 1
        text = (
            f"SELECT MAX({column}) FROM {quoted(table.keyspace)}.{quoted(table.name)} "
            f"WHERE {column} BETWEEN {sequence.base + 1} AND {last}"
        )
        async with self._worker.lease(session, number, state=session.initial) as lease:
            found = _value(await lease.command(number, _text(text)), table, shard)
        return 1 if found is None else int(found) - sequence.base + 1


def _text(sql: str) -> bytes:
    return b"\x03" + sql.encode()


def _place(table: Table) -> str:
    return f"{quoted(table.keyspace)}.{TABLE}"


def _name(table: Table) -> str:
    """In digits, which are the same in every character set."""
    return f"X'{table.name.encode().hex()}'"


def _errno(answer: bytes) -> int:
    return ErrPacket.parse(answer[HEADER_SIZE:]).errno if is_error(answer) else 0


def _ok(lease: Lease, answer: bytes, table: Table, shard: str) -> OkPacket:
    if is_error(answer):
        raise _failed(answer, table, shard)
    return OkPacket.parse(answer[HEADER_SIZE:], lease.capabilities)


def _value(answer: bytes, table: Table, shard: str) -> bytes | None:
    """The one value of the one row, None for NULL or no row."""
    if is_error(answer):
        raise _failed(answer, table, shard)
    packets = [payload for _, payload in split_packets(answer)]
    rows = [one for one in packets[2:] if one[:1] not in (b"\xfe", b"\x00")]
    return parse_text_row(rows[0])[0] if rows else None


def _failed(answer: bytes, table: Table, shard: str) -> Refusal:
    return refusal("SEQUENCE_FAILED", table.name, shard, ErrPacket.parse(answer[HEADER_SIZE:]).message)
