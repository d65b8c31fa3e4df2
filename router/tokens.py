"""The words of a normalised statement, for what is decided before or without a parser.

Input is `Lexed.norm`: comments are gone (but for the Fairlead hint and executable ones), literals are `?`.
What is inside of `/*! … */` is code and yields tokens like any other; its markers are dropped here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["word", "quoted", "literal", "number", "user_variable", "system_variable", "op"]

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<version>/\*M?!(?:\d{5,6})?)
    | (?P<note>/\*.*?\*/)                          # the hint, or a note of the lexer
    | (?P<close>\*/)
    | (?P<quoted>`(?:[^`]|``)*`|"(?:[^"]|"")*")
    | (?P<system_variable>@@(?:`(?:[^`]|``)*`|[\w$.\x80-\U0010ffff]+))
    | (?P<user_variable>@(?:`(?:[^`]|``)*`|"(?:[^"]|"")*"|'(?:[^']|'')*'|[\w$.\x80-\U0010ffff]*))
    | (?P<number>(?:\d+\.?\d*|(?<![\w$`\x22\x80-\U0010ffff])\.\d+)(?:[eE][-+]?\d+)?(?![\w$\x80-\U0010ffff]))
    | (?P<word>[\w$\x80-\U0010ffff]+)      # MySQL takes any byte from 0x80 on as a letter
    | (?P<literal>\?)
    | (?P<op>:=|->>|->|<=>|<=|>=|<>|!=|\|\||&&|<<|>>|.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Token:
    """`text` as written; `name`: an identifier without its quotes; `upper`: a keyword's form, '' when quoted.

    `literal`: which of norm's `?` this is, from 0; -1 for other kinds. `at`: where it begins in norm.
    """

    kind: Kind
    text: str
    upper: str
    at: int
    literal: int = -1

    @property
    def name(self) -> str:
        return unquoted(self.text) if self.kind == "quoted" else self.text

    @property
    def is_name(self) -> bool:
        return self.kind in ("word", "quoted")


def unquoted(text: str) -> str:
    """`a``b` → a`b; a bare word stays."""
    if text[:1] in ("`", '"', "'") and text[-1:] == text[0]:
        return text[1:-1].replace(text[0] * 2, text[0])
    return text


def quoted(name: str) -> str:
    """a`b → `a``b`."""
    return "`" + name.replace("`", "``") + "`"


def decode(norm: bytes) -> str:
    """Norm as text; bytes that are not UTF-8 survive as surrogates and compare unequal to any real name."""
    return norm.decode("utf-8", "surrogateescape")


def tokenize(norm: str) -> tuple[Token, ...]:
    return tuple(_tokens(norm))


def _tokens(norm: str) -> Iterator[Token]:
    literals = 0
    after_dot = False
    for match in _TOKEN.finditer(norm):
        kind = match.lastgroup
        if kind in ("space", "version", "note", "close"):
            continue
        text = match[0]
        if kind == "literal":
            yield Token("literal", text, "", match.start(), literals)
            literals += 1
        elif kind == "number" and after_dot:
            yield Token("word", text, "", match.start())
        else:
            # A word after a dot is a name, whatever keyword it looks like.
            upper = text.upper() if kind in ("op", "number") or (kind == "word" and not after_dot) else ""
            yield Token(kind, text, upper, match.start())  # type: ignore[arg-type]
        after_dot = kind == "op" and text == "."


def version_comments(norm: str) -> list[str]:
    """The conditional comments that some supported servers run and others skip.

    MySQL runs `/*!NNNNN` up to its own version; MariaDB skips 50700–99999 of MySQL and runs `/*M!`. Without a
    number, or for servers older than 5.7, everyone runs it.
    """
    return [
        match[0]
        for match in re.finditer(r"/\*(M?)!(\d{5,6})?", norm)
        if match[1] or (match[2] and int(match[2]) >= 50700)
    ]


def closings(tokens: Sequence[Token]) -> dict[int, int]:
    """The index of each `(` that is closed → the index of its `)`."""
    found: dict[int, int] = {}
    open_ones: list[int] = []
    for index, token in enumerate(tokens):
        if token.text == "(":
            open_ones.append(index)
        elif token.text == ")" and open_ones:
            found[open_ones.pop()] = index
    return found


def depth_of(tokens: Sequence[Token]) -> int:
    """How deep parentheses are nested."""
    depth = deepest = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        deepest = max(deepest, depth)
    return deepest


def split(tokens: Sequence[Token], separator: str = ",") -> list[tuple[Token, ...]]:
    """The parts between the top-level separators."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.text == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts]


def words(tokens: Sequence[Token], count: int) -> tuple[str, ...]:
    """The first `count` tokens as upper-case keywords, '' for what is none."""
    found = [token.upper for token in tokens[:count]]
    return tuple(found + [""] * (count - len(found)))


def starts(tokens: Sequence[Token], *keywords: str) -> bool:
    return len(tokens) >= len(keywords) and all(
        token.upper == keyword for token, keyword in zip(tokens, keywords, strict=False)
    )
