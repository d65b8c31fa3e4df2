"""The lexer's contract once more, slowly: tokens by regular expressions first, then passes over their list.

Written for reading, and on purpose not shaped like `_speedups/lexer`: it holds all tokens at once, merges and
collapses by rewriting lists, and renders at the end. It has no bounds, so TOO_LONG and TOO_MANY never come
from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import xxhash

from _speedups import lexer as L
from _speedups.lexer import LiteralSlot

ANSI_QUOTES, NO_BACKSLASH_ESCAPES, MARIADB = 1, 2, 8
DEPTH_TRACKED = 63

NUMBERS = ("int", "decimal", "float")
LITERAL_KINDS = {
    "int": L.INT, "decimal": L.DECIMAL, "float": L.FLOAT, "string": L.STRING, "hex": L.HEX, "bit": L.BIT,
    "param": L.PARAM,
}  # fmt: skip


class Malformed(Exception):
    """No clear token sequence."""


@dataclass(frozen=True)
class Token:
    # word name quoted variable variable_word symbol star open close comma semicolon null_escape mark hint,
    # a literal's kind, or a collapsed "list" or "tuples"
    kind: str
    text: bytes
    start: int
    gap: bool = False  # white space or a comment stands before it
    flags: int = 0
    count: int = 1
    inside: tuple[Token, ...] = ()
    span: tuple[int, int] = (0, 0)

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def is_word(self, *names: bytes) -> bool:
        return self.kind == "word" and self.text.lower() in names


@dataclass
class Result:
    norm: bytes = b""
    slots: list[LiteralSlot] = field(default_factory=list)
    flags: int = 0
    hint: tuple[int, int] | None = None
    params: int = 0
    rest: int = 0
    error: int = L.OK
    fingerprint: int = 0


# ---------------------------------------------------------------- tokens

IDENT = rb"[0-9A-Za-z_$\x80-\xff]"
SPACE = re.compile(rb"[ \t\n\v\f\r]+")
LINE_COMMENT = re.compile(rb"(?:#|--(?=[\x00-\x20\x7f]|\Z))[^\n]*")
BLOCK_COMMENT = re.compile(rb"/\*(.*?)\*/", re.DOTALL)
VERSION_MARK = re.compile(rb"/\*M?!(\d*)")
HINT = re.compile(rb"[ \t\n\v\f\r]*fairlead[ \t\n\v\f\r]*:(.*)", re.DOTALL | re.IGNORECASE)
WORD = re.compile(IDENT + rb"+(?:\." + IDENT + rb"+)*")
SYSTEM_VARIABLE = re.compile(rb"@@(?:(?=`)|" + IDENT + rb"+(?:\." + IDENT + rb"+)*)")
USER_VARIABLE = re.compile(rb"@(?:[0-9A-Za-z_$.\x80-\xff]+|(?=['\"`]))")
SYMBOLS = b"!%&:<=>[]^{|}~+-/."
NUMBER = re.compile(
    rb"(?P<hex>0x[0-9A-Fa-f]+(?!" + IDENT + rb"))"
    rb"|(?P<bit>0b[01]+(?!" + IDENT + rb"))"
    rb"|(?!0[xb])(?P<float>\d+[eE][+-]?\d+)"
    rb"|(?!0[xb])(?P<real>\d+\.\d*(?P<e>[eE](?:[+-]?\d+)?)?)"
    rb"|(?P<point>\.\d+(?P<pe>[eE](?:[+-]?\d+)?)?)"
    rb"|(?P<int>\d+)(?!" + IDENT + rb")"
)
QUOTED_DIGITS = re.compile(rb"[xX]'(?P<hex>(?:[0-9A-Fa-f]{2})*)'|[bB]'(?P<bit>[01]*)'")


def quoted(sql: bytes, start: int, backslash: bool) -> tuple[int, bool]:
    """(end of the quoted thing at `start`, was anything escaped in it)."""
    quote = sql[start : start + 1]
    i, escaped = start + 1, False
    while i < len(sql):
        c = sql[i : i + 1]
        if (c == b"\\" and backslash) or (c == quote and sql[i + 1 : i + 2] == quote):
            i, escaped = i + 2, True
        elif c == quote:
            return i + 1, escaped
        else:
            i += 1
    raise Malformed("unterminated quote")


def backslashes(quote: bytes, mode: int) -> bool:
    if mode & NO_BACKSLASH_ESCAPES:
        return False
    return quote == b"'" or (quote == b'"' and not mode & ANSI_QUOTES)


def optimizer_hint(inside: bytes) -> None:
    """Its grammar may quote a */: no quote may be open at its end."""
    i = 1
    while i < len(inside):
        i = quoted(inside, i, False)[0] if inside[i : i + 1] in (b"'", b'"', b"`") else i + 1


class Tokenizer:
    def __init__(self, sql: bytes, mode: int) -> None:
        self.sql, self.mode = sql, mode
        self.at = 0
        self.gap = False
        self.version_end: int | None = None
        self.flags = 0
        self.hint: tuple[int, int] | None = None
        self.tokens: list[Token] = []

    def run(self) -> list[Token]:
        while self.at < len(self.sql):
            self.step()
        if self.version_end is not None:
            raise Malformed("version comment does not end where it must")
        return self.tokens

    def add(self, kind: str, end: int, flags: int = 0) -> None:
        self.tokens.append(Token(kind, self.sql[self.at : end], self.at, self.gap, flags))
        self.at, self.gap = end, False

    def blank(self, end: int) -> None:
        self.at, self.gap = end, True

    def step(self) -> None:
        sql, at = self.sql, self.at
        c = sql[at : at + 1]
        if found := SPACE.match(sql, at):
            self.blank(found.end())
        elif found := LINE_COMMENT.match(sql, at):
            if b"\0" in found[0]:
                raise Malformed("NUL in a comment")
            self.blank(found.end())
        elif sql.startswith(b"/*", at):
            self.block_comment()
        elif at == self.version_end:
            self.version_end = None
            self.add("mark", at + 2)
        elif sql.startswith(b"*/", at) and sql[at + 2 : at + 3] != b"*":
            raise Malformed("*/ outside of a comment")
        elif c == b"'" or (c == b'"' and not self.mode & ANSI_QUOTES):
            self.string(at, 0)
        elif c in (b"`", b'"'):
            self.quoted_name(at, False)
        elif c in b"nN" and sql[at + 1 : at + 2] == b"'":
            self.string(at + 1, L.NATIONAL)
        elif c in b"xXbB" and sql[at + 1 : at + 2] == b"'":
            self.quoted_digits()
        elif found := NUMBER.match(sql, at):
            self.number(found)
        elif c == b"@":
            self.variable()
        elif c == b"?":
            if re.match(IDENT, sql[at + 1 : at + 2]):
                raise Malformed("?name")
            self.flags |= L.PARAMS
            self.add("param", at + 1)
        elif c == b"\\":
            if not sql.startswith(b"\\N", at):
                raise Malformed("backslash")
            self.add("null_escape", at + 2)
        elif c == b"$" and not self.mode & MARIADB:
            raise Malformed("$$ may quote")
        elif found := WORD.match(sql, at):
            self.word("word", found.end())
        elif c in b"(),;*":
            self.add({b"(": "open", b")": "close", b",": "comma", b";": "semicolon", b"*": "star"}[c], at + 1)
        elif c in SYMBOLS:
            self.add("symbol", at + 1)
            found = WORD.match(sql, self.at)
            if c == b"." and found:
                self.word("name", found.end())
        else:
            raise Malformed(f"character {c!r}")

    def word(self, kind: str, end: int) -> None:
        if any(byte >= 0x80 for byte in self.sql[self.at : end]):
            self.flags |= L.HIGH_BYTE
        self.add("name" if b"." in self.sql[self.at : end] else kind, end)

    def block_comment(self) -> None:
        sql, at = self.sql, self.at
        found = BLOCK_COMMENT.match(sql, at)
        if not found or b"\0" in found[0]:
            raise Malformed("comment")
        inside = found[1]
        hint = HINT.match(inside)
        if mark := VERSION_MARK.match(sql, at):
            if self.version_end is not None or len(mark[1]) not in (0, 5, 6):
                raise Malformed("version mark")
            if len(mark[1]) == 6 and not SPACE.match(sql, mark.end()):
                raise Malformed("a sixth digit that may be code")
            if b"/*" in sql[mark.start(1) : found.end() - 1]:
                raise Malformed("comment in a version comment")
            self.flags |= L.VERSION_COMMENT
            self.version_end = found.end() - 2
            self.add("mark", mark.end())
        elif inside.startswith(b"+"):
            optimizer_hint(inside)
            self.flags |= L.OPTIMIZER_HINT
            self.add("hint", found.end())
        elif hint:
            if self.hint:
                raise Malformed("two hints")
            self.flags |= L.HAS_HINT
            text = hint[1].strip(b" \t\n\v\f\r")
            start = at + 2 + hint.start(1)
            blank = SPACE.match(sql, start)
            self.hint = (blank.end() if blank else start, len(text))
            self.add("hint", found.end())
        else:
            self.blank(found.end())

    def string(self, quote_at: int, flags: int) -> None:
        end, escaped = quoted(self.sql, quote_at, not self.mode & NO_BACKSLASH_ESCAPES)
        self.add("string", end, flags | (L.ESCAPED if escaped else 0))

    def quoted_name(self, start: int, backslash: bool) -> None:
        end, _ = quoted(self.sql, start, backslash)
        if b"\0" in self.sql[start:end]:
            raise Malformed("NUL in a name")
        self.add("quoted" if start == self.at else "variable", end)

    def quoted_digits(self) -> None:
        found = QUOTED_DIGITS.match(self.sql, self.at)
        if not found:
            raise Malformed("x'..' or b'..'")
        self.add("hex" if found["hex"] is not None else "bit", found.end())

    def number(self, found: re.Match[bytes]) -> None:
        exponent = found["e"] or found["pe"]
        if exponent and not exponent[-1:].isdigit():
            raise Malformed("exponent without digits")
        if exponent or found["float"]:
            kind = "float"
        elif found["real"] or found["point"]:
            kind = "decimal"
        else:
            kind = "hex" if found["hex"] else "bit" if found["bit"] else "int"
        self.add(kind, found.end())

    def variable(self) -> None:
        sql, at = self.sql, self.at
        system = sql.startswith(b"@@", at)
        self.flags |= L.SYS_VAR if system else L.USER_VAR
        found = (SYSTEM_VARIABLE if system else USER_VARIABLE).match(sql, at)
        if not found:
            raise Malformed("@")
        if any(byte >= 0x80 for byte in found[0]):
            self.flags |= L.HIGH_BYTE
        following = sql[found.end() : found.end() + 1]
        if found[0] in (b"@", b"@@"):
            self.quoted_name(found.end(), backslashes(following, self.mode))
        else:
            self.add("variable_word" if system else "variable", found.end())


# ---------------------------------------------------------------- passes over tokens


def concatenated(tokens: list[Token], sql: bytes) -> list[Token]:
    """'a' 'b' is one literal; a second N'..' is not part of it."""
    out: list[Token] = []
    for token in tokens:
        if out and token.kind == out[-1].kind == "string" and not token.flags & L.NATIONAL:
            last = out[-1]
            text = sql[last.start : token.end]
            out[-1] = replace(last, text=text, flags=last.flags | token.flags | L.CONCAT)
        else:
            out.append(token)
    return out


def introduced(tokens: list[Token]) -> list[Token]:
    """Literals behind a word that starts with `_`."""
    out: list[Token] = []
    for token in tokens:
        before = out[-1] if out else None
        if token.kind in ("string", "hex", "bit") and before and before.kind == "word" and before.text.startswith(b"_"):
            token = replace(token, flags=token.flags | L.INTRODUCER)
        out.append(token)
    return out


def unsplit(tokens: list[Token]) -> list[Token]:
    """Kept comments are nothing to the server: a literal that one of them divides would be two to us."""
    before: Token | None = None
    divided = False
    for token in tokens:
        if token.kind in ("hint", "mark"):
            divided = True
            continue
        if divided and before:
            strings = before.kind == token.kind == "string"
            introducer = before.kind == "word" and before.text.startswith(b"_")
            if strings or (introducer and token.kind in ("string", "hex", "bit")):
                raise Malformed("a comment inside of a literal")
        before, divided = token, False
    return tokens


def item_at(tokens: list[Token], i: int, null: bool = False) -> tuple[Token, int] | None:
    """(literal with its flags, index after it) for a literal, a number with a minus, or NULL if `null`."""
    if i < len(tokens) and tokens[i].kind in LITERAL_KINDS:
        return tokens[i], i + 1
    if i + 1 < len(tokens) and tokens[i].text == b"-" and tokens[i + 1].kind in NUMBERS:
        return replace(tokens[i + 1], flags=L.NEG), i + 2
    if null and i < len(tokens) and tokens[i].is_word(b"null"):
        return replace(tokens[i], kind="null"), i + 1
    return None


def literal_list(tokens: list[Token], i: int, signed: bool) -> tuple[list[Token], int] | None:
    """(elements, index of the `)`) of the list of literals whose first element is tokens[i]."""
    items = []
    while (found := item_at(tokens, i)) and (signed or not found[0].flags & L.NEG):
        items.append(found[0])
        i = found[1]
        if i == len(tokens):
            return None
        if tokens[i].kind == "close":
            return items, i
        if tokens[i].kind != "comma":
            return None
        i += 1
    return None


def tuple_list(tokens: list[Token], i: int) -> tuple[list[list[Token]], int] | None:
    """(tuples, index after the last `)`) of `(…), (…)` of equal length before a `)`."""
    rows: list[list[Token]] = []
    while i < len(tokens) and tokens[i].kind == "open":
        found = literal_list(tokens, i + 1, signed=False)
        if not found or (rows and len(found[0]) != len(rows[0])):
            return None
        rows.append(found[0])
        i = found[1] + 1
        if i == len(tokens):
            return None
        if tokens[i].kind == "close":
            return rows, i
        if tokens[i].kind != "comma":
            return None
        i += 1
    return None


def collapsed_lists(tokens: list[Token]) -> list[Token]:
    """IN (…) of literals as two tokens: the word and a list."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        out.append(tokens[i])
        i += 1
        if not out[-1].is_word(b"in") or i == len(tokens) or tokens[i].kind != "open":
            continue
        if found := literal_list(tokens, i + 1, signed=True):
            items, close = found
            span = (tokens[i].end, tokens[close].start)
            out.append(Token("list", b"", tokens[i].start, False, 0, len(items), tuple(items), span))
            i = close + 1
        elif rows := tuple_list(tokens, i + 1):
            tuples, close = rows
            span = (tokens[i + 1].start, tokens[close - 1].end)
            params = sum(item.kind == "param" for row in tuples for item in row)
            first = tuple(tuples[0])
            out.append(Token("tuples", b"%d" % params, tokens[i].start, False, 0, len(tuples), first, span))
            i = close + 1
    return out


