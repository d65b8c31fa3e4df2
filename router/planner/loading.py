"""LOAD DATA LOCAL into a sharded table: which fields of its file are the shard key, and how its rows are read.

Everything that would make one server's outcome another than the shards' together is refused here, before the client is
asked for its file. MySQL Reference Manual 15.2.9 "LOAD DATA Statement"; MariaDB "LOAD DATA INFILE".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from _speedups.lexer import INT, NO_BACKSLASH_ESCAPES
from config.words import MultiShardWrites, Verb
from router import literals
from router.errors import refusal
from router.files import CHARSETS, FileFormat
from router.functions import ONE_TIME, PURE, calls
from router.keys import KeyColumn, Unpinnable, UnsupportedKey
from router.plan import OneShard, Planned, SplitLoad
from router.planner.request import Draft, Request
from router.planner.volatile import PER_ROW
from router.schema import LiveColumn, LiveTable, holds_key, key_columns
from router.template import literal_slots
from router.tokens import Token, version_comments
from router.topology import Keyspace, Table, TableKind

READS = frozenset({"SELECT", "TABLE", "WITH", "VALUES", "NEXT", "PREVIOUS"})
"""Words by which SET would read other rows."""


def plan(request: Request, keyspace: Keyspace, verbs: Sequence[Verb]) -> Planned:
    """Of a sharded keyspace. Raises Refusal."""
    if request.context.policy is not None:
        raise refusal("POLICY_FORM", "a file that is parted over shards")
    load = Statement(request, keyspace)
    load.read()
    draft = Draft(request, "load", writes=True, cacheable=False)
    draft.use(keyspace.name, load.table, "write", *verbs)
    declared = _declared(request, keyspace, load.table)
    if declared.kind is TableKind.PINNED:
        draft.because("all its rows are on one shard")
        return _loads(draft.done(OneShard(request.context.topology.shards[declared.shard].name)))
    if declared.kind is TableKind.REFERENCE:
        raise load.refusal("it is copied to every shard")
    if declared.lookups:
        raise refusal("LOOKUP_FORM", "LOAD DATA", load.table, "which rows it writes is only known behind it")
    draft.because("its rows are parted by their shard key")
    return _loads(draft.done(_Split(load, declared).plan()))


def _loads(planned: Planned) -> Planned:
    return replace(planned, facts=replace(planned.facts, loads=True))


def _declared(request: Request, keyspace: Keyspace, name: str) -> Table:
    declared, schema = keyspace.table(name), request.context.schemas.get(keyspace.name)
    live = schema.table(name) if schema is not None else None
    if live is not None and live.kind == "view":
        raise refusal("VIEW", keyspace.name, name)
    if declared is None:
        raise refusal("UNKNOWN_TABLE", keyspace.name, name)
    if schema is None and not request.context.offline:
        raise refusal("SCHEMA_UNKNOWN", keyspace.name)
    if schema is not None and live is None and declared.kind is not TableKind.PINNED:
        raise refusal("MISSING_TABLE", keyspace.name, name)
    return declared


# --- reading the statement -------------------------------------------------------------------------------


class Statement:
    """The statement's clauses, read from its words in the order in which the grammars have them."""

    def __init__(self, request: Request, keyspace: Keyspace) -> None:
        self.request, self.keyspace = request, keyspace
        self.table = ""
        self.replaces = False
        self.columns: tuple[str, ...] = ()
        self.assignments: tuple[Token, ...] = ()
        self.charset: str | None = None
        self.field_term, self.line_term, self.line_start, self.enclosed = b"\t", b"\n", b"", b""
        self.escaped = b"" if request.context.mode & NO_BACKSLASH_ESCAPES else b"\\"
        self.ignored, self.ignored_slot = 0, -1
        self._tokens = [token for token in request.tokens if token.text != ";"]
        self._at = 0

    def refusal(self, why: str) -> Exception:
        return refusal("LOAD_DATA_FORM", f"{self.keyspace.name}.{self.table}" if self.table else "a table", why)

    def read(self) -> None:
        self._head()
        self._separators()
        if self._skip("IGNORE"):
            self._ignored_lines()
        if self._skip("("):
            self.columns = self._column_list()
        if self._skip("SET"):
            self.assignments = tuple(self._tokens[self._at :])
            self._at = len(self._tokens)
        if self._at < len(self._tokens):
            self._unknown()
        for comment in version_comments(self.request.norm):
            raise refusal("VERSION_COMMENT", comment)

    def _head(self) -> None:
        self._need("LOAD")
        if not self._skip("DATA"):
            raise self.refusal("only LOAD DATA's rows can be parted, not those of other formats")
        if not self._skip("LOW_PRIORITY"):
            self._skip("CONCURRENT")
        self._need("LOCAL")
        self._need("INFILE")
        self._text()
        self.replaces = self._skip("REPLACE")
        if not self.replaces:
            self._skip("IGNORE")
        self._need("INTO")
        self._need("TABLE")
        self.table = self._name()
        if self._skip("."):
            self.table = self._name()
        if self._skip("PARTITION"):
            self._skip_parentheses()
        if self._skip("CHARSET") or (self._skip("CHARACTER") and self._need("SET")):
            self.charset = self._charset()

    def _separators(self) -> None:
        if self._skip("FIELDS") or self._skip("COLUMNS"):
            begun = self._at
            while self._field_option():
                pass
            if self._at == begun:
                self._unknown()
        if self._skip("LINES"):
            begun = self._at
            while self._line_option():
                pass
            if self._at == begun:
                self._unknown()

    def _field_option(self) -> bool:
        if self._skip("TERMINATED"):
            self._need("BY")
            self.field_term = self._text()
        elif self._skip("OPTIONALLY") or self._is("ENCLOSED"):
            self._need("ENCLOSED")
            self._need("BY")
            self.enclosed = self._text()
        elif self._skip("ESCAPED"):
            self._need("BY")
            self.escaped = self._text()
        else:
            return False
        return True

    def _line_option(self) -> bool:
        if self._skip("STARTING"):
            self._need("BY")
            self.line_start = self._text()
        elif self._skip("TERMINATED"):
            self._need("BY")
            self.line_term = self._text()
        else:
            return False
        return True

    def _ignored_lines(self) -> None:
        token = self._next()
        if token.kind != "literal":
            self._unknown()
        self.ignored_slot = literal_slots(self.request.lexed)[token.literal]
        slot = self.request.lexed.slots[self.ignored_slot]
        if slot.kind != INT:
            self._unknown()
        self.ignored = int(self.request.sql[slot.offset : slot.offset + slot.length])
        if not self._skip("LINES"):
            self._need("ROWS")

    def _column_list(self) -> tuple[str, ...]:
        names: list[str] = []
        while not self._skip(")"):
            if self._at < len(self._tokens) and self._tokens[self._at].kind == "user_variable":
                raise self.refusal("user variables would have the last row's value, and no shard has the last row")
            names.append(self._name().lower())
            if not self._is(")"):
                self._need(",")
        if len(set(names)) < len(names):
            raise self.refusal("it names a column twice")
        return tuple(names)

    def _charset(self) -> str:
        token = self._next()
        name = token.name.lower() if token.is_name else ""
        if token.kind == "literal":
            self._at -= 1
            name = self._text().decode("ascii").lower()
        if name not in CHARSETS:
            raise self.refusal(f"character set {name or token.text}, in which a separator's bytes may be a character's")
        return name

    # --- words ----------------------------------------------------------------------------------------------

    def _is(self, word: str) -> bool:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        return token is not None and (token.upper or token.text) == word

    def _skip(self, word: str) -> bool:
        found = self._is(word)
        self._at += found
        return found

    def _need(self, word: str) -> bool:
        if not self._skip(word):
            self._unknown()
        return True

    def _next(self) -> Token:
        if self._at == len(self._tokens):
            self._unknown()
        self._at += 1
        return self._tokens[self._at - 1]

    def _name(self) -> str:
        token = self._next()
        if not token.is_name:
            self._unknown()
        return token.name

    def _skip_parentheses(self) -> None:
        self._need("(")
        while not self._skip(")"):
            self._next()

    def _text(self) -> bytes:
        """A literal that has to be ASCII. (The file's name is the servers' to read.)"""
        token = self._next()
        if token.kind != "literal":
            self._unknown()
        if not self.table:
            return b""
        slot = self.request.lexed.slots[literal_slots(self.request.lexed)[token.literal]]
        try:
            found = literals.value(self.request.sql, slot, self.request.context.mode)
        except Unpinnable as reason:
            raise self.refusal(f"a separator: {reason}") from None
        data = found.encode() if isinstance(found, str) else found
        if not isinstance(data, bytes):
            self._unknown()
        if not data.isascii():
            raise self.refusal("a separator beyond ASCII")
        return data

    def _unknown(self) -> NoReturn:
        word = self._tokens[self._at].text if self._at < len(self._tokens) else "the end"
        raise self.refusal(f"this form is not known, at {word}")

    # --- what it says ---------------------------------------------------------------------------------------

    def format(self) -> FileFormat:
        """Raises Refusal for what the splitter does not read."""
        if len(self.enclosed) > 1 or len(self.escaped) > 1:
            raise self.refusal("ENCLOSED BY and ESCAPED BY take one character")
        if not self.field_term or not self.line_term:
            raise self.refusal("rows of fixed length, or without an end of their own")
        if self.field_term == self.line_term:
            raise self.refusal("fields that end as lines do")
        return FileFormat(
            self.field_term, self.line_term, self.line_start, self.enclosed, self.escaped, self.ignored, self.charset
        )

    def assigned(self) -> set[str]:
        """The columns that SET computes. Raises Refusal when what it computes is not known to be the same anywhere."""
        tokens = self.assignments
        if not tokens:
            return set()
        for token in tokens:
            if token.kind in ("user_variable", "system_variable") or token.upper in READS or token.text == "||":
                raise self.refusal(f"SET with {token.text}")
        for call in calls(tokens):
            if call.schema is not None or call.upper not in PURE | ONE_TIME | PER_ROW:
                raise self.refusal(f"SET with {call.name}()")
        if any(token.upper == "RAND" and tokens[at + 2 : at + 3] != () and tokens[at + 2].text != ")"
               for at, token in enumerate(tokens)):  # fmt: skip
            raise self.refusal("SET with a seed of RAND()")
        return set(self._assigned_names(tokens))

    def _assigned_names(self, tokens: Sequence[Token]) -> list[str]:
        names, depth = [], 0
        for at, token in enumerate(tokens):
            depth += (token.text == "(") - (token.text == ")")
            if depth == 0 and (at == 0 or tokens[at - 1].text == ","):
                end = at + 1
                while tokens[end : end + 1] and tokens[end].text == ".":
                    end += 2
                if not token.is_name or end >= len(tokens) or tokens[end].text not in ("=", ":="):
                    raise self.refusal("SET of this form")
                names.append(tokens[end - 1].name.lower())
        return names


