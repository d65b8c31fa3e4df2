"""The text that shards get: pieces of the client's own bytes, and what goes between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from _speedups import lexer
from _speedups.lexer import LexedStatement
from router.engine.recipe import Piece, Recipe, Script, ShardLimit, Span
from router.errors import refusal
from router.longtext import patterns
from router.policy.splices import token_places
from router.text import Text
from router.tokens import Token


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A statement as shards get it. `params`: for each `?` of it, which of the client's parameters it is; -1, -2 …: of
    those that are put in, as which there is one for how many rows each shard gives. `ends`: the last row of a split
    INSERT is in it."""

    text: bytes
    params: tuple[int, ...] = ()
    ends: bool = False


def assemble(
    recipe: Recipe | Script, given: Text, lexed: LexedStatement, mode: int, limit: int = 0, *, prepared: bool = False
) -> Outgoing:
    """`limit`: how many rows each shard gives; a parameter of what is `prepared`. Raises Refusal."""
    rows = ShardRows(b"?" if prepared else b"%d" % limit, counts=prepared)
    text, params = spelled(recipe.pieces, recipe.tokens, given, lexed, mode, rows)
    found = lexer.lex(text, mode)
    if found.error or found.norm != recipe.norm:
        raise refusal("INTERNAL", "the shards' text is not the one that was planned")
    return Outgoing(text, params)


@dataclass(frozen=True, slots=True)
class ShardRows:
    """What stands for `ShardLimit`; `counts`: as a parameter."""

    text: bytes
    counts: bool


def spelled(
    pieces: Sequence[Piece], tokens: Sequence[Token], given: Text, lexed: LexedStatement, mode: int,
    rows: ShardRows | None = None,
) -> tuple[bytes, tuple[int, ...]]:  # fmt: skip
    """The text of these pieces, and which parameter each of its `?` is, as of `Outgoing`. Raises Refusal."""
    sql = bytes(given)
    ends = {at for piece in pieces if isinstance(piece, Span) for at in (piece.first, piece.last)}
    places = token_places(sql, lexed, tokens, ends, mode)
    out: list[bytes] = []
    params: list[int] = []
    marks = parameters(sql, mode) if lexed.params else []
    for piece in pieces:
        if isinstance(piece, Span):
            start = places[piece.first][0] if piece.first else 0
            end = places[piece.last][1]
            out.append(sql[start:end])
            params += (number for number, at in enumerate(marks) if start <= at < end)
        elif isinstance(piece, ShardLimit):
            assert rows is not None
            out.append(rows.text)
            params += [-1] if rows.counts else []
        else:
            out.append(piece.encode())
    return b" ".join(out), tuple(params)


def parameters(sql: bytes, mode: int) -> list[int]:
    """Where each `?` that is a parameter stands; lists hold some that have no slot of their own."""
    pattern, *_ = patterns(mode)
    text = sql.decode("latin-1")  # so that positions are those of bytes
    return [match.start() for match in pattern.finditer(text) if match["literal"] == "?"]


def norm_of(pieces: Sequence[Piece], norm: str, tokens: Sequence[Token], mode: int) -> bytes:
    """What the text of these pieces lexes to, whatever the literals. Raises Refusal when that cannot be said."""
    out: list[str] = []
    for piece in pieces:
        if isinstance(piece, Span):
            last = tokens[piece.last]
            out.append(norm[tokens[piece.first].at if piece.first else 0 : last.at + len(last.text)])
        else:
            out.append("1" if isinstance(piece, ShardLimit) else piece)
    found = lexer.lex(" ".join(out).encode("utf-8", "surrogateescape"), mode)
    if found.error:
        raise refusal("TOO_LARGE_TO_PLAN", "its text with what merging adds")
    return bytes(found.norm)
