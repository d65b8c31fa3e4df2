"""That a client of the soak notices what a faulty proxy would do to it."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from loadtest.bench.packets import ConnectionLost, ServerError, packet
from loadtest.bench.sysbench import Endpoint
from loadtest.soak.doom import Doom, Means, Moment
from loadtest.soak.journal import Journal
from loadtest.soak.session import Killed, Session
from tests.loadtest.bench.fake_mysql import OK, PASSWORD, FakeMysql, error, result_set


def converse(server: FakeMysql, use: Callable[[Session], Awaitable[None]]) -> Journal:
    journal = Journal()

    async def with_port(port: int) -> None:
        session = await Session.open(7, "s0", Endpoint("127.0.0.1", port, "u", PASSWORD, "d"), journal)
        try:
            await use(session)
        finally:
            session.drop()

    asyncio.run(asyncio.wait_for(server.serve(with_port), 10))
    return journal


def echo(command: bytes) -> bytes:
    """Answers with the marker that was sent, as an honest server does."""
    found = re.search(rb"'(marker-[^']*)'", command)
    return result_set([b"m"], [[found.group(1)]]) if found else packet(OK, 1)


async def ask(session: Session) -> None:
    await session.marked("SELECT '{marker}'", bound=False)


def test_own_marker_is_no_finding() -> None:
    journal = converse(FakeMysql(echo), ask)
    assert not journal.faults
    assert journal.statements == 1


def test_markers_are_never_used_twice() -> None:
    server = FakeMysql(echo)

    async def use(session: Session) -> None:
        for _ in range(5):
            await ask(session)

    converse(server, use)
    assert len(set(server.commands)) == 5


@pytest.mark.parametrize(
    "answer",
    [
        result_set([b"m"], [[b"marker-8-1"]]),
        result_set([b"m"], [[b"marker-7-0"]]),
        result_set([b"m"], [[b"marker-7-1"], [b"marker-8-1"]]),
        packet(OK, 1),
    ],
    ids=["another client's", "an earlier answer", "one row too many", "an OK instead of rows"],
)
def test_a_foreign_answer_is_found(answer: bytes) -> None:
    assert len(converse(FakeMysql(lambda _: answer), ask).faults.foreign) == 1


def test_rows_where_an_ok_belongs_are_found() -> None:
    async def use(session: Session) -> None:
        await session.plain("COMMIT")

    assert len(converse(FakeMysql(lambda _: result_set([b"m"], [[b"x"]])), use).faults.foreign) == 1


def test_an_error_is_handed_on() -> None:
    async def use(session: Session) -> None:
        with pytest.raises(ServerError):
            await ask(session)
        assert session.bound is None

    assert not converse(FakeMysql(lambda _: error(1105, b"HY000", b"FL1301: x")), use).faults


def test_death_between_statements_sends_nothing_more() -> None:
    server = FakeMysql(echo)

    async def use(session: Session) -> None:
        await ask(session)
        session.doom = Doom(Means.RST, Moment.IDLE, 0.0)
        with pytest.raises(Killed):
            await ask(session)
        assert session.sent == 1

    journal = converse(server, use)
    assert journal.kills == {"RST, idle": 1}
    assert len(server.commands) == 1


def test_death_waits_for_its_moment() -> None:
    async def use(session: Session) -> None:
        session.doom = Doom(Means.FIN, Moment.IDLE_IN_TRANSACTION, 0.0)
        await ask(session)
        session.in_transaction = True
        with pytest.raises(Killed):
            await ask(session)

    assert converse(FakeMysql(echo), use).kills == {"FIN, idle in transaction": 1}


def test_death_amid_a_query() -> None:
    server = FakeMysql(lambda _: b"")

    async def use(session: Session) -> None:
        session.doom = Doom(Means.FIN, Moment.MID_QUERY, 0.01)
        with pytest.raises(Killed):
            await ask(session)
        assert session.sent == 1

    assert converse(server, use).kills == {"FIN, mid-query": 1}


def test_an_answer_before_death_is_a_reprieve() -> None:
    async def use(session: Session) -> None:
        session.doom = Doom(Means.RST, Moment.MID_QUERY, 5.0)
        await ask(session)
        assert session.doom is not None and session.doom.delay == 2.5
        await session.end()

    assert converse(FakeMysql(echo), use).kills == {"RST, idle": 1}


def test_half_closed_and_answered_is_still_the_end() -> None:
    answers = iter([b"", None])

    async def use(session: Session) -> None:
        session.doom = Doom(Means.HALF_CLOSE, Moment.MID_QUERY, 0.0)
        with pytest.raises(Killed):
            await ask(session)
        with pytest.raises(ConnectionLost):
            await ask(session)

    converse(FakeMysql(lambda _: next(answers)), use)
