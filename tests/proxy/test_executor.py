"""Statements of several shards, on scripted leases: what the client is told, and what is done to whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from config.words import MultiShardWrites
from proxy.mysql.constants import collations
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import EofPacket, ErrPacket, OkPacket
from proxy.mysql.packets.resultset import ColumnDefinition41, text_resultset
from proxy.mysql.wire import HEADER_SIZE, frame
from proxy.scatter.executor import Executor, sum_infos
from proxy.sessions.session import Session
from router import plan as plans
from router.errors import Refusal
from router.plan import Facts, Planned

HANDLE = 11
CAPABILITIES = Capability.PROTOCOL_41
DEADLOCK = frame(ErrPacket(1213, "40001", "Deadlock").build(), 1)
COMMIT = b"COMMIT AND NO CHAIN NO RELEASE"
INFO = {"trx": 0, "autocommit": True, "pins": 0, "shard": -1, "status": int(Status.AUTOCOMMIT)}
WRITE = Planned(plans.MultiWrite("shop", ("a", "b")), Facts("update", writes=True))


def ok(rows: int, *, insert_id: int = 0, warnings: int = 0, info: bytes = b"") -> bytes:
    packet = OkPacket(affected_rows=rows, last_insert_id=insert_id, warnings=warnings, info=info)
    return frame(packet.build(CAPABILITIES), 1)


def result(names: list[str], rows: list[list[Any]], capabilities: Capability = CAPABILITIES) -> bytes:
    columns = [ColumnDefinition41.string(name, 45) for name in names]
    return text_resultset(columns, rows, capabilities, Status.AUTOCOMMIT)


class FakeLease:
    """Answers by what was said: {statement: response}. `lost`: it broke off during this one."""

    def __init__(self, log: list[str], name: str, answers: dict[bytes, bytes], lost: bytes = b"") -> None:
        self._log, self._name, self._answers, self._lost = log, name, answers, lost
        self.lost = False
        self._answer = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *why: object) -> None:
        self._log.append(f"{self._name}: closed")

    def submit(self, shard: int, payload: bytes, flags: int = 0, *what: Any, **more: Any) -> None:
        text = payload[1:]
        self._log.append(f"{self._name}: {text.decode()}")
        self._answer = self._answers.get(text, ok(0))
        self.lost = text == self._lost

    async def collect(self) -> bytes:
        await asyncio.sleep(0)
        return DEADLOCK if self.lost else self._answer

    async def stream(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._answer), 7):
            yield self._answer[at : at + 7]


class FakeWorker:
    """The executor's surroundings: two shards, one session, a client that takes everything."""

    def __init__(self, leases: dict[str, tuple[dict[bytes, bytes], bytes]], info: dict[str, Any] | None = None) -> None:
        self.log: list[str] = []
        self.sent = bytearray()
        self.replies: list[tuple[bytes, dict[str, Any]]] = []
        self.refused: list[Refusal] = []
        self.info = INFO | (info or {})
        self._leases = {name: FakeLease(self.log, name, *script) for name, script in leases.items()}
        names = list(leases)
        self.compiler = SimpleNamespace(shard=names.index)
        self.lease = lambda session, number: self._leases[names[number]]
        self.shard_of_number = lambda number: SimpleNamespace(name=names[number])
        self.relay = SimpleNamespace(info=lambda handle: self.info, reply=self._reply)
        self.dispatcher = SimpleNamespace(spawn=self._spawn, drained=self._drained, see_through=self._see_through)
        self.loop_block = SimpleNamespace(error=lambda name: None)
        self.auditor = SimpleNamespace(want=lambda *what: None)  # no record to be left
        self.is_local = lambda name: True
        keyspace = SimpleNamespace(multi_shard_writes=MultiShardWrites.BEST_EFFORT)
        self.generation = SimpleNamespace(topology=SimpleNamespace(keyspace=lambda name: keyspace))
        self._work: Any = None

    def _reply(self, handle: int, packets: bytes, **how: Any) -> bool:
        self.replies.append((packets, how))
        return True

    def _see_through(self, handle: int) -> None:
        self.log.append("seen through")

    async def _drained(self, handle: int, packets: bytes) -> bool:
        self.sent += packets
        return True

    def _spawn(self, handle: int, work: Any) -> None:
        self._work = work

    def carry_out(self, planned: Planned, shards: tuple[str, ...], deprecate: bool = False) -> None:
        async def inside() -> None:
            capabilities = CAPABILITIES | (Capability.DEPRECATE_EOF if deprecate else Capability(0))
            executor = Executor(cast(Any, self))
            found = SimpleNamespace(fingerprint=0)
            executor.begin(HANDLE, session(capabilities), b"DO IT", found, planned, planned.plan, shards, None)
            try:
                await self._work
            except Refusal as error:
                self.refused.append(error)

        asyncio.run(inside())

    @property
    def answer(self) -> bytes:
        assert len(self.replies) == 1
        return bytes(self.sent) + self.replies[0][0]