# ---------------------------------------------------------------- rendering

EQUAL, MIXED, KEPT = range(3)
BEFORE_SPACE = ("star", "close", "word", "bare", "mark")  # a word behind these needs a space


class RowsDiffer(Exception):
    """The rows of VALUES do not fit this style."""


class Renderer:
    def __init__(self, tokens: list[Token], style: int) -> None:
        self.tokens, self.style = tokens, style
        self.norm = bytearray()
        self.slots: list[LiteralSlot] = []
        self.flags = 0
        self.params = 0
        self.rest = 0
        self.before = ""  # "" symbol star close word bare mark
        self.depth = 0
        self.by_depths: set[int] = set()
        self.position = False  # an integer here is a position in ORDER BY or GROUP BY
        self.previous_word = b""
        self.after_update = False
        self.in_version = False
        self.row_depth: int | None = None

    def run(self) -> None:
        i = 0
        while i < len(self.tokens):
            i = self.token(i)

    # -- writing

    def write(self, text: bytes, before: str, space: bool) -> None:
        self.norm += b" " * space + text
        self.before = before
        self.position = False
        self.previous_word = b""

    def apart(self, token: Token) -> bool:
        """Does a word need a space before it?"""
        return self.before in BEFORE_SPACE or (self.norm.endswith(b".") and token.gap)

    def write_word(self, token: Token, before: str = "word") -> None:
        self.write(token.text, before, self.apart(token))

    def slot(self, kind: int, token: Token, offset: int, length: int, space: bool) -> None:
        at = len(self.norm) + space
        self.slots.append(LiteralSlot(kind, offset, length, token.count, token.flags, self.params, at))
        self.write(b"?", "word", space)

    def literal(self, token: Token) -> None:
        kind = L.NULL_WORD if token.kind == "null" else LITERAL_KINDS[token.kind]
        self.slot(kind, token, token.start, len(token.text), self.apart(token))
        self.params += token.kind == "param"

    # -- one token

    def token(self, i: int) -> int:
        token = self.tokens[i]
        kind = token.kind
        if kind == "word":
            return self.word(i)
        if kind in ("name", "variable_word"):
            self.write_word(token, "bare")
        elif kind in ("quoted", "variable", "null_escape") or (kind == "int" and self.position):
            self.write_word(token)
        elif kind in LITERAL_KINDS:
            self.literal(token)
        elif kind == "list":
            self.collapsed_list(token)
        elif kind == "tuples":
            self.collapsed_tuples(token)
        elif kind in ("hint", "mark"):
            self.mark(token)
        else:
            getattr(self, kind)(i, token)
            if kind in ("open", "comma") and self.mixed_element():
                return self.element(i + 1)
        return i + 1

    def word(self, i: int) -> int:
        text = self.tokens[i].text.lower()
        after_order = self.previous_word in (b"order", b"group")
        self.write_word(self.tokens[i], "bare")
        self.flags |= {
            b"into": L.INTO, b"for": L.FOR, b"lock": L.LOCK, b"sql_calc_found_rows": L.CALC_FOUND_ROWS,
        }.get(text, 0)  # fmt: skip
        self.previous_word = text
        if text == b"by" and after_order:
            if self.depth < DEPTH_TRACKED:
                self.by_depths.add(self.depth)
            self.position = True
        elif text in (b"limit", b"union", b"except", b"intersect"):
            self.by_depths.discard(self.depth)
        elif text == b"update":
            self.after_update = True
        elif text in (b"value", b"values") and self.rows_follow(i + 1):
            return self.rows(i + 1)
        return i + 1

    def mark(self, token: Token) -> None:
        if token.kind == "mark":
            opens = not token.text.startswith(b"*")
            if opens and self.row_depth is not None:
                raise RowsDiffer
            self.in_version = opens
        position, previous = self.position, self.previous_word
        self.write(token.text, "mark", len(self.norm) > 0)
        self.position, self.previous_word = position, previous

    def symbol(self, i: int, token: Token) -> None:
        position = self.position and token.text in (b"+", b"-")
        if token.text == b"." and token.gap and self.before in ("close", "word", "bare"):
            self.norm += b" "
        glued_minus = token.text == b"-" and self.norm.endswith(b"-") and self.before == "symbol"
        apart = self.before in ("symbol", "star") and (token.gap or glued_minus)
        self.write(token.text, "symbol", self.before == "mark" or apart)
        self.position = position

    def star(self, i: int, token: Token) -> None:
        apart = self.before in ("close", "word", "bare", "mark") or (self.before != "" and token.gap)
        self.write(b"*", "star", apart)

    def open(self, i: int, token: Token) -> None:
        position = self.position
        self.write(b"(", "", self.before == "mark" or (self.before in ("word", "bare") and token.gap))
        self.depth += 1
        self.position = position

    def close(self, i: int, token: Token) -> None:
        self.write(b")", "close", False)
        self.by_depths.discard(self.depth)
        self.depth = max(0, self.depth - 1)

    def comma(self, i: int, token: Token) -> None:
        self.write(b",", "", False)
        self.position = self.depth >= DEPTH_TRACKED or self.depth in self.by_depths

    def semicolon(self, i: int, token: Token) -> None:
        if i + 1 == len(self.tokens):
            return
        if not self.flags & L.MULTI:
            self.rest = token.end
        self.flags |= L.MULTI
        self.by_depths.clear()
        self.write(b";", "", False)

    # -- lists and rows

    def collapsed_list(self, token: Token) -> None:
        self.write(b" (", "", False)
        self.slot(L.LIST, token, token.span[0], token.span[1] - token.span[0], False)
        self.params += sum(item.kind == "param" for item in token.inside)
        self.write(b")", "close", False)

    def collapsed_tuples(self, token: Token) -> None:
        self.write(b" (", "", False)
        self.rows_slot(token.span[0], token.span[1], token.count)
        params = self.params
        self.write(b"(", "", False)
        for k, item in enumerate(token.inside):
            if k:
                self.write(b",", "", False)
            self.literal(item)
        self.write(b"))", "close", False)
        self.params = params + int(token.text)

    def rows_slot(self, start: int, end: int, count: int, params: int | None = None) -> None:
        before = self.params if params is None else params
        self.slots.append(LiteralSlot(L.ROWS, start, end - start, count, 0, before, len(self.norm)))

    def rows_follow(self, i: int) -> bool:
        if self.style == KEPT or self.row_depth is not None or self.after_update or self.in_version:
            return False
        return i < len(self.tokens) and self.tokens[i].kind == "open"

    def rows(self, i: int) -> int:
        """Render the first row, check the others against it; the index after the last `)`."""
        self.norm += b" /*mixed*/ " if self.style == MIXED else b" "
        index = len(self.slots)
        first = self.tokens[i].start
        self.rows_slot(first, first, 0)
        self.row_depth = self.depth
        kept: tuple[bytes, list[LiteralSlot]] | None = None
        count = 0
        while True:
            start, slots = len(self.norm), len(self.slots)
            i = self.row(i)
            row = bytes(self.norm[start:])
            if kept is None:
                kept = row, self.slots[slots:]
            else:
                if row != kept[0]:
                    raise RowsDiffer
                del self.norm[start:], self.slots[slots:]
            count += 1
            end = self.tokens[i - 1].end
            following = self.tokens[i].kind if i < len(self.tokens) else ""
            if following in ("hint", "mark"):
                raise RowsDiffer
            if following != "comma":
                break
            i += 1
            if i == len(self.tokens) or self.tokens[i].kind != "open":
                raise RowsDiffer
        self.slots[index] = self.slots[index]._replace(length=end - first, count=count)
        self.row_depth = None
        return i

    def row(self, i: int) -> int:
        self.before, self.position, self.previous_word = "", False, b""
        depth = self.depth
        while True:
            if i == len(self.tokens):
                raise Malformed("a row does not end")
            closes = self.tokens[i].kind == "close"
            i = self.token(i)
            if closes and self.depth == depth:
                return i

    def mixed_element(self) -> bool:
        return self.style == MIXED and self.row_depth is not None and self.depth == self.row_depth + 1

    def element(self, i: int) -> int:
        """A literal, a signed number or NULL that is all of a row's expression becomes one slot."""
        found = item_at(self.tokens, i, null=True)
        if not found or found[1] == len(self.tokens) or self.tokens[found[1]].kind not in ("comma", "close"):
            return i
        self.literal(found[0])
        return found[1]


