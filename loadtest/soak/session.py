"""A connection whose answers must carry the marker that was sent, and which dies when it is told to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from loadtest.bench.packets import ConnectionLost, Result, Statement
from loadtest.bench.sysbench import Endpoint
from loadtest.bench.wire import Connection
from loadtest.soak.book import Faults
from loadtest.soak.doom import Doom, Moment
from loadtest.soak.journal import Journal

ANSWER_TIMEOUT, LOGIN_TIMEOUT = 30.0, 30.0
# How long a half-closed connection stays before it is closed altogether.
HALF_CLOSED_SECONDS = 0.05


class Killed(ConnectionLost):
    """The connection ended because this side wanted it to."""


class Session:
    """One connection of one owner.

    `bound` and `begun` are the shard that the last statement needed and when it was sent;
    `sent` counts statements handed to the socket. `in_transaction` is kept by who sends BEGIN and COMMIT.
    """

    def __init__(self, owner: int, shard: str, connection: Connection, journal: Journal) -> None:
        self._owner, self._shard = owner, shard
        self._connection, self._journal = connection, journal
        self._statements: dict[str, Statement] = {}
        self._serial = 0
        self.doom: Doom | None = None
        self.killed = False
        self.in_transaction = False
        self.sent = 0
        self.bound: str | None = None
        self.begun = time.monotonic()

    @classmethod
    async def open(cls, owner: int, shard: str, to: Endpoint, journal: Journal) -> "Session":
        """Raises what Connection.open raises."""
        connection = await Connection.open(to.host, to.port, to.user, to.password, to.database, LOGIN_TIMEOUT)
        journal.logins += 1
        return cls(owner, shard, connection, journal)

    async def plain(self, sql: str, bound: bool = True) -> None:
        """A statement whose answer is an OK. `bound`: it needs the owner's shard."""
        result = await self._ask(lambda: self._connection.query(sql, ANSWER_TIMEOUT), bound)
        if result.columns:
            self._foreign(f"{sql!r} was answered with rows {result.rows[:2]!r}")

    async def marked(self, sql: str, bound: bool = True) -> Result:
        """A SELECT with {marker} for its first column, which must come back in every row."""
        marker = self._marker()
        text = sql.replace("{marker}", marker)
        result = await self._ask(lambda: self._connection.query(text, ANSWER_TIMEOUT), bound)
        self._check(result, marker, sql)
        return result

    async def prepared(self, sql: str, *values: int) -> Result:
        """The same as a prepared statement, which the session keeps; the first parameter is the marker."""
        if sql not in self._statements:
            self.bound, self.begun = self._shard, time.monotonic()
            self._statements[sql] = await self._connection.prepare(sql, ANSWER_TIMEOUT)
        marker, statement = self._marker(), self._statements[sql]
        result = await self._ask(lambda: self._connection.execute(statement, [marker, *values], ANSWER_TIMEOUT), True)
        self._check(result, marker, sql)
        return result

    async def end(self) -> None:
        """Leaves: properly when all is well, else in the way it was killed; a doom not met yet is met now."""
        if self.doom is not None and not self.killed:
            self._strike(replace(self.doom, moment=Moment.IDLE))
        if self.killed:
            await asyncio.sleep(HALF_CLOSED_SECONDS)
            self._connection.close()
        else:
            self._connection.quit()

    def drop(self) -> None:
        """Leaves at once."""
        self._connection.abort()

    async def _ask(self, send: Callable[[], Awaitable[Result]], bound: bool) -> Result:
        self.bound, self.begun = (self._shard if bound else None), time.monotonic()
        timer = self._die_if_due()
        self.sent += 1
        self._journal.statements += 1
        try:
            result = await send()
        except ConnectionLost as error:
            if self.killed:
                raise Killed(str(error)) from error
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if self.killed:
            raise Killed("half closed")
        if timer is not None and self.doom is not None:
            self.doom = self.doom.sooner()
        return result

    def _die_if_due(self) -> asyncio.TimerHandle | None:
        """Dies now, or later while the answer is awaited. An answer that comes before that is a reprieve."""
        doom = self.doom
        if doom is None or doom.moment.in_transaction != self.in_transaction:
            return None
        if doom.moment.mid_query:
            return asyncio.get_running_loop().call_later(doom.delay, self._strike, doom)
        self._strike(doom)
        raise Killed(str(doom))

    def _strike(self, doom: Doom) -> None:
        self.killed, self.doom = True, None
        self._journal.kills[str(doom)] += 1
        doom.strike(self._connection)

    def _marker(self) -> str:
        self._serial += 1
        return f"marker-{self._owner}-{self._serial}"

    def _check(self, result: Result, marker: str, sql: str) -> None:
        wanted = marker.encode()
        wrong = [row for row in result.rows if row[0] != wanted]
        if wrong or not result.columns:
            self._foreign(f"{sql!r} with {marker} was answered {wrong[:2]!r}")

    def _foreign(self, what: str) -> None:
        self._journal.found(Faults(foreign=[f"owner {self._owner}: {what}"]))
