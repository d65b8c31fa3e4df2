"""The select list of a statement that is merged: each column's text, and what is known of its values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from router.engine.recipe import Piece, Span
from router.errors import refusal
from router.pinning import source_of
from router.planner.clauses import Range
from router.relations import ColumnId, Query, resolve
from router.schema import LiveColumn
from router.tokens import Token, quoted


@dataclass(frozen=True, slots=True)
class Item:
    """One column of the answer. `alias` is written, `name` is what it is called otherwise; both in lower case.

    `column`: it is this column and nothing else, when that is certain. `node` None: it comes from a star.
    """

    pieces: tuple[Piece, ...]
    node: exp.Expr | None
    column: ColumnId | None
    alias: str | None
    name: str

    @property
    def live(self) -> LiveColumn | None:
        """What the schema knows of its values."""
        return live_of(self.column)


def live_of(column: ColumnId | None) -> LiveColumn | None:
    found = source_of(column) if column is not None else None
    return found[0].live.column(found[1]) if found is not None and found[0].live is not None else None


def items_of(query: Query, tokens: Sequence[Token], ranges: Sequence[Range]) -> list[Item]:
    """Raises Refusal when the list is not read as it is written."""
    nodes = query.tree.expressions
    if len(nodes) != len(ranges):
        raise refusal("MERGE_FORM", "a select list in an unusual form")
    found: list[Item] = []
    for node, (first, end) in zip(nodes, ranges, strict=True):
        if node.is_star:
            found += _star(query, node)
            continue
        bare, alias = node.unalias(), None
        if isinstance(node, exp.Alias):
            alias = node.alias.lower()
            end -= 2 if tokens[end - 2].upper == "AS" else 1
        column = resolve(query, bare)
        name = bare.name.lower() if isinstance(bare, exp.Column) else ""
        found.append(Item((Span(first, end - 1),), bare, column, alias, name))
    return found


def _star(query: Query, node: exp.Expr) -> Iterator[Item]:
    """The columns of `*` and `t.*`. Raises Refusal when they are not known."""
    qualifier = node.table if isinstance(node, exp.Column) else ""
    relations = [one for one in query.relations if not qualifier or one.alias.lower() == qualifier.lower()]
    if not relations or (query.merged and not qualifier):
        raise refusal("MERGE_FORM", "a star beside USING or NATURAL")
    for relation in relations:
        if relation.live is None:
            raise refusal("MERGE_FORM", "a star over columns that are not known")
        for column in relation.live.insertable:
            name = column.name.lower()
            text = f"{quoted(relation.alias)}.{quoted(column.name)}"
            yield Item((text,), None, (relation, name), None, name)
