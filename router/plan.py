"""Plans: what is to be done with a statement, as printable, comparable values.

A plan is made once per normalised statement and executed with whatever literals or parameters arrive, so it
never holds a literal: it names lexer slots (`KeyRef`), and shards by their configured names.
Nobody below the planner reads SQL again; what an executor must know is here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from router.engine.loading import Loaded
from router.engine.recipe import Piece, Recipe, Script, Span
from router.engine.storing import Stored
from router.errors import CATALOGUE, Refusal
from router.files import FileFormat
from router.hints import NO_HINTS, Hints
from router.keys import KeyColumn
from router.tokens import Token
from router.topology import Topology

if TYPE_CHECKING:
    from router.policy.enforce import Enforcement

Item: TypeAlias = Literal["list"] | int | None


@dataclass(frozen=True, slots=True)
class KeyRef:
    """Where the value of one shard-key column comes from at execution.

    `slot` indexes `Lexed.slots`. `item` says what of it:
    None: the slot itself is the value (a literal or a PARAM);
    'list': a LIST slot, every element is a value (the row's column equals one of them);
    k (int): a ROWS slot, the k-th expression of every row is a value.
    `column`: the column that the value is compared with or stored into; how the value is made canonical.
    `negate`: the text holds a unary minus before the slot (never for ROWS: its items carry their own sign).
    """

    slot: int
    column: KeyColumn
    item: Item = None
    negate: bool = False


# One value per column of the vindex, in the vindex's order. LIST items of different columns combine as a
# product; ROWS items of the same ROWS slot go row by row.
Key: TypeAlias = tuple[KeyRef, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with the catalogue's error named `entry` (router.errors.CATALOGUE), filled with `args`."""

    entry: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OneShard:
    """Send verbatim to this shard: an unsharded keyspace, a pinned table, or a hint."""

    shard: str


@dataclass(frozen=True, slots=True)
class AnyShard:
    """Send verbatim to whichever of `shards`: the transaction's when one is open there, else the nearest."""

    keyspace: str
    shards: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scatter:
    """Send to several shards and make one answer of theirs, as `merge` says; None: verbatim, and the rows of one
    behind the other's are the whole answer.

    `keys` None: all of `shards`. Otherwise only those of `shards` that hold one of the keys; the whole text
    still goes to each of them, which is right for plain filters.
    """

    keyspace: str
    shards: tuple[str, ...]
    vindex: str | None = None
    keys: tuple[Key, ...] | None = None
    merge: Recipe | None = None


NO_TOKENS = (0, 0)


@dataclass(frozen=True, slots=True, order=True)
class Pulled:
    """A subquery that is run first: tokens `first` to `last` are replaced by what it gives.

    'scalar': one value, or NULL without rows; 'in': a list; 'exists': a truth. `text`: text may come, of the collation
    that it is compared in; `item`: its column's tokens, where that is asked for with all its digits; `limited`: it has
    a LIMIT.
    """

    first: int
    last: int
    kind: Literal["scalar", "in", "exists"]
    text: bool = False
    item: tuple[int, int] = NO_TOKENS
    limited: bool = False


@dataclass(frozen=True, slots=True)
class PullOut:
    """Run these subqueries, put what they give into the text, and plan that anew. `entry`, `args`: why the statement
    as it is would be refused."""

    keyspace: str
    pulls: tuple[Pulled, ...]
    entry: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """One mention of a view of information_schema: tokens `first` to `last`, called `alias` if they do not say so
    themselves. Its rows are those of `keyspaces` whose names `slots` hold (None: of all of them), and that meet the
    conditions `within`, ranges of tokens."""

    first: int
    last: int
    name: str
    alias: str
    column: str
    keyspaces: tuple[str, ...]
    slots: tuple[int, ...] | None = None
    within: tuple[tuple[int, int], ...] = ()
    called: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """Ask for the rows of these views, keyspace by keyspace, put them in place of their mentions and ask one of
    `shards` the rest. `dropped`: tokens that named information_schema before a column of theirs."""

    views: tuple[View, ...]
    shards: tuple[str, ...]
    dropped: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class GivenIds:
    """Where an INSERT gives its AUTO_INCREMENT column values: (slot, position in every row of a ROWS slot, with a
    minus). `copies`: of a reference table."""

    table: str
    column: str
    places: tuple[tuple[int, int | None, bool], ...]
    copies: bool = False


@dataclass(frozen=True, slots=True)
class MultiWrite:
    """Send the same write to several shards (begin all, execute all, commit all) and sum the affected rows.

    `keys` as in Scatter. `sum_rows` False: a reference table, where every copy reports the same count and
    the first shard's answer is the client's. `clock`: it asks for the time, which has to be one for all. `ids`: those
    that it has to give.
    """

    keyspace: str
    shards: tuple[str, ...]
    vindex: str | None = None
    keys: tuple[Key, ...] | None = None
    sum_rows: bool = True
    clock: bool = False
    ids: GivenIds | None = None


@dataclass(frozen=True, slots=True)
class SplitInsert:
    """Send each row of a multi-row INSERT to the shard of its key (begin all, execute all, commit all).

    `keys` as in ByKey, over the rows of `rows_slot`, the ROWS slot that spans them all.
    `router.route.split` gives the text of every part: everything before the rows, the shard's rows,
    everything after. `clock` and `ids` as in MultiWrite.
    """

    keyspace: str
    shards: tuple[str, ...]
    vindex: str
    keys: tuple[Key, ...]
    rows_slot: int
    clock: bool = False
    ids: GivenIds | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """An UPDATE that gives rows another shard's key: sent to the shards of `keys` (as in MultiWrite) as it is, and what
    has the key `new` then is carried to that one's shard, in one atomic transaction.

    `columns`: of the table, without those that are generated; `names`: of the shard key.
    """

    keyspace: str
    table: str
    shards: tuple[str, ...]
    vindex: str
    keys: tuple[Key, ...] | None
    new: Key
    names: tuple[str, ...]
    columns: tuple[Loaded, ...]
    clock: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """An UPDATE or DELETE with LIMIT, in one atomic transaction: each shard is sent `text`, with as many rows as its
    LIMIT as it has among the first of all.

    `keys` as in MultiWrite; `limit`: the slot of the client's. `read`: what of the client's text asks for the rows in
    their order, behind SELECT … FROM; empty: in any order, so one shard after the other changes its own.
    """

    keyspace: str
    shards: tuple[str, ...]
    vindex: str | None
    keys: tuple[Key, ...] | None
    updates: bool
    limit: int
    text: Script
    read: tuple[Piece, ...] = ()
    clock: bool = False


@dataclass(frozen=True, slots=True)
class SplitLoad:
    """LOAD DATA LOCAL: send each row of the client's file to the shard of its key, all as one transaction.

    `shards`: of the own region, all that hold rows. A row has so many `fields`; `keys`: which of them the vindex's
    `columns` are, `raw` where a column is binary; `id_field`: the AUTO_INCREMENT column's, which has to hold a number,
    -1 for none. `ignored_slot`: of n in IGNORE n LINES, -1 without. Never cached, so it may hold the text's literals.
    """

    keyspace: str
    table: str
    vindex: str
    shards: tuple[str, ...]
    columns: tuple[KeyColumn, ...]
    fields: int
    keys: tuple[int, ...]
    raw: tuple[bool, ...]
    id_field: int
    format: FileFormat
    ignored_slot: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """INSERT … SELECT or REPLACE … SELECT in one atomic transaction: `select` of the client's `tokens` is asked, by its
    own route, and its rows are inserted by `head`, each at the shard of its key.

    `shards`: where rows may go. `keys`: which of the values are the shard key, which is compared as `key_columns`.
    """

    keyspace: str
    table: str
    shards: tuple[str, ...]
    vindex: str
    keys: tuple[int, ...]
    key_columns: tuple[KeyColumn, ...]
    columns: tuple[Stored, ...]
    head: str
    select: Span
    ignores: bool
    clock: bool = False
    tokens: tuple[Token, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """Change one table on all its shards, which MySQL cannot undo: with care, and so that it can be gone on with.

    `name`: the first and last token of the table's name. `keys`: the shard key's columns, which may not change.
    `tried`: on an empty copy first, which TRUNCATE does not need.
    """

    keyspace: str
    table: str
    shards: tuple[str, ...]
    name: tuple[int, int]
    keys: tuple[str, ...] = ()
    tried: bool = True


@dataclass(frozen=True, slots=True)
class Lookup:
    """Only rows whose whole number `column` is one that pull number `source`, loaded before, gives in column `field`.
    `vindex`: `column`, as `key`, is the shard key of it."""

    column: str
    source: int
    field: int
    vindex: str | None = None
    key: KeyColumn | None = None


@dataclass(frozen=True, slots=True)
class Pull:
    """The rows of one mention of a table that a residual needs: `text` is asked of the shards of `route`, and what
    they give becomes the `columns` of the temporary table `temporary`, which is made like `table`.

    `alias`: what the mention is called. `shadows`: when it is full the temporary table takes the table's name, and the
    text names it as it did. `conditions`: what of the statement the shards decide, in words. `dropped`: unique keys
    that the temporary table does not have, as what is masked need not be unique. `lookup`: which rows are needed, as
    long as they are few. `planned`: what the policy makes of
    `text` as a statement of the user's; None without one, or where all of the table is open to the user.
    """

    table: str
    alias: str
    temporary: str
    shadows: bool
    route: Scatter | OneShard
    text: Script
    columns: tuple[Loaded, ...]
    conditions: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    lookup: Lookup | None = None
    planned: Planned | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Residual:
    """Load what is needed of several shards' tables into temporary tables on the server of shard `scratch`, and ask it
    the rest: the client's `text` with the temporary tables in place of the others.

    `shards`: all that take part. `instead`: the catalogue's entry that it would be refused by otherwise.
    """

    keyspace: str
    scratch: str
    shards: tuple[str, ...]
    pulls: tuple[Pull, ...]
    text: Script
    instead: str


Otherwise: TypeAlias = Scatter | MultiWrite | SplitInsert | Move | Chosen | Transfer | Residual | Refuse


@dataclass(frozen=True, slots=True)
class ByKey:
    """Send verbatim to the one shard that every value of every key of `keys` maps to; computed per execution.

    The statement touches no row of a sharded table whose key is not among `keys`, so it is right on one shard
    whenever they all agree on it: one key (`id = 1`), alternatives (`id = 1 OR id = 2`, rows of different
    shapes), or one key per table (`u.id = 1 AND o.user_id = 1`).
    A value that equals no row (NULL, beyond the column's range) maps to no shard; when all are such,
    `when_empty` answers. When the values do not agree, or one of them cannot be decided
    (`keys.Unpinnable`), `otherwise` is executed.
    `stored`: the values are INSERTed, so they are made canonical by `keys.canonical_stored`, NULL is refused,
    and `when_empty` is None.
    """

    keyspace: str
    vindex: str
    keys: tuple[Key, ...]
    otherwise: Otherwise
    when_empty: str | None = None
    stored: bool = False


@dataclass(frozen=True, slots=True)
class ByLookup:
    """Ask the lookup for the shards of the rows, then send the statement there: verbatim to the one, by `otherwise` to
    several. No row that matters is without one of the values of `keys` in the lookup's column.

    `when_empty` answers when no row has one of them; a value that does not say what it equals means all of
    `otherwise`'s shards.
    """

    keyspace: str
    lookup: str
    keys: tuple[Key, ...]
    otherwise: Scatter | Residual | Refuse
    when_empty: str
    shards: tuple[str, ...]


Write: TypeAlias = OneShard | ByKey | MultiWrite | SplitInsert


@dataclass(frozen=True, slots=True)
class Keep:
    """A write to a table with lookups: `write` in a transaction that brings them in step.

    Which rows it may change is told by `rows`, their keys as an INSERT gives them, or by `condition`, the tokens
    [first, behind the last) of an UPDATE's or DELETE's WHERE clause without the word (None: all rows), on the table
    called `alias`. `fresh`: rows with these keys cannot have been there. `counts`: it tells how many rows it found.
    `guarded`: the policy keeps back the texts of servers' errors.
    """

    keyspace: str
    table: str
    write: Write
    rows: tuple[Key, ...] | None
    condition: tuple[int, int] | None = None
    alias: str = ""
    fresh: bool = False
    counts: bool = False
    guarded: bool = False


@dataclass(frozen=True, slots=True)
class RowTokens:
    """A row that is not one of a ROWS slot, by tokens of norm: where its id is written (-1: nowhere), and its closing
    parenthesis; of INSERT … SET, the word SET."""

    first: int
    last: int
    end: int


@dataclass(frozen=True, slots=True)
class Numbered:
    """Write ids into an INSERT whose AUTO_INCREMENT column Fairlead fills (`router.numbering`), then plan that text as
    if the client had sent it.

    Its rows are those of `rows_slot`, the id being the `position`-th value of each (None: it is left out); without
    such a slot, `rows` say where theirs is. `head`: the token that closes the list of columns when the column has to be
    added to it, `alone`: as its only one. `assigns`: it is INSERT … SET. `one_row`: with several rows it is refused,
    because what becomes of each is only known to the server.
    """

    keyspace: str
    table: str
    shards: tuple[str, ...]
    rows_slot: int | None
    position: int | None
    rows: tuple[RowTokens, ...]
    head: int | None
    alone: bool
    assigns: bool
    one_row: bool
    tokens: tuple[Token, ...] = field(default=(), repr=False, compare=False)


CHAIN = "and chain"
"""Of COMMIT and ROLLBACK: another transaction begins at once."""
RELEASE = "release"
"""Of COMMIT and ROLLBACK: the client is disconnected."""
TransactionVerb: TypeAlias = Literal["begin", "commit", "rollback", "savepoint", "rollback to", "release"]


@dataclass(frozen=True, slots=True)
class Transaction:
    """BEGIN is deferred, COMMIT and ROLLBACK end, the savepoint verbs go verbatim to the transaction's shard.

    `options` ⊆ {'read only', 'read write', 'with consistent snapshot'}, or of an end {'and chain'}; `savepoint` is the
    name without quotes.
    """

    verb: TransactionVerb
    options: frozenset[str] = frozenset()
    savepoint: str | None = None


@dataclass(frozen=True, slots=True)
class SlotValue:
    """A value written as a literal or a parameter: `router.literals.value` decodes it."""

    slot: int
    negate: bool = False


@dataclass(frozen=True, slots=True)
class WordValue:
    """A value written as a bare word: `utf8mb4`, `ON`, `DEFAULT`, `NULL` (keywords in upper case)."""

    word: str


@dataclass(frozen=True, slots=True)
class ServerValue:
    """A value that only the server can compute (`@@sql_mode`, `CONCAT(…)`): sent verbatim, and pins; but where it has
    to be known here, a server is asked for `expression` first."""

    expression: str | None = None


Value: TypeAlias = SlotValue | WordValue | ServerValue


@dataclass(frozen=True, slots=True)
class Assignment:
    """One assignment of SET. `scope` 'next' is `SET TRANSACTION`, good for one transaction.

    `variable` is the lower-case system name; MySQL's two spellings of one thing are folded (tx_isolation →
    transaction_isolation). SET NAMES and SET CHARACTER SET are the variables 'names' and 'character_set'; a
    COLLATE is a second assignment to 'collation_connection'.
    """

    variable: str
    value: Value
    scope: Literal["session", "next"] = "session"


@dataclass(frozen=True, slots=True)
class SetSession:
    """Record the assignments in the session; answer OK. `verbatim`: also send the text to the session's own
    backend (it pins: `Facts.pins` says why), because it holds assignments that cannot be tracked. `about_id`: it speaks
    of LAST_INSERT_ID()."""

    assignments: tuple[Assignment, ...]
    shards: tuple[str, ...] = ()
    verbatim: bool = False
    about_id: bool = False


@dataclass(frozen=True, slots=True)
class UseDatabase:
    """Switch the session's keyspace (COM_INIT_DB's twin)."""

    keyspace: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End the session, or with `statement` only what it does, whose connection id is the literal at `slot`; None: this
    very session."""

    slot: int | None
    statement: bool


Fact: TypeAlias = Literal[
    "database",
    "connection_id",
    "user",
    "current_user",
    "last_insert_id",
    "row_count",
    "found_rows",
    "version",
    "version_comment",
    "warning_count",
    "error_count",
]


@dataclass(frozen=True, slots=True)
class SessionColumn:
    """A column that the session knows: which fact, and its label as the server would print it.

    `variable`: it was asked for as @@variable, whose column is described otherwise than a function's.
    """

    fact: Fact
    label: str
    variable: bool = False


@dataclass(frozen=True, slots=True)
class Tell:
    """Tokens `first` to `last`, in whose place the session's `fact` is written."""

    first: int
    last: int
    fact: Fact


@dataclass(frozen=True, slots=True)
class Told:
    """Write what the session knows into a write, and plan that anew. `entry`, `args`: why the statement as it is would
    be refused."""

    calls: tuple[Tell, ...]
    entry: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionValue:
    """A one-row answer from what the session knows, without a backend."""

    columns: tuple[SessionColumn, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """A result set of names, without a backend: SHOW DATABASES (what the user may see)."""

    label: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShowRoute:
    """EXPLAIN ROUTE: answer `router.explain.explain(statement, …).as_rows()`. Never cached."""

    statement: bytes


@dataclass(frozen=True, slots=True)
class ShowFairlead:
    """SHOW FAIRLEAD SESSION | STATUS | TRANSACTIONS UNRESOLVED: what the session, the Fairlead, or the servers of its
    region know. Never cached."""

    what: Literal["session", "status", "unresolved"]


@dataclass(frozen=True, slots=True)
class Nothing:
    """Answer OK and do nothing (an empty statement's error is Refuse; this is SET that changes nothing)."""


Plan: TypeAlias = (
    OneShard
    | AnyShard
    | ByKey
    | Scatter
    | PullOut
    | Survey
    | ByLookup
    | Keep
    | SplitInsert
    | SplitLoad
    | MultiWrite
    | Move
    | Chosen
    | Transfer
    | Numbered
    | SchemaChange
    | Residual
    | Transaction
    | SetSession
    | UseDatabase
    | Kill
    | SessionValue
    | Told
    | Names
    | ShowRoute
    | ShowFairlead
    | Nothing
    | Refuse
)

Access: TypeAlias = Literal["read", "write"]


@dataclass(frozen=True, slots=True, order=True)
class TableUse:
    """A table that the statement names, and how it is used."""

    keyspace: str
    table: str
    access: Access


FoundRows: TypeAlias = Literal["counted", "kept", "unknown"]

# Why a session keeps its backend until it ends (or is reset).
Pin: TypeAlias = Literal[
    "user_variable",
    "session_variable",
    "temporary_table",
    "get_lock",
    "lock_tables",
    "found_rows",
    "prepared_in_sql",
    "handler",
    "procedure",
    "opaque",
]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the planner learned and the executor needs, whatever the plan.

    `verb`: lower case, the first that privileges are asked for: select, insert, update, delete, replace,
    set, show, create, alter, drop, truncate, call, begin, …
    `replica_ok`: a plain read: no lock, no write, no function whose value lives on one connection.
    `needs_last_insert_id`: LAST_INSERT_ID() inside of a statement for a backend: set it there first.
    `asks_id`: it may change LAST_INSERT_ID() without the answer's saying so. `fresh_id`: the answer's insert id, if
    any, is LAST_INSERT_ID() from now on. `one_row`: an INSERT of one row, so an error leaves it as it was.
    `found_rows`: what FOUND_ROWS() is behind it: the number of its rows, what it was, or only the server knows.
    `needs_connection`: functions whose value lives on the connection that ran the session's last statement
    (found_rows, row_count): answer only on a pinned or transaction's backend.
    `ddl`: bumps the schema epoch when it succeeds. `implicit_commit`: ends an open transaction first.
    `loads`: LOAD DATA LOCAL: the server asks the client for a file.
    `uses_warnings`: SHOW WARNINGS / SHOW ERRORS: about the session's previous statement.
    `cacheable`: the plan holds for every statement of the same normalised text, database, mode and grants.
    """

    verb: str
    tables: tuple[TableUse, ...] = ()
    reads: bool = False
    writes: bool = False
    locks: bool = False
    pins: tuple[Pin, ...] = ()
    replica_ok: bool = False
    needs_last_insert_id: bool = False
    asks_id: bool = False
    fresh_id: bool = False
    one_row: bool = False
    found_rows: FoundRows = "unknown"
    needs_connection: tuple[str, ...] = ()
    ddl: bool = False
    implicit_commit: bool = False
    uses_warnings: bool = False
    loads: bool = False
    cacheable: bool = True
    hints: Hints = NO_HINTS


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What a version on trial would have made of a statement: `what` of `router.simulation`, or 'same'."""

    version: int
    what: str


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with the facts it stands on and the reasons in the order they were found.

    `topology`: what the plan's names mean; a plan outlives a reload only with it. `policy`: what the policy in force
    makes of it, None when it has nothing to say. `shadowed`: what one in shadow would.
    """

    plan: Plan
    facts: Facts
    reasons: tuple[str, ...] = ()
    topology: Topology | None = field(default=None, repr=False, compare=False)
    policy: Enforcement | None = field(default=None, repr=False, compare=False)
    shadowed: Shadowed | None = field(default=None, repr=False, compare=False)

    @property
    def refusal(self) -> Refusal | None:
        """The exception that a refused plan stands for."""
        if not isinstance(self.plan, Refuse):
            return None
        error = refusal_of(self.plan, self.facts)
        error.shadowed = self.shadowed
        return error


def refusal_of(refuse: Refuse, facts: Facts) -> Refusal:
    """The exception that a refused plan or shard stands for."""
    error = Refusal(CATALOGUE[refuse.entry], refuse.args)
    error.tables = tuple((use.keyspace, use.table) for use in facts.tables)
    return error
