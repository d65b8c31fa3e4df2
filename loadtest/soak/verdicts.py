"""The promises of a soak, each judged from what was counted. Values in, lines out."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.soak.journal import Journal
from loadtest.soak.watch import Idle, Look

MEMORY_GROWTH_KIB = 8 * 1024
STATEMENTS_PER_CONNECTION = 100
CONNECTIONS_PER_KILL = 2
# Health checks hold connections of their own beside the pool's.
CHECK_CONNECTIONS = 2
KILLED_PART = 0.10


@dataclass(frozen=True)
class Verdict:
    """`ok` None: this proxy cannot be asked."""

    promise: str
    found: str
    ok: bool | None


@dataclass(frozen=True)
class Evidence:
    """Everything that is judged. `settled` is the first look after start-up, `last` the one at the end."""

    clients: int
    connections_each: int
    journal: Journal
    settled: Look
    last: Look
    idle: Idle
    most_connections: dict[str, int]
    answers_for_sessions: bool


def judge(evidence: Evidence) -> list[Verdict]:
    return [*_correctness(evidence), *_errors(evidence), *_pool(evidence), *_coverage(evidence)]


def _correctness(evidence: Evidence) -> list[Verdict]:
    faults = evidence.journal.faults
    return [
        _none("no client sees another's row, marker or session", faults.foreign),
        _none("no acknowledged write is lost", faults.lost),
        _none("nothing is there that was never committed", faults.phantom),
        _none("no transaction is there or seen in half", faults.torn),
    ]


def _errors(evidence: Evidence) -> list[Verdict]:
    journal = evidence.journal
    expected = sum(journal.expected_errors.values())
    named = ", ".join(f"{count} × {name}" for name, count in journal.expected_errors.most_common(6))
    return [
        _zero("no error without a cause", journal.unexpected_errors),
        _zero("no answer takes 30 s", journal.timeouts),
        Verdict(
            "no client is thrown out",
            f"{journal.thrown_out} ({journal.dropped_in_outage} while a server was away)",
            journal.thrown_out == 0 if evidence.answers_for_sessions else None,
        ),
        Verdict("errors while a server was away", f"{expected}{f': {named}' if named else ''}", None),
    ]


def _pool(evidence: Evidence) -> list[Verdict]:
    idle, first, last = evidence.idle, evidence.settled, evidence.last
    growth = last.rss_kib - first.rss_kib
    over = [n for n in evidence.most_connections.values() if n > evidence.connections_each + CHECK_CONNECTIONS]
    asked = evidence.answers_for_sessions
    verdicts = [
        Verdict(
            "the pool falls idle",
            f"{idle.transactions} transactions, {idle.in_use} connections in use, {idle.waiting} waiting, "
            f"{idle.sessions} clients, {idle.parked} parked",
            idle.reached,
        ),
        Verdict(
            f"memory grows by at most {MEMORY_GROWTH_KIB // 1024} MiB",
            f"{growth / 1024:+.1f} MiB to {last.rss_kib / 1024:.1f}",
            growth <= MEMORY_GROWTH_KIB,
        ),
        Verdict(
            f"at most {evidence.connections_each} connections to a server (and {CHECK_CONNECTIONS} checks)",
            f"{evidence.most_connections}",
            not over if asked else None,
        ),
    ]
    return verdicts + _reuse(evidence.journal, first, last)


def _reuse(journal: Journal, first: Look, last: Look) -> list[Verdict]:
    if first.connects is None or last.connects is None:
        return []
    each = journal.statements / max(1, last.connects)
    new, kills = last.connects - first.connects, journal.client_kills
    return [
        Verdict(
            f"at least {STATEMENTS_PER_CONNECTION} statements per backend connection",
            f"{each:.0f} ({journal.statements} over {last.connects})",
            each >= STATEMENTS_PER_CONNECTION,
        ),
        Verdict(
            f"at most {CONNECTIONS_PER_KILL} new backend connections per kill",
            f"{new} for {kills} kills",
            new <= CONNECTIONS_PER_KILL * kills,
        ),
    ]


def _coverage(evidence: Evidence) -> list[Verdict]:
    """A soak that did not do its worst proves nothing."""
    journal = evidence.journal
    wanted = round(evidence.clients * KILLED_PART)
    idle_actions = [name for name, count in journal.done.items() if count == 0]
    restarts = [outage for outage in journal.outages if outage.until is not None]
    return [
        Verdict(f"at least {wanted} clients killed", f"{journal.client_kills}", journal.client_kills >= wanted),
        Verdict("a server killed and back", f"{len(restarts)} times", len(restarts) >= 1),
        Verdict("every kind of action ran", f"{dict(journal.done)}", not idle_actions and len(journal.done) >= 10),
    ]


def _none(promise: str, lines: Sequence[str]) -> Verdict:
    return Verdict(promise, str(len(lines)), not lines)


def _zero(promise: str, count: int) -> Verdict:
    return Verdict(promise, str(count), count == 0)


def word(verdict: Verdict) -> str:
    return {True: "PASS", False: "FAIL", None: "----"}[verdict.ok]
