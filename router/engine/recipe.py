"""How the answers of several shards become one: a printable value, made once per template.

Helper columns stand behind the client's own; a `Key` names its first helper by number, from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from router.tokens import Token


@dataclass(frozen=True, slots=True)
class Span:
    """The client's own bytes from token `first` of norm to token `last`, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ShardLimit:
    """How many rows each shard gives: offset + count of the client's LIMIT, or all (`whole`) where rows that a shard
    takes for different may be equal."""

    whole: bool = False


Piece: TypeAlias = str | Span | ShardLimit


@dataclass(frozen=True, slots=True)
class Script:
    """A text of `pieces`, which must lex to `norm`; `tokens` are those of the client's norm."""

    pieces: tuple[Piece, ...]
    norm: bytes = field(repr=False)
    tokens: tuple[Token, ...] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Key:
    """A column, or what stands for it, to compare rows by.

    'value': the helper itself, by its type; 'weights': WEIGHT_STRING of a string of this collation; 'auto': three
    helpers: the expression, its WEIGHT_STRING and its COLLATION, and its type in the answer says which counts.
    """

    form: Literal["value", "weights", "auto"]
    helper: int
    descending: bool = False
    collation: str | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """LIMIT of the client, as slots of its literals; None: all, from the first."""

    count: int
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A column: the client's own `number`th, or the helper of that number."""

    number: int
    helper: bool = False


@dataclass(frozen=True, slots=True)
class Combination:
    """How a column of partial groups becomes the group's: `how` is one of `_speedups.rows.OPERATIONS`.

    `sources`: helpers that it is computed from, when not from itself; `keys`: what MIN and MAX compare and DISTINCT
    tells values apart by; `sample` and `root`: of a deviation; `order`: of what is collected.
    """

    how: str
    at: Place
    sources: tuple[int, ...] = ()
    keys: tuple[Key, ...] = ()
    sample: bool = False
    root: bool = False
    order: tuple[Key, ...] = ()
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class Operand:
    """In an expression over whole groups: the value of a helper. `key` tells a text's collation."""

    helper: int
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Mean:
    """In an expression over whole groups: AVG as MySQL computes with it, which rounds quotients, but not this one.
    `shown`: a helper that is described as AVG is."""

    total: Operand
    count: Operand
    shown: int


Source: TypeAlias = Operand | Mean
Term: TypeAlias = str | Span | Source


@dataclass(frozen=True, slots=True)
class Computation:
    """A column of whole groups whose values are those of an expression, which a server computes from `Source`s.

    `real`: operands among them are right as DOUBLEs only, not as text.
    """

    at: Place
    terms: tuple[Term, ...]
    real: bool = False


COMPUTED = -1
"""In place of a slot: the condition itself is a computed column, and holds where that is 1."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A helper compared with a number: a literal's slot, or a parameter's; `negate`: a minus stands before it."""

    helper: int
    operator: str
    slot: int
    negate: bool = False


@dataclass(frozen=True, slots=True)
class Grouping:
    """Partial groups of equal `keys` are one group. None: all rows are one group, which is there without rows too.
    `computed`: columns of whole groups that a server computes; `having`: those stay that meet every condition."""

    keys: tuple[Key, ...] | None
    combinations: tuple[Combination, ...]
    having: tuple[Condition, ...] = ()
    computed: tuple[Computation, ...] = ()

    def steps(self) -> Iterator[tuple[str, str]]:
        """(step, detail), the last one first."""
        if self.having:
            yield ("having", " and ".join(_condition(one) for one in self.having))
        if self.computed:
            yield ("compute", f"{len(self.computed)} columns of whole groups, by a statement on one of the shards")
        keys = "one of all rows" if self.keys is None else f"by {', '.join(_key(key) for key in self.keys)}"
        yield ("group", f"{keys}: {', '.join(one.how for one in self.combinations) or 'nothing'} put together")

    @property
    def sources(self) -> tuple[Source, ...]:
        """What the computed columns are computed from, each once."""
        terms = (term for one in self.computed for term in one.terms)
        return tuple(dict.fromkeys(term for term in terms if isinstance(term, Operand | Mean)))


