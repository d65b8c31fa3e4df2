"""Session state that moves with a client from backend to backend: its database and the variables it has set.

`SessionState` is what a client has asked for, a value: `state.set("names", "utf8mb4").use("shop")`.
`StateTable` gives each distinct one a small number, which sessions and backends carry, and says by which
packets a backend that is in one state comes into another. `Base` is what a fresh connection to one server
has, so that a variable which only the old state has set can be put back: `SET x = DEFAULT` would give the
global value, which is not what the handshake's character set, the account's init_connect or a later SET
GLOBAL made of it.

Number 0 is the state of a fresh connection: no database, nothing set.

Values are checked when they are set and rendered from scratch, in ASCII without quotes or backslashes, so
what is spliced means the same under any sql_mode and any client character set that a server accepts. What
cannot be rendered so is refused, never passed on.

Three kinds of variable are not simply "the last value wins":
- SET NAMES and SET CHARACTER SET stand for three variables; COLLATE comes as a later assignment and stays
with them;
- character_set_connection and collation_connection are one variable with two names (likewise ..._server):
setting the first means the character set's default collation, which only the server knows;
- optimizer_switch changes the flags that are named and leaves the others, so flags are kept one by one.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeAlias, get_args

from config.words import Flavour
from router.context import Completion

COM_INIT_DB, COM_QUERY = b"\x02", b"\x03"
NEUTRAL = "information_schema"
"""A database that every server has and everybody may use."""

MAX_VALUE = 1024
"""Longest text of a value in characters; optimizer_switch with every flag is some 900."""
MAX_DATABASE = 256
"""Longest database name in bytes: 64 characters of at most 4 (Reference Manual 11.2.1)."""
FRESH: Final = 0


class VariableRefused(ValueError):
    """A value that cannot be carried from backend to backend. The text does not repeat it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


class StatesExhausted(RuntimeError):
    """More distinct session states are in use at once than the table may hold."""


class StateUnreachable(ValueError):
    """No packets bring this backend there: use another one, or a new one."""


@dataclass(frozen=True, slots=True)
class Default:
    """The word DEFAULT as a value."""


DEFAULT: Final = Default()
Value: TypeAlias = str | int | float | Decimal | Default | None
"""What SET was given: numbers as numbers, text and bare words (ON, utf8mb4) as str, NULL as None."""

# --- rendering: value -> SQL literal ------------------------------------------------------------------------

Render: TypeAlias = Callable[[str, Value], str]

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_WORD = re.compile(r"[A-Za-z0-9_\-]{1,64}")
_ZONE = re.compile(r"[A-Za-z0-9_+\-:/]{1,64}")
_LOCALE = re.compile(r"[A-Za-z0-9_@.]{1,32}")
_WORDS = re.compile(r"[A-Za-z0-9_\-, ]{0,1024}")
_FLAG = re.compile(r"([a-z0-9_]{1,64})=(on|off)")
_INT_LOW, _INT_HIGH = -(2**63), 2**64 - 1
_ON, _OFF = frozenset({"on", "true", "yes", "1"}), frozenset({"off", "false", "no", "0"})
COMPLETIONS: tuple[Completion, ...] = get_args(Completion)
_ISOLATION = frozenset({"READ-UNCOMMITTED", "READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE"})


def _text(pattern: re.Pattern[str], what: str) -> Render:
    def render(name: str, value: Value) -> str:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise VariableRefused(name, f"not {what}")
        return f"'{value}'"

    return render


def _integer(name: str, value: Value) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or not _INT_LOW <= value <= _INT_HIGH:
        raise VariableRefused(name, "not a whole number of 64 bits")
    return str(value)


def _number(name: str, value: Value) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise VariableRefused(name, "not a number")
    number = Decimal(str(value))
    if not number.is_finite() or abs(number) > Decimal(10) ** 15:
        raise VariableRefused(name, "out of range")
    return f"{number.quantize(Decimal('0.000001')):f}"


def _switch(name: str, value: Value) -> str:
    word = str(value).lower() if isinstance(value, str | int) else ""
    if word in _ON:
        return "1"
    if word in _OFF:
        return "0"
    raise VariableRefused(name, "neither ON nor OFF")


def _isolation(name: str, value: Value) -> str:
    word = str(value).upper()
    if word not in _ISOLATION:
        raise VariableRefused(name, "not an isolation level")
    return f"'{word}'"