def session(capabilities: Capability = CAPABILITIES) -> Session:
    collation = collations.by_name("utf8mb4_general_ci", "mariadb")
    assert collation is not None
    return Session(HANDLE, 1, "demo", "localhost", capabilities, collation, "mysql")


# --- reads -----------------------------------------------------------------------------------------------------

SCATTER = Planned(plans.Scatter("shop", ("a", "b")), Facts("select", reads=True))


@pytest.mark.parametrize("deprecate", [False, True])
def test_rows_of_all_shards_are_one_answer(deprecate: bool) -> None:
    capabilities = CAPABILITIES | (Capability.DEPRECATE_EOF if deprecate else Capability(0))
    parts: list[list[list[Any]]] = [[["1", None], ["2", "x" * 300]], [], [["3", "y"]]]
    scripts = {
        name: ({b"DO IT": result(["id", "name"], rows, capabilities)}, b"")
        for name, rows in zip("abc", parts, strict=True)
    }
    worker = FakeWorker(scripts)
    worker.carry_out(SCATTER, ("a", "b", "c"), deprecate)
    assert worker.answer == result(["id", "name"], [row for part in parts for row in part], capabilities)
    assert worker.log[-3:] == ["c: closed", "b: closed", "a: closed"]


def test_shards_whose_columns_differ_are_refused_not_mixed() -> None:
    scripts = {
        "a": ({b"DO IT": result(["id"], [["1"]])}, b""),
        "b": ({b"DO IT": result(["number"], [["2"]])}, b""),
    }
    worker = FakeWorker(scripts)
    worker.carry_out(SCATTER, ("a", "b"))
    assert b"a and b" in worker.answer and worker.replies[0][1]["error"]


def test_an_error_in_mid_answer_ends_it_in_sequence() -> None:
    scripts = {"a": ({b"DO IT": result(["id"], [["1"]])}, b""), "b": ({b"DO IT": DEADLOCK}, b"")}
    worker = FakeWorker(scripts)
    worker.carry_out(SCATTER, ("a", "b"))
    packets = worker.replies[0][0]
    assert packets[HEADER_SIZE:] == DEADLOCK[HEADER_SIZE:]
    assert packets[3] == 5, "behind the count, a definition, its EOF and a row"


def test_an_answer_that_breaks_off_is_an_error() -> None:
    whole = result(["id"], [["1"]])
    eof = frame(EofPacket(0, Status.AUTOCOMMIT).build(), 5)
    worker = FakeWorker({"a": ({b"DO IT": whole[: -len(eof)]}, b""), "b": ({}, b"")})
    worker.carry_out(SCATTER, ("a", "b"))
    assert b"broke off" in worker.answer and worker.replies[0][1]["error"]


# --- writes ----------------------------------------------------------------------------------------------------


def test_a_write_is_begun_executed_and_committed_everywhere() -> None:
    scripts = {
        "a": ({b"DO IT": ok(2, warnings=1, info=b"Rows matched: 3  Changed: 2  Warnings: 1")}, b""),
        "b": ({b"DO IT": ok(1, insert_id=9, info=b"Rows matched: 1  Changed: 1  Warnings: 0")}, b""),
    }
    worker = FakeWorker(scripts)
    worker.carry_out(WRITE, ("a", "b"))
    said = OkPacket.parse(worker.answer[HEADER_SIZE:], CAPABILITIES)
    assert (said.affected_rows, said.last_insert_id, said.warnings) == (3, 9, 1)
    assert said.info == b"Rows matched: 4  Changed: 3  Warnings: 1"
    assert worker.replies[0][1] == {"affected": 3, "insert_id": 0, "warnings": 1}, "it was not made by a server"
    assert worker.log == [
        "a: BEGIN", "b: BEGIN", "a: DO IT", "b: DO IT", "seen through",
        f"a: {COMMIT.decode()}", f"b: {COMMIT.decode()}", "b: closed", "a: closed",
    ]  # fmt: skip


