"""What a write to several shards may leave to each of them, because it comes to the same as on one server.

The time is one for all of them: `Volatile.clock` has the executor set it. Random values are other ones for every row
anyway, whichever server makes them; but not for copies of one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from router import functions
from router.errors import Refusal, refusal
from router.planner.parsed import Parsed
from router.planner.request import Request
from router.planner.select import UNSTABLE
from router.relations import Relation
from router.schema import LiveColumn
from router.tokens import Token

PER_ROW = functions.RANDOM - {"UUID_SHORT"}
"""UUID_SHORT() is made of the server's id, which two shards may have in common."""


@dataclass(frozen=True, slots=True)
class Volatile:
    """`problem`: why the statement cannot go to several shards; `clock`: it needs one time on all of them."""

    problem: Refusal | None = None
    clock: bool = False

    def __or__(self, other: Volatile) -> Volatile:
        return Volatile(self.problem or other.problem, self.clock or other.clock)


def volatile(
    request: Request, parsed: Parsed, target: Relation, given: Sequence[str] | None, *, copies: bool
) -> Volatile:
    """`given`: the columns that an INSERT has values for; None for UPDATE and DELETE. `copies`: the rows are the same
    on all shards."""
    found = _words(request) | _calls(request, parsed, copies)
    if given is not None:
        found |= _defaults(request, target, given, copies)
    if not isinstance(parsed.tree, exp.Delete):
        found |= _touched(parsed, target)
    return found


def _words(request: Request) -> Volatile:
    for token in request.tokens:
        if token.kind == "user_variable":
            return Volatile(refusal("USER_VARIABLE_SCATTER"))
        if token.kind == "system_variable":
            return Volatile(refusal("UNSTABLE_FUNCTION", "a system variable"))
    return Volatile()


def _calls(request: Request, parsed: Parsed, copies: bool) -> Volatile:
    clock = False
    for call in parsed.calls:
        if call.upper in functions.ONE_TIME:
            clock = True
        elif call.upper in UNSTABLE and (copies or call.upper not in PER_ROW):
            return Volatile(refusal("UNSTABLE_FUNCTION", call.upper))
    if any(_seeded(request.tokens, index) for index in range(len(request.tokens))):
        # A seed gives one series for all rows of the statement.
        return Volatile(refusal("UNSTABLE_FUNCTION", "RAND with a seed"))
    return Volatile(clock=clock)


def _seeded(tokens: Sequence[Token], index: int) -> bool:
    following = [token.text for token in tokens[index + 1 : index + 3]]
    return tokens[index].upper == "RAND" and following[:1] == ["("] and following != ["(", ")"]


def _defaults(request: Request, target: Relation, given: Sequence[str], copies: bool) -> Volatile:
    """Defaults that servers compute: NOW(), UUID()."""
    by_word = any(token.upper == "DEFAULT" for token in request.tokens)
    found = Volatile()
    for column in target.live.columns if target.live else ():
        if column.unstable_default and (by_word or column.name.lower() not in given):
            found |= _default(column, copies)
    return found


def _default(column: LiveColumn, copies: bool) -> Volatile:
    words = column.unstable_words
    if words <= functions.ONE_TIME | (frozenset() if copies else PER_ROW):
        return Volatile(clock=not words.isdisjoint(functions.ONE_TIME))
    return Volatile(refusal("UNSTABLE_FUNCTION", f"the default of column {column.name}"))


def _touched(parsed: Parsed, target: Relation) -> Volatile:
    """ON UPDATE CURRENT_TIMESTAMP, of a column that an UPDATE, or what an INSERT does to rows that are there, does not
    set itself."""
    tree = parsed.tree
    conflict = tree.args.get("conflict")
    changes = tree.expressions if isinstance(tree, exp.Update) else conflict.expressions if conflict is not None else []
    assigned = {one.this.name.lower() for one in changes if isinstance(one, exp.EQ)}
    columns = target.live.columns if target.live and changes else ()
    several = len(parsed.tables()) > 1  # of which one may have a column of the same name
    return Volatile(clock=any(one.on_update and (several or one.name.lower() not in assigned) for one in columns))
