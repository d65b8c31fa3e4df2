"""What the policy looks like to whoever asks it: the seam between the model and the decisions built on it.

`Policy` is the interface; `router.policy.compiled.build(settings, topology)` makes the real one, and answers None
when the configuration has no policy (then nothing here is ever asked). A test may give any object of this shape.

Words. A *class* is a point of the lattice level x set of regime tags, numbered (`ClassId`); 0 is its bottom, which
nothing restricts. A *home* is the legal domain that a row belongs to. A *subject* is who asks, as the configuration
knows them. Names of databases, tables and columns are looked up without regard to case: where two labels could be
meant, their join counts. Whatever is unknown has the top class, or no domain, and so is refused abroad.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, Protocol

from router.schema import LiveColumn

ClassId = int
"""Index of a class; 0 is the bottom of the lattice. `Policy.class_name` gives its name."""

Operation = Literal["read", "write"]

OWN_MASK: Final = "own"
"""The mask of a verdict that leaves it to the column's label; `Policy.decide_column` never answers with it."""

NOTHING_LEFT: Final = "null"
"""The mask that reveals nothing at all: the join of any two different masks."""

UNKNOWN_DOMAIN: Final = ""
"""The domain of a subject that no entry of `policy.subjects` describes, or of a row whose home is not known."""


class FlowKind(IntEnum):
    """How a column's value gets into what leaves: as it is, computed from, within an aggregate, by deciding which
    rows there are (WHERE, ON, GROUP, ORDER, EXISTS …), or into a written column."""

    IDENTITY = 0
    DERIVED = 1
    AGGREGATE = 2
    INFLUENCE = 3
    WRITE = 4


class Action(IntEnum):
    """What may happen to a value, in the order of strictness.

    AGGREGATE: only inside an aggregate over at least `k` persons. MASK, TOKENISE: replaced by `Verdict.mask`, in
    every clause. SEND_HOME: the statement is carried out in the home domain and no value comes back.
    """

    ALLOW = 0
    AGGREGATE = 1
    MASK = 2
    TOKENISE = 3
    SEND_HOME = 4
    REFUSE = 5


class Duty(IntEnum):
    """What an obligation asks for."""

    LOG = 0
    BUDGET = 1


@dataclass(frozen=True, slots=True, order=True)
class Obligation:
    """A duty that comes with a verdict: a decision record (LOG), or the exposure counted against a budget of
    `policy.budgets` (BUDGET, `name` says which)."""

    duty: Duty
    name: str = ""

    def __str__(self) -> str:
        return f"{self.duty.name.lower()}({self.name})" if self.name else self.duty.name.lower()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may happen to a value. All parts hold together: a joined verdict has the strictest of each.

    `mask`: the function for MASK and TOKENISE, None without one. `k`: 0, or the least number of persons an aggregate
    must cover. `rules`: names of the rules that decided, sorted; of defaults, 'default:home', 'default:abroad',
    'default:unknown'. `reason` is a sentence without any value. Join them with `router.policy.verdict.join`.
    """

    action: Action
    mask: str | None = None
    k: int = 0
    rules: tuple[str, ...] = ()
    obligations: frozenset[Obligation] = frozenset()
    reason: str = ""

    @property
    def free(self) -> bool:
        """Nothing is to be done about it: no reduction, no obligation."""
        return self.action is Action.ALLOW and not self.obligations


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks, as far as rules can tell. Identities with equal attributes are one subject with one `id`, a small
    integer that plans are kept by; ids hold for one policy epoch. `domain` is UNKNOWN_DOMAIN for an identity that
    no entry describes (id 0)."""

    id: int
    domain: str
    roles: frozenset[str] = frozenset()
    purpose: str | None = None
    counterparty: str | None = None


