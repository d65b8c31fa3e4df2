"""A console statement's words as MySQL reads them, and the text that SQLite gets of them.

MySQL's `'a\\'b'`, `"text"`, `#` comments and `@@variables` become what they mean in SQLite; nothing else is
translated: the dialect of queries is SQLite's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from router.errors import refusal

Kind = Literal["space", "string", "quoted", "variable", "word", "number", "param", "other"]

_TOKENS = re.compile(
    r"""
    (?P<space>\s+|/\*.*?\*/|--(?=\s|\Z)[^\n]*|\#[^\n]*)
  | (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
  | (?P<quoted>`(?:[^`]|``)*`)
  | (?P<variable>@@[A-Za-z0-9_.$]+)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<number>\d[\w.]*)
  | (?P<param>\?)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}
_ESCAPE = re.compile(r"\\(.)|(''|\"\")", re.DOTALL)
_SCOPES = ("global.", "session.", "local.")


@dataclass(frozen=True, slots=True)
class Token:
    """`text` as written; `at`: where it begins in the statement."""

    kind: Kind
    text: str
    at: int

    @property
    def upper(self) -> str:
        return self.text.upper() if self.kind == "word" else ""

    @property
    def name(self) -> str:
        """What a word, a quoted name or a string says."""
        if self.kind == "quoted":
            return self.text[1:-1].replace("``", "`")
        return unquoted(self.text) if self.kind == "string" else self.text


def tokens_of(sql: str) -> list[Token]:
    """Without white space, comments and a semicolon at the end. Raises Refusal for an open quote or comment."""
    found = []
    for match in _TOKENS.finditer(sql):
        kind: Kind = match.lastgroup  # type: ignore[assignment]
        if kind == "other" and (match[0] in "'\"`" or sql.startswith("/*", match.start())):
            raise refusal("CONSOLE_SYNTAX", "a quotation or comment that does not end")
        if kind != "space":
            found.append(Token(kind, match[0], match.start()))
    while found and found[-1].text == ";":
        found.pop()
    if any(token.text == ";" for token in found):
        raise refusal("CONSOLE_SYNTAX", "more than one statement")
    return found


def unquoted(text: str) -> str:
    """A string literal's value: backslashes and doubled quotes as MySQL reads them."""
    quote = text[0]

    def plain(match: re.Match[str]) -> str:
        if match[1] is None:
            return quote if match[2] == quote * 2 else match[2]
        return _ESCAPES.get(match[1], match[1])

    return _ESCAPE.sub(plain, text[1:-1])


def words(tokens: Sequence[Token], count: int) -> tuple[str, ...]:
    """The first words in upper case, '' for what is no word; exactly `count` of them."""
    found = [token.upper for token in tokens[:count]]
    return tuple(found + [""] * (count - len(found)))


def variable_name(token: Token) -> str:
    """'@@session.autocommit' -> 'autocommit'"""
    name = token.text[2:].lower()
    for scope in _SCOPES:
        name = name.removeprefix(scope)
    return name


@dataclass(frozen=True, slots=True)
class Query:
    """What SQLite is given. `parameters`: how many `?` it has; `shape`: the same with NULL in their places.

    `variables`: @@name as it was written -> the variable; it is asked by a function of the written name.
    """

    sql: str
    shape: str
    parameters: int
    variables: dict[str, str]


def query_of(tokens: Sequence[Token]) -> Query:
    """A SELECT as SQLite reads it."""
    variables: dict[str, str] = {}
    parts, shape = [], []
    for index, token in enumerate(tokens):
        text = _translated(token, tokens[index + 1] if index + 1 < len(tokens) else None)
        if token.kind == "variable":
            variables[token.text] = variable_name(token)
        parts.append(text)
        shape.append("NULL" if token.kind == "param" else text)
    return Query(
        _joined(tokens, parts), _joined(tokens, shape), sum(t.kind == "param" for t in tokens), variables
    )


def _translated(token: Token, following: Token | None) -> str:
    if token.kind == "string":
        return literal(token.name)
    if token.kind == "variable":
        return f'"{token.text}"()'
    if token.upper == "CURRENT_USER" and (following is None or following.text != "("):
        return "current_user()"
    if token.text == "@":
        raise refusal("CONSOLE_SYNTAX", "user variables do not exist here")
    return token.text


def _joined(tokens: Sequence[Token], parts: Sequence[str]) -> str:
    """As close together as they were written: SQLite names columns by the text."""
    out = []
    end = None
    for token, part in zip(tokens, parts, strict=True):
        if end is not None and token.at > end:
            out.append(" ")
        out.append(part)
        end = token.at + len(token.text)
    return "".join(out)


def literal(text: str) -> str:
    """A string literal of SQLite. A NUL cannot stand in its text."""
    if "\0" in text:
        raise refusal("CONSOLE_SYNTAX", "a NUL in a string")
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
