"""Reloads under load: an operator who puts one of two policies in force again and again, and clients who ask all the
while and know from each answer which of the two decided it.

Versions are numbered by the operator; an even one has CLEAR in force, an odd one MASKED. A client notes the version
acknowledged before it sends, and the last one begun when the answer is there: what decided must be one of these. The
operator goes on when every client has had an answer since the acknowledgement, so each version is proved by each.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mysql.connector
import pymysql
import yaml

from cli.versions import wait_for
from config.settings import MetastoreSettings
from loadtest.world import configuration
from loadtest.world.fairlead import Fairlead, program
from loadtest.world.layout import RegionPorts
from loadtest.world.process import POLL_INTERVAL
from loadtest.world.sqlserver import Passwords
from loadtest.world.world import World
from metastore.open import open_store
from metastore.versions import Bundle, Versions
from proxy.mysql.auth.scramble import native_digest, sha256_digest
from tests.proxy.clients import Connection, ask, ids_on, together, until

CLEAR, MASKED = 0, 1
TEXT, PREPARED, SCATTER, TRANSACTION, SLOW, SECRET, HOME = (
    "text", "prepared", "scatter", "transaction", "slow", "secret", "home",
)  # fmt: skip
KINDS = (TEXT, PREPARED, SCATTER, TRANSACTION, SLOW, SECRET, HOME, TEXT)
PATIENCE = 60.0
"""Seconds in which a version is in force, and all clients have had an answer under it."""
SLOWNESS = 0.05
IN_FORCE = "is in force in all workers"


def stored(password: str) -> dict[str, str]:
    """What a version may hold of a password."""
    data = password.encode()
    return {"sha256": sha256_digest(data).hex(), "native": f"*{native_digest(data).hex().upper()}"}


def changes(which: int) -> dict[str, Any]:
    """What is laid over a region's configuration. Abroad, MASKED masks addresses and refuses names, CLEAR does
    neither."""
    user = {
        "password": stored("x"),
        "grants": [{"on": "*.*", "verbs": ["all"]}],
        "default_database": "shop",
    }
    abroad = {"homes": "eea", "domains": "usa"}
    rules = {
        CLEAR: {"all": {"classes": ["personal", "sensitive"], **abroad, "then": "allow"}},
        MASKED: {"masked": {"classes": "personal", **abroad, "then": "mask"}},
    }
    columns = {"email": {"classes": "personal", "mask": "email"}, "name": "sensitive"}
    tables = {
        "countries": "public",
        "settings": "public",
        "orders": "public",
        "customers": {"classes": "public", "columns": columns},
    }
    policy = {
        "domains": {"eea": {"regions": ["eu"]}, "usa": {"regions": ["us"]}},
        "labels": {"plain": "public", "shop": {"classes": "sensitive", "tables": tables}},
        "subjects": {"analysts": {"users": "analyst", "domain": "usa"}, "clerks": {"users": "clerk", "domain": "eea"}},
        "rules": rules[which],
    }
    demo = {"demo": {"password": {"value": None, **stored("demo")}}}
    return {"users": {"analyst": user, "clerk": user, **demo}, "policy": policy}


# --- the operator -------------------------------------------------------------------------------------------


class Board:
    """What the operator and the clients tell each other. `begun`, `acked`: versions."""

    def __init__(self) -> None:
        self.begun = self.acked = 0
        self.stop = threading.Event()


class Operator:
    """A Fairlead in each region (or `only` in some), which follows a metastore of its own, and what puts a version in
    force in all."""

    def __init__(self, world: World, folder: Path, workers: int = 2, only: Sequence[str] = ()) -> None:
        self.board = Board()
        self._folder = folder
        ports = {region: RegionPorts(*world.reserve_ports(4)) for region in world.regions}
        self.members = {region: self._member(world, region, ports, workers) for region in only or world.regions}

    def _member(self, world: World, region: str, ports: Mapping[str, RegionPorts], workers: int) -> Fairlead:
        metastore = {"metastore": {"sqlite": str(self._folder / f"{region}.db")}}
        plain = configuration.merge(world.config(region, ports), metastore)
        return Fairlead(
            f"reloaded-{region}",
            self._folder,
            configuration.merge(plain, changes(CLEAR)),
            workers=workers,
            environment={configuration.PASSWORD_VARIABLE: Passwords().service},
        )

    def __enter__(self) -> Operator:
        for member in self.members.values():
            member.launch()
        for member in self.members.values():
            member.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members.values():
            member.stop()

    def file(self, region: str, which: int) -> Path:
        """The whole configuration of a region under one of the policies."""
        path = self._folder / f"new-{region}.yaml"
        fresh = configuration.merge(self.members[region].configuration, {"policy": None})
        path.write_text(yaml.safe_dump(configuration.merge(fresh, changes(which))))
        return path

    # --- ways to put the next version in force --------------------------------------------------------------

    def publish(self) -> None:
        """What `fairlead apply --at-once` does, without the start of a program."""
        self._everywhere(self._publish)

    def apply(self) -> None:
        """`fairlead apply --at-once` for every region."""
        self._everywhere(self._apply)

    def hang_up(self) -> None:
        """SIGHUP, for Fairleads that follow their files, until each says that all of its workers have it."""
        self._everywhere(self._hang_up)

    def _everywhere(self, act: Callable[[str, int], None]) -> None:
        self.board.begun += 1
        together([partial(act, region, self.board.begun % 2) for region in self.members], 2 * PATIENCE)
        self.board.acked = self.board.begun

    def _publish(self, region: str, which: int) -> None:
        path = self.file(region, which)
        settings = MetastoreSettings(sqlite=Path(self.members[region].configuration["metastore"]["sqlite"]))
        with contextlib.closing(open_store(settings, create=True)) as store:
            number = Versions(store).publish(Bundle.of(path, (path,)), "test", "").number
            # The metastore is new at the first version: on a busy machine Fairleads see it late.
            found = until(lambda: wait_for(store, number, PATIENCE), "a Fairlead that follows", None, PATIENCE)
            assert all(one.version == number and one.state == "in force" for one in found), found

    def _apply(self, region: str, which: int) -> None:
        path = self.file(region, which)
        told = self.run("apply", "-c", str(path), "--at-once", "--wait", f"{PATIENCE:g}s")
        assert told["in_force"] is True, told

    def _hang_up(self, region: str, which: int) -> None:
        member = self.members[region]
        before = member.log.read_text().count(IN_FORCE)
        fresh = configuration.merge(member.configuration, {"policy": None})
        member.write(configuration.merge(fresh, changes(which)))
        member.reload()
        until(lambda: member.log.read_text().count(IN_FORCE) > before, IN_FORCE, member, PATIENCE)

    def run(self, *arguments: str, codes: Sequence[int] = (0,)) -> dict[str, Any]:
        """A verb of the command line, in JSON."""
        variable = {configuration.PASSWORD_VARIABLE: Passwords().service}
        command = [program(), *arguments, "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variable}, check=False)
        assert done.returncode in codes, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return dict(json.loads(done.stdout))


# --- the clients --------------------------------------------------------------------------------------------


@dataclass
class Client:
    """One application's thread with a connection that it never opens again. `kind`: what it asks.

    `seen`: the last version that was acknowledged before a question that is answered; `answers`: how many were;
    `wrong`: what must not have been.
    """

    kind: str
    number: int
    member: Fairlead
    board: Board
    keys: Sequence[int]
    seen: int = -1
    answers: int = 0
    wrong: list[str] = field(default_factory=list)

    def run(self) -> None:
        try:
            ask_again = getattr(self, f"_{self.kind}")
            with self._connection() as connection:
                while not self.board.stop.is_set():
                    ask_again(connection)
        except Exception as error:
            self.wrong.append(f"{self.kind} {self.number} lost its connection: {error!r}")
            self.seen = 1 << 60

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        user = "clerk" if self.kind == HOME else "analyst"
        if self.kind != PREPARED:
            with contextlib.closing(self.member.connect(user=user, password="x")) as connection:
                yield connection
            return
        # Connector/Python prepares by COM_STMT_PREPARE; PyMySQL cannot.
        options = {"host": "127.0.0.1", "user": user, "password": "x", "database": "shop", "autocommit": True}
        with (
            contextlib.closing(mysql.connector.connect(port=self.member.port, use_pure=True, **options)) as connection,
            connection.cursor(prepared=True) as cursor,
        ):
            yield cursor

    def _decided(self, question: Callable[[], set[int]]) -> None:
        """Asks once. The answer's parts are of CLEAR or MASKED; empty when either policy gives it."""
        acked = self.board.acked
        found = question()
        begun = self.board.begun
        if not found <= {version % 2 for version in range(acked, begun + 1)}:
            self.wrong.append(f"{self.kind} {self.number}: decided by {found} after {acked}, before {begun + 1}")
        self.answers += 1
        self.seen = acked

    def _key(self) -> int:
        return self.keys[self.answers % len(self.keys)]

    def _text(self, connection: Connection) -> None:
        query = f"SELECT email FROM customers WHERE id = {self._key()}"
        self._decided(lambda: policies_of(ask(connection, query)))

    def _slow(self, connection: Connection) -> None:
        query = f"SELECT email, SLEEP({SLOWNESS}) FROM customers WHERE id = {self._key()}"
        self._decided(lambda: policies_of(ask(connection, query)))

    def _scatter(self, connection: Connection) -> None:
        """All customers of eu; what shards show while versions change may differ."""
        query = "SELECT email FROM customers WHERE country IN ('DE', 'FR', 'SE', 'PL')"
        self._decided(lambda: policies_of(ask(connection, query), 100))

    def _prepared(self, cursor: Any) -> None:
        def question() -> set[int]:
            cursor.execute("SELECT email FROM customers WHERE id = ?", (self._key(),))
            return policies_of(cursor.fetchall())

        self._decided(question)

    def _transaction(self, connection: Connection) -> None:
        """Open over two versions at least, and commits what it wrote under the first."""
        key = self.keys[self.number // len(KINDS)]  # nobody else's: it stays locked
        first = self.board.acked
        ask(connection, "BEGIN")
        ask(connection, f"UPDATE orders SET amount = amount + 1 WHERE customer_id = {key}")
        ((before,),) = ask(connection, f"SELECT SUM(amount) FROM orders WHERE customer_id = {key}")
        while self.board.acked < first + 2 and not self.board.stop.is_set():
            self._decided(lambda: policies_of(ask(connection, f"SELECT email FROM customers WHERE id = {key}")))
        ((after,),) = ask(connection, f"SELECT SUM(amount) FROM orders WHERE customer_id = {key}")
        if before != after:
            self.wrong.append(f"a transaction has lost what it wrote: {before}, {after}")
        ask(connection, "COMMIT")

    def _secret(self, connection: Connection) -> None:
        def question() -> set[int]:
            try:
                ask(connection, f"SELECT name FROM customers WHERE id = {self._key()}")
            except pymysql.err.Error as error:
                if "FL2101" not in str(error):
                    raise
                return {MASKED}
            return {CLEAR}

        self._decided(question)

    def _home(self, connection: Connection) -> None:
        """Under either policy the clerk sees everything at home."""

        def question() -> set[int]:
            ((name, email),) = ask(connection, f"SELECT name, email FROM customers WHERE id = {self._key()}")
            if not name or "*" in email:
                self.wrong.append(f"the clerk is shown {name}, {email}")
            return set()

        self._decided(question)


def policies_of(rows: Sequence[Sequence[str]], count: int = 1) -> set[int]:
    """Which policies addresses were shown by. There must be so many."""
    assert len(rows) == count, rows
    return {MASKED if "*" in row[0] else CLEAR for row in rows}


def crew(operator: Operator, world: World, count: int) -> list[Client]:
    """So many clients of all kinds, over the Fairleads in turn."""
    members = list(operator.members.values())
    keys = [*ids_on(world, "eu-0", 20), *ids_on(world, "eu-1", 20)]
    return [
        Client(KINDS[number % len(KINDS)], number, members[number // len(KINDS) % len(members)], operator.board, keys)
        for number in range(count)
    ]


def run(operator: Operator, clients: Sequence[Client], reloads: int, put_in_force: Callable[[int], None]) -> None:
    """So many versions, each proved by every client. `put_in_force` is given the number of the version."""
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        for _ in range(reloads):
            wait_for_all(operator.board, clients)
            put_in_force(operator.board.begun + 1)
        wait_for_all(operator.board, clients)
    finally:
        operator.board.stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a client hangs"


def wait_for_all(board: Board, clients: Sequence[Client]) -> None:
    """Until every client has an answer to what it asked after the acknowledgement."""
    deadline = time.monotonic() + PATIENCE
    while late := [client for client in clients if client.seen < board.acked]:
        assert time.monotonic() < deadline, f"no answers under {board.acked}: {[(one.kind, one.seen) for one in late]}"
        time.sleep(POLL_INTERVAL)
