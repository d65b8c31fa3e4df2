"""One seed's statements through both worlds: what was answered differently, and what showed a protected cell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.noninterference.estate import MARKER
from tests.noninterference.grammar import Generator, Statement
from tests.noninterference.twins import Client, Members, Pair, Twins, Way, sentinels_in

WAYS = (
    Way(),
    Way(region="us"),
    Way(database="homes"),
    Way(database="desk"),
    Way(deprecate_eof=True, found_rows=True),
    Way(region="us", database="homes", deprecate_eof=True),
    Way(sql_mode="ANSI_QUOTES"),
    Way(region="us", database="desk", found_rows=True),
    Way(charset="latin1", sql_mode="NO_BACKSLASH_ESCAPES"),
    Way(charset="cp1251"),
    Way(region="us", sql_mode="ANSI_QUOTES,PIPES_AS_CONCAT", deprecate_eof=True),
    Way(database="desk", sql_mode="NO_BACKSLASH_ESCAPES", deprecate_eof=True),
    Way(user="stranger"),
)
CLERKS = 6
"""Statements at home before each seed."""


@dataclass(slots=True)
class Outcome:
    """`kinds`: (symbol, how it was answered) -> statements. `reasons`: the numbers of refusals. `asked_again`: reads
    that differed, and were asked once more when the servers' statistics had settled; what then differs is a finding."""

    findings: list[str] = field(default_factory=list)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    asked_again: int = 0

    @property
    def total(self) -> int:
        return self.kinds.total()

    @property
    def answered(self) -> float:
        """The share of all statements that got rows or an OK."""
        return sum(count for (_, kind), count in self.kinds.items() if kind in ("rows", "ok")) / max(1, self.total)

    def add(self, other: Outcome) -> None:
        self.findings += other.findings
        self.kinds += other.kinds
        self.reasons += other.reasons
        self.asked_again += other.asked_again

    def note(self, statement: Statement, pair: Pair) -> None:
        answer = pair.a.answer
        self.kinds[statement.symbol, "refused" if answer.refused else answer.kind] += 1
        if answer.refused:
            self.reasons[answer.message[:6]] += 1


def trial(twins: Twins, seed: int, count: int, members: Members | None = None, *, stop: bool = False) -> Outcome:
    """`count` statements of the seed, or a few more. `stop`: at the first finding. `members`: other Fairleads."""
    way = WAYS[seed % len(WAYS)]
    served = members or twins.members
    twins.reset()
    outcome = Outcome()
    generator = Generator(seed, way.database)
    _at_home(generator, way, served)
    client = Client(way, served)
    while outcome.total < count and not (stop and outcome.findings):
        if client.lost:
            client.close()
            client = Client(way, served)
        _note_leaks(outcome, twins, client, generator, way)
        client.reset()
    client.close()
    outcome.findings += twins.laundered()
    return outcome


def _at_home(generator: Generator, way: Way, members: Members) -> None:
    """What somebody in the eu does meanwhile; its answers may differ, what it leaves behind must not."""
    client = Client(Way(database=way.database, user="clerk"), members)
    for _ in range(CLERKS):
        for statement in generator.statements("clerk"):
            client.run(statement)
    client.close()


def _note_leaks(outcome: Outcome, twins: Twins, client: Client, generator: Generator, way: Way) -> None:
    statements: list[Statement] = []
    found: list[str] = []
    for statement in generator.statements():
        if client.lost:
            break
        pairs = client.run(statement)
        statements.append(statement)
        outcome.note(statement, pairs[-1])
        found += _findings(way, statement, pairs)
    if found and all(_READ.match(one.sql) for one in statements) and not client.lost:
        outcome.asked_again += 1
        twins.settle()
        client.reset()
        found = [one for statement in statements for one in _findings(way, statement, client.run(statement))]
    outcome.findings += found


_READ = re.compile(
    rb"\s*(?:/\*.*?\*/\s*)*\(?(?:select|with|show|table|values|explain|describe)\b", re.IGNORECASE | re.DOTALL
)


def _findings(way: Way, statement: Statement, pairs: list[Pair]) -> list[str]:
    return [
        f"{what}\n{_shown(way, statement)}\n{pair.told()}" for pair in pairs for what in leaks(statement, pair)
    ]  # fmt: skip


def leaks(statement: Statement, pair: Pair) -> Iterator[str]:
    if pair.differs and not (b"information_schema" in statement.sql and _is_alike_in_content(pair)):
        yield "the answers differ"
    # Servers repeat what they are sent, in labels and error texts.
    if MARKER.encode() not in statement.sql and MARKER not in repr(statement.params):
        for reply in (pair.a, pair.b):
            if found := sentinels_in(reply.data):
                yield f"a protected cell shows: {found[0]!r}"


def _is_alike_in_content(pair: Pair) -> bool:
    """But for the bits that say which indexes were used: MySQL's dictionary has tables, and statistics, of its own."""
    a, b = (replace(one.answer, status=one.answer.status & ~INDEX_BITS) for one in (pair.a, pair.b))
    return a == b


INDEX_BITS = 0x10 | 0x20


def _shown(way: Way, statement: Statement) -> str:
    return f"{way}\n{statement.sql[:2000].decode('latin-1')}\n{statement.params}"
