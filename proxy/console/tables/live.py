"""Tables of what only the workers know: sessions, plans, pools; and the console's own sessions.

The last column of each is a note: a worker that does not answer has a row of its own that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ops import digests
from proxy.console.sources import Sources, wall
from proxy.console.table import Row, Table, columns


def _of_workers(what: str, width: int) -> Callable[[Sources], Iterator[Row]]:
    """(worker, the worker's row, note)"""

    def rows(sources: Sources) -> Iterator[Row]:
        for reply in sources.replies.get(what, ()):
            for row in reply.rows:
                yield reply.worker, *row, None
            if reply.note is not None:
                sources.warnings.append(reply.note)
                yield reply.worker, *(None,) * width, reply.note

    return rows


def _plans(sources: Sources) -> Iterator[Row]:
    """With the executions of its shape, as the digests count them: for this user in this database."""
    hits = {
        (row.digest, row.user, row.keyspace): row.count for row in digests.top(sources.page, limit=digests.MOST).rows
    }
    for worker, fingerprint, statement, user, database, *rest, note in _of_workers("plans", 11)(sources):
        yield worker, fingerprint, statement, user, database, *rest, hits.get((fingerprint, user, database)), note


def _console(sources: Sources) -> Iterator[Row]:
    for session, since in sources.console:
        role = "admin" if session.admin else "viewer"
        yield session.id, session.user, session.peer, role, wall(since), int(session.id == sources.session.id)


TABLES = (
    Table(
        "sessions", "Client sessions of all workers: what each does, and why it keeps a connection to a server.",
        columns(
            "worker BIGINT that has it", "id BIGINT connection id; KILL takes it", "user TEXT who",
            "client TEXT its address", "listener TEXT that it came in by", "database TEXT selected",
            "state TEXT idle, parked (being planned or carried out), waiting (for a connection), busy (at a server)",
            "command TEXT under way; Sleep when idle", "time_us BIGINT in this state", "park_reason TEXT when parked",
            "shard TEXT whose connection it holds", "in_transaction BIGINT 1: yes",
            "pinned TEXT why it keeps its connection; NULL: it does not have to", "consistency TEXT of its reads",
            "autocommit BIGINT 1: on", "peer BIGINT 1: another region's Fairlead",
            "bytes_out BIGINT of the answer under way or the last one", "digest TEXT fingerprint of its statement",
            "statement TEXT its template", "note TEXT when the worker does not answer",
        ), _of_workers("sessions", 18), asks="sessions",
    ),
    Table(
        "plans", "Remembered plans of all workers: route, policy verdict, epoch.",
        columns(
            "worker BIGINT that has it", "digest TEXT fingerprint", "statement TEXT template", "user TEXT for whom",
            "database TEXT selected", "route TEXT the plan's kind; of a refusal, the error's name",
            "shards TEXT that it goes to, or chooses from", "verb TEXT of the statement",
            "verdict TEXT of the policy: as it is, rewritten, refused", "rules TEXT that decided",
            "reasons TEXT of the planner", "epoch BIGINT that it was made in",
            "is_current BIGINT 0: made anew at next use",
            "hits BIGINT executions of the shape, all workers", "note TEXT when the worker does not answer",
        ), _plans, asks="plans",
    ),
    Table(
        "pools", "Connection pools: per worker, server and client capabilities.",
        columns(
            "worker BIGINT whose", "server TEXT as in servers",
            "class BIGINT capabilities: 1 DEPRECATE_EOF + 2 FOUND_ROWS + 4 QUERY_ATTRIBUTES", "total BIGINT open",
            "connecting BIGINT being opened", "idle BIGINT free", "lingering BIGINT free, kept for SHOW WARNINGS",
            "in_use BIGINT lent", "waiting BIGINT sessions in the queue",
            "connection_limit BIGINT of the server, all workers and classes", "failure TEXT of the last attempt",
            "note TEXT when the worker does not answer",
        ), _of_workers("pools", 10), asks="pools",
    ),
    Table(
        "transactions", "Transactions over several shards with prepared parts on the region's servers, under way or in "
        "doubt; the first 256.",
        columns(
            "worker BIGINT that tells", "gtrid TEXT its name in XA RECOVER", "decider TEXT its deciding shard",
            "shards TEXT with prepared parts",
            "decision TEXT commit, abort, none yet, unknown while nobody can be asked",
            "seconds BIGINT since it was begun", "note TEXT when the worker does not answer",
        ), _of_workers("transactions", 5), asks="transactions",
    ),
    Table(
        "console_sessions", "Who is at this console.",
        columns(
            "id BIGINT connection id", "user TEXT account", "client TEXT its address", "role TEXT viewer or admin",
            "since DATETIME UTC", "is_me BIGINT 1: this one",
        ), _console,
    ),
)  # fmt: skip