def _completion(name: str, value: Value) -> str:
    """By its number or in words. What is neither is left to the server, which refuses it."""
    if isinstance(value, int) and 0 <= value < len(COMPLETIONS):
        return f"'{COMPLETIONS[value]}'"
    if isinstance(value, str) and value.lower() in ("true", "false"):
        raise VariableRefused(name, "neither a number nor one of its names")  # a word it would be 1 or 0, a text none
    return _integer(name, value) if isinstance(value, int) else _word(name, value).upper()


def _sql_mode(name: str, value: Value) -> str:
    # As a number it would mean different modes on different servers.
    return _text(_WORDS, "a list of words")(name, value).upper()


def _charset(name: str, value: Value) -> str:
    return _text(_NAME, "the name of a character set or collation")(name, value).lower()


_word = _text(_WORD, "a word")


def _charset_or_null(name: str, value: Value) -> str:
    return "NULL" if value is None else _charset(name, value)


# --- the variables ------------------------------------------------------------------------------------------

CONNECTION, SERVER = "collation_connection", "collation_server"
_CHARSET_OF = {CONNECTION: "character_set_connection", SERVER: "character_set_server"}
_COLLATION_OF = {charset: collation for collation, charset in _CHARSET_OF.items()}
OPTIMIZER_SWITCH = "optimizer_switch"

_CHARSETS: Mapping[str, Render] = {
    "character_set_client": _charset,
    "character_set_results": _charset_or_null,
    CONNECTION: _charset,
    SERVER: _charset,
    "character_set_filesystem": _charset,
}
_SWITCHES = """ autocommit transaction_read_only sql_safe_updates sql_notes sql_warnings
sql_quote_show_create sql_big_selects sql_buffer_result foreign_key_checks unique_checks
low_priority_updates explicit_defaults_for_timestamp innodb_strict_mode updatable_views_with_limit
windowing_use_high_precision sql_if_exists show_create_table_verbosity
show_create_table_skip_secondary_engine sql_generate_invisible_primary_key print_identified_with_as_hex
require_row_format
"""
_INTEGERS = """ group_concat_max_len div_precision_increment default_week_format max_sort_length
max_error_count max_join_size lock_wait_timeout innodb_lock_wait_timeout max_execution_time
net_write_timeout net_read_timeout auto_increment_increment auto_increment_offset optimizer_search_depth
optimizer_prune_level optimizer_use_condition_selectivity eq_range_index_dive_limit
range_optimizer_max_mem_size join_cache_level histogram_size sort_buffer_size join_buffer_size
read_buffer_size read_rnd_buffer_size tmp_table_size max_heap_table_size bulk_insert_buffer_size
preload_buffer_size query_alloc_block_size query_prealloc_size cte_max_recursion_depth
max_recursive_iterations max_length_for_sort_data max_seeks_for_key information_schema_stats_expiry
column_compression_threshold sql_select_limit
"""
_VARIABLES: Mapping[str, Render] = MappingProxyType(
    {
        **_CHARSETS,
        "sql_mode": _sql_mode,
        "time_zone": _text(_ZONE, "a time zone"),
        "transaction_isolation": _isolation,
        "completion_type": _completion,
        **dict.fromkeys(_SWITCHES.split(), _switch),
        **dict.fromkeys(_INTEGERS.split(), _integer),
        "max_statement_time": _number,
        "long_query_time": _number,
        "lc_time_names": _text(_LOCALE, "a locale"),
        "lc_messages": _text(_LOCALE, "a locale"),
        "default_storage_engine": _word,
        "default_tmp_storage_engine": _word,
        "use_stat_tables": _word,
        "query_cache_type": _word,
        "block_encryption_mode": _word,
        "alter_algorithm": _word,
        "old_mode": _text(_WORDS, "a list of words"),
        "note_verbosity": _text(_WORDS, "a list of words"),
    }
)
"""Canonical name -> how a value is checked and rendered. Their order is the order in which they are
applied.
"""

_ORDER = {name: place for place, name in enumerate([*_VARIABLES, OPTIMIZER_SWITCH])}

_MARIADB_NAMES = {"transaction_isolation": "tx_isolation", "transaction_read_only": "tx_read_only"}
"""MariaDB knows the new names from 11.1 on only, and the old ones still."""
_CANONICAL_NAMES = {old: new for new, old in _MARIADB_NAMES.items()}


