"""Walks the tour: runs each stop through Fairlead, shows it, and says whether it was right."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import mysql.connector
import pymysql
from pymysql.connections import Connection
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from loadtest.demo.tour import Proof, Stop
from loadtest.world.fairlead import Fairlead
from loadtest.world.shop import Row
from loadtest.world.world import World

OWN_ERROR = "FL"
SHOWN_ROWS = 8
INDENT = 3
REPEAT_INTERVAL = 0.2


@dataclass
class Seen:
    """What came of one stop."""

    columns: Sequence[str] = ()
    rows: list[Row] = field(default_factory=list)
    route: list[Row] = field(default_factory=list)
    error: str = ""
    wrong: str = ""


class Guide:
    """Runs stops on one Fairlead and keeps the titles of those that went wrong."""

    def __init__(self, world: World, fairlead: Fairlead, console: Console) -> None:
        self._world = world
        self._fairlead = fairlead
        self._console = console
        self.wrong: list[str] = []

    def walk(self, stops: Sequence[Stop]) -> None:
        for number, stop in enumerate(stops, 1):
            seen = self._visit(stop)
            seen.wrong = seen.wrong or self._judge(stop, seen)
            if seen.wrong:
                self.wrong.append(f"{stop.title}: {seen.wrong}")
            self._show(number, stop, seen)

    def _visit(self, stop: Stop) -> Seen:
        seen = Seen()
        try:
            with closing(self._fairlead.connect()) as connection:
                if not stop.refused:
                    seen.route = _query(connection, f"EXPLAIN ROUTE {stop.explained or stop.last}")[1]
                for statement in stop.statements[:-1]:
                    _query(connection, statement)
                seen.columns, seen.rows = self._prepared(stop) if stop.prepared else _query(connection, stop.last)
        except (pymysql.err.Error, mysql.connector.Error) as error:
            seen.error = str(error.args[1] if len(error.args) > 1 else error)
        return seen

    def _prepared(self, stop: Stop) -> tuple[Sequence[str], list[Row]]:
        # Connector/Python's prepared cursors use COM_STMT_PREPARE; PyMySQL has none.
        connection = mysql.connector.connect(
            host="127.0.0.1",
            port=self._fairlead.port,
            user="demo",
            password="demo",
            database="shop",
            use_pure=True,
        )
        with closing(connection), connection.cursor(prepared=True) as cursor:
            cursor.execute(stop.last, stop.arguments)
            rows = [tuple(row) for row in cursor.fetchall()]
            return [column[0] for column in cursor.description or ()], rows

    def _judge(self, stop: Stop, seen: Seen) -> str:
        """Empty when everything was as it must be, else what was not."""
        if stop.refused:
            return "" if seen.error.startswith(OWN_ERROR) else f"not refused: {seen.error or seen.rows}"
        if seen.error:
            return seen.error
        if sorted(map(str, seen.rows)) != sorted(map(str, stop.expected)):
            return f"expected {stop.expected}"
        said = " ".join(str(value) for row in seen.route for value in row)
        unnamed = [shard for shard in stop.shards if shard not in said]
        if unnamed:
            return f"the route does not name {', '.join(unnamed)}"
        if stop.proof and not self._proven(stop, stop.proof):
            return "the servers or the metrics do not show it"
        return ""

    def _proven(self, stop: Stop, proof: Callable[[Proof], bool]) -> bool:
        deadline = time.monotonic() + stop.patience
        while not proof(Proof(self._value_on, self._metric)):
            if time.monotonic() > deadline:
                return False
            time.sleep(REPEAT_INTERVAL)
            self._fairlead.query(stop.last)
        return True

    def _value_on(self, shard: str, statement: str) -> Any:
        return self._world.shards[shard].primary.value(statement, "shop")

    def _metric(self, series: str) -> float:
        for line in self._fairlead.http("/metrics").splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    # --- showing --------------------------------------------------------------------------------------------

    def _show(self, number: int, stop: Stop, seen: Seen) -> None:
        mark = "[red]✗" if seen.wrong else "[green]✓"
        self._console.print(f"\n[bold]{number}. {stop.title}[/] {mark}[/]")
        for statement in stop.statements:
            suffix = f"   with {', '.join(map(str, stop.arguments))}" if stop.prepared else ""
            self._say(f"eu> {statement}{suffix}", "cyan")
        self._say(stop.why)
        for line in _route_lines(seen.route):
            self._say(line, "dim")
        if seen.error:
            self._say(seen.error, "red" if seen.wrong else "yellow")
        elif seen.rows:
            self._console.print(Padding(_table(seen), (0, 0, 0, INDENT), expand=False))
        if seen.wrong and seen.wrong != seen.error:
            self._say(f"WRONG: {seen.wrong}", "bold red")

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Padding(Text(text, style=style), (0, 0, 0, INDENT), expand=False))


def _route_lines(route: Sequence[Row]) -> list[str]:
    """What EXPLAIN ROUTE said, (title, text) a row, in two lines: where to, and the reasons."""
    said: dict[str, list[str]] = {}
    for title, text, *_ in route:
        said.setdefault(str(title), []).append(str(text))
    if "shard" not in said:
        return [f"{title}: {', '.join(texts)}" for title, texts in said.items()]
    where = f"{', '.join(said.get('route', []))} → {', '.join(said['shard'])}"
    return [f"EXPLAIN ROUTE  {where} (region {', '.join(said.get('region', []))})", *said.get("because", [])]


def _query(connection: "Connection[Any]", statement: str) -> tuple[Sequence[str], list[Row]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        columns = [column[0] for column in cursor.description or ()]
        return columns, [tuple(row) for row in cursor.fetchall()]


def _table(seen: Seen) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in seen.columns:
        table.add_column(name)
    for row in seen.rows[:SHOWN_ROWS]:
        table.add_row(*map(str, row))
    if len(seen.rows) > SHOWN_ROWS:
        table.caption = f"and {len(seen.rows) - SHOWN_ROWS} more"
    return table
