"""The judge of the soak: that it convicts the guilty and nobody else."""

import itertools
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loadtest.soak.book import Book, Entry, Faults, Kind, StoredRow
from loadtest.soak.doom import Means, Moment, dooms
from loadtest.soak.journal import RECOVERY_SECONDS, Journal, Outage
from loadtest.soak.verdicts import Evidence, Verdict, judge
from loadtest.soak.watch import Idle, Look

CASES = Path(__file__).parents[2] / "cases" / "bench"
OWNER = 7


def entry(number: int) -> Entry:
    return Entry(number, Kind.DEPOSIT, f"row-{OWNER}-{number}-x")


def written(numbers: list[int]) -> dict[int, Entry]:
    return {number: entry(number) for number in numbers}


def row(owner: int, number: int, marker: str | None = None) -> StoredRow:
    return StoredRow(owner, number, Kind.DEPOSIT.value, marker or f"row-{owner}-{number}-x")


def kinds(faults: Faults) -> list[str]:
    return [name for name in ("foreign", "lost", "phantom", "torn") if getattr(faults, name)]


# --- books --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", json.loads((CASES / "books.json").read_text()), ids=lambda case: case["comment"])
def test_rows_against_the_book(case: dict[str, Any]) -> None:
    book = Book(OWNER)
    for state in ("acknowledged", "doubtful", "refused"):
        getattr(book, state).update(written(case.get(state, [])))
    rows = [row(*cells) for cells in case["rows"]]
    pending = [entry(number) for number in case.get("pending", [])]
    assert kinds(book.check(rows, case.get("since", 1), pending)) == case["faults"]


def test_an_entry_is_refused_until_it_is_judged() -> None:
    book = Book(OWNER)
    first, second, third = (book.entry(Kind.NOTE, "s") for _ in range(3))
    book.acknowledge(first)
    book.doubt(second)
    assert (list(book.acknowledged), list(book.doubtful), list(book.refused)) == ([1], [2], [3])
    assert third.marker == "row-7-3-s"


@pytest.mark.parametrize(("balance", "found"), [(2, []), (1, ["torn"]), (3, ["torn"])])
def test_balance_is_the_number_of_deposits(balance: int, found: list[str]) -> None:
    note = StoredRow(OWNER, 9, Kind.NOTE.value, "m")
    stranger = row(8, 1)
    assert kinds(Book(OWNER).check_balance(balance, [row(OWNER, 1), row(OWNER, 2), note, stranger])) == found


# --- errors and their excuses -------------------------------------------------------------------------------


def test_an_error_needs_an_outage_of_the_shard_it_was_bound_for() -> None:
    now = time.monotonic()
    journal = Journal(outages=[Outage("s0", now - 1, None)])
    journal.error("s0", "1105 (HY000): FL1301: no server", now)
    journal.error("s1", "1105 (HY000): FL1301: no server", now)
    journal.error(None, "2013 (HY000): lost", now)
    assert journal.unexpected_errors == 1
    assert journal.expected_errors == {"FL1301": 1, "2013": 1}


@pytest.mark.parametrize(
    ("begun", "since", "until", "excused"),
    [
        (-0.1, -10.0, None, True),
        (-20.0, -10.0, -9.0, True),
        (-4.0, -10.0, -RECOVERY_SECONDS + 1, True),
        (-0.1, -20.0, -RECOVERY_SECONDS - 1, False),
        (-20.0, -40.0, -30.0, False),
    ],
    ids=["while away", "begun before it died", "just back", "back for long", "began after it was back"],
)
def test_excuse_lasts_until_the_server_is_back_and_noticed(
    begun: float, since: float, until: float | None, excused: bool
) -> None:
    now = time.monotonic()
    journal = Journal(outages=[Outage("s0", now + since, None if until is None else now + until)])
    assert journal.excused("s0", now + begun) is excused


