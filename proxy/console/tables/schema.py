"""information_schema, as far as clients look into it to find tables and columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from proxy.console.sources import Sources
from proxy.console.table import Row, Table, TableColumn

SCHEMA = "information_schema"
DATABASE = "fairlead"
COLLATION = "utf8mb4_general_ci"
ENGINE = "fairlead"

MYSQL_TYPES = {"BIGINT": "bigint", "DOUBLE": "double", "DATETIME": "datetime", "TEXT": "longtext"}

_EMPTY = {
    "key_column_usage": "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name "
    "column_name ordinal_position position_in_unique_constraint referenced_table_schema referenced_table_name "
    "referenced_column_name",
    "referential_constraints": "constraint_catalog constraint_schema constraint_name unique_constraint_catalog "
    "unique_constraint_schema unique_constraint_name match_option update_rule delete_rule table_name "
    "referenced_table_name",
    "table_constraints": "constraint_catalog constraint_schema constraint_name table_schema table_name "
    "constraint_type",
    "statistics": "table_catalog table_schema table_name non_unique index_schema index_name seq_in_index column_name "
    "collation cardinality sub_part packed nullable index_type comment index_comment",
    "routines": "specific_name routine_catalog routine_schema routine_name routine_type data_type routine_body "
    "routine_definition routine_comment definer created last_altered security_type",
    "parameters": "specific_catalog specific_schema specific_name ordinal_position parameter_mode parameter_name "
    "data_type dtd_identifier",
    "triggers": "trigger_catalog trigger_schema trigger_name event_manipulation event_object_schema "
    "event_object_table action_statement action_timing definer",
    "events": "event_catalog event_schema event_name definer event_definition status",
    "views": "table_catalog table_schema table_name view_definition check_option is_updatable definer security_type",
    "partitions": "table_catalog table_schema table_name partition_name",
    "plugins": "plugin_name plugin_version plugin_status plugin_type plugin_library plugin_license",
}
"""Views that are there and have no rows -> their columns."""


def tables(shown: Sequence[Table]) -> Iterator[Table]:
    """The views of information_schema over these tables."""
    yield _table("schemata", "catalog_name schema_name default_character_set_name default_collation_name sql_path",
                 lambda _: [("def", name, "utf8mb4", COLLATION, None) for name in (DATABASE, SCHEMA)])
    yield _table("tables", "table_catalog table_schema table_name table_type engine version row_format "
                 "table_rows:BIGINT avg_row_length:BIGINT data_length:BIGINT max_data_length:BIGINT "
                 "index_length:BIGINT data_free:BIGINT auto_increment:BIGINT create_time:DATETIME "
                 "update_time:DATETIME check_time:DATETIME table_collation checksum:BIGINT create_options "
                 "table_comment", partial(_tables, shown))
    yield _table("columns", "table_catalog table_schema table_name column_name ordinal_position:BIGINT "
                 "column_default is_nullable data_type character_maximum_length:BIGINT "
                 "character_octet_length:BIGINT numeric_precision:BIGINT numeric_scale:BIGINT "
                 "datetime_precision:BIGINT character_set_name collation_name column_type column_key extra "
                 "privileges column_comment generation_expression", partial(_columns, shown))
    yield _table("engines", "engine support comment transactions xa savepoints",
                 lambda _: [(ENGINE, "DEFAULT", "Tables about this Fairlead", "NO", "NO", "NO")])
    yield _table("character_sets", "character_set_name default_collate_name description maxlen:BIGINT",
                 lambda _: [("utf8mb4", COLLATION, "UTF-8 Unicode", 4)])
    yield _table("collations", "collation_name character_set_name id:BIGINT is_default is_compiled sortlen:BIGINT",
                 lambda _: [(COLLATION, "utf8mb4", 45, "Yes", "Yes", 1)])
    yield _table("user_privileges", "grantee table_catalog privilege_type is_grantable",
                 lambda s: [(f"'{s.session.user}'@'{s.session.peer}'", "def", "SELECT", "NO")])
    yield _table("dual", "dummy", lambda _: [("X",)])
    for name, columns in _EMPTY.items():
        yield _table(name, columns, lambda _: [])


def _table(name: str, columns: str, rows: Callable[[Sources], Iterable[Row]]) -> Table:
    """`columns`: names, those that are no TEXT with their type."""
    parts = (column.partition(":") for column in columns.split())
    found = tuple(TableColumn(name.upper(), kind or "TEXT") for name, _, kind in parts)
    return Table(name, "", found, rows, schema=SCHEMA)


def _tables(shown: Sequence[Table], _: Sources) -> Iterator[Row]:
    for table in shown:
        yield (
            "def", DATABASE, table.name, "BASE TABLE", ENGINE, 10, "Dynamic", None, None, None, None, None, None,
            None, None, None, None, COLLATION, None, "", table.meaning,
        )  # fmt: skip


def _columns(shown: Sequence[Table], _: Sources) -> Iterator[Row]:
    for table in shown:
        for index, column in enumerate(table.columns, 1):
            kind, text = MYSQL_TYPES[column.type], column.type == "TEXT"
            yield (
                "def", DATABASE, table.name, column.name, index, None, "YES", kind, 2**32 - 1 if text else None,
                2**32 - 1 if text else None, 19 if column.type == "BIGINT" else None,
                0 if column.type == "BIGINT" else None, 3 if column.type == "DATETIME" else None,
                "utf8mb4" if text else None, COLLATION if text else None, type_of(column), "", "", "select",
                column.meaning, "",
            )  # fmt: skip


def type_of(column: TableColumn) -> str:
    """As SHOW COLUMNS says it."""
    return {"BIGINT": "bigint(20)", "DATETIME": "datetime(3)"}.get(column.type, MYSQL_TYPES[column.type])
