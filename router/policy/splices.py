"""Byte splices: places found in a template, applied to any text of that template.

A splice is bound to a token of norm. In a text, the token is looked for between the literals around it, whose
offsets the lexer gives, and must read there exactly as in norm; what was put together is lexed again and must be the
template that was checked. So literals, comments and white space stay the client's own bytes.

The relay does it without a lexer, by anchors: texts of one norm have the same words between the same literals, so
where the gap between two begins with the very bytes in which a place was found, the place is there again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

from _speedups import lexer
from _speedups.lexer import LexedStatement
from router.errors import refusal
from router.longtext import patterns
from router.template import literal_slots
from router.text import Text
from router.tokens import Token

Side = Literal["before", "after", "drop"]
_ORDER = {"before": 0, "drop": 1, "after": 2}


@dataclass(frozen=True, slots=True)
class Splice:
    """`text` goes before or after token `token` of norm; 'drop' takes the token away."""

    token: int
    side: Side
    text: str = ""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A cut in the gap behind the `gap`-th literal (0: before the first), counted from where that begins: bytes
    [start, end) become `put`. It holds in every text of the norm whose gap begins with `seen`. A list in IN (…) and
    the rows behind VALUES are one literal each."""

    gap: int
    start: int
    end: int
    seen: bytes
    put: bytes


@dataclass(frozen=True, slots=True)
class Placed:
    """Splices in one text. `text`: the outgoing one; `here`: the cuts of this very text, all in gap 0; `anchors`: those
    that hold in others too, None where that cannot be said."""

    text: bytes
    here: tuple[Anchor, ...]
    anchors: tuple[Anchor, ...] | None


def ordered(splices: Sequence[Splice]) -> list[Splice]:
    """In the order of the text; several at one place stay in the order given."""
    return sorted(splices, key=lambda one: (one.token, _ORDER[one.side]))


def in_norm(norm: str, tokens: Sequence[Token], splices: Sequence[Splice]) -> str:
    """The template of the outgoing statement."""
    out: list[str] = []
    at = 0
    for one in ordered(splices):
        token = tokens[one.token]
        start, end = _span(one.side, token.at, token.at + len(token.text))
        out += (norm[at:start], f" {one.text} " if one.text else " ")
        at = end
    return "".join((*out, norm[at:]))


def _span(side: Side, start: int, end: int) -> tuple[int, int]:
    if side == "drop":
        return start, end
    return (start, start) if side == "before" else (end, end)


def place(
    given: Text, lexed: LexedStatement, tokens: Sequence[Token], splices: Sequence[Splice], mode: int, norm: bytes
) -> Placed:
    """The splices in one text; `norm` is what the outgoing one must lex to. Raises Refusal."""
    sql = bytes(given)
    places = token_places(sql, lexed, tokens, {one.token for one in splices}, mode)
    cuts: list[Anchor] = []
    sure: list[int] = []
    for one in ordered(splices):
        start, end = _span(one.side, *places[one.token])
        cuts.append(Anchor(0, start, end, b"", b" " + one.text.encode() + b" " if one.text else b" "))
        # A place before a word is known by the word, too.
        sure.append(places[one.token][1] if one.side == "before" else end)
    text = _cut(sql, cuts)
    found = lexer.lex(text, mode)
    if found.error or found.norm != norm:
        raise refusal("POLICY_PROOF", "the text is not the one that was checked")
    return Placed(text, tuple(cuts), _anchored(sql, lexed, cuts, sure))


def _cut(sql: bytes, cuts: Sequence[Anchor]) -> bytes:
    out: list[bytes] = []
    at = 0
    for one in cuts:
        out += (sql[at : one.start], one.put)
        at = one.end
    return b"".join((*out, sql[at:]))


def _anchored(
    sql: bytes, lexed: LexedStatement, cuts: Sequence[Anchor], sure: Sequence[int]
) -> tuple[Anchor, ...] | None:
    """One cut for each gap, which takes the words between the first and the last along: they are those of every text
    whose gap begins alike."""
    gaps = list(_gaps(lexed, len(sql)))
    homes = [max(gap for gap, (start, _) in enumerate(gaps) if start <= one.start) for one in cuts]
    found: list[Anchor] = []
    for gap, group in groupby(zip(cuts, homes, sure, strict=True), key=lambda item: item[1]):
        parts = list(group)
        (start, limit), first, last = gaps[gap], parts[0][0], parts[-1][0]
        if last.end > limit:
            return None
        put = [first.put]
        for (one, *_), (other, *_) in pairwise(parts):
            put += (sql[one.end : other.start], other.put)
        known = max(min(end, limit) for _, _, end in parts)
        found.append(Anchor(gap, first.start - start, last.end - start, sql[start:known], b"".join(put)))
    return tuple(found)


def _gaps(lexed: LexedStatement, length: int) -> Iterator[tuple[int, int]]:
    """What stands between the literals, from end to begin."""
    at = 0
    for slot in lexed.slots:
        if slot.offset >= at:
            yield at, slot.offset
            at = slot.offset + slot.length
    yield at, length


def token_places(
    sql: bytes, lexed: LexedStatement, tokens: Sequence[Token], wanted: set[int], mode: int
) -> dict[int, tuple[int, int]]:
    """Where the wanted tokens stand in the text. Raises Refusal for one that is not found as it is in norm."""
    found: dict[int, tuple[int, int]] = {}
    words: Iterator[tuple[int, int]] = _words(sql, 0, mode)
    literals = list(_literals(lexed))
    for index, token in enumerate(tokens):
        if token.kind == "literal":
            start, end, gap = literals[token.literal]
            words = _words(sql, gap, mode)
            if index in wanted:
                found[index] = (start, end)
            continue
        start, end = next(words, (0, 0))
        if index not in wanted:
            continue
        if sql[start:end] != token.text.encode("utf-8", "surrogateescape"):
            raise refusal("POLICY_PROOF", "a name is not where it was")
        found[index] = (start, end)
    return found


def _literals(lexed: LexedStatement) -> Iterator[tuple[int, int, int]]:
    """For each literal of norm: where it is, and where the text goes on behind it. Behind the first of several
    collapsed rows that is the last row's closing parenthesis."""
    slots = lexed.slots
    order = literal_slots(lexed)
    rows = [(slot.offset, slot.offset + slot.length) for slot in slots if slot.kind == lexer.ROWS]
    for at, index in enumerate(order):
        start, end = slots[index].offset, slots[index].offset + slots[index].length
        following = slots[order[at + 1]].offset if at + 1 < len(order) else None
        around = next((one for one in rows if one[0] <= slots[index].offset < one[1]), None)
        last = around is not None and (following is None or following >= around[1])
        yield start, end, around[1] - 1 if around is not None and last else end


def _words(sql: bytes, at: int, mode: int) -> Iterator[tuple[int, int]]:
    """The spans of what is neither space nor comment, from `at` on. (ORDER BY 1 is a number in norm, too.)"""
    pattern, *_ = patterns(mode)
    text = sql.decode("latin-1")  # so that positions are those of bytes
    while at < len(text) and (match := pattern.match(text, at)):
        if match.lastgroup == "bad":
            return
        if match.lastgroup not in ("space", "comment", "version", "close"):
            yield match.start(), match.end()
        at = match.end()
