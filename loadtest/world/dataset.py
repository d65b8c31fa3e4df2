"""What a world is filled with: databases, their tables and rows, and the keyspaces they are to Fairlead."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loadtest.world.layout import Shape
from loadtest.world.shard import Shard


@dataclass(frozen=True)
class Rows:
    """Rows of one table for one shard; `insert` is `INSERT INTO t (…) VALUES (%s, …)`."""

    insert: str
    values: Sequence[Sequence[Any]]


class Dataset(Protocol):
    """A keyspace with content. A shard's rows are the same at every call: a reset loads them again."""

    @property
    def database(self) -> str: ...

    def keyspace(self, shape: Shape) -> dict[str, Any]:
        """The keyspace's part of Fairlead's configuration."""

    def shards(self, shape: Shape) -> list[str]:
        """The shards it lies on."""

    def schema(self) -> list[str]:
        """CREATE statements, the same on every shard."""

    def rows(self, shape: Shape, shard: str) -> Iterable[Rows]:
        """What this shard holds."""


@dataclass(frozen=True)
class Plain:
    """An unsharded keyspace without tables: whatever a test creates there passes through verbatim."""

    database: str = "plain"

    def shards(self, shape: Shape) -> list[str]:
        return shape.all_shards()[:1]

    def keyspace(self, shape: Shape) -> dict[str, Any]:
        return {"shards": self.shards(shape)}

    def schema(self) -> list[str]:
        return []

    def rows(self, shape: Shape, shard: str) -> Iterable[Rows]:
        return ()


class Loader:
    """Puts datasets on one shard, and puts them back to how they were."""

    def __init__(self, shape: Shape, shard: Shard, datasets: Sequence[Dataset]) -> None:
        self.shard = shard
        self._shape = shape
        self._datasets = [dataset for dataset in datasets if shard.name in dataset.shards(shape)]
        self._schemas: dict[str, str] = {}
        self._loaded_at = ""

    def load(self) -> None:
        for dataset in self._datasets:
            self._create(dataset)
        self._note_position()

    def restore(self) -> None:
        """Undoes what was written since. Costs one look at the GTID position when nothing was."""
        if self.shard.repair():
            self.load()
            return
        primary = self.shard.primary
        if primary.position() == self._loaded_at:
            return
        wanted = {dataset.database: dataset for dataset in self._datasets}
        for name in primary.databases():
            if name not in wanted:
                primary.run(f"DROP DATABASE `{name}`")
        for dataset in self._datasets:
            self._restore_one(dataset)
        self._note_position()

    def _create(self, dataset: Dataset) -> None:
        primary = self.shard.primary
        primary.create_keyspace(dataset.database)
        primary.run(*dataset.schema(), database=dataset.database)
        self._schemas[dataset.database] = self._live_schema(dataset.database)
        self._fill(dataset)

    def _fill(self, dataset: Dataset) -> None:
        for rows in dataset.rows(self._shape, self.shard.name):
            if rows.values:
                self.shard.primary.insert(rows.insert, rows.values, dataset.database)

    def _restore_one(self, dataset: Dataset) -> None:
        # The tables are kept when they are still the same: running proxies then need not learn them anew.
        database, primary = dataset.database, self.shard.primary
        if self._live_schema(database) != self._schemas[database]:
            primary.run(f"DROP DATABASE IF EXISTS `{database}`")
            self._create(dataset)
            return
        tables = [row[0] for row in primary.query("SHOW TABLES", database)]
        primary.run(
            "SET foreign_key_checks = 0", *(f"TRUNCATE TABLE `{name}`" for name in tables), database=database
        )
        self._fill(dataset)

    def _live_schema(self, database: str) -> str:
        tables = self.shard.primary.query(
            f"SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{database}' "
            "ORDER BY TABLE_NAME"
        )
        routines = self.shard.primary.query(
            "SELECT ROUTINE_NAME FROM information_schema.ROUTINES "
            f"WHERE ROUTINE_SCHEMA = '{database}' ORDER BY 1"
        )
        if not tables and database not in self.shard.primary.databases():
            return "no database"
        created = [self._create_statement(database, name) for name, _ in tables]
        return f"{created}{routines}"

    def _create_statement(self, database: str, table: str) -> str:
        text = str(self.shard.primary.query(f"SHOW CREATE TABLE `{database}`.`{table}`")[0][1])
        # The counter is data, not schema: TRUNCATE puts it back.
        return " ".join(word for word in text.split(" ") if not word.startswith("AUTO_INCREMENT="))

    def _note_position(self) -> None:
        self.shard.wait_replicas()
        self._loaded_at = self.shard.primary.position()