def render(tokens: list[Token]) -> tuple[Renderer, int]:
    for style in (EQUAL, MIXED):
        renderer = Renderer(list(tokens), style)
        try:
            renderer.run()
        except RowsDiffer:
            continue
        return renderer, L.MIXED_ROWS if style == MIXED else 0
    renderer = Renderer(list(tokens), KEPT)
    renderer.run()
    return renderer, 0


def prepared(sql: bytes, mode: int) -> tuple[list[Token], Tokenizer]:
    tokenizer = Tokenizer(sql, mode)
    tokens = unsplit(introduced(concatenated(one_semicolon(tokenizer.run(), sql), sql)))
    return tokens, tokenizer


def one_semicolon(tokens: list[Token], sql: bytes) -> list[Token]:
    """Of several at the very end, the first."""
    end = len(sql.rstrip(b"; \t\n\v\f\r"))
    kept = [token for token in tokens if token.start < end]
    return kept + tokens[len(kept) : len(kept) + 1]


def lex(sql: bytes, mode: int = 0) -> Result:
    try:
        tokens, tokenizer = prepared(sql, mode)
        renderer, mixed = render(collapsed_lists(tokens))
    except Malformed:
        return Result(error=L.MALFORMED)
    norm = bytes(renderer.norm)
    return Result(
        norm=norm,
        slots=renderer.slots,
        flags=tokenizer.flags | renderer.flags | mixed,
        hint=tokenizer.hint,
        params=renderer.params,
        rest=renderer.rest,
        fingerprint=xxhash.xxh64_intdigest(norm, mode & 255),
    )


