"""A schema from a file, for `fairlead explain`: CREATE TABLE statements, or JSON.

SQL: what `mysqldump --no-data` or SHOW CREATE TABLE print; other statements than CREATE TABLE are skipped.
JSON: {"orders": {"columns": {"id": "bigint unsigned", "code": "varchar(9) collate utf8mb4_bin"},
"unique": {"PRIMARY": ["id"]}}}.
A text column without a collation has the default one of its character set, of utf8mb4 where nothing says it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp

from config.words import Flavour
from router.schema import LiveColumn, LiveTable, SchemaSnapshot, UniqueKey
from router.topology import Keyspace

MAX_SCHEMA = 64 * 1024 * 1024

_STATEMENT = re.compile(
    r"""(?sx) ( '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `[^`]*` | --[ \t][^\n]* | \#[^\n]* | /\*.*?\*/
    | [^;'"`\#/-]+ | . )"""
)
_CREATE = re.compile(
    r"(?is)\A(?:\s|--[ \t][^\n]*\n|\#[^\n]*\n|/\*(?!!).*?\*/)*create\s+(?:or\s+replace\s+)?table\b"
)
_COLUMN = re.compile(r"(?is)\A(.*?)(?:\s+character\s+set\s+(\w+))?(?:\s+collate\s+(\w+))?\Z")
_TEXT = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
_UNSIGNED = {
    exp.DataType.Type.UTINYINT: "tinyint unsigned",
    exp.DataType.Type.USMALLINT: "smallint unsigned",
    exp.DataType.Type.UMEDIUMINT: "mediumint unsigned",
    exp.DataType.Type.UINT: "int unsigned",
    exp.DataType.Type.UBIGINT: "bigint unsigned",
}


class SchemaFileError(ValueError):
    """The file says something that is no schema."""


def read_schema(path: Path, keyspace: Keyspace) -> SchemaSnapshot:
    """The tables of a file as the schema of `keyspace`. Raises SchemaFileError."""
    if path.stat().st_size > MAX_SCHEMA:
        raise SchemaFileError(f"{path} is larger than 64 MiB; leave the data out (mysqldump --no-data)")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SchemaFileError(f"{path} is not UTF-8 text") from None
    flavour = keyspace.shards[0].flavour
    parse = _tables_of_json if path.suffix == ".json" else _tables_of_sql
    tables = {table.name: table for table in parse(text, flavour)}
    if not tables:
        raise SchemaFileError(f"{path} holds no table")
    return SchemaSnapshot(keyspace.name, 1, tables)


# --- JSON -------------------------------------------------------------------------------------------------


def _tables_of_json(text: str, flavour: Flavour) -> Iterator[LiveTable]:
    try:
        whole = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SchemaFileError(f"not JSON: {error}") from None
    for name, table in _items(whole, "the file"):
        columns = _items(_get(table, name, "columns"), f"{name}.columns")
        unique = _items(table.get("unique", {}), f"{name}.unique")
        yield LiveTable(
            name,
            columns=tuple(_json_column(column, str(kind), flavour) for column, kind in columns),
            unique_keys=tuple(UniqueKey(key, tuple(map(str, parts))) for key, parts in unique),
            indexes=(),
        )


def _items(value: Any, where: str) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise SchemaFileError(f"{where} must be an object")
    return list(value.items())


def _get(table: Any, name: str, part: str) -> Any:
    if not isinstance(table, Mapping) or part not in table:
        raise SchemaFileError(f"{name} needs {part}")
    return table[part]


def _json_column(name: str, declared: str, flavour: Flavour) -> LiveColumn:
    found = _COLUMN.fullmatch(declared.strip())
    assert found is not None
    kind, charset, collation = found[1].lower(), found[2], found[3]
    return _column(name, kind, charset, collation, None, flavour)


# --- SQL --------------------------------------------------------------------------------------------------


def _tables_of_sql(text: str, flavour: Flavour) -> Iterator[LiveTable]:
    for statement in _statements(text):
        if not _CREATE.match(statement):
            continue
        try:
            parsed = sqlglot.parse_one(statement, dialect="mysql")
        except (sqlglot.errors.SqlglotError, RecursionError) as error:
            raise SchemaFileError(f"{_head(statement)} …: {str(error).splitlines()[0]}") from None
        if not isinstance(parsed, exp.Create) or not isinstance(parsed.this, exp.Schema):
            raise SchemaFileError(f"{_head(statement)} … has no columns of its own")
        yield _table(parsed, flavour)


def _statements(text: str) -> Iterator[str]:
    """Cut at semicolons outside of quotes and comments."""
    start = 0
    for found in _STATEMENT.finditer(text):
        if found[0] == ";":
            yield text[start : found.start()]
            start = found.end()
    yield text[start:]


def _head(statement: str) -> str:
    return " ".join(statement.split())[:60]


def _table(parsed: exp.Create, flavour: Flavour) -> LiveTable:
    name = parsed.this.this.name
    default = _default_collation(parsed, flavour)
    parts = parsed.this.expressions
    columns = [part for part in parts if isinstance(part, exp.ColumnDef) and part.args.get("kind")]
    keys = [key for part in parts for key in _unique_keys(part)]
    primary = {column.lower() for key in keys if key.primary for column in key.columns}
    return LiveTable(
        name,
        columns=tuple(_sql_column(column, default, primary, flavour) for column in columns),
        unique_keys=tuple(keys),
        indexes=(),
    )


def _default_collation(parsed: exp.Create, flavour: Flavour) -> str:
    properties = parsed.args.get("properties")
    found = properties.expressions if properties else []
    collate = next((one.this.name for one in found if isinstance(one, exp.CollateProperty)), None)
    charset = next((one.this.name for one in found if isinstance(one, exp.CharacterSetProperty)), None)
    return collate or _collation_of(charset or "utf8mb4", flavour)


def _collation_of(charset: str, flavour: Flavour) -> str:
    """The collation of a character set that comes without one."""
    charset = charset.lower()
    if charset == "binary":
        return "binary"
    if charset == "utf8mb4" and flavour is Flavour.MYSQL:
        return "utf8mb4_0900_ai_ci"
    return "latin1_swedish_ci" if charset == "latin1" else f"{charset}_general_ci"


def _sql_column(definition: exp.ColumnDef, default: str, primary: set[str], flavour: Flavour) -> LiveColumn:
    kind: exp.DataType = definition.args["kind"]
    constraints = _constraints(definition)
    charset, collate = (
        constraints.get(exp.CharacterSetColumnConstraint),
        constraints.get(exp.CollateColumnConstraint),
    )
    name = definition.name
    return _column(
        name,
        _type_text(kind, zerofill=exp.ZeroFillColumnConstraint in constraints),
        charset.this.name if charset else None,
        collate.this.name if collate else None,
        default,
        flavour,
        nullable=not (
            exp.NotNullColumnConstraint in constraints
            or exp.PrimaryKeyColumnConstraint in constraints
            or name.lower() in primary
        ),
        auto_increment=exp.AutoIncrementColumnConstraint in constraints,
        generated=exp.ComputedColumnConstraint in constraints
        or exp.GeneratedAsIdentityColumnConstraint in constraints,
        invisible=exp.InvisibleColumnConstraint in constraints,
        default=_default_text(constraints.get(exp.DefaultColumnConstraint)),
    )


def _constraints(definition: exp.ColumnDef) -> dict[type, exp.Expression]:
    """By kind. `args`, because sqlglot's own property refuses some kinds that its parser makes."""
    kinds = [one.args["kind"] for one in definition.args.get("constraints") or ()]
    return {type(kind): kind for kind in kinds}


def _type_text(kind: exp.DataType, *, zerofill: bool) -> str:
    text = _UNSIGNED.get(kind.this) or kind.sql(dialect="mysql").lower()
    return f"{text} zerofill" if zerofill else text


def _default_text(constraint: exp.Expression | None) -> str | None:
    if constraint is None or isinstance(constraint.this, exp.Null):
        return None
    literal = constraint.this
    return literal.name if isinstance(literal, exp.Literal) else literal.sql(dialect="mysql")


def _unique_keys(part: exp.Expression) -> Iterator[UniqueKey]:
    if isinstance(part, exp.Constraint):
        for inner in part.expressions:
            yield from _unique_keys(inner)
    elif isinstance(part, exp.PrimaryKey):
        yield _key("PRIMARY", part.expressions)
    elif isinstance(part, exp.UniqueColumnConstraint) and isinstance(part.this, exp.Schema):
        columns = part.this.expressions
        yield _key(part.this.this.name if part.this.this else columns[0].name, columns)
    elif isinstance(part, exp.ColumnDef):
        kinds = _constraints(part)
        if exp.PrimaryKeyColumnConstraint in kinds:
            yield UniqueKey("PRIMARY", (part.name,))
        if exp.UniqueColumnConstraint in kinds:
            yield UniqueKey(part.name, (part.name,))


def _key(name: str, parts: list[exp.Expression]) -> UniqueKey:
    plain = [part.this if isinstance(part, exp.Ordered) else part for part in parts]
    exact = all(isinstance(part, exp.Column | exp.Identifier) for part in plain)
    return UniqueKey(name, tuple(part.name for part in plain), exact)


def _column(
    name: str,
    column_type: str,
    charset: str | None,
    collation: str | None,
    table_collation: str | None,
    flavour: Flavour,
    **facts: Any,
) -> LiveColumn:
    data_type = re.split(r"[ (]", column_type, maxsplit=1)[0]
    if data_type not in _TEXT:
        return LiveColumn(name, data_type, column_type, **facts)
    if collation is None:
        inherited = table_collation or _collation_of("utf8mb4", flavour)
        collation = _collation_of(charset, flavour) if charset else inherited
    charset = collation.partition("_")[0]
    return LiveColumn(name, data_type, column_type, charset=charset, collation=collation.lower(), **facts)