def is_tracked(name: str) -> bool:
    """May this variable be set in a SessionState? By canonical name, or one of SET NAMES and SET CHARACTER
    SET.
    """
    return name in _ORDER or name in _COLLATION_OF or name in ("names", "character_set")


def _server_name(flavour: Flavour, name: str) -> str:
    return _MARIADB_NAMES.get(name, name) if flavour is Flavour.MARIADB else name


# --- states -------------------------------------------------------------------------------------------------

Setting: TypeAlias = tuple[str, str, str]
"""(canonical name, name to assign to, SQL literal); for optimizer_switch the third is its flags."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """What one client has asked for. Equal states are interchangeable; every change makes a new value."""

    database: str | None = None
    settings: tuple[Setting, ...] = ()

    def tell(self) -> dict[str, Any]:
        """As JSON has it, for another process."""
        return {"database": self.database, "settings": [list(one) for one in self.settings]}

    @classmethod
    def told(cls, state: dict[str, Any]) -> SessionState:
        """The way back. Raises ValueError for a variable that is not known here."""
        settings = tuple((name, assigned, literal) for name, assigned, literal in state["settings"])
        if unknown := [name for name, _, _ in settings if name not in _ORDER]:
            raise ValueError(f"{unknown[0]} is not carried between connections")
        return cls(state["database"], settings)

    def use(self, database: str | None) -> SessionState:
        """After COM_INIT_DB or USE. Raises VariableRefused for a name that is none."""
        if database is not None and (
            not database or "\0" in database or len(database.encode()) > MAX_DATABASE
        ):
            raise VariableRefused("database", "not a database name")
        return replace(self, database=database)

    def set(self, name: str, value: Value, *, database_collation: str | None = None) -> SessionState:
        """After `SET name = value`, names as `router.variables` folds them.

        `database_collation`: the current database's default collation, which SET CHARACTER SET takes over.
        Raises VariableRefused.
        """
        match name:
            case "names":
                return self._set_names(value)
            case "character_set":
                if database_collation is None:
                    raise VariableRefused(name, "the database's collation is not known; use SET NAMES")
                return self._set_names(value)._with(
                    CONNECTION, CONNECTION, _charset(name, database_collation)
                )
            case "optimizer_switch":
                return self._set_flags(value)
            case "character_set_connection" | "character_set_server":
                return self._with(_COLLATION_OF[name], name, _rendered(_charset, name, value))
        render = _VARIABLES.get(name)
        if render is None:
            raise VariableRefused(name, "not a variable that is carried between connections")
        if isinstance(value, Default) and name not in _CHARSETS:
            return self._without(name)
        return self._with(name, name, _rendered(render, name, value))

    def reset(self) -> SessionState:
        """After COM_RESET_CONNECTION, which keeps the database."""
        return SessionState(self.database)

    def literal(self, name: str) -> str | None:
        """The SQL literal that this variable was set to; None when it was not."""
        return next((literal for found, _, literal in self.settings if found == name), None)

    def _set_names(self, value: Value) -> SessionState:
        literal = _rendered(_charset, "names", value)
        state = self._with("character_set_client", "character_set_client", literal)
        state = state._with("character_set_results", "character_set_results", literal)
        if literal == "DEFAULT":
            return state._with(CONNECTION, CONNECTION, literal)
        return state._with(CONNECTION, _CHARSET_OF[CONNECTION], literal)

    def _set_flags(self, value: Value) -> SessionState:
        if isinstance(value, Default):
            return self._without(OPTIMIZER_SWITCH)
        if not isinstance(value, str) or len(value) > MAX_VALUE:
            raise VariableRefused(OPTIMIZER_SWITCH, "not a list of flags")
        flags = dict(flag.split("=") for flag in (self.literal(OPTIMIZER_SWITCH) or "").split(",") if flag)
        for item in value.lower().split(","):
            match = _FLAG.fullmatch(item.strip())
            if match is None:
                raise VariableRefused(OPTIMIZER_SWITCH, "flags are given as name=on or name=off")
            flags[match[1]] = match[2]
        merged = ",".join(f"{name}={flags[name]}" for name in sorted(flags))
        if len(merged) > MAX_VALUE:
            raise VariableRefused(OPTIMIZER_SWITCH, "too many flags")
        return self._with(OPTIMIZER_SWITCH, OPTIMIZER_SWITCH, merged)

    def _with(self, name: str, assigned: str, literal: str) -> SessionState:
        kept = [setting for setting in self.settings if setting[0] != name]
        kept.append((name, assigned, literal))
        return replace(self, settings=tuple(sorted(kept, key=lambda setting: _ORDER[setting[0]])))

    def _without(self, name: str) -> SessionState:
        return replace(self, settings=tuple(one for one in self.settings if one[0] != name))


def _rendered(render: Render, name: str, value: Value) -> str:
    # Only character sets come here with DEFAULT: for them it is the global value, not the handshake's.
    return "DEFAULT" if isinstance(value, Default) else render(name, value)


# --- what a fresh connection has ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A server's values on a fresh connection: canonical name -> SQL literal (flags for optimizer_switch).

    Take one per pool, from a connection made as the pool makes them: `Base.of(flavour, rows of
    base_query(flavour))`. `absent`: keyspaces that are not there, so that nothing is asked for in them without naming
    another; connections for sessions in one of them have `NEUTRAL` as their database.
    """

    flavour: Flavour
    literals: Mapping[str, str]
    absent: frozenset[str] = frozenset()

    @classmethod
    def of(cls, flavour: Flavour, rows: Iterable[tuple[str, str]]) -> Base:
        """From the rows of `base_query`. A value that could not be put back as it is, is left out; so are,
        with what they name, variables that this server does not have.
        """
        literals: dict[str, str] = {}
        for server_name, text in rows:
            name = server_name.lower()
            name = _CANONICAL_NAMES.get(name, name) if flavour is Flavour.MARIADB else name
            literal = _base_literal(name, text)
            if literal is not None:
                literals[name] = literal
        return cls(flavour, MappingProxyType(literals))


