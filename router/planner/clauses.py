"""Where the clauses of a SELECT, UPDATE or DELETE are among its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router.tokens import Token

Range = tuple[int, int]
"""Tokens [first, behind the last)."""

_MODIFIERS = frozenset(
    {"ALL", "DISTINCT", "DISTINCTROW", "HIGH_PRIORITY", "STRAIGHT_JOIN", "SQL_SMALL_RESULT", "SQL_BIG_RESULT"}
    | {"SQL_BUFFER_RESULT", "SQL_CACHE", "SQL_NO_CACHE", "SQL_CALC_FOUND_ROWS"}
)
_CLAUSES = ("FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT")
_TWO_WORDS = frozenset({"GROUP", "ORDER"})
_OF_WRITES = ("SET", "WHERE", "ORDER", "LIMIT")
_WRITE_MODIFIERS = frozenset({"LOW_PRIORITY", "QUICK", "IGNORE"})
_END = frozenset({"PROCEDURE", "INTO", "FOR", "LOCK", "UNION", "EXCEPT", "INTERSECT", ";"})


@dataclass(frozen=True, slots=True)
class Clauses:
    """`items`: the select list. `clauses`: of what is written, by its first word, without its words; `begins`: where
    its words are; `end`: behind the last clause."""

    items: tuple[Range, ...]
    clauses: dict[str, Range]
    begins: dict[str, int]
    end: int

    def parts(self, tokens: Sequence[Token], name: str) -> tuple[Range, ...]:
        """The clause's parts between commas; none when it is not there."""
        return split_range(tokens, self.clauses[name]) if name in self.clauses else ()


def clauses_of(tokens: Sequence[Token]) -> Clauses | None:
    """Of the one SELECT that the statement is; None for other forms (set operations, parentheses around it)."""
    marks = _marks(tokens)
    selects = [at for at, word in marks if word == "SELECT"]
    if len(selects) != 1 or any(word in ("UNION", "EXCEPT", "INTERSECT") for _, word in marks):
        return None
    start = selects[0] + 1
    while start < len(tokens) and tokens[start].upper in _MODIFIERS:
        start += 1
    marks = [one for one in marks if one[0] >= start and one[1] != "SELECT"]
    names = [word for _, word in marks if word in _CLAUSES]
    if len(set(names)) != len(names) or names != sorted(names, key=_CLAUSES.index):
        return None
    ends = [*(at for at, _ in marks), len(tokens)][1:]
    found: dict[str, Range] = {}
    begins: dict[str, int] = {}
    for (at, word), end in zip(marks, ends, strict=True):
        if word in _CLAUSES:
            found[word] = (at + (2 if word in _TWO_WORDS else 1), end)
            begins[word] = at
    first = marks[0][0] if marks else len(tokens)
    last = max((end for _, end in found.values()), default=first)
    return Clauses(split_range(tokens, (start, first)), found, begins, last)


def _marks(tokens: Sequence[Token]) -> list[tuple[int, str]]:
    """The words that begin a clause, outside of all parentheses."""
    found: list[tuple[int, str]] = []
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and (token.upper in _CLAUSES or token.upper in _END or token.upper == "SELECT"):
            follows = tokens[index + 1].upper if index + 1 < len(tokens) else ""
            if token.upper not in _TWO_WORDS or follows == "BY":
                found.append((index, token.upper))
    return found


def split_range(tokens: Sequence[Token], within: Range) -> tuple[Range, ...]:
    """The parts between top-level commas."""
    found: list[Range] = []
    depth, first = 0, within[0]
    for index in range(*within):
        token = tokens[index]
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.text == ",":
            found.append((first, index))
            first = index + 1
    return (*found, (first, within[1]))


def clauses_of_write(tokens: Sequence[Token]) -> dict[str, Range]:
    """Where the clauses of an UPDATE or DELETE of one table are, by their first word, and the table: '' (behind the
    verb and its modifiers)."""
    marks = list(_marks_of_write(tokens))
    ends = [*(at for at, _ in marks), len(tokens)]
    begin = 1
    while tokens[begin].upper in _WRITE_MODIFIERS or (tokens[begin].upper == "FROM" and tokens[0].upper == "DELETE"):
        begin += 1
    found = {"": (begin, ends[0])}
    for (at, word), end in zip(marks, ends[1:], strict=True):
        found[word] = (at + (2 if word == "ORDER" else 1), end)
    return found


def _marks_of_write(tokens: Sequence[Token]) -> list[tuple[int, str]]:
    """The words that begin a clause, each once, in their order."""
    found: list[tuple[int, str]] = []
    depth = 0
    for at, token in enumerate(tokens):
        depth += (token.text == "(") - (token.text == ")")
        known = [word for _, word in found]
        if depth == 0 and token.upper in _OF_WRITES and token.upper not in known:
            found.append((at, token.upper))
    return found
