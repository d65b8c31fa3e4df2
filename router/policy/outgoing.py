"""What the checker reads in an outgoing text by itself: from its tree alone, without names resolved.

Whatever stands in a form that is not known here counts as the worst that it could be.
"""

from __future__ import annotations

from sqlglot import exp

from router.errors import Refusal, refusal

COUNTED = (exp.Count, exp.Sum, exp.Avg, exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop)
PERSON = "__fl_person"
LEAF_PARTS = frozenset({"kind", "expressions", "from_", "locks"})


def no(why: str) -> Refusal:
    return refusal("POLICY_PROOF", why)


def rewrites(tree: exp.Expr, sent: str) -> bool:
    """Does the statement look at the old values of what it writes?"""
    if isinstance(tree, exp.Insert):
        return tree.args.get("conflict") is not None or sent.lstrip()[:7].upper() == "REPLACE"
    return isinstance(tree, exp.Update)


def targets(tree: exp.Expr) -> list[exp.Expr]:
    """The mentions that are written. A DELETE that names its targets repeats them in front."""
    if isinstance(tree, exp.Insert):
        return [tree.this.this if isinstance(tree.this, exp.Schema) else tree.this]
    if not isinstance(tree, exp.Update | exp.Delete):
        return []
    if isinstance(tree, exp.Update) and tree.this.args.get("joins"):
        raise no("a change of joined tables")
    if isinstance(tree, exp.Delete) and (tree.args.get("tables") or tree.args.get("using")):
        raise no("a change of joined tables")
    return [tree.this]


def only_counts(select: exp.Select) -> bool:
    """Is every output an aggregate over the rows, or made of such?"""
    for item in select.expressions:
        nodes = list(item.walk())
        if any(isinstance(node, exp.Select | exp.SetOperation) for node in nodes):
            return False
        bare = [node for node in nodes if isinstance(node, exp.Column | exp.Star) and not _in_aggregate(node)]
        if bare or not any(isinstance(node, exp.AggFunc) for node in nodes):
            return False
    return True


def _in_aggregate(node: exp.Expr) -> bool:
    around = node.find_ancestor(exp.AggFunc, exp.Select)
    return isinstance(around, COUNTED) and not isinstance(around.parent, exp.Window)


def outputs_of(tree: exp.Expr) -> list[str] | None:
    """The labels of the result; None where the text alone does not say them."""
    if isinstance(tree, exp.SetOperation):
        return outputs_of(tree.this)  # the first arm names them
    if isinstance(tree, exp.Subquery) and tree.args.get("alias") is None:
        return outputs_of(tree.this)
    if isinstance(tree, exp.Select):
        starred = any(item.is_star for item in tree.expressions)
        return None if starred else [item.alias_or_name.lower() for item in tree.expressions]
    return None if isinstance(tree, exp.Subquery) or tree.args.get("returning") is not None else []


def written_by(tree: exp.Expr) -> list[str] | None:
    """The columns that are written; None where the text alone does not say them."""
    if isinstance(tree, exp.Update):
        return [one.this.name.lower() for one in tree.expressions]
    if not isinstance(tree, exp.Insert):
        return []
    if isinstance(tree.this, exp.Schema) and tree.args.get("conflict") is None:
        return [one.name.lower() for one in tree.this.expressions]
    return None


def leaf_around(table: exp.Table) -> exp.Select | None:
    """The leaf that the table is in: SELECT columns FROM it [lock], a derived table, and nothing else."""
    source = table.parent
    select = source.parent if isinstance(source, exp.From) else None
    if not isinstance(select, exp.Select) or {name for name, value in select.args.items() if value} - LEAF_PARTS:
        return None
    around = select.parent
    derived = isinstance(around, exp.Subquery) and isinstance(around.parent, exp.From | exp.Join) and around.alias
    plain = all(isinstance(item, exp.Column | exp.Alias) and not item.is_star for item in select.expressions)
    return select if derived and plain and not table.args.get("joins") else None


def in_count(node: exp.Column) -> bool:
    around = node.parent
    if isinstance(around, exp.Distinct):
        around = around.parent if isinstance(around.parent, exp.Count) else None
    if isinstance(around, COUNTED) and not isinstance(around.parent, exp.Window):
        return node.name != PERSON or _is_threshold(around.parent)
    if isinstance(around, exp.Is):
        around = around.parent
    if isinstance(around, exp.If) and isinstance(around.parent, exp.Distinct):
        return _is_threshold(around.parent.parent.parent if around.parent.parent is not None else None)
    return False


def _is_threshold(node: exp.Expr | None) -> bool:
    return isinstance(node, exp.GTE) and _threshold(node) is not None


def _threshold(node: exp.Expr) -> tuple[str | None, int] | None:
    """COUNT(DISTINCT [IF(column IS NULL, NULL,] person[)]) >= k -> (column, k)"""
    if (
        not isinstance(node, exp.GTE)
        or not isinstance(node.this, exp.Count)
        or not isinstance(node.expression, exp.Literal)
    ):
        return None
    distinct = node.this.this
    if not isinstance(distinct, exp.Distinct) or len(distinct.expressions) != 1 or node.expression.is_string:
        return None
    inner, k = distinct.expressions[0], int(node.expression.name)
    if isinstance(inner, exp.Column) and inner.name == PERSON:
        return None, k
    if (
        not isinstance(inner, exp.If)
        or not isinstance(inner.this, exp.Is)
        or not isinstance(inner.args["true"], exp.Null)
    ):
        return None
    person, column = inner.args["false"], inner.this.this
    named = isinstance(person, exp.Column) and person.name == PERSON and isinstance(column, exp.Column)
    return (column.name.lower(), k) if named and isinstance(inner.this.expression, exp.Null) else None


def least_count(select: exp.Select, column: str | None) -> int:
    """The greatest least count that the query's HAVING asks for, of this column or of rows."""
    having = select.args.get("having")
    parts = [having.this] if having is not None else []
    least = 0
    while parts:
        part = parts.pop()
        if isinstance(part, exp.And):
            parts += (part.this, part.expression)
        elif (found := _threshold(part)) is not None and found[0] == column:
            least = max(least, found[1])
    return least