def base_query(flavour: Flavour) -> str:
    """What to ask a fresh connection. SHOW passes over variables that the server does not have; SELECT
    would fail.
    """
    names = ", ".join(f"'{_server_name(flavour, name)}'" for name in _ORDER)
    return f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})"


def _base_literal(name: str, text: str) -> str | None:
    if name == OPTIMIZER_SWITCH:
        return text.lower() if all(_FLAG.fullmatch(flag) for flag in text.lower().split(",")) else None
    render = _VARIABLES.get(name)
    if render is None:
        return None
    value: Value = text
    if text == "" and name in ("character_set_results", "default_tmp_storage_engine"):
        return "NULL"
    if render in (_integer, _number):
        value = _as_number(text)
    try:
        return render(name, value)
    except VariableRefused:
        return None


def _as_number(text: str) -> Value:
    try:
        return int(text)
    except ValueError:
        return Decimal(text) if re.fullmatch(r"[0-9]+\.[0-9]+", text) else text


# --- numbers, and the packets between them ------------------------------------------------------------------


class StateTable:
    """The session states in use, by small numbers, and the packets between any two of them.

    Bounded by `capacity`. When it is full, `intern` raises StatesExhausted; the caller then says which
    numbers sessions and backends still carry (`sweep`) and tries again. Numbers that were swept are given
    out anew.
    """

    def __init__(self, capacity: int = 8192, remembered: int = 4096) -> None:
        self._capacity = capacity
        self._states: dict[int, SessionState] = {FRESH: SessionState()}
        self._numbers: dict[SessionState, int] = {SessionState(): FRESH}
        self._free: list[int] = []
        self._packets: OrderedDict[tuple[int, int, Base, bool], list[bytes]] = OrderedDict()
        self._remembered = remembered

    def __len__(self) -> int:
        return len(self._states)

    def intern(self, state: SessionState) -> int:
        """The number of this state. Raises StatesExhausted."""
        known = self._numbers.get(state)
        if known is not None:
            return known
        if len(self._states) >= self._capacity:
            raise StatesExhausted(f"more than {self._capacity} different session states are in use")
        number = self._free.pop() if self._free else len(self._states)
        self._states[number] = state
        self._numbers[state] = number
        return number

    def known(self, state: SessionState) -> int | None:
        """The number of this state, if it has one."""
        return self._numbers.get(state)

    def state(self, number: int) -> SessionState:
        """The state behind a number. Raises KeyError for one that was swept."""
        return self._states[number]

    def sweep(self, in_use: Iterable[int]) -> int:
        """Forgets all states but these. Returns how many went.

        `in_use`: what sessions carry, then what backends carry, read in this order, so that a backend that
        takes over a session's state meanwhile is not missed.
        """
        kept = {FRESH, *in_use}
        gone = [number for number in self._states if number not in kept]
        for number in gone:
            del self._numbers[self._states.pop(number)]
        self._free += gone
        if gone:
            self._packets.clear()
        return len(gone)

    def packets(self, from_id: int, to_id: int, base: Base, *, database_matters: bool = True) -> list[bytes]:
        """The payloads, without packet headers, that bring a backend of this base from one state to another.

        At most two: COM_QUERY with one SET, COM_INIT_DB. Each must be answered OK; after an error the
        backend is in neither state and must be closed. Raises StateUnreachable when there is no way: no
        database cannot be selected (unless it does not matter), and a server may lack a variable or its
        base value.
        """
        key = (from_id, to_id, base, database_matters)
        found = self._packets.get(key)
        if found is None:
            found = difference(self._states[from_id], self._states[to_id], base, database_matters)
            self._packets[key] = found
            if len(self._packets) > self._remembered:
                self._packets.popitem(last=False)
        else:
            self._packets.move_to_end(key)
        return list(found)


