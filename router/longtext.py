"""Words of a statement whose template is beyond the lexer's bounds (64 KiB, 1,024 literals).

Such a statement passes an unsharded keyspace as it is, but the gate must still see its words. Rows of plain
literals after VALUES, and literals behind a literal, are skipped in one step, so that many of them cost little. The
rules are the lexer's
(`_speedups.lexer`); a text that could be read in two ways gives None and is refused.
"""

from __future__ import annotations

import re
from functools import cache

from _speedups import lexer
from router.text import Text
from router.tokens import Kind, Token

MAX_BYTES = 16 * 1024 * 1024
MAX_TOKENS = 100_000

_WORD = r"[\w$\x80-\U0010ffff]"


@cache
def _patterns(mode: int) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    inside = r"[^{0}]|{0}{0}" if mode & lexer.NO_BACKSLASH_ESCAPES else r"[^{0}\\]|\\.|{0}{0}"
    single, double = (rf"{quote}(?:{inside.format(quote)})*+{quote}" for quote in ("'", '"'))
    ansi = bool(mode & lexer.ANSI_QUOTES)
    string = single if ansi else f"{single}|{double}"
    quoted = r"`(?:[^`]|``)*+`" + (r'|"(?:[^"]|"")*+"' if ansi else "")
    number = (
        rf"(?:0x[0-9a-fA-F]+|0b[01]+|(?:\d+\.?\d*|(?<![\w$`\x22\x80-\U0010ffff])\.\d+)(?:[eE][-+]?\d+)?)(?!{_WORD})"
    )
    literal = rf"[nN]?(?:{string})|[xXbB]'[0-9a-fA-F]*'|{number}|\?"
    token = re.compile(
        rf"""
          (?P<space>[ \t\n\v\f\r]+)
        | (?P<version>/\*M?!(?:\d{{5,6}})?)
        | (?P<comment>/\*(?!M?!).*?\*/|--(?=[\x00-\x20]|\Z)[^\n]*|\#[^\n]*)
        | (?P<close>\*/)
        | (?P<literal>{literal})
        | (?P<quoted>{quoted})
        | (?P<system_variable>@@(?:`(?:[^`]|``)*`|[\w$.\x80-\U0010ffff]+))
        | (?P<user_variable>@(?:`(?:[^`]|``)*`|"(?:[^"]|"")*"|'(?:[^']|'')*'|[\w$.\x80-\U0010ffff]*))
        | (?P<word>{_WORD}+)
        | (?P<bad>['"`\x00-\x1f\x7f]|/\*)
        | (?P<op>:=|->>|->|<=>|<=|>=|<>|!=|\|\||&&|<<|>>|.)
        """,
        re.VERBOSE | re.DOTALL | re.ASCII,
    )
    item = rf"(?:NULL\b|[-+]?\s*+(?:_\w+\s*+)?(?:{literal}))"
    row = rf"\(\s*+{item}(?:\s*+,\s*+{item})*+\s*+\)"
    rows = re.compile(rf"\s*+{row}(?:\s*+,\s*+{row})*+", re.DOTALL | re.ASCII | re.IGNORECASE)
    more = re.compile(rf"(?:\s*+,\s*+{item}(?=\s*+[,)]))++", re.DOTALL | re.ASCII | re.IGNORECASE)
    return token, rows, more


def patterns(mode: int) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """One token of a text in this mode of the lexer; a run of rows of plain literals; further literals of a list."""
    return _patterns(mode & (lexer.ANSI_QUOTES | lexer.NO_BACKSLASH_ESCAPES))


def words_of(sql: Text, mode: int) -> tuple[Token, ...] | None:
    """The tokens as `tokens.tokenize` gives them for a template, positions in the text instead; None when the
    text is beyond all bounds or not clearly readable."""
    if len(sql) > MAX_BYTES:
        return None
    token, rows, more = patterns(mode)
    text = bytes(sql).decode("utf-8", "surrogateescape")
    found: list[Token] = []
    at = literals = 0
    executable = False
    while at < len(text):
        match = token.match(text, at)
        kind = match.lastgroup if match else "bad"
        if match is None or kind == "bad" or len(found) > MAX_TOKENS:
            return None
        if kind in ("version", "close"):
            if executable is (kind == "version"):
                return None
            executable = kind == "version"
        elif kind == "comment" and executable:
            return None
        elif kind not in ("space", "comment"):
            found.append(_token(kind, match[0], at, literals, found))
            literals += kind == "literal"
        at = match.end()
        if found and kind == "word" and found[-1].upper in ("VALUES", "VALUE") and (run := rows.match(text, at)):
            found += _row(at)
            at = run.end()
        elif kind == "literal" and (run := more.match(text, at)):
            at = run.end()
    return None if executable else tuple(found)


def _token(kind: str | None, text: str, at: int, literals: int, before: list[Token]) -> Token:
    if kind == "literal":
        return Token("literal", "?", "", at, literals)
    after_dot = bool(before) and before[-1].text == "."
    upper = text.upper() if kind == "op" or (kind == "word" and not after_dot) else ""
    names: dict[str | None, Kind] = {
        "quoted": "quoted",
        "system_variable": "system_variable",
        "user_variable": "user_variable",
        "word": "word",
    }
    return Token(names.get(kind, "op"), text, upper, at)


def _row(at: int) -> list[Token]:
    """What stands for a run of rows: one row of one literal."""
    return [Token("op", "(", "(", at), Token("literal", "?", "", at), Token("op", ")", ")", at)]