def test_findings_are_counted_all_and_kept_some() -> None:
    journal = Journal()
    for number in range(50):
        journal.found(Faults(lost=[f"row {number}"]))
    assert len(journal.faults.lost) == 50
    assert len(journal.lines) == 20


# --- deaths -------------------------------------------------------------------------------------------------


def test_twelve_deaths_are_twelve_kinds() -> None:
    endless = dooms(random.Random(1))
    for _ in range(3):
        assert {(doom.means, doom.moment) for doom in itertools.islice(endless, 12)} == {
            (means, moment) for means in Means for moment in Moment
        }


def test_a_death_that_came_too_late_comes_sooner_next_time() -> None:
    doom = next(dooms(random.Random(1)))
    assert doom.sooner().delay == doom.delay / 2
    assert (doom.sooner().means, doom.sooner().moment) == (doom.means, doom.moment)


# --- verdicts -----------------------------------------------------------------------------------------------

QUIET = Idle(0, 0, 0, 0, 0)
ACTIONS = Counter({f"action {number}": 5 for number in range(10)})


def evidence(**changes: Any) -> Evidence:
    """A run without a blemish, changed as the test wants."""
    away = Outage("s0", 0.0, 1.0)
    journal = Journal(statements=30_000, kills=Counter({"RST, idle": 50}), done=ACTIONS, outages=[away])
    for name in [name for name in changes if hasattr(journal, name)]:
        setattr(journal, name, changes.pop(name))
    given: dict[str, Any] = {
        "clients": 500,
        "connections_each": 10,
        "journal": journal,
        "settled": Look(1.0, 50_000, 20),
        "last": Look(60.0, 52_000, 120),
        "idle": QUIET,
        "most_connections": {"s0": 11, "s1": 12},
        "answers_for_sessions": True,
    }
    return Evidence(**{**given, **changes})


def broken(verdicts: list[Verdict]) -> list[str]:
    return [verdict.promise for verdict in verdicts if verdict.ok is False]


def test_a_run_without_a_blemish_keeps_every_promise() -> None:
    assert broken(judge(evidence())) == []


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        ({"faults": Faults(foreign=["x"])}, "no client sees another's row, marker or session"),
        ({"faults": Faults(lost=["x"])}, "no acknowledged write is lost"),
        ({"faults": Faults(phantom=["x"])}, "nothing is there that was never committed"),
        ({"faults": Faults(torn=["x"])}, "no transaction is there or seen in half"),
        ({"unexpected_errors": 1}, "no error without a cause"),
        ({"timeouts": 1}, "no answer takes 30 s"),
        ({"thrown_out": 1}, "no client is thrown out"),
        ({"idle": Idle(1, 0, 0, 0, 0)}, "the pool falls idle"),
        ({"idle": Idle(0, 0, 0, 0, 1)}, "the pool falls idle"),
        ({"last": Look(60.0, 50_000 + 8 * 1024 + 1, 120)}, "memory grows by at most 8 MiB"),
        ({"most_connections": {"s0": 13}}, "at most 10 connections to a server (and 2 checks)"),
        ({"statements": 11_999}, "at least 100 statements per backend connection"),
        ({"last": Look(60.0, 50_000, 121)}, "at most 2 new backend connections per kill"),
        ({"kills": Counter({"RST, idle": 49})}, "at least 50 clients killed"),
        ({"outages": []}, "a server killed and back"),
        ({"done": Counter({"chat": 5})}, "every kind of action ran"),
    ],
)
def test_every_promise_can_be_broken(changes: dict[str, Any], promise: str) -> None:
    assert promise in broken(judge(evidence(**changes)))


def test_a_proxy_that_pools_nothing_is_not_asked_about_its_pool() -> None:
    unasked = evidence(
        answers_for_sessions=False,
        thrown_out=3,
        most_connections={"s0": 500},
        settled=Look(1.0, 1, None),
        last=Look(9.0, 1, None),
    )
    assert broken(judge(unasked)) == []