def difference(
    start: SessionState, end: SessionState, base: Base, database_matters: bool = True
) -> list[bytes]:
    """See StateTable.packets."""
    query = _set_query(start, end, base)
    before, database = (NEUTRAL if name in base.absent else name for name in (start.database, end.database))
    if before == database or (database is None and not database_matters):
        return query
    if database is None:
        raise StateUnreachable("a connection with a database cannot be made to have none")
    init_db = COM_INIT_DB + database.encode()
    if database.isascii() or _is_utf8(end, base):
        return [*query, init_db]
    if _is_utf8(start, base):
        return [init_db, *query]
    raise StateUnreachable("the database's name is not ASCII and the character set is not utf8")


def _is_utf8(state: SessionState, base: Base) -> bool:
    """COM_INIT_DB's name is read in character_set_client (sql_parse.cc, dispatch_command)."""
    literal = state.literal("character_set_client") or base.literals.get("character_set_client", "")
    return literal.strip("'").lower() in ("utf8mb4", "utf8mb3", "utf8")


def _set_query(start: SessionState, end: SessionState, base: Base) -> list[bytes]:
    before = {name: (assigned, literal) for name, assigned, literal in start.settings}
    after = {name: (assigned, literal) for name, assigned, literal in end.settings}
    assignments = []
    for name in sorted(before.keys() | after.keys(), key=lambda one: _ORDER[one]):
        if before.get(name) != after.get(name):
            assigned, literal = after.get(name, (name, None))
            assignments.append(_assignment(name, assigned, literal, base))
    return [COM_QUERY + f"SET {','.join(assignments)}".encode("ascii")] if assignments else []


def _assignment(name: str, assigned: str, literal: str | None, base: Base) -> str:
    known = base.literals.get(name)
    if known is None:
        raise StateUnreachable(f"{name} does not exist on this {base.flavour} server, or cannot be put back")
    if name == OPTIMIZER_SWITCH:
        literal = f"'{_flags(known, literal or '')}'"
    # With the scope spelled out: without it @@transaction_isolation would be good for one transaction only.
    return f"@@SESSION.{_server_name(base.flavour, assigned)}={literal or known}"


def rendered(flavour: Flavour, given: Iterable[tuple[str, Value]]) -> list[str]:
    """Assignments for SET, of names as `SessionState.set` takes them. Raises VariableRefused."""
    parts = []
    for name, value in given:
        if isinstance(value, Default) and name not in (*_CHARSETS, *_COLLATION_OF, "names"):
            parts.append(f"@@SESSION.{_server_name(flavour, name)}=DEFAULT")
            continue
        for found, assigned, literal in SessionState().set(name, value).settings:
            text = f"'{literal}'" if found == OPTIMIZER_SWITCH else literal
            parts.append(f"@@SESSION.{_server_name(flavour, assigned)}={text}")
    return parts


def _flags(base: str, changes: str) -> str:
    """Every flag of the server with its value: those that are not named would stay as they happen to be."""
    flags = dict(flag.split("=") for flag in base.split(","))
    for change in filter(None, changes.split(",")):
        name, value = change.split("=")
        if name not in flags:
            raise StateUnreachable(f"optimizer_switch has no flag {name} on this server")
        flags[name] = value
    return ",".join(f"{name}={value}" for name, value in flags.items())
