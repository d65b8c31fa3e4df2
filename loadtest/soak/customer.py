"""One client of the soak: endless small transactions on its own rows, every answer checked."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from loadtest.bench.packets import Cell, ConnectionLost, ServerError, WireError
from loadtest.bench.sysbench import Endpoint
from loadtest.soak.book import Book, Entry, Faults, Kind, StoredRow
from loadtest.soak.doom import Doom
from loadtest.soak.journal import Journal
from loadtest.soak.session import Killed, Session

PAUSE_AFTER_ERROR, MEAN_THINK = 0.1, 0.01
DEFAULT_ZONE = "+00:00"
ZONES = ("+01:00", "+02:00", "+03:00")
# One client in four changes a session variable, so that backends must be brought from one state to another.
ZONED_PART = 0.25
ACCOUNT = "SELECT '{marker}', owner, balance FROM accounts WHERE owner = "
ACCOUNT_PREPARED = "SELECT ?, owner, balance FROM accounts WHERE owner = ?"

Action = Callable[[Session], Awaitable[None]]


class Customer:
    """Owner of the rows in `book`, which live on `shard`. `run` works until `stop` is set."""

    def __init__(self, owner: int, shard: str, to: Endpoint, journal: Journal, stop: asyncio.Event, seed: int) -> None:
        self.book = Book(owner)
        self._shard, self._to, self._journal, self._stop = shard, to, journal, stop
        self._draw = random.Random(f"{seed}/{owner}")
        self._zone = self._draw.choice(ZONES) if self._draw.random() < ZONED_PART else DEFAULT_ZONE
        self._session: Session | None = None
        self._doom: Doom | None = None
        self._actions: Sequence[tuple[str, Action, int]] = (
            ("chat", self._chat, 25),
            ("read", self._read, 25),
            ("read prepared", self._read_prepared, 12),
            ("deposit", self._deposit, 12),
            ("note", self._note, 8),
            ("rollback", self._change_of_mind, 5),
            ("list", self._list, 6),
            ("audit", self._audit, 4),
            ("session", self._check_zone, 2),
            ("slow", self._slow, 1),
        )

    def condemn(self, doom: Doom) -> None:
        """Dies in this way at the next moment that fits."""
        self._doom = doom

    async def run(self) -> None:
        """Never raises for what the run is to judge: that goes into the journal."""
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                await self._act(await self._connected())
                await asyncio.sleep(self._draw.expovariate(1 / MEAN_THINK))
            except Killed:
                await self._leave()
            except ServerError as error:
                self._journal.error(self._bound(), str(error), self._begun(begun))
                await self._recover()
            except ConnectionLost as error:
                self._journal.lost(self._bound(), str(error), self._begun(begun))
                self._give_up()
                await asyncio.sleep(PAUSE_AFTER_ERROR)
            except TimeoutError:
                self._journal.timed_out(f"owner {self.book.owner}: no answer")
                self._give_up()
            except WireError as error:
                self._found(Faults(foreign=[f"owner {self.book.owner}: {error}"]))
                self._give_up()
        await self._die_overdue()
        await self._leave()

    async def _die_overdue(self) -> None:
        """A death still awaited when the run ends comes on leaving."""
        if self._doom is not None:
            with contextlib.suppress(ServerError, ConnectionLost, TimeoutError):
                (await self._connected()).doom = self._doom
            self._doom = None

    async def _act(self, session: Session) -> None:
        session.doom, self._doom = self._doom or session.doom, None
        [(name, action, _)] = self._draw.choices(self._actions, [weight for _, _, weight in self._actions])
        await action(session)
        self._journal.done[name] += 1

    async def _connected(self) -> Session:
        if self._session is None:
            self._session = await Session.open(self.book.owner, self._shard, self._to, self._journal)
            if self._zone != DEFAULT_ZONE:
                await self._session.plain(f"SET time_zone = '{self._zone}'", bound=False)
        return self._session

    async def _recover(self) -> None:
        """After an error: out of the transaction, on the same connection, as an application would."""
        await asyncio.sleep(PAUSE_AFTER_ERROR)
        session = self._session
        if session is None or not session.in_transaction:
            return
        session.in_transaction = False
        try:
            await session.plain("ROLLBACK")
        except Killed:
            await self._leave()
        except ServerError as error:
            self._journal.error(self._shard, str(error), session.begun)
            self._give_up()
        except (ConnectionLost, TimeoutError) as error:
            self._journal.lost(self._shard, f"ROLLBACK after an error: {error!r}", session.begun)
            self._give_up()

    async def _leave(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.end()

    def _give_up(self) -> None:
        if self._session is not None:
            self._doom = self._doom or self._session.doom
            self._session.drop()
            self._session = None

    def _bound(self) -> str | None:
        return self._session.bound if self._session is not None else None

    def _begun(self, fallback: float) -> float:
        return self._session.begun if self._session is not None else fallback

    # --- what a client does ---------------------------------------------------------------------------------

    async def _chat(self, session: Session) -> None:
        """A SELECT without a table, as drivers and health checks send it."""
        await session.marked("SELECT '{marker}'", bound=False)

    async def _slow(self, session: Session) -> None:
        await session.marked("SELECT '{marker}', SLEEP(0.02)", bound=False)

    async def _check_zone(self, session: Session) -> None:
        """A session variable is this session's own, whoever had the backend before."""
        result = await session.marked("SELECT '{marker}', @@session.time_zone", bound=False)
        if [row[1] for row in result.rows] != [self._zone.encode()]:
            self._foreign(f"time_zone is {result.rows!r}, not {self._zone}")

    async def _read(self, session: Session) -> None:
        self._check_account((await session.marked(f"{ACCOUNT}{self.book.owner}")).rows)

    async def _read_prepared(self, session: Session) -> None:
        self._check_account((await session.prepared(ACCOUNT_PREPARED, self.book.owner)).rows)

    async def _note(self, session: Session) -> None:
        """One row in autocommit."""
        entry = self._entry(Kind.NOTE)
        await self._made_durable(session, entry, self._insert(entry))

    async def _deposit(self, session: Session) -> None:
        """A row and the balance in one transaction."""
        entry = self._entry(Kind.DEPOSIT)
        await self._write_deposit(session, entry)
        await self._read_back(session, [entry])
        await self._made_durable(session, entry, "COMMIT")
        session.in_transaction = False

    async def _change_of_mind(self, session: Session) -> None:
        await self._write_deposit(session, self._entry(Kind.DEPOSIT))
        await session.plain("ROLLBACK")
        session.in_transaction = False

    async def _list(self, session: Session) -> None:
        await self._read_back(session, [])

    async def _audit(self, session: Session) -> None:
        """Balance and deposits in one snapshot: a transaction is never seen in half."""
        await session.plain("BEGIN")
        session.in_transaction = True
        account = await session.marked(f"{ACCOUNT}{self.book.owner}")
        counted = await session.marked(
            f"SELECT '{{marker}}', COUNT(*) FROM ledger WHERE owner = {self.book.owner} AND kind = 1"
        )
        await session.plain("COMMIT")
        session.in_transaction = False
        if [row[2] for row in account.rows] != [row[1] for row in counted.rows]:
            self._found(Faults(torn=[f"owner {self.book.owner}: {account.rows!r} against {counted.rows!r}"]))

    # --- rows -----------------------------------------------------------------------------------------------

    def _entry(self, kind: Kind) -> Entry:
        return self.book.entry(kind, f"{self._draw.getrandbits(48):012x}")

    def _insert(self, entry: Entry) -> str:
        values = f"({self.book.owner}, {entry.number}, {entry.kind.value}, '{entry.marker}')"
        return f"INSERT INTO ledger (owner, n, kind, marker) VALUES {values}"

    async def _write_deposit(self, session: Session, entry: Entry) -> None:
        """BEGIN and both writes; leaves the transaction open."""
        await session.plain("BEGIN")
        session.in_transaction = True
        await session.plain(self._insert(entry))
        await session.plain(f"UPDATE accounts SET balance = balance + 1 WHERE owner = {self.book.owner}")

    async def _made_durable(self, session: Session, entry: Entry, sql: str) -> None:
        """Sends what makes `entry` durable. Once sent, anything but an OK leaves it in doubt."""
        sent = session.sent
        try:
            await session.plain(sql)
        except BaseException:
            if session.sent != sent:
                self.book.doubt(entry)
            raise
        self.book.acknowledge(entry)

    async def _read_back(self, session: Session, pending: Sequence[Entry]) -> None:
        """The newest rows, in a transaction also its own; every acknowledged one must be there."""
        since = self.book.window_start()
        result = await session.marked(
            f"SELECT '{{marker}}', owner, n, kind, marker FROM ledger WHERE owner = {self.book.owner} AND n >= {since}"
        )
        self._found(self.book.check([stored(row[1:]) for row in result.rows], since, pending))

    def _check_account(self, rows: Sequence[tuple[Cell, ...]]) -> None:
        if [as_int(row[1]) for row in rows] != [self.book.owner]:
            self._foreign(f"account {rows!r}")

    def _foreign(self, what: str) -> None:
        self._found(Faults(foreign=[f"owner {self.book.owner}: {what}"]))

    def _found(self, faults: Faults) -> None:
        if faults:
            self._journal.found(faults)


def as_int(cell: Cell) -> int:
    """A number of a text row (bytes) or of a binary row (int)."""
    if isinstance(cell, bytes | int):
        return int(cell)
    raise WireError(f"{cell!r} where a whole number was expected")


def stored(cells: Sequence[Cell]) -> StoredRow:
    """(owner, n, kind, marker) of a row."""
    owner, number, kind, marker = cells
    if not isinstance(marker, bytes):
        raise WireError(f"{marker!r} where a marker was expected")
    return StoredRow(as_int(owner), as_int(number), as_int(kind), marker.decode(errors="replace"))