def test_copies_of_a_reference_table_count_once() -> None:
    planned = Planned(plans.MultiWrite("shop", ("a", "b"), sum_rows=False), Facts("update", writes=True))
    worker = FakeWorker({name: ({b"DO IT": ok(2)}, b"") for name in "ab"})
    worker.carry_out(planned, ("a", "b"))
    assert worker.replies[0][1]["affected"] == 2


def test_an_error_of_one_rolls_all_back() -> None:
    worker = FakeWorker({"a": ({b"DO IT": ok(1)}, b""), "b": ({b"DO IT": DEADLOCK}, b"")})
    worker.carry_out(WRITE, ("a", "b"))
    assert worker.answer == DEADLOCK and worker.replies[0][1] == {"error": True}
    for name in ("a", "b"):
        assert f"{name}: ROLLBACK AND NO CHAIN NO RELEASE" in worker.log
    assert not any("COMMIT" in one for one in worker.log)


def test_a_begin_that_fails_is_the_last_thing_sent() -> None:
    worker = FakeWorker({"a": ({b"BEGIN": DEADLOCK}, b""), "b": ({}, b"")})
    worker.carry_out(WRITE, ("a", "b"))
    assert worker.answer == DEADLOCK and worker.log == ["a: BEGIN", "b: closed", "a: closed"]


@pytest.mark.parametrize(
    ("a", "b", "entry", "text"),
    [
        (({COMMIT: DEADLOCK}, b""), ({}, b""), "PARTIAL_COMMIT", "committed on b but not on a."),
        (({}, b""), ({}, COMMIT), "PARTIAL_COMMIT", "committed on a but not on b (outcome unknown)"),
        (({}, COMMIT), ({}, COMMIT), "COMMIT_UNKNOWN", "a, b"),
        (({}, COMMIT), ({COMMIT: DEADLOCK}, b""), "PARTIAL_COMMIT", "no shard but not on a (outcome unknown), b"),
    ],
)
def test_what_is_known_of_commits_that_failed(
    a: tuple[dict[bytes, bytes], bytes], b: tuple[dict[bytes, bytes], bytes], entry: str, text: str
) -> None:
    worker = FakeWorker({"a": a, "b": b})
    worker.carry_out(WRITE, ("a", "b"))
    assert not worker.replies and [one.entry.name for one in worker.refused] == [entry]
    assert text in worker.refused[0].message


@pytest.mark.parametrize(
    ("info", "entry"),
    [
        ({"pins": 1, "shard": 0}, "PINNED_SESSION"),
    ],
)
def test_sessions_that_are_bound_to_a_shard_are_refused(info: dict[str, Any], entry: str) -> None:
    worker = FakeWorker({"a": ({}, b""), "b": ({}, b"")}, info)
    with pytest.raises(Refusal) as refused:
        worker.carry_out(WRITE, ("a", "b"))
    assert refused.value.entry.name == entry and worker.log == []


ABOUT_ONE_CONNECTION = [Facts("select", pins=("user_variable",)), Facts("update", needs_last_insert_id=True)]


@pytest.mark.parametrize("facts", ABOUT_ONE_CONNECTION)
def test_nothing_about_one_connection_goes_to_several(facts: Facts) -> None:
    worker = FakeWorker({"a": ({}, b""), "b": ({}, b"")})
    with pytest.raises(Refusal):
        worker.carry_out(Planned(SCATTER.plan, facts), ("a", "b"))


@pytest.mark.parametrize(
    ("infos", "total"),
    [
        ([], b""),
        ([b"", b""], b""),
        ([b"Records: 2  Duplicates: 1  Warnings: 0"] * 2, b"Records: 4  Duplicates: 2  Warnings: 0"),
        ([b"Rows matched: 1  Changed: 0  Warnings: 0", b""], b""),
        ([b"Rows matched: 1", b"Records: 1"], b""),
    ],
)
def test_infos_are_added_where_their_words_agree(infos: list[bytes], total: bytes) -> None:
    assert sum_infos(infos) == total
