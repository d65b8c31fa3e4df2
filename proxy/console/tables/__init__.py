"""All tables of the console. `python -m proxy.console.tables` prints their reference for docs/console.md."""

from __future__ import annotations

from proxy.console.table import Table
from proxy.console.tables import configuration, decisions, exposure, findings, live, schema, statistics

TABLES: tuple[Table, ...] = tuple(
    sorted(
        (
            *configuration.TABLES, *decisions.TABLES, *exposure.TABLES, *findings.TABLES, *live.TABLES,
            *statistics.TABLES,
        ),
        key=lambda table: table.name,
    )
)
ALL: dict[tuple[str, str], Table] = {
    (table.schema, table.name): table for table in (*TABLES, *schema.tables(TABLES))
}