@dataclass(frozen=True, slots=True)
class Part:
    """A table whose rows are split over `shards` by the columns `key`, or each has all of them (`copies`)."""

    name: str
    shards: tuple[str, ...]
    copies: bool = False
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """What servers measure, one row for a table ('status'), for one of its partitions or for a column of one of its
    indexes ('index'), of these `tables`; or what all of them must tell alike but for its times ('same'), or what the
    first of them tells ('names'). `whole`: all columns of an index are listed. Fairlead's own tables are left out.
    """

    form: Literal["status", "partitions", "index", "same", "names"]
    tables: tuple[Part, ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Explained:
    """The plans of servers, one shard's rows behind the other's, with its name in front. `executes`: they are told of
    the statement as it was carried out."""

    executes: bool


@dataclass(frozen=True, slots=True)
class Recipe:
    """`pieces`: the shards' text, which must lex to `norm`. `helpers`: how many columns are behind the client's.

    `nameless`: the client's columns are no table's. `measured`: sizes and counts, which have rules of their own;
    `explained`: so have plans.

    Partial groups are combined first (`group`). Rows are merged by `order` (empty: shard by shard), of those that are
    equal by `distinct` the first stays, and of what is left the client gets those of `limit`.
    """

    pieces: tuple[Piece, ...]
    helpers: int = 0
    order: tuple[Key, ...] = ()
    distinct: tuple[Key, ...] | None = None
    limit: Limit | None = None
    group: Grouping | None = None
    norm: bytes = field(default=b"", repr=False)
    tokens: tuple[Token, ...] = field(default=(), repr=False, compare=False)
    nameless: bool = False
    measured: Measured | None = None
    explained: Explained | None = None

    @property
    def whole(self) -> bool:
        """Does each shard give all its rows?"""
        return ShardLimit(whole=True) in self.pieces

    @property
    def aside(self) -> bool:
        """Is it about tables, whatever a transaction has done to their rows?"""
        return self.measured is not None or (self.explained is not None and not self.explained.executes)

    def steps(self) -> Iterator[tuple[str, str]]:
        """(step, detail), the last one first."""
        keys = ", ".join(_key(key) for key in self.order)
        if self.measured is not None:
            numbers = "" if self.measured.form in ("same", "names") else " of all shards' numbers"
            yield ("measure", f"one {_MEASURED[self.measured.form]}{numbers}")
            return
        if self.explained is not None:
            yield ("label", "one shard's plan behind the other's, with its name")
            return
        if self.limit is not None:
            yield ("limit", "the client's OFFSET and LIMIT, over all rows")
        if self.distinct is not None:
            yield ("distinct", f"by {', '.join(_key(key) for key in self.distinct)}")
        if self.group is None:
            beside = ("concatenate", "one shard's rows behind the other's")
            yield ("merge", f"sorted rows by {keys}") if keys else beside
            return
        if keys:
            yield ("sort", f"groups by {keys}")
        yield from self.group.steps()

    def describe(self) -> str:
        """In one line, outermost first: `Limit(MergeSort(…))`."""
        if self.measured is not None:
            return f"Measure({self.measured.form})"
        if self.explained is not None:
            return "Explain"
        text = ", ".join(_key(key) for key in self.order)
        found = f"MergeSort({text})" if self.order else "Concatenate"
        if self.group is not None:
            found = f"Sort({_group(self.group)}, {text})" if self.order else _group(self.group)
        if self.distinct is not None:
            found = f"Distinct({found})"
        return f"Limit({found})" if self.limit is not None else found


_MEASURED = {
    "status": "row per table", "partitions": "row per partition", "index": "row per column of an index",
    "same": "answer that all give", "names": "answer, without Fairlead's own tables",
}  # fmt: skip


def _group(group: Grouping) -> str:
    keys = "all" if group.keys is None else ", ".join(_key(key) for key in group.keys)
    found = f"Aggregate({keys}: {', '.join(one.how for one in group.combinations) or 'nothing'})"
    if group.computed:
        found = f"Compute({found}, {len(group.computed)} columns on a shard)"
    tests = " and ".join(_condition(one) for one in group.having)
    return f"Having({found}, {tests})" if tests else found


def _condition(one: Condition) -> str:
    return f"computed {one.helper}" if one.slot == COMPUTED else f"{one.helper} {one.operator} ?{one.slot}"


def _key(key: Key) -> str:
    name = f"{key.form} {key.helper}" + (f" {key.collation}" if key.collation else "")
    return f"{name} desc" if key.descending else name