# ---------------------------------------------------------------- what stands under a slot


def list_items(sql: bytes, mode: int, slot: LiteralSlot) -> list[tuple[int, int, int, int]]:
    """[(kind, offset, length, flags)] of the elements of a LIST slot."""
    tokens, _ = prepared(sql[slot.offset : slot.offset + slot.length] + b")", mode)
    found = literal_list(tokens, 0, signed=True)
    assert found
    return [(LITERAL_KINDS[t.kind], slot.offset + t.start, len(t.text), t.flags) for t in found[0]]


def rows_of(sql: bytes, mode: int, slot: LiteralSlot) -> list[list[list[Token]]]:
    """The tokens of every expression of every row of a ROWS slot."""
    tokens, _ = prepared(sql[slot.offset : slot.offset + slot.length], mode)
    rows: list[list[list[Token]]] = []
    depth = 0
    for token in tokens:
        depth -= token.kind == "close"
        if depth == 0:
            if token.kind == "open":
                rows.append([[]])
        elif depth == 1 and token.kind == "comma":
            rows[-1].append([])
        else:
            rows[-1][-1].append(token)
        depth += token.kind == "open"
    return rows


def row_item(expression: list[Token]) -> tuple[int, int, int, int] | None:
    """(kind, start in the slot, length, flags) when the expression is a plain literal."""
    found = item_at(expression, 0, null=True)
    if not found or found[1] != len(expression):
        return None
    token = found[0]
    kind = L.NULL_WORD if token.kind == "null" else LITERAL_KINDS[token.kind]
    return kind, token.start, len(token.text), token.flags
