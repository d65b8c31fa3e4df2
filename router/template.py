"""From the normalised text to a syntax tree that says which lexer slot stands where.

The parser never sees a user's literal: each `?` of norm becomes a marker string ('$.q7' for slot 7, which is
also a valid JSON path, so that every grammar position that takes a literal takes it). What MySQL allows and
sqlglot does not read (statement modifiers, double-quoted names) is taken out before; nothing is ever
generated back.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from _speedups import lexer
from _speedups.lexer import LexedStatement
from router.tokens import Token, decode, depth_of, tokenize, unquoted

# It logs every statement that it does not know in full, and what it does not know we refuse or pass verbatim.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

MAX_DEPTH = 400
"""Nesting of parentheses; a parser that recurses must not be driven into the ground."""


class NotUnderstood(Exception):
    """The statement is outside of what is parsed; the text says why, without literals."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed statement.

    `modifiers`: the words taken out (DISTINCT stays): SQL_CALC_FOUND_ROWS, IGNORE, STRAIGHT_JOIN …
    `into`: SELECT … INTO @variables at the end was taken out. `replace`: it began with REPLACE.
    """

    tree: exp.Expr
    modifiers: frozenset[str]
    into: bool = False
    replace: bool = False


_SELECT_MODIFIERS = frozenset(
    {"ALL", "DISTINCTROW", "HIGH_PRIORITY", "STRAIGHT_JOIN", "SQL_SMALL_RESULT", "SQL_BIG_RESULT"}
    | {"SQL_BUFFER_RESULT", "SQL_CACHE", "SQL_NO_CACHE", "SQL_CALC_FOUND_ROWS"}
)
_WRITE_MODIFIERS = frozenset({"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE"})
_MARKER = re.compile(r"\$\.q(\d+)\Z")


def marker(slot: int) -> str:
    return f"'$.q{slot}'"


def slot_of(node: exp.Expr | None) -> int | None:
    """The slot that this node is, or None."""
    if isinstance(node, exp.Literal) and node.is_string:
        found = _MARKER.match(node.name)
        return int(found[1]) if found else None
    return None


def literal_slots(lexed: LexedStatement) -> tuple[int, ...]:
    """The slot of each `?` of norm, in order: all but the ROWS slots."""
    return tuple(index for index, slot in enumerate(lexed.slots) if slot.kind != lexer.ROWS)


def parse(lexed: LexedStatement, tokens: Sequence[Token] | None = None) -> Template:
    """Raises NotUnderstood."""
    norm = decode(lexed.norm)
    tokens = tokenize(norm) if tokens is None else tokens
    if depth_of(tokens) > MAX_DEPTH:
        raise NotUnderstood("it is nested too deeply")
    text, modifiers, into, replaced = render(norm, tokens, literal_slots(lexed))
    return Template(parse_text(text), modifiers, into, replaced)


def parse_text(text: str) -> exp.Expr:
    """What goes to sqlglot, and the only place that calls it."""
    try:
        trees = sqlglot.parse(text, read="mysql")
    except (SqlglotError, RecursionError, ValueError) as reason:
        raise NotUnderstood(_first_line(reason)) from None
    if len(trees) != 1 or trees[0] is None or isinstance(trees[0], exp.Command):
        raise NotUnderstood("this kind of statement is not read")
    return trees[0]


def _first_line(reason: Exception) -> str:
    """Without the excerpt of the statement: names of tables may be confidential in a log."""
    line = str(reason).split("\n")[0].split("<Token")[0]
    return re.sub(r"\s*Line \d+.*", "", line).strip(" .:") or "syntax"


def render(norm: str, tokens: Sequence[Token], slots: Sequence[int]) -> tuple[str, frozenset[str], bool, bool]:
    """The text for the parser; the modifiers taken out; was INTO @x taken out; was it REPLACE."""
    _, modifiers = _modifiers(tokens)
    replaced = bool(tokens) and tokens[0].upper == "REPLACE"
    text = "".join(piece for _, piece in _pieces(norm, tokens, slots))
    return text, modifiers, _trailing_into(tokens) is not None, replaced


def places(lexed: LexedStatement, tokens: Sequence[Token]) -> dict[int, int]:
    """Where each token that the parser sees begins in its text -> the token's index."""
    found: dict[int, int] = {}
    at = 0
    for index, piece in _pieces(decode(lexed.norm), tokens, literal_slots(lexed)):
        if index is not None:
            found[at] = index
        at += len(piece)
    return found