class Policy(Protocol):
    """A compiled policy; immutable. Every method is a look-up in memory and raises nothing on unknown names."""

    @property
    def epoch(self) -> int:
        """Grows with every policy put in force; part of what plans and decision records are kept by."""
        ...

    @property
    def domain(self) -> str:
        """The legal domain that this Fairlead stands in."""
        ...

    @property
    def domains(self) -> tuple[str, ...]:
        """All legal domains."""
        ...

    def restricted(self, database: str, table: str) -> bool:
        """Has the table, or any column of it, a class other than the bottom?"""
        ...

    def class_of(self, database: str, table: str, column: str) -> ClassId:
        """The column's class; of a column without a label, `class_of_table`."""
        ...

    def class_of_table(self, database: str, table: str) -> ClassId:
        """The class of the table's unlabelled columns, and of the fact that a row is there (COUNT(*), EXISTS)."""
        ...

    def top_of(self, database: str, table: str) -> ClassId:
        """The join of all classes in the table: what an opaque statement over it may touch."""
        ...

    def class_name(self, cls: ClassId) -> str:
        """'personal', 'personal+us_health'."""
        ...

    def class_named(self, names: tuple[str, ...]) -> ClassId:
        """The class of a label; without names the top."""
        ...

    def join(self, one: ClassId, other: ClassId) -> ClassId:
        """The least class that dominates both."""
        ...

    def dominates(self, high: ClassId, low: ClassId) -> bool:
        """May what has class `low` be kept where class `high` is kept?"""
        ...

    def homes_of(self, database: str, table: str) -> tuple[str, ...]:
        """The domains that rows of the table may belong to: its label's `home`, else those of its shards' regions,
        in the order of the shards. All domains for an unknown keyspace."""
        ...

    def domain_of_region(self, region: str) -> str:
        """UNKNOWN_DOMAIN for an unknown region."""
        ...

    def person_of(self, database: str, table: str) -> str | None:
        """The column that tells the persons apart whom the rows are about (k, budgets), if the label names one."""
        ...

    def subject_of(self, user: str, listener: str, certificate: str | None, region: str | None = None) -> Subject:
        """`region`: where the Fairlead stands that authenticated the identity; None is this one's. A session that a
        peer brings has the peer's, and its listener's name there is "" unless attested."""
        ...

    def decide(self, cls: ClassId, home: str, subject: Subject, operation: Operation, flow: FlowKind) -> Verdict:
        """The verdict of the rules for one class, home, subject and use. Its mask may be OWN_MASK."""
        ...

    def decide_column(
        self, database: str, table: str, column: str, home: str, subject: Subject, operation: Operation, flow: FlowKind
    ) -> Verdict:
        """`decide` for a column, with OWN_MASK replaced by the mask that the column's label names, or by
        NOTHING_LEFT where it names none."""
        ...

    def open_to(self, database: str, table: str, subject: Subject) -> bool:
        """Is every use of every column of the table, from every home, free for the subject? Then statements over it
        need no lineage, and may even be opaque."""
        ...

    def objections_to_copy(self, cls: ClassId, home: str, region: str) -> tuple[str, ...]:
        """The options of the policy by which data of this class and home may not be kept in the region as a copy,
        'classes.personal.replicas_in'; none when it may."""
        ...

    def mask_sql(self, mask: str, column_sql: str, column: LiveColumn, flavour: str) -> str | None:
        """The masked value of a column as an expression of its type, charset and collation. `column_sql` is its
        (qualified, quoted) name; `flavour` 'mariadb' | 'mysql'. None when this mask does not apply to that type,
        which means: refuse. A token's salt is in the text; show such text only through `redact`."""
        ...

    def mask_value(self, mask: str, value: bytes, column: LiveColumn) -> bytes | None:
        """What `mask_sql` gives of this value (as the text that a server sends of it); None for nothing at all."""
        ...

    def redact(self, sql: str) -> str:
        """The text with token salts replaced by `0x…`, for EXPLAIN ROUTE, logs and records."""
        ...

    def explain(self, cls: ClassId, home: str, subject: Subject, operation: Operation, flow: FlowKind) -> list[str]:
        """Why `decide` answers what it answers: the rules looked at, which won over which, in sentences."""
        ...