# --- which of its fields decide -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Split:
    """A load into a sharded table."""

    load: Statement
    table: Table

    def plan(self) -> SplitLoad:
        load, table = self.load, self.table
        assert table.vindex is not None
        form, names, live = load.format(), self._names(), self._live()
        self._check_assigned(live, load.assigned())
        self._check_conflicts(live)
        keys = self._keys(names, live)
        identity = self._identity(names, live)
        self._check_defaults(live, names)
        columns = self._columns()
        raw = tuple(column is not None and column.collation is None for column in map(self._column, table.columns))
        return SplitLoad(
            load.keyspace.name, table.name, table.vindex.name, self._shards(), columns, len(names), keys, raw, identity,
            form, load.ignored_slot,
        )  # fmt: skip

    def _live(self) -> LiveTable | None:
        schema = self.load.request.context.schemas.get(self.table.keyspace)
        return schema.table(self.table.name) if schema is not None else None

    def _column(self, name: str) -> LiveColumn | None:
        live = self._live()
        return live.column(name) if live is not None else None

    def _columns(self) -> tuple[KeyColumn, ...]:
        table = self.table
        try:
            return key_columns(table, self.load.request.context.schemas.get(table.keyspace))
        except UnsupportedKey as reason:
            raise refusal("KEY_COLUMN_TYPE", ", ".join(table.columns), table.name, str(reason)) from None
        except KeyError as missing:
            raise refusal("KEY_COLUMN_MISSING", str(missing.args[0]), table.name) from None

    def _names(self) -> tuple[str, ...]:
        """The columns that the file's fields go into, in order, lower case."""
        schema, live = self.load.request.context.schemas.get(self.table.keyspace), self._live()
        if live is None or schema is None:
            if not self.load.columns:
                raise refusal("COLUMNS_UNKNOWN", self.table.name)
            return self.load.columns
        drifting = schema.drifting.get(self.table.name, frozenset())
        named = self.load.columns
        wrong = drifting & {*named, *(one.lower() for one in self.table.columns), "*"} if named else drifting
        if wrong:
            raise refusal("SCHEMA_DRIFT", self.table.keyspace, self.table.name, ", ".join(sorted(wrong)))
        odd = [one for one in live.columns if one.generated or one.invisible]
        if odd and not named:
            raise self.load.refusal(f"column {odd[0].name} is generated or invisible; name the columns of the file")
        if any(one.generated and one.name.lower() in named for one in odd):
            raise self.load.refusal("a generated column is among those of the file")
        return named or tuple(column.name.lower() for column in live.columns)

    def _keys(self, names: Sequence[str], live: LiveTable | None) -> tuple[int, ...]:
        for name in self.table.columns:
            if name.lower() not in names:
                column = live.column(name) if live is not None else None
                auto = column is not None and column.auto_increment
                raise refusal("KEY_AUTO_INCREMENT" if auto else "KEY_MISSING", name, self.table.name)
        return tuple(names.index(name.lower()) for name in self.table.columns)

    def _check_assigned(self, live: LiveTable | None, assigned: set[str]) -> None:
        for name in self.table.columns:
            if name.lower() in assigned:
                raise self.load.refusal(f"SET computes the shard key {name}")
        for column in live.columns if live is not None else ():
            if column.auto_increment and column.name.lower() in assigned:
                raise self.load.refusal(f"SET computes the AUTO_INCREMENT column {column.name}")

    def _check_conflicts(self, live: LiveTable | None) -> None:
        """LOCAL passes over rows that are there already, or replaces them: they must be on the row's shard."""
        what = "LOAD DATA … REPLACE" if self.load.replaces else "LOAD DATA LOCAL, which passes over duplicates,"
        for key in live.unique_keys if live is not None else ():
            if not holds_key(key, self.table):
                raise refusal("UNIQUE_WITHOUT_KEY", what, self.table.name, key.name)

    def _identity(self, names: Sequence[str], live: LiveTable | None) -> int:
        """The AUTO_INCREMENT column's field, -1 for none. Raises Refusal where servers would count."""
        ids = self.table.ids
        auto = next((one.name for one in live.columns if one.auto_increment), None) if live is not None else None
        name = ids.column if ids is not None else auto
        if name is None:
            return -1
        if name.lower() not in names:
            raise self.load.refusal(f"each shard would count {name} (AUTO_INCREMENT), which its file lacks, for itself")
        if ids is not None and not ids.explicit:
            raise refusal("AUTO_INCREMENT_EXPLICIT", ids.column, self.table.name)
        return names.index(name.lower())

    def _check_defaults(self, live: LiveTable | None, names: Sequence[str]) -> None:
        by_word = any(token.upper == "DEFAULT" for token in self.load.assignments)
        for column in live.columns if live is not None else ():
            if (by_word or column.name.lower() not in names) and not column.unstable_words <= ONE_TIME | PER_ROW:
                raise refusal("UNSTABLE_FUNCTION", f"the default of column {column.name}")

    def _shards(self) -> tuple[str, ...]:
        """Those of the own region that hold rows."""
        load, vindex = self.load, self.table.vindex
        assert vindex is not None
        held = [one for one in load.keyspace.shards if one.index in vindex.shards]
        local = tuple(one.name for one in held if one.is_local)
        if not local:
            raise refusal("ATOMIC_REGIONS", held[0].name)
        if load.keyspace.multi_shard_writes is not MultiShardWrites.ATOMIC and len(held) > 1:
            raise load.refusal("the keyspace does not write to several shards as one (multi_shard_writes: atomic)")
        return local