def spliced_text(
    lexed: LexedStatement, tokens: Sequence[Token], put: Mapping[int, Sequence[tuple[str, str]]]
) -> str:
    """The parser's text with texts put to its tokens: token -> ('before' | 'after' | 'drop', text), in order."""
    out: list[str] = []
    for index, piece in _pieces(decode(lexed.norm), tokens, literal_slots(lexed)):
        given = put.get(index, ()) if index is not None else ()
        kept = "" if any(side == "drop" for side, _ in given) else piece
        before = "".join(f" {text} " for side, text in given if side == "before")
        after = "".join(f" {text} " for side, text in given if side == "after")
        out.append(f"{before}{kept}{after}")
    return "".join(out)


def part_of(lexed: LexedStatement, tokens: Sequence[Token], first: int, end: int) -> str:
    """The parser's text of tokens [first, end)."""
    pieces = _pieces(decode(lexed.norm), tokens, literal_slots(lexed))
    return " ".join(piece for index, piece in pieces if index is not None and first <= index < end)


def _pieces(norm: str, tokens: Sequence[Token], slots: Sequence[int]) -> Iterator[tuple[int | None, str]]:
    """The parser's text in parts: a token with its index, or the space between two."""
    dropped, _ = _modifiers(tokens)
    kept = tokens[: _trailing_into(tokens)]
    replaced = bool(tokens) and tokens[0].upper == "REPLACE"
    for index, token in enumerate(kept):
        if index in dropped:
            continue
        if index and _is_null(kept, index - 1):
            yield index, ""
            continue
        if index and _spaced(norm, kept[index - 1], token):
            yield None, " "
        if _is_null(kept, index):
            yield index, "NULL"
        else:
            yield index, "INSERT" if replaced and index == 0 else _rendered(token, slots)


def _is_null(tokens: Sequence[Token], index: int) -> bool:
    r"""Does \N begin here, another word for NULL?"""
    if tokens[index].text != "\\" or index + 1 == len(tokens):
        return False
    return tokens[index + 1].text == "N" and tokens[index + 1].at == tokens[index].at + 1


def _rendered(token: Token, slots: Sequence[int]) -> str:
    if token.kind == "literal":
        return marker(slots[token.literal])
    if token.kind == "quoted":
        return "`" + unquoted(token.text).replace("`", "``") + "`"
    if token.upper == "DISTINCTROW":
        return "DISTINCT"
    return token.text


def _spaced(norm: str, before: Token, token: Token) -> bool:
    """Two tokens that touch in norm still touch; everything that was between them is one space."""
    return before.at + len(before.text) != token.at or "literal" in (before.kind, token.kind)


def _modifiers(tokens: Sequence[Token]) -> tuple[set[int], frozenset[str]]:
    dropped: set[int] = set()
    found: set[str] = set()
    for index, token in enumerate(tokens):
        if token.upper == "SELECT":
            words = _SELECT_MODIFIERS
        elif index == 0 and token.upper in ("INSERT", "REPLACE", "UPDATE", "DELETE"):
            words = _WRITE_MODIFIERS
        else:
            continue
        _take(tokens, index + 1, words, dropped, found)
    if tokens and tokens[0].upper == "DELETE":
        dropped |= _stars_of_delete(tokens)
    return dropped, frozenset(found)


def _take(tokens: Sequence[Token], index: int, words: frozenset[str], dropped: set[int], found: set[str]) -> None:
    """The run of modifiers from `index`; DISTINCT may stand among those of SELECT and stays."""
    while index < len(tokens) and (tokens[index].upper in words or tokens[index].upper == "DISTINCT"):
        if tokens[index].upper in words:
            found.add(tokens[index].upper)
            if tokens[index].upper != "DISTINCTROW":
                dropped.add(index)
        index += 1


def _stars_of_delete(tokens: Sequence[Token]) -> set[int]:
    """DELETE t.*, u.* FROM …: the stars say nothing."""
    dropped: set[int] = set()
    for index, token in enumerate(tokens):
        if token.upper in ("FROM", "USING", "WHERE"):
            if token.upper == "FROM" and index == 1:
                continue
            break
        if token.text == "*" and tokens[index - 1].text == ".":
            dropped |= {index - 1, index}
    return dropped


def _trailing_into(tokens: Sequence[Token]) -> int | None:
    """Where `INTO @x, @y` begins, when the statement ends with it."""
    index = len(tokens)
    while index and (tokens[index - 1].kind == "user_variable" or tokens[index - 1].text == ","):
        index -= 1
    if index < len(tokens) and index and tokens[index - 1].upper == "INTO":
        return index - 1
    return None
